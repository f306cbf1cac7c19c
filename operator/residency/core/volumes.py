"""Where volumes are, judged: a PersistentVolume that holds data of a classified namespace, bound or released.

Nobody can look at a disk. Three may say where it is, and each is asked: the volume's own labels, its StorageClass's
labels, and the nodes that its required node affinity ties it to, because a volume that can only be used in a place is
in that place. None of them overrules another. A demand is met where all who say something of it say what is allowed,
whoever of them is right; it is failed where all say what is not. Anything between is Unknown.

What is demanded of a volume:

=================================  ===================================================================================
what the classification asks of    must be met
storage
what it asks of nodes, where the   must be met: the disk is in the node
volume is on a node (``local``,
``hostPath``)
the place that it asks nodes to    must be met where it asks nothing of storage: data at rest is where it is processed,
be in (country, subdivision),      unless somebody says otherwise. Where it does ask something of storage, but not of
elsewhere                          the place, nothing may be said against it
=================================  ===================================================================================

Of nodes that a volume is merely reached from, only the place counts: who runs them says nothing of who runs the disks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import Final

from residency.api.names import NOT_IN_FORCE, ClassificationName, Fact, Outcome
from residency.core import messages
from residency.core.audit import Judged, NodeView, agree, matches
from residency.core.judge import Ask, Catalogue, asked_keys, effective
from residency.core.placement import Alternative, Classification
from residency.core.requirements import Requirement, accepts, common_values
from residency.core.workload import Term

PLACE: Final = (Fact.COUNTRY.value, Fact.SUBDIVISION.value)
"""The facts that say where something stands."""

Account = tuple[tuple[str, str], ...]
"""What somebody says of a place: labels that count, sorted."""


@dataclass(frozen=True, slots=True)
class VolumeView:
    """What of a PersistentVolume says where it is, and whose data it holds."""

    name: str
    claim: tuple[str, str]
    """Namespace and name of the claim whose data it holds."""
    storage_class: str = ""
    labels: Account = ()
    terms: tuple[Term, ...] | None = None
    """The required node affinity; None where it can be used anywhere."""
    local: bool = False
    """Whether it is part of a node."""
    released: bool = False
    """Whether its claim is gone, and its data is not."""


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of where a volume is: what its judgement depends on, and nothing else."""

    labels: Account
    storage_class: str
    of_class: Account | None
    """What its StorageClass says; None where there is no such."""
    nodes: frozenset[Account] | None
    """What the nodes say that it is tied to, each way once; None where it is not tied to any."""
    local: bool
    released: bool


def known(
    volume: VolumeView, of_class: Account | None, nodes: frozenset[Account] | None, keys: frozenset[str]
) -> Known:
    """Put together what is known of a volume; ``keys`` are the labels that count."""
    labels = tuple(label for label in volume.labels if label[0] in keys)
    return Known(labels, volume.storage_class, of_class, nodes, volume.local, volume.released)


def keys_asked(catalogue: Catalogue) -> frozenset[str]:
    """The labels that count, of volumes, StorageClasses and nodes."""
    storages = [c.storage for c in catalogue.values() if c.storage is not None]
    return asked_keys(catalogue) | {r.key for storage in storages for r in storage.requirements} | set(PLACE)


def account(labels: Mapping[str, str], keys: Iterable[str]) -> Account:
    """What labels say, as far as it counts."""
    return tuple((key, labels[key]) for key in sorted(keys) if key in labels)


def of_node(node: NodeView, keys: frozenset[str], *, local: bool) -> Account | None:
    """What a node says of a volume that is tied to it; None where its labels say nothing of any place."""
    return None if node.virtual else account(node.labels, keys if local else PLACE)


def said_by_nodes(volume: VolumeView, nodes: Mapping[str, NodeView], keys: frozenset[str]) -> frozenset[Account] | None:
    """What the nodes of a cluster say of a volume."""
    if volume.terms is None:
        return None
    found: set[Account] = set()
    for term in volume.terms:
        seen = (of_node(node, keys, local=volume.local) for node in nodes.values() if matches(term, node))
        found |= said_by_term(term, {one for one in seen if one is not None})
    return frozenset(found)


