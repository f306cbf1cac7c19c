"""The deviations of a picture as findings without a past, and what complies beside them."""

from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from residency.api.names import NO_CLASSIFICATION, Mode, Outcome
from residency.audit.findings import Example, Finding, Subject
from residency.audit.picture import Picture
from residency.audit.remedies import REMEDIES
from residency.audit.tally import PodKey

MOST_EXAMPLES: Final = 5

_Together = tuple[str, str, Outcome, Mode | None]


class _Pods:
    """Pods to which the same is the matter, of which the first few by name are kept."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[PodKey, str]] = []

    def add(self, key: PodKey, why: str) -> None:
        self.count += 1
        if len(self.first) < MOST_EXAMPLES or key < self.first[-1][0]:
            insort(self.first, (key, why))
            del self.first[MOST_EXAMPLES:]


def findings_of(picture: Picture) -> Sequence[Finding]:
    """Read the findings off a picture; when each was first seen it does not know, and says 0."""
    found: dict[_Together, _Pods] = {}
    for classification, key, judged in picture.tally.all_deviating():
        together = key[0], classification, judged.outcome, judged.mode
        pods = found.get(together)
        if pods is None:
            pods = found[together] = _Pods()
        pods.add(key, judged.why)
    return [_finding(picture, together, pods) for together, pods in sorted(found.items(), key=_in_order)]


def compliant(picture: Picture, namespace: str) -> Mapping[str, int]:
    """Count the pods of a namespace that comply, by classification."""
    counts: Counter[str] = Counter()
    for key in picture.pods_in(namespace):
        seen = picture.look(key)
        if seen is not None:
            counts.update(j.classification for j in seen.judged if j.outcome is Outcome.COMPLIANT)
    return counts


def _finding(picture: Picture, together: _Together, pods: _Pods) -> Finding:
    namespace, classification, outcome, mode = together
    return Finding(
        namespace=namespace,
        classification=classification,
        subject=Subject.PODS,
        outcome=outcome,
        mode=mode,
        count=pods.count,
        examples=tuple(_example(picture, key, why) for key, why in pods.first),
        first_seen=0.0,
        last_seen=0.0,
        remedy=REMEDIES[outcome],
        reference="" if classification == NO_CLASSIFICATION else _why(picture, classification),
    )


def _example(picture: Picture, key: PodKey, why: str) -> Example:
    seen = picture.look(key)
    return Example(key[1], "" if seen is None else seen.node, why)


def _why(picture: Picture, classification: str) -> str:
    return next((known.why for name, known in picture.catalogue.items() if name == classification), "")


def _in_order(item: tuple[_Together, object]) -> tuple[str, str, str, str]:
    namespace, classification, outcome, mode = item[0]
    return namespace, classification, str(outcome), str(mode)
