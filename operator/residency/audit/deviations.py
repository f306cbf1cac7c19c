"""What complies in a picture, counted for those who tell of what does not."""

from collections import Counter
from collections.abc import Mapping

from residency.api.names import Outcome
from residency.audit.picture import Picture


def compliant(picture: Picture, namespace: str) -> Mapping[str, int]:
    """Count the pods of a namespace that comply, by classification."""
    counts: Counter[str] = Counter()
    for key in picture.pods_in(namespace):
        seen = picture.look(key)
        if seen is not None:
            counts.update(j.classification for j in seen.judged if j.outcome is Outcome.COMPLIANT)
    return counts
