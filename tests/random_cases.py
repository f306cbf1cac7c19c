"""Placements and pods by the ten thousand, the same ones every time, in a world whose every node can be tried.

Hypothesis finds and shrinks; this is for bulk. Values and labels are chosen so that the world is exhaustive: for
whatever finite list a requirement names or bound it sets, some label beyond it is there ("z", "02", "003", "5").
"""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from brute_force import World
from residency.api.names import SOVEREIGN, Fact
from residency.core.placement import ANYWHERE, Alternative, Placement, Toleration, normalise
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodToleration, Term
from workload_strategies import RACK

COUNTRY, MODEL = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value
ZONE = "topology.kubernetes.io/zone"
RESTRICTED = (COUNTRY, RACK, MODEL)
VALUES = {
    COUNTRY: ("NL", "DE", "CH", "US"),
    RACK: ("1", "2", "03", "a"),
    MODEL: ("government", "public"),
    ZONE: ("a", "b"),
}
BOUNDS = ("0", "1", "2", "3", "4", "03")
# How many different cases each bulk test evaluates; together more than 100,000.
PAIRS, SETS = 8_100, 57_000
NORMALISED, IMPLIED, CONJOINED = 12_000, 10_000, 8_000
CROSSED, JUDGED = 8_000, 3_000

CATALOGUE = 300
NAMES = ("node-1", "node-2")
LABELS = {
    COUNTRY: (None, *VALUES[COUNTRY], "z"),
    RACK: (None, "", "a", "z", "0", "1", "01", "2", "02", "3", "03", "003", "4", "5"),
    MODEL: (None, *VALUES[MODEL], "z"),
    ZONE: (None, "a"),
}
_FIELDS = tuple(Requirement("metadata.name", operator, ("node-1",)) for operator in (Operator.IN, Operator.NOT_IN))
_NEEDED = (Toleration(SOVEREIGN, "Exists"), Toleration(SOVEREIGN, "Equal", "nl", "NoSchedule"))
_HAD = (
    PodToleration(SOVEREIGN, "Exists"),
    PodToleration(SOVEREIGN, "Equal", "nl"),
    PodToleration(SOVEREIGN, "Exists", "", "NoExecute", 60),
    PodToleration("", "Exists"),
    PodToleration("dedicated", "Exists"),
)

_Case = TypeVar("_Case", bound=Hashable)


def distinct(make: Callable[[], _Case], count: int) -> Iterator[_Case]:
    """As many different cases as asked for."""
    seen: set[_Case] = set()
    while len(seen) < count:
        case = make()
        if case not in seen:
            seen.add(case)
            yield case


def restricted_world() -> World:
    """Every node, as far as placements can tell nodes apart."""
    return World({key: LABELS[key] for key in RESTRICTED})


def whole_world() -> World:
    """Every node, as far as pods can tell nodes apart."""
    return World(LABELS, NAMES)


class Cases:
    """Whatever is generated, from one seed."""

    def __init__(self, seed: int = 20261123) -> None:
        self._chance = random.Random(seed)
        self._placements: list[Placement] = []

    def one_of(self, pool: Sequence[_Case]) -> _Case:
        """One of those that were made before."""
        return self._chance.choice(pool)

    def requirement(self, keys: tuple[str, ...] = RESTRICTED) -> Requirement:
        """Any requirement, In and NotIn more often than others."""
        chance = self._chance
        key = chance.choice(keys)
        operator = chance.choice([*Operator, Operator.IN, Operator.IN, Operator.NOT_IN])
        match operator:
            case Operator.IN | Operator.NOT_IN:
                return Requirement(key, operator, tuple(chance.sample(VALUES[key], chance.randint(1, 2))))
            case Operator.GT | Operator.LT:
                return Requirement(RACK, operator, (chance.choice(BOUNDS),))
        return Requirement(key, operator)

    def requirements(self, least: int = 1, most: int = 4) -> tuple[Requirement, ...]:
        """What somebody may demand of restricted labels."""
        return tuple(self.requirement() for _ in range(self._chance.randint(least, most)))

    def alternative(self) -> Alternative:
        """An alternative in normal form."""
        while (normal := normalise(self.requirements())) is None:
            pass
        return normal

    def alternatives(self) -> tuple[Alternative, ...]:
        """One to three alternatives, each another."""
        count = self._chance.choice((1, 1, 2, 3))
        return tuple(dict.fromkeys(self.alternative() for _ in range(count)))

    def placement(self) -> Placement:
        """What a classification may ask; seldom nothing."""
        tolerations = tuple(need for need in _NEEDED if self._chance.random() < 0.2)
        if self._chance.random() < 0.03:
            return Placement(ANYWHERE.alternatives, tolerations)
        return Placement(self.alternatives(), tolerations)

    def placements(self) -> tuple[Placement, ...]:
        """What is asked of one pod, out of a catalogue: by its namespace, and sometimes by itself too."""
        while len(self._placements) < CATALOGUE:
            self._placements.append(self.placement())
        return tuple(self._chance.sample(self._placements, self._chance.choice((1, 1, 2))))

    def term(self) -> Term:
        """A term of a pod; some are empty, some have fields."""
        keys = (*RESTRICTED, *RESTRICTED, ZONE)
        expressions = tuple(self.requirement(keys) for _ in range(self._chance.choice((0, 1, 1, 2, 2, 3))))
        fields = (self._chance.choice(_FIELDS),) if self._chance.random() < 0.15 else ()
        return Term(expressions, fields)

    def terms(self) -> tuple[Term, ...] | None:
        """The required affinity of a pod, often none."""
        if self._chance.random() < 0.25:
            return None
        return tuple(self.term() for _ in range(self._chance.choice((1, 1, 2, 3))))

    def selector(self) -> tuple[tuple[str, str], ...]:
        """The nodeSelector of a pod, mostly none, in a form that can be compared."""
        chance = self._chance
        keys = chance.sample(tuple(VALUES), chance.choice((0, 0, 0, 1, 2)))
        return tuple((key, chance.choice(VALUES[key])) for key in sorted(keys))

    def tolerations(self) -> tuple[PodToleration, ...]:
        """The tolerations of a pod, mostly none."""
        return tuple(has for has in _HAD if self._chance.random() < 0.1)
