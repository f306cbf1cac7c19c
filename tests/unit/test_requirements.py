"""The requirement algebra: a table written by hand, then generated cases against Kubernetes' own semantics."""

import random
from collections.abc import Iterator
from functools import reduce
from itertools import product
from operator import and_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brute_force import World, is_label_value, matches_requirement, parse_int, parses
from random_cases import PAIRS, SETS
from residency.core.requirements import Operator, Requirement, accepts, implies, parse_integer, satisfiable

KEY = "example.node-restriction.kubernetes.io/rack"
SEED = 20261123


def read(text: str) -> Requirement:
    """``In 1 2`` and the like, as a requirement."""
    operator, *values = text.split()
    return Requirement(KEY, Operator(operator), tuple(values))


ROWS = (
    # one                 other                implied  compatible
    ("In NL", "In NL", True, True),
    ("In NL", "In NL DE", True, True),
    ("In NL DE", "In DE NL", True, True),
    ("In NL DE", "In NL", False, True),
    ("In NL", "In DE", False, False),
    ("In NL", "NotIn DE", True, True),
    ("In NL", "NotIn NL", False, False),
    ("In NL DE", "NotIn NL", False, True),
    ("In NL", "Exists", True, True),
    ("In NL", "DoesNotExist", False, False),
    ("In 2 3", "Gt 1", True, True),
    ("In 1 3", "Gt 1", False, True),
    ("In 1", "Gt 1", False, False),
    ("In NL", "Gt 1", False, False),
    ("In 0 1", "Lt 2", True, True),
    ("In 1 2", "Lt 2", False, True),
    ("In 2", "Lt 2", False, False),
    ("In 007", "Lt 8", True, True),
    ("NotIn NL", "In NL", False, False),
    ("NotIn NL", "In DE", False, True),
    ("NotIn NL", "In NL DE", False, True),
    ("NotIn NL DE", "NotIn NL", True, True),
    ("NotIn NL", "NotIn NL", True, True),
    ("NotIn NL", "NotIn NL DE", False, True),
    ("NotIn NL", "Exists", False, True),
    ("NotIn NL", "DoesNotExist", False, True),
    ("NotIn 2", "Gt 1", False, True),
    ("NotIn 0", "Lt 1", False, True),
    ("Exists", "In NL", False, True),
    ("Exists", "NotIn NL", False, True),
    ("Exists", "Exists", True, True),
    ("Exists", "DoesNotExist", False, False),
    ("Exists", "Gt 1", False, True),
    ("Exists", "Lt 1", False, True),
    ("DoesNotExist", "In NL", False, False),
    ("DoesNotExist", "NotIn NL", True, True),
    ("DoesNotExist", "Exists", False, False),
    ("DoesNotExist", "DoesNotExist", True, True),
    ("DoesNotExist", "Gt 1", False, False),
    ("DoesNotExist", "Lt 1", False, False),
    ("Gt 1", "In 2", False, True),
    ("Gt 1", "In 1", False, False),
    ("Gt 1", "NotIn 1", True, True),
    ("Gt 1", "NotIn NL", True, True),
    ("Gt 1", "NotIn 2", False, True),
    ("Gt 1", "Exists", True, True),
    ("Gt 1", "DoesNotExist", False, False),
    ("Gt 2", "Gt 1", True, True),
    ("Gt 1", "Gt 1", True, True),
    ("Gt 1", "Gt 2", False, True),
    ("Gt 1", "Lt 3", False, True),
    ("Gt 1", "Lt 2", False, False),
    ("Gt 1", "Lt 1", False, False),
    ("Lt 3", "In 2", False, True),
    ("Lt 3", "In 3", False, False),
    ("Lt 3", "NotIn 3", True, True),
    ("Lt 3", "NotIn NL", True, True),
    ("Lt 3", "NotIn 2", False, True),
    ("Lt 3", "Exists", True, True),
    ("Lt 3", "DoesNotExist", False, False),
    ("Lt 3", "Gt 1", False, True),
    ("Lt 3", "Gt 2", False, False),
    ("Lt 2", "Lt 3", True, True),
    ("Lt 3", "Lt 3", True, True),
    ("Lt 3", "Lt 2", False, True),
)
# A bound that is no integer matches no node; it is not trusted to imply anything.
ODD_ROWS = (
    ("Gt NL", "Gt NL", False, False),
    ("Gt NL", "Exists", False, False),
    ("Lt NL", "NotIn DE", False, False),
    ("Gt NL", "In NL", False, False),
    ("In 5", "Gt NL", False, False),
    ("Gt 5", "Gt NL", False, False),
    ("Gt 5", "Lt NL", False, False),
    # No label value is negative.
    ("Lt 0", "Exists", True, False),
    ("Lt 1", "Gt 0", False, False),
)


