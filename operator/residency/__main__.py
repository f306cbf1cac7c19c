"""``python -m residency``."""

import sys

from residency.cli import main

sys.exit(main())
