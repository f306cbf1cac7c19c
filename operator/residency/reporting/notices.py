"""What there is to tell of a node, or of pods that belong together: one line for each thing that is the matter.

150,000 pods that are misplaced at once are told of together: by the node that they are on, and by the owner that their
names speak of. Nobody has to be asked for that.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from residency.api.names import NO_CLASSIFICATION, NOT_IN_FORCE, EventReason, Mode, Outcome
from residency.audit.explaining import why_unplaceable
from residency.audit.picture import Picture, Seen
from residency.audit.remedies import OF_PODS
from residency.audit.tally import PodKey
from residency.core.audit import Judged
from residency.core.messages import one_line

MOST_EXAMPLES: Final = 5
"""Pods that a notice names to whoever writes."""
NOTE_LENGTH: Final = 1024
"""Bytes, as the API server allows for the note of an Event."""

REASONS: Final[Mapping[Outcome, EventReason]] = {
    Outcome.MISPLACED: EventReason.MISPLACED,
    Outcome.UNPINNED: EventReason.UNPINNED,
    Outcome.UNPLACEABLE: EventReason.UNPLACEABLE,
    Outcome.UNKNOWN: EventReason.PLACE_UNKNOWN,
    Outcome.NOT_LOCATED: EventReason.NOT_LOCATED,
    Outcome.INTRUDER: EventReason.INTRUDER,
}
"""What Events are called, for each outcome of pods that deviate."""

_OF_PODS: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "on nodes that are not allowed",
    Outcome.UNPINNED: "on allowed nodes that nothing keeps them on",
    Outcome.UNPLACEABLE: "without a node to go to",
    Outcome.UNKNOWN: "on nodes of which too little is known",
    Outcome.NOT_LOCATED: "on nodes that are not there or virtual",
    Outcome.INTRUDER: "on nodes that are kept for classified pods",
}
_OF_NODES: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "here that may not be",
    Outcome.UNKNOWN: "here of which it cannot be told whether they may be",
    Outcome.NOT_LOCATED: "here, on a node that is only the face of machines elsewhere",
    Outcome.INTRUDER: "here, on a node that is kept for classified pods",
}

_NONE: Final = (NO_CLASSIFICATION, NOT_IN_FORCE)

# Kubernetes makes names up of consonants and digits that are not mistaken for one another: for pods, and longer ones
# for ReplicaSets.
_LETTERS: Final = frozenset("bcdfghjklmnpqrstvwxz2456789")
_OF_POD: Final = range(5, 6)
_OF_REPLICA_SET: Final = range(8, 11)


class Topic(NamedTuple):
    """A node, or pods whose names say that they belong together."""

    namespace: str
    """"" for a node."""
    name: str
    """A node's; else what the pods' names begin with, or the only pod's."""


Matter = tuple[Outcome, str]
"""An outcome, and the classification that it is about."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be told of a topic."""

    matter: Matter
    """Compliant: what deviated from the classification does so no more."""
    reason: EventReason
    """What an Event of it is called."""
    note: str
    examples: tuple[PodKey, ...] = ()
    """The first pods that it is about."""
    waiting: bool = False
    """Whether they wait for a node, so that people will look at the pods themselves."""

    @property
    def over(self) -> bool:
        """Whether it tells that something is over."""
        return self.reason is EventReason.COMPLIANCE_RESTORED

    @property
    def type(self) -> Literal["Normal", "Warning"]:
        """How bad it is."""
        return "Normal" if self.over or self.reason is EventReason.EVICTED else "Warning"


def kin(pod: str) -> str:
    """What a pod's name begins with where its owner made it up: a random ending, or a number; else all of it."""
    stem, _, ending = pod.rpartition("-")
    return stem if stem and _made_up(ending, _OF_POD) else pod


def topics(key: PodKey, seen: Seen) -> Iterator[Topic]:
    """What a pod belongs to."""
    yield Topic(key[0], kin(key[1]))
    if seen.node:
        yield Topic("", seen.node)


def deviates(seen: Seen) -> bool:
    """Whether anything is the matter with a pod."""
    return any(judged.outcome in REASONS for judged in seen.judged)


