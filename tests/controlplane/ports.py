"""Free ports on the loopback address."""

import itertools
import random
import socket
from contextlib import closing
from typing import Final

from controlplane.certificates import LOOPBACK
from controlplane.errors import ControlPlaneError

# Below what Linux and macOS hand out to outgoing connections: one of those could otherwise
# take the port between this test and the start of the component.
RANGE: Final = range(20_000, 30_000)
ATTEMPTS: Final = 200


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on now, chosen at random so that neighbours differ."""
    free = (port for port in random.sample(RANGE, ATTEMPTS) if is_free(port))
    found = list(itertools.islice(free, count))
    if len(found) < count:
        raise ControlPlaneError(f"no {count} free ports on {LOOPBACK} between {RANGE.start} and {RANGE.stop}")
    return found


def is_free(port: int) -> bool:
    """Whether one can listen on the port."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
