"""What all tests share: how Hypothesis runs."""

from hypothesis import settings

# How long an example takes depends on what else the machine does; pytest-timeout ends what never ends.
settings.register_profile("residency", deadline=None)
settings.load_profile("residency")