def is_told(topic: Topic, judged: Judged) -> bool:
    """Whether it is a matter of the topic's: of a node's only what may be its fault."""
    if topic.namespace:
        return judged.outcome in REASONS
    return judged.outcome in _OF_NODES and judged.classification != NOT_IN_FORCE


def notices(topic: Topic, picture: Picture) -> dict[Matter, Notice]:
    """All that there is to tell of a topic now."""
    found: dict[Matter, list[tuple[PodKey, Seen, Judged]]] = {}
    for key in sorted(_pods(topic, picture)):
        seen = picture.look(key)
        for judged in () if seen is None else seen.judged:
            if seen is not None and is_told(topic, judged):
                found.setdefault((judged.outcome, judged.classification), []).append((key, seen, judged))
    return {matter: _notice(topic, matter, pods, picture) for matter, pods in found.items()}


def lasts(topic: Topic, matter: Matter, key: PodKey, picture: Picture) -> bool:
    """Whether a pod is still an example of what was told."""
    seen = picture.look(key)
    if seen is None or (not topic.namespace and seen.node != topic.name):
        return False
    return any((judged.outcome, judged.classification) == matter for judged in seen.judged)


def relatives_deviate(topic: Topic, classification: str, picture: Picture) -> bool:
    """Whether pods of the same Deployment's other ReplicaSets, or the same CronJob's other Jobs, deviate."""
    begins, _, ending = topic.name.rpartition("-")
    if not topic.namespace or not begins or not _made_up(ending, _OF_REPLICA_SET):
        return False
    for key in picture.pods_in(topic.namespace):
        if key[1].startswith(f"{begins}-") and kin(key[1]).rpartition("-")[0] == begins:
            seen = picture.look(key)
            if seen and any(j.classification == classification and j.outcome in REASONS for j in seen.judged):
                return True
    return False


def restored(topic: Topic, classification: str) -> Notice:
    """Tell that it is over."""
    what = "" if classification in _NONE else f" from {classification}"
    note = f"No pod {'of this' if topic.namespace else 'on this node'} deviates{what} any more."
    return Notice((Outcome.COMPLIANT, classification), EventReason.COMPLIANCE_RESTORED, note)


def evicted(classification: str, node: str) -> Notice:
    """Tell a pod's owner why it was evicted."""
    note = f"Evicted from node {node}, where {classification} does not allow it. What its owner makes anew is placed."
    return Notice((Outcome.MISPLACED, classification), EventReason.EVICTED, note)


def _notice(topic: Topic, matter: Matter, pods: list[tuple[PodKey, Seen, Judged]], picture: Picture) -> Notice:
    outcome, name = matter
    keys = tuple(key for key, _, _ in pods[:MOST_EXAMPLES])
    (namespace, pod), seen, judged = pods[0]
    said = f"{len(pods)} pod{'' if len(pods) == 1 else 's'}{_of(name)}{_lower(judged.mode)}"
    if not topic.namespace:
        said += f" {_OF_NODES[outcome]}; for example {namespace}/{pod}"
    elif name == NOT_IN_FORCE:
        said += " under no classification that is in force"
    else:
        said += f" {_OF_PODS[outcome]}" + (f"; {pod} on node {seen.node}" if seen.node else "")
    why = why_unplaceable(picture, name, seen.view) if outcome is Outcome.UNPLACEABLE else ""
    note = f"{said}: {why or judged.why}. Fix: {OF_PODS[outcome]}"
    return Notice(matter, REASONS[outcome], one_line(note, NOTE_LENGTH), keys, waiting=not seen.node)


def _of(classification: str) -> str:
    return "" if classification in _NONE else f" of {classification}"


def _lower(mode: Mode | None) -> str:
    return "" if mode in (None, Mode.ENFORCE) else f" (mode {mode})"


def _pods(topic: Topic, picture: Picture) -> Collection[PodKey]:
    if not topic.namespace:
        return picture.pods_on(topic.name)
    name = topic.name
    return [key for key in picture.pods_in(topic.namespace) if key[1].startswith(name) and kin(key[1]) == name]


def _made_up(ending: str, lengths: Collection[int]) -> bool:
    return (ending.isascii() and ending.isdigit()) or (len(ending) in lengths and _LETTERS.issuperset(ending))
