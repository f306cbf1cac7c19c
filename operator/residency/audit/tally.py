"""How many pods there are of each outcome, and which ones deviate."""

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import nsmallest

from residency.api.names import Outcome
from residency.audit.causes import Change
from residency.core.audit import Judged

PodKey = tuple[str, str]
"""Namespace and name."""

Line = tuple[str, str, Outcome]
"""Classification, mode ("" for none), outcome."""

_FINE = (Outcome.COMPLIANT, Outcome.WAITING)


class Tally:
    """Counts by line, and the pods to which something is the matter, by classification."""

    def __init__(self) -> None:
        self._counts: Counter[Line] = Counter()
        self._deviating: dict[str, dict[PodKey, Judged]] = {}
        self._changed: dict[PodKey, Change | None] = {}
        self._taken: dict[PodKey, Change | None] = {}
        self.change: Change | None = None
        """What is happening while pods are added and removed."""

    @property
    def counts(self) -> Mapping[Line, int]:
        """How many claims there are on each line; none that is empty."""
        return self._counts

    def add(self, pod: PodKey, judged: tuple[Judged, ...]) -> None:
        """Count what was judged of a pod."""
        for one in judged:
            self._counts[line_of(one)] += 1
            if one.outcome not in _FINE:
                self._changed[pod] = self.change
                self._deviating.setdefault(one.classification, {})[pod] = one

    def remove(self, pod: PodKey, judged: tuple[Judged, ...]) -> None:
        """Take it out again."""
        for one in judged:
            line = line_of(one)
            self._counts[line] -= 1
            if not self._counts[line]:
                del self._counts[line]
            if one.outcome not in _FINE:
                self._changed[pod] = self.change
                self._forget(one.classification, pod)

    def take_changed(self) -> frozenset[PodKey]:
        """The pods that began or ceased to deviate, or do so otherwise, since this was asked last."""
        self._taken, self._changed = self._changed, {}
        return frozenset(self._taken)

    def change_of(self, pod: PodKey) -> Change | None:
        """What made it so, of a pod that was among those which were taken last."""
        return self._taken.get(pod)

    def of(self, pod: PodKey) -> Iterator[Judged]:
        """In which ways a pod deviates."""
        return (pods[pod] for pods in self._deviating.values() if pod in pods)

    def _forget(self, classification: str, pod: PodKey) -> None:
        # Two claims of one pod may both name what is not in force.
        deviating = self._deviating.get(classification, {})
        deviating.pop(pod, None)
        if not deviating:
            self._deviating.pop(classification, None)

    def deviating(self, classification: str) -> Mapping[PodKey, Judged]:
        """The pods that deviate from a classification, by namespace and name."""
        return self._deviating.get(classification, {})

    def all_deviating(self) -> Iterator[tuple[str, PodKey, Judged]]:
        """Every deviation, by classification and pod."""
        for classification, pods in self._deviating.items():
            for pod, judged in pods.items():
                yield classification, pod, judged

    def examples(self, classification: str, most: int) -> list[tuple[PodKey, Judged]]:
        """The first few of them by name."""
        return nsmallest(most, self.deviating(classification).items(), key=lambda item: item[0])


def line_of(judged: Judged) -> Line:
    """The line on which it is counted."""
    return judged.classification, "" if judged.mode is None else str(judged.mode), judged.outcome