@pytest.mark.parametrize(("one", "other", "implied", "compatible"), [*ROWS, *ODD_ROWS])
def test_one_requirement_implies_and_allows_another_as_the_table_says(
    one: str, other: str, implied: bool, compatible: bool
) -> None:
    assert implies(read(one), read(other)) is implied
    assert satisfiable([read(one), read(other)]) is compatible
    assert satisfiable([read(other), read(one)]) is compatible


def test_the_table_has_every_pair_of_operators() -> None:
    pairs = {(one.split()[0], other.split()[0]) for one, other, _, _ in ROWS}
    assert pairs == set(product(map(str, Operator), repeat=2))


def test_requirements_on_different_keys_imply_nothing_of_each_other() -> None:
    assert not implies(Requirement("a", Operator.IN, ("1",)), Requirement("b", Operator.IN, ("1",)))


# What a node's label can be. "z", "002" and the like are in no requirement, so that whatever finite list a
# requirement names, some label is left; "4611686018427387904" is an integer to Kubernetes alone.
LONG = "4611686018427387904"
LABELS = (None, "", "a", "b", "z", *(f"{n:0{width}}" for n in range(6) for width in (1, 2, 3)), LONG)
WORLD = World({KEY: LABELS})
VALUES = ("a", "b", "0", "1", "2", "3", "03", "4")
BOUNDS = ("0", "1", "2", "3", "4", "03")
# What the API server takes, and no integer is: such a requirement matches nothing.
NO_BOUNDS = ("a", "")
LISTS = (*((value,) for value in VALUES), *((one, other) for one in VALUES for other in VALUES if one < other))
REQUIREMENTS = (
    *(Requirement(KEY, operator, values) for operator in (Operator.IN, Operator.NOT_IN) for values in LISTS),
    *(Requirement(KEY, operator) for operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST)),
    *(Requirement(KEY, operator, (bound,)) for operator in (Operator.GT, Operator.LT) for bound in BOUNDS),
    *(Requirement(KEY, operator, (bound,)) for operator in (Operator.GT, Operator.LT) for bound in NO_BOUNDS),
)


def _sets() -> Iterator[tuple[int, ...]]:
    """Distinct sets of two to five requirements on one key, by their numbers, the same ones every time."""
    chance = random.Random(SEED)
    seen: set[tuple[int, ...]] = set()
    while len(seen) < SETS:
        together = tuple(chance.choices(range(len(REQUIREMENTS)), k=chance.randint(2, 5)))
        if together not in seen:
            seen.add(together)
            yield together


def test_accepts_says_what_kubernetes_says_of_every_label() -> None:
    for requirement, label in product(REQUIREMENTS, LABELS):
        if label == LONG and requirement.operator in (Operator.GT, Operator.LT):
            continue  # the narrowing, tested on its own
        labels = {} if label is None else {KEY: label}
        assert accepts(requirement, label) is matches_requirement(requirement, labels), (requirement, label)


def test_implies_is_right_about_every_pair_in_kubernetes_eyes() -> None:
    pairs = list(product(REQUIREMENTS, repeat=2))
    for one, other in pairs:
        mine, its = WORLD.requirement(one), WORLD.requirement(other)
        # What matches nothing implies everything, but need not be trusted to.
        assert implies(one, other) is (mine & ~its == 0) or mine == 0, (one, other)
    assert len(set(pairs)) == PAIRS


def test_satisfiable_is_right_about_generated_sets_in_kubernetes_eyes() -> None:
    # A set that only a longer integer meets is left out: see the narrowing.
    usual = ~WORLD.requirement(Requirement(KEY, Operator.IN, (LONG,)))
    met = [WORLD.requirement(requirement) & usual for requirement in REQUIREMENTS]
    evaluated = 0
    for numbers in _sets():
        together = [REQUIREMENTS[number] for number in numbers]
        assert satisfiable(together) is (reduce(and_, (met[number] for number in numbers)) != 0), together
        evaluated += 1
    assert evaluated == SETS


