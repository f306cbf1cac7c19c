"""What classifications ask of nodes: alternatives of requirements, and tolerations.

A placement is in a normal form: an alternative says of a key either one ``In``, or some of ``Exists``, ``NotIn``,
``Gt`` and ``Lt`` that together never accept an unlabelled node. Everything here is pure set algebra.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from residency.api.names import ClassificationName, Mode
from residency.core.requirements import Operator, Requirement, common_values, implies, satisfiable

MAX_TERMS = 16
"""Alternatives of a resolved classification, and node selector terms of a placed pod, at the most."""

Alternative = tuple[Requirement, ...]
"""Requirements that must all hold; the empty one holds on every node."""


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration that placed pods need on the nodes that their classification allows; never keyless."""

    key: str
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def to_dict(self) -> dict[str, str]:
        """As a pod spec writes it, omitting what is empty."""
        fields = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return {name: text for name, text in fields.items() if text}


@dataclass(frozen=True, slots=True)
class Placement:
    """Nodes that meet one of the alternatives (in order of preference), and what to tolerate there."""

    alternatives: tuple[Alternative, ...]
    tolerations: tuple[Toleration, ...] = ()

    @property
    def requirements(self) -> Iterator[Requirement]:
        """All that is asked in any alternative."""
        return chain.from_iterable(self.alternatives)


ANYWHERE = Placement(alternatives=((),))
"""No demand at all."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What storage has to be: ``requirements`` on the labels of StorageClasses, in the normal form of alternatives.

    ``static_volumes`` and ``data_sources`` say what claims may do although nobody sees where it leads; ``drivers`` are
    the CSI drivers that inline volumes may use; ``classes`` are the names of the cluster's StorageClasses that meet
    the requirements, as far as they are known.
    """

    requirements: Alternative
    static_volumes: bool = False
    data_sources: bool = False
    drivers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def demand(self) -> "Storage":
        """What is asked, whichever StorageClasses meet it just now."""
        return replace(self, classes=())


@dataclass(frozen=True, slots=True)
class Classification:
    """A resolved DataClassification: includes conjoined, country sets expanded, texts for people ready.

    ``why`` cites the legal references in one line ("" where there are none); ``allows`` says for each key of the
    placement, readably, what is allowed; ``storage`` is None where nothing is demanded of storage.
    """

    name: ClassificationName
    title: str
    placement: Placement
    why: str
    allows: tuple[tuple[str, str], ...]
    storage: Storage | None = None
    mode: Mode = Mode.ENFORCE


def normalise(requirements: Iterable[Requirement]) -> Alternative | None:
    """Conjoin requirements into one alternative with the fewest requirements a key; None if no node can meet it.

    Keys keep the order in which they first appear, values that of the first In.
    """
    by_key: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        by_key.setdefault(requirement.key, []).append(requirement)
    alternative: list[Requirement] = []
    for key, together in by_key.items():
        simple = _simplify(key, together)
        if not simple:
            return None
        alternative += simple
    return tuple(alternative)


def _simplify(key: str, together: Sequence[Requirement]) -> list[Requirement]:
    """The same with the fewest requirements, and none where nothing can meet them on a node that has the label."""
    values = common_values(together)
    if values is not None:
        return [Requirement(key, Operator.IN, values)] if values else []
    # Unknown is never compliant: whatever is said of a key, the label has to be there.
    if not satisfiable([Requirement(key, Operator.EXISTS), *together]):
        return []
    above = [r.bound for r in together if r.operator is Operator.GT and r.bound is not None]
    below = [r.bound for r in together if r.operator is Operator.LT and r.bound is not None]
    excluded = dict.fromkeys(value for r in together if r.operator is Operator.NOT_IN for value in r.values)
    simple: list[Requirement] = []
    if above:
        simple.append(Requirement(key, Operator.GT, (str(max(above)),)))
    if below:
        simple.append(Requirement(key, Operator.LT, (str(min(below)),)))
    if not simple:
        simple.append(Requirement(key, Operator.EXISTS))
    if excluded:
        simple.append(Requirement(key, Operator.NOT_IN, tuple(excluded)))
    return simple


def alternative_implies(one: Alternative, other: Alternative) -> bool:
    """Whether every node that meets ``one`` meets ``other``."""
    return all(any(implies(mine, asked) for mine in one) for asked in other)


def placement_implies(one: Placement, other: Placement) -> bool:
    """Whether everything placed by ``one`` is where ``other`` allows."""
    return all(any(alternative_implies(mine, its) for its in other.alternatives) for mine in one.alternatives)


def conjoin(one: Placement, other: Placement) -> Placement:
    """Nodes that both allow: alternatives crossed, contradictions and what an earlier one covers dropped.

    No alternatives are left where the two contradict each other.
    """
    alternatives: list[Alternative] = []
    for crossed in chain.from_iterable(_cross(mine, other.alternatives) for mine in one.alternatives):
        if crossed is not None and not any(alternative_implies(crossed, earlier) for earlier in alternatives):
            alternatives.append(crossed)
    return Placement(tuple(alternatives), tuple(dict.fromkeys((*one.tolerations, *other.tolerations))))


def _cross(mine: Alternative, others: Sequence[Alternative]) -> Iterator[Alternative | None]:
    if any(alternative_implies(mine, its) for its in others):
        return iter((mine,))
    return (normalise((*mine, *its)) for its in others)


class Contradiction(Exception):
    """Two demands that nothing can meet together."""


def conjoin_storage(one: Storage | None, other: Storage | None) -> Storage | None:
    """What satisfies both demands on storage; raises Contradiction where no StorageClass ever can."""
    if one is None or other is None:
        return one or other
    requirements = normalise((*one.requirements, *other.requirements))
    if requirements is None:
        raise Contradiction("no StorageClass can satisfy both")
    return Storage(
        requirements,
        one.static_volumes and other.static_volumes,
        one.data_sources and other.data_sources,
        tuple(driver for driver in one.drivers if driver in other.drivers),
    )


def storage_implies(one: Storage | None, other: Storage | None) -> bool:
    """Whether everything that ``one`` allows of storage is allowed by ``other``, whatever StorageClasses there are."""
    if other is None:
        return True
    return (
        one is not None
        and alternative_implies(one.requirements, other.requirements)
        and one.static_volumes <= other.static_volumes
        and one.data_sources <= other.data_sources
        and set(one.drivers) <= set(other.drivers)
    )