def said_by_term(term: Term, nodes: Iterable[Account]) -> set[Account]:
    """What one term of an affinity says, with the nodes that it selects.

    A term that names a place itself ties the volume to that place, whether or not there are nodes there just now.
    """
    found = set(nodes)
    named = {key: common_values([r for r in term.expressions if r.key == key]) for key in PLACE}
    told = {key: values for key, values in named.items() if values is not None}
    if not told:
        return found
    seen = {tuple(dict(one).get(key) for key in told) for one in found}
    return found | {tuple(zip(told, values, strict=True)) for values in product(*told.values()) if values not in seen}


# Judging


def judge_volume(volume: Known, ask: Ask, catalogue: Catalogue) -> Judged:
    """Judge a volume that holds data of whoever asks for a classification."""
    classification = catalogue.get(ask.name)
    if classification is None:
        return _not_in_force(ask, catalogue, Outcome.UNKNOWN)
    outcome, why = _placed(volume, classification)
    if why and volume.released:
        why = messages.RELEASED.format(why=why)
    return Judged(ask.name, effective(ask, catalogue), outcome, why)


def judge_without_volume(ask: Ask, catalogue: Catalogue, lost: str = "") -> Judged:
    """Judge a claim without a volume: it waits for one, or has lost the one that it names."""
    outcome = Outcome.NOT_LOCATED if lost else Outcome.WAITING
    if ask.name not in catalogue:
        return _not_in_force(ask, catalogue, Outcome.UNKNOWN if lost else outcome)
    why = messages.NO_SUCH_VOLUME.format(volume=messages.shown(lost)) if lost else ""
    return Judged(ask.name, effective(ask, catalogue), outcome, why)


def _not_in_force(ask: Ask, catalogue: Catalogue, outcome: Outcome) -> Judged:
    why = messages.NAMESPACE_NAMES_NOTHING.format(name=messages.said(ask.name))
    return Judged(NOT_IN_FORCE, effective(ask, catalogue), outcome, why)


class _Met(IntEnum):
    """How far a demand is met, from the best to the worst."""

    YES = 0
    UNSAID = 1
    DISPUTED = 2
    NO = 3


_Answer = tuple[_Met, str]
_FINE: _Answer = (_Met.YES, "")


@dataclass(frozen=True, slots=True)
class _Demand:
    alternatives: tuple[Alternative, ...]
    strict: bool = True
    """Whether it is not enough that nothing is said against it."""


def _demands(volume: Known, classification: Classification) -> Iterator[_Demand]:
    storage, alternatives = classification.storage, classification.placement.alternatives
    if storage is not None:
        yield _Demand((storage.requirements,))
    if volume.local:
        yield _Demand(alternatives)
    elif storage is None or not any(r.key in PLACE for r in storage.requirements):
        places = tuple(dict.fromkeys(tuple(r for r in some if r.key in PLACE) for some in alternatives))
        yield _Demand(places, strict=storage is None)


def _placed(volume: Known, classification: Classification) -> tuple[Outcome, str]:
    answers = [_answer(volume, demand, classification.name) for demand in _demands(volume, classification)]
    met, why = max(answers, key=lambda answer: answer[0], default=_FINE)
    match met:
        case _Met.YES:
            return Outcome.COMPLIANT, ""
        case _Met.NO:
            return Outcome.MISPLACED, why
        case _Met.UNSAID if not (volume.labels or volume.nodes or volume.of_class is not None):
            return Outcome.NOT_LOCATED, _nowhere(volume)
    return Outcome.UNKNOWN, why


def _answer(volume: Known, demand: _Demand, name: ClassificationName) -> _Answer:
    """Ask all who say something of a volume whether a demand is met, for each of the places where it may be."""
    if not all(demand.alternatives):
        return _FINE
    answers = sorted(_answer_at(_Said(volume, at), demand, name) for at in volume.nodes or ((),))
    best, worst = answers[0][0], answers[-1]
    if worst[0] is _Met.NO and best is not _Met.NO:
        return _Met.DISPUTED, messages.NODES_DIFFER.format(why=worst[1])
    if worst[0] is _Met.UNSAID and not demand.strict:
        return _FINE
    return worst


