"""The deviations of a picture as findings without a past, and what complies beside them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Final

from residency.api.names import NO_CLASSIFICATION, Mode, Outcome
from residency.audit.findings import Example, Finding, Subject
from residency.audit.picture import Picture
from residency.audit.remedies import REMEDIES
from residency.audit.tally import PodKey
from residency.core.audit import Judged

MOST_EXAMPLES: Final = 5

_Together = tuple[str, str, Outcome, Mode | None]


def findings_of(picture: Picture) -> Sequence[Finding]:
    """Read the findings off a picture; when each was first seen it does not know, and says 0."""
    found: dict[_Together, list[tuple[PodKey, Judged]]] = {}
    for classification, key, judged in picture.tally.all_deviating():
        found.setdefault((key[0], classification, judged.outcome, judged.mode), []).append((key, judged))
    return [_finding(picture, together, pods) for together, pods in sorted(found.items(), key=_in_order)]


def compliant(picture: Picture, namespace: str) -> Mapping[str, int]:
    """Count the pods of a namespace that comply, by classification."""
    counts: Counter[str] = Counter()
    for key in picture.pods_in(namespace):
        seen = picture.look(key)
        if seen is not None:
            counts.update(j.classification for j in seen.judged if j.outcome is Outcome.COMPLIANT)
    return counts


def _finding(picture: Picture, together: _Together, pods: Sequence[tuple[PodKey, Judged]]) -> Finding:
    namespace, classification, outcome, mode = together
    first = nsmallest(MOST_EXAMPLES, pods, key=lambda item: item[0])
    return Finding(
        namespace=namespace,
        classification=classification,
        subject=Subject.PODS,
        outcome=outcome,
        mode=mode,
        count=len(pods),
        examples=tuple(_example(picture, key, judged) for key, judged in first),
        first_seen=0.0,
        last_seen=0.0,
        remedy=REMEDIES[outcome],
        reference="" if classification == NO_CLASSIFICATION else _why(picture, classification),
    )


def _example(picture: Picture, key: PodKey, judged: Judged) -> Example:
    seen = picture.look(key)
    return Example(key[1], "" if seen is None else seen.node, judged.why)


def _why(picture: Picture, classification: str) -> str:
    return next((known.why for name, known in picture.catalogue.items() if name == classification), "")


def _in_order(item: tuple[_Together, object]) -> tuple[str, str, str, str]:
    namespace, classification, outcome, mode = item[0]
    return namespace, classification, str(outcome), str(mode)