ANY_VALUE = st.sampled_from(
    [*VALUES, "-1", "+1", "1_0", "1.0", "NL", "\u0663", LONG, str(2**63 - 1), str(2**63), "9" * 18, "1" + "0" * 18]
) | st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,4}[A-Za-z0-9])?", fullmatch=True)
NUMBERS = st.integers(-3, 2**64).map(str) | st.sampled_from(["9" * 18, "1" + "0" * 18, "007", *BOUNDS])


@st.composite
def any_requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return Requirement(KEY, operator, tuple(draw(st.lists(ANY_VALUE | NUMBERS, min_size=1, max_size=4))))
        case Operator.GT | Operator.LT:
            return Requirement(KEY, operator, (draw(NUMBERS | ANY_VALUE),))
    return Requirement(KEY, operator)


@given(any_requirements(), any_requirements(), st.none() | ANY_VALUE | NUMBERS)
def test_what_implies_never_lets_a_node_through_that_kubernetes_would_refuse(
    one: Requirement, other: Requirement, label: str | None
) -> None:
    labels = {} if label is None or not is_label_value(label) else {KEY: label}
    if implies(one, other) and parses(other):
        assert matches_requirement(other, labels) or not matches_requirement(one, labels)


@given(any_requirements(), st.none() | ANY_VALUE | NUMBERS)
def test_nothing_is_accepted_that_kubernetes_would_refuse(requirement: Requirement, label: str | None) -> None:
    labels = {} if label is None else {KEY: label}
    if parses(requirement) and accepts(requirement, label):
        assert matches_requirement(requirement, labels)


@given(st.lists(any_requirements(), min_size=1, max_size=4))
def test_what_a_label_that_a_node_can_have_meets_is_satisfiable(together: list[Requirement]) -> None:
    labels = [None, *(value for r in together for value in r.values), *(str(n) for n in range(20))]
    labels += [str(r.bound + step) for r in together if r.bound is not None for step in (-1, 1)]
    possible = [label for label in labels if label is None or is_label_value(label)]
    met = [label for label in possible if all(accepts(r, label) for r in together)]
    assert satisfiable(together) or not met


@given(ANY_VALUE | NUMBERS | st.text(max_size=6))
def test_integers_are_read_as_kubernetes_reads_them_up_to_18_digits(text: str) -> None:
    number = parse_int(text)
    assert parse_integer(text) == (number if number is not None and abs(number) < 10**18 else None)


def test_an_integer_of_more_than_18_digits_can_only_refuse_more() -> None:
    """A node labelled so passes Gt 5 in Kubernetes, so Gt 5 must not be taken for what keeps it out."""
    assert matches_requirement(read("Gt 5"), {KEY: LONG})
    assert not accepts(read("Gt 5"), LONG)
    assert not implies(read("Gt 5"), read(f"NotIn {LONG}"))
    assert not implies(read(f"In {LONG}"), read("Gt 5"))
    assert not satisfiable([read(f"In {LONG}"), read("Gt 5")])


def test_exclusions_are_exhausted_only_by_naming_every_way_to_write_a_number() -> None:
    """Between 1 and 3 there are 63 label values: 2, 02, 002 and so on up to 63 characters."""
    between = [read("Gt 1"), read("Lt 3")]
    all_but_one = tuple("2".zfill(width) for width in range(1, 63))
    assert satisfiable([*between, Requirement(KEY, Operator.NOT_IN, all_but_one)])
    assert not satisfiable([*between, Requirement(KEY, Operator.NOT_IN, (*all_but_one, "2".zfill(63)))])


@pytest.mark.timeout(5)
def test_long_lists_of_exclusions_are_quick_to_satisfy() -> None:
    """Also where they are just the first values that would be tried."""
    values = [str(number).zfill(width) for number in range(1600) for width in range(len(str(number)), 64)]
    assert satisfiable([read("Exists"), Requirement(KEY, Operator.NOT_IN, tuple(values))])
