"""What the demo claims, and whether it is so."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

PAUSE_SECONDS: Final = 0.1
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """A claim that did not hold."""

    expected: str
    found: str

    def __str__(self) -> str:
        return f"expected {self.expected}; found {self.found or 'otherwise'}"


@dataclass(slots=True)
class Checks:
    """Counts the claims that held and keeps those that did not."""

    held: int = 0
    failures: list[Failure] = field(default_factory=list)

    def that(self, holds: bool, expected: str, found: object = "") -> bool:
        """Check a claim; it is told as ``expected <this>; found <that>`` when it does not hold."""
        if holds:
            self.held += 1
        else:
            self.failures.append(Failure(expected, _told(found)))
        return holds

    def soon(self, problem: Callable[[], str], expected: str, seconds: float = 30) -> bool:
        """Check a claim that may take a moment: until the function has no problem any more."""
        deadline = time.monotonic() + seconds
        while (found := problem()) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        return self.that(not found, f"{expected} within {seconds:g} s", found)


def _told(found: object) -> str:
    """Some of many things, or the one thing."""
    if isinstance(found, str) or not isinstance(found, Collection):
        return str(found)
    told = sorted(map(str, found))
    return "; ".join(told[:_SHOWN]) + (f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")
