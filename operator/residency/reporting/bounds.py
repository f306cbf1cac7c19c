"""How many series there may be: every metric that grows with the catalogue or the cluster has a share of them.

What does not fit is not lost: it is added up under the name ``(other)``. So a sum stays right, and an alert fires.
"""

from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from typing import Any, Final, TypeVar

from residency.api.names import OTHER, Mode, Outcome

SERIES: Final = 500
FEWEST_SERIES: Final = 200
MOST_SERIES: Final = 100_000

Labels = tuple[str, ...]
_L = TypeVar("_L", bound=Labels)


_SEVERITY = (
    Outcome.MISPLACED,
    Outcome.NOT_LOCATED,
    Outcome.UNKNOWN,
    Outcome.UNPLACEABLE,
    Outcome.INTRUDER,
    Outcome.UNPINNED,
    Outcome.WAITING,
    Outcome.COMPLIANT,
)
"""Which lines are kept longest where there are too many."""


class Share(IntEnum):
    """Percent of all series. The rest is for what the controller says of itself, and does not grow."""

    PODS = 20
    VOLUMES = 8
    FINDINGS = 6
    NAMESPACES = 10
    ELIGIBLE_NODES = 10
    LOCATED_PODS = 10
    NODES = 6
    WAITING_UNPLACED = 4

    def of(self, series: int) -> int:
        """How many that are."""
        return series * self // 100


def fit(
    lines: Mapping[_L, int],
    most: int,
    rank: Callable[[Labels, int], Any],
    keep: Collection[int] = (),
) -> Mapping[Labels, int]:
    """Show at most so many lines: first those that are 0 go, then those ranked last become others.

    ``keep`` are the positions of the labels that others keep. Without zeros nothing is missed: an alert on a gauge
    fires at its first sample.
    """
    shown: dict[Labels, int] = {labels: count for labels, count in lines.items() if count or len(lines) <= most}
    if len(shown) <= most:
        return shown
    ranked = sorted(shown, key=lambda labels: (rank(labels, shown[labels]), labels))
    room = max(most - len({_other(labels, keep) for labels in shown}), 0)
    for labels in ranked[room:]:
        count, name = shown.pop(labels), _other(labels, keep)
        shown[name] = shown.get(name, 0) + count
    return shown


def fit_least(counts: Mapping[str, int], most: int) -> Mapping[str, int]:
    """The same where little is what matters, 0 most of all: others are as few as the fewest of them."""
    if len(counts) <= most:
        return counts
    ranked = sorted(counts, key=lambda name: (counts[name], name))
    return {name: counts[name] for name in ranked[: most - 1]} | {OTHER: counts[ranked[most - 1]]}


def largest_first(_: Labels, count: int) -> int:
    """Rank by size, roughly: a line that grows a little does not push another one out."""
    return -count.bit_length()


def worst_first(labels: Labels, _: int) -> tuple[bool, int]:
    """Rank lines of classification, mode and outcome: those in lower modes last, and of each what is worst first.

    An intruder has no classification and so no mode; it is as bad as what is enforced.
    """
    return labels[1] in (Mode.WARN, Mode.AUDIT), _SEVERITY.index(Outcome(labels[2]))


def _other(labels: Labels, keep: Collection[int]) -> Labels:
    return tuple(label if position in keep else OTHER for position, label in enumerate(labels))
