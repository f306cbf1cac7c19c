"""Placements: normal form, conjunction and implication, by example and against Kubernetes' own semantics."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brute_force import World
from random_cases import (
    CONJOINED,
    COUNTRY,
    IMPLIED,
    MODEL,
    NORMALISED,
    Cases,
    distinct,
    restricted_world,
)
from residency.core.placement import (
    ANYWHERE,
    Alternative,
    Placement,
    Toleration,
    alternative_implies,
    conjoin,
    normalise,
)
from residency.core.requirements import Operator, Requirement
from workload_strategies import RACK, RESTRICTED, alternatives, placements, requirements

POOL = 500


@pytest.fixture(scope="module")
def world() -> World:
    return restricted_world()


def read(*texts: str) -> Alternative:
    """``rack In 1 2`` and the like, as requirements."""
    keys = {"country": COUNTRY, "rack": RACK, "model": MODEL}
    parts = (text.split() for text in texts)
    return tuple(Requirement(keys[key], Operator(operator), tuple(values)) for key, operator, *values in parts)


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ([], []),
        (["rack Exists"], ["rack Exists"]),
        (["rack Exists", "rack Exists"], ["rack Exists"]),
        (["rack NotIn a"], ["rack Exists", "rack NotIn a"]),
        (["rack NotIn a", "rack NotIn b a"], ["rack Exists", "rack NotIn a b"]),
        (["rack In a b", "rack In c b"], ["rack In b"]),
        (["rack In c a b a"], ["rack In c a b"]),
        (["rack In a b", "rack NotIn a"], ["rack In b"]),
        (["rack In 1 2 3 a", "rack Gt 1", "rack Lt 3"], ["rack In 2"]),
        (["rack Gt 1", "rack Gt 03"], ["rack Gt 3"]),
        (["rack Lt 5", "rack Lt 3", "rack Exists"], ["rack Lt 3"]),
        (["rack Gt 1", "rack NotIn 2"], ["rack Gt 1", "rack NotIn 2"]),
        (["rack Lt 9", "rack Gt 1"], ["rack Gt 1", "rack Lt 9"]),
        (["rack In 1", "country In NL", "rack Exists"], ["rack In 1", "country In NL"]),
    ],
)
def test_a_normal_form_says_the_least_about_each_key_in_the_order_in_which_keys_appear(
    said: list[str], normal: list[str]
) -> None:
    assert normalise(read(*said)) == read(*normal)


@pytest.mark.parametrize(
    "said",
    [
        ["rack In a", "rack In b"],
        ["rack In a", "rack NotIn a"],
        ["rack In a", "rack Gt 0"],
        ["rack Gt 1", "rack Lt 2"],
        ["rack Gt 1", "rack Lt 3", "rack In 7"],
        ["rack DoesNotExist"],
        ["rack NotIn a", "rack DoesNotExist"],
        ["rack Gt one"],
        ["rack Lt 0"],
        ["country In NL", "rack In a", "rack In b"],
    ],
)
def test_what_no_labelled_node_can_meet_has_no_normal_form(said: list[str]) -> None:
    assert normalise(read(*said)) is None


def test_an_earlier_alternative_is_preferred_and_what_it_covers_is_dropped() -> None:
    preferred = Placement((read("country In NL"), read("country In NL DE")))
    government = Placement((read("model In government"),))
    assert conjoin(preferred, government).alternatives == (
        read("country In NL", "model In government"),
        read("country In NL DE", "model In government"),
    )
    assert conjoin(Placement((read("country In NL DE"), read("country In NL"))), ANYWHERE).alternatives == (
        read("country In NL DE"),
    )


def test_two_placements_that_contradict_each_other_leave_no_alternative() -> None:
    dutch, american = Placement((read("country In NL"),)), Placement((read("country In US"),))
    assert conjoin(dutch, american).alternatives == ()


def test_alternatives_that_contradict_are_dropped_and_others_stay() -> None:
    one = Placement((read("country In NL"), read("country In US")))
    other = Placement((read("country In US DE"),))
    assert conjoin(one, other).alternatives == (read("country In US"),)


def test_tolerations_are_united_each_once() -> None:
    taint, other = Toleration("a", "Exists"), Toleration("b", "Equal", "c", "NoSchedule")
    both = conjoin(Placement(((),), (taint,)), Placement(((),), (other, taint)))
    assert both == Placement(((),), (taint, other))


def test_a_toleration_is_written_without_what_is_empty() -> None:
    assert Toleration("a", "Exists").to_dict() == {"key": "a", "operator": "Exists"}
    full = {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}
    assert Toleration("a", "Equal", "b", "NoSchedule").to_dict() == full


def in_normal_form(alternative: Alternative) -> bool:
    for key in {r.key for r in alternative}:
        operators = [str(r.operator) for r in alternative if r.key == key]
        if operators not in (
            ["In"],
            ["Exists"],
            ["Exists", "NotIn"],
            ["Gt"],
            ["Lt"],
            ["Gt", "Lt"],
            ["Gt", "NotIn"],
            ["Lt", "NotIn"],
            ["Gt", "Lt", "NotIn"],
        ):
            return False
    return True


def check_normal(world: World, said: tuple[Requirement, ...]) -> None:
    """The nodes that meet all that is said and carry every label that is spoken of, no more and no fewer."""
    meant = world.alternative(said)
    for requirement in said:
        meant &= world.labelled[requirement.key]
    normal = normalise(said)
    assert (normal is None) is (meant == 0), said
    if normal is not None:
        assert world.alternative(normal) == meant, said
        assert in_normal_form(normal), said
        assert normalise(normal) == normal, said


def test_a_normal_form_allows_the_labelled_nodes_that_kubernetes_would(world: World) -> None:
    cases = Cases()
    evaluated = 0
    for said in distinct(lambda: cases.requirements(1, 5), NORMALISED):
        check_normal(world, said)
        evaluated += 1
    assert evaluated == NORMALISED


def test_an_alternative_that_implies_another_allows_no_node_that_the_other_does_not(world: World) -> None:
    cases = Cases()
    pool = list(distinct(cases.alternative, POOL))
    implied = exact = 0
    for one, other in distinct(lambda: (cases.one_of(pool), cases.one_of(pool)), IMPLIED):
        mine, its = world.alternative(one), world.alternative(other)
        if alternative_implies(one, other):
            assert mine & ~its == 0, (one, other)
            implied += 1
        elif not any(r.operator in (Operator.GT, Operator.LT) for r in one):
            # Without bounds it is exact too: two bounds together can leave one value and not say so.
            assert mine & ~its != 0, (one, other)
            exact += 1
    assert implied > IMPLIED / 50
    assert exact > IMPLIED / 4


def test_the_conjunction_of_placements_is_the_intersection_of_their_nodes(world: World) -> None:
    cases = Cases()
    pool = list(distinct(cases.alternatives, POOL))
    contradictory = 0
    for one, other in distinct(lambda: (cases.one_of(pool), cases.one_of(pool)), CONJOINED):
        both = conjoin(Placement(one), Placement(other)).alternatives
        meant = world.alternatives(one) & world.alternatives(other)
        assert world.alternatives(both) == meant, (one, other)
        assert (both == ()) is (meant == 0), (one, other)
        assert all(map(in_normal_form, both)), (one, other)
        contradictory += not both
    assert 0 < contradictory < CONJOINED


@given(st.lists(requirements(RESTRICTED), max_size=6))
def test_no_node_without_a_label_passes_what_speaks_of_it(said: list[Requirement]) -> None:
    normal = normalise(said)
    for key in {r.key for r in said}:
        assert normal is None or World({key: [None]}).alternative(r for r in normal if r.key == key) == 0


@settings(max_examples=50)
@given(alternatives(), alternatives())
def test_an_alternative_implies_itself_and_its_conjunction_implies_both(one: Alternative, other: Alternative) -> None:
    assert alternative_implies(one, one)
    assert alternative_implies(one, ())
    both = normalise((*one, *other))
    if both is not None:
        assert alternative_implies(both, one)
        assert alternative_implies(both, other)


@settings(max_examples=50)
@given(placements(), placements())
def test_conjunction_has_a_neutral_placement_and_repeats_nothing(one: Placement, other: Placement) -> None:
    assert conjoin(one, ANYWHERE).tolerations == one.tolerations
    both = conjoin(one, other)
    assert conjoin(both, both).tolerations == both.tolerations
    for position, alternative in enumerate(both.alternatives):
        assert not any(alternative_implies(alternative, earlier) for earlier in both.alternatives[:position])