class _Said:
    """Who says what, if the volume is at one of the places where it may be."""

    def __init__(self, volume: Known, at: Account) -> None:
        self.volume = volume
        self._by: dict[str, list[tuple[str, str]]] = {}
        of_class = messages.CLASS_SAYS.format(name=messages.shown(volume.storage_class))
        of_nodes = messages.NODE_SAYS if volume.local else messages.NODES_SAY
        told = ((messages.VOLUME_SAYS, volume.labels), (of_class, volume.of_class or ()), (of_nodes, at))
        for who, labels in told:
            for key, value in labels:
                self._by.setdefault(key, []).append((who, value))
        self.contradiction = self._find_contradiction()

    def of(self, key: str) -> Sequence[tuple[str, str]]:
        """Who says what of a key."""
        return self._by.get(key, ())

    def _find_contradiction(self) -> str:
        for (who, country), (other, subdivision) in product(self.of(Fact.COUNTRY), self.of(Fact.SUBDIVISION)):
            if not agree(country, subdivision):
                return messages.PLACES_CONTRADICT.format(who=who, country=country, other=other, subdivision=subdivision)
        return ""


def _answer_at(said: _Said, demand: _Demand, name: ClassificationName) -> _Answer:
    """The alternative that is met best; where each fails, what fails first of the first."""
    answers = [_answer_by(said, alternative, demand, name) for alternative in demand.alternatives]
    return min(answers, key=lambda answer: answer[0])


def _answer_by(said: _Said, alternative: Alternative, demand: _Demand, name: ClassificationName) -> _Answer:
    worst = _FINE
    for requirement in alternative:
        met = _meets(said, requirement)
        if met > worst[0]:
            worst = met, _why(said, requirement, met, demand, name)
    return worst


def _meets(said: _Said, requirement: Requirement) -> _Met:
    if said.contradiction and requirement.key in PLACE:
        return _Met.DISPUTED
    accepted = {accepts(requirement, value) for _, value in said.of(requirement.key)}
    if not accepted:
        return _Met.UNSAID
    return _Met.DISPUTED if len(accepted) > 1 else _Met.YES if accepted == {True} else _Met.NO


def _why(said: _Said, requirement: Requirement, met: _Met, demand: _Demand, name: ClassificationName) -> str:
    key = messages.short(requirement.key)
    together = [[r for r in some if r.key == requirement.key] for some in demand.alternatives]
    allows = f"where {name} allows {messages.allowance(some for some in together if some)}"
    if met is _Met.UNSAID:
        return messages.NOBODY_SAYS.format(key=key, asked=_asked(said.volume), allows=allows)
    if said.contradiction and requirement.key in PLACE:
        return said.contradiction
    wrong = next((who, value) for who, value in said.of(requirement.key) if not accepts(requirement, value))
    if met is _Met.NO:
        return messages.SAYS_WRONG.format(who=wrong[0], key=key, value=wrong[1], allows=allows)
    right = next((who, value) for who, value in said.of(requirement.key) if accepts(requirement, value))
    return messages.SAY_DIFFERENTLY.format(
        who=right[0], key=key, value=right[1], other=wrong[0], wrong=wrong[1], allows=allows
    )


def _asked(volume: Known) -> str:
    """Who was asked, and says nothing."""
    asked = ["its own labels"]
    if volume.of_class is not None:
        asked.append(f"StorageClass {messages.shown(volume.storage_class)}")
    if volume.nodes:
        asked.append("its node" if volume.local else "the nodes that it is tied to")
    return messages.listed(asked)


def _nowhere(volume: Known) -> str:
    missing = messages.NO_CLASS_THERE.format(name=messages.shown(volume.storage_class))
    return messages.NOWHERE.format(
        storage_class=missing if volume.storage_class else "no StorageClass",
        affinity="no node affinity" if volume.nodes is None else "a node affinity to nodes that are not there",
    )
