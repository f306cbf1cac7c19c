"""What a policy declares: no variable that costs more than it saves, and nothing that means something else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.policy.economy import LONGEST, SHORT, economical, uses

LONG = "x" * (SHORT + 1)
FORMS = (
    "object.spec",
    "size({0})",
    "{0}.a",
    "{0}[0] + {1}",
    "{0}.filter(v, v in {1}).size()",
    '"variables.none (" + {0}',
    f"{LONG} + {{0}} + {{1}}",
)


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[str]]:
    """Variables of which each uses some before it, and expressions that use any."""
    said: list[tuple[str, str]] = [("v", "object.metadata")]
    for number in range(draw(st.integers(0, 8))):
        said.append((f"v{number}", _expression(draw, said)))
    return said, [_expression(draw, said) for _ in range(draw(st.integers(1, 3)))]


def _expression(draw: st.DrawFn, before: list[tuple[str, str]]) -> str:
    names = [f"variables.{name}" for name, _ in before]
    return draw(st.sampled_from(FORMS)).format(draw(st.sampled_from(names)), draw(st.sampled_from(names)))


def spelled_out(variables: list[tuple[str, str]], program: str) -> str:
    """The program with everything in the place of its name, and without what only groups."""
    for name, meaning in reversed(variables):
        program = re.sub(rf"\bvariables\.{name}\b", lambda _, meaning=meaning: meaning, program)  # type: ignore[misc]
    return program.replace("(", "").replace(")", "")


@given(programs())
def test_what_is_declared_and_said_means_what_was_written(written: tuple[list[tuple[str, str]], list[str]]) -> None:
    variables, said = written
    declared, economically = economical(variables, *said)
    assert [spelled_out(declared, one) for one in economically] == [spelled_out(variables, one) for one in said]
    assert [name for name, _ in declared] == [name for name, _ in variables if name in dict(declared)], "in order"


@given(programs())
def test_what_is_declared_is_used_more_than_once_or_in_a_loop(
    written: tuple[list[tuple[str, str]], list[str]],
) -> None:
    variables, said = written
    declared, economically = economical(variables, *said)
    used = [use for text in (*dict(declared).values(), *economically) for use in uses(text)]
    for name, _ in declared:
        mine = [use for use in used if use.name == name]
        assert len(mine) > 1 or any(use.repeated for use in mine), name


@pytest.mark.parametrize(
    ("meaning", "program", "said"),
    [
        ("object.spec", "variables.a.x && variables.a.y", "object.spec.x && object.spec.y"),
        ("dyn(object).?spec[0]", "l.all(x, variables.a == x)", "l.all(x, dyn(object).?spec[0] == x)"),
        ("b || c", "!variables.a", "!(b || c)"),
        ("f(b)", "o.optMap(v, variables.a + v)", "o.optMap(v, (f(b)) + v)"),
        (LONG + "()", "x ? variables.a : y", f"x ? ({LONG}()) : y"),
        ("f(b)", '"say variables.a (" + variables.a', '"say variables.a (" + (f(b))'),
        ("f(b)", r"'it\'s variables.a' + variables.a", r"'it\'s variables.a' + (f(b))"),
        ("f(b)", "variables.a + variables.a", "(f(b)) + (f(b))"),
        ("f(b)", "l.map(x, x).size() + variables.a", "l.map(x, x).size() + (f(b))"),
    ],
)
def test_what_costs_nothing_to_say_again_stands_where_it_is_used(meaning: str, program: str, said: str) -> None:
    assert economical([("a", meaning)], program) == ([], [said])


@pytest.mark.parametrize(
    ("meaning", "program"),
    [
        ("f(b)", "l.exists(x, x == variables.a)"),
        ("f(b)", "l.filter(x, [x].map(y, variables.a)[0])"),
        (LONG, "variables.a + variables.a"),
        ("b.filter(x, x).size()", "variables.a + variables.a"),
        ("x" * (LONGEST + 1), "variables.a"),
    ],
)
def test_what_would_be_worked_out_more_often_stays_a_variable(meaning: str, program: str) -> None:
    assert economical([("a", meaning)], program) == ([("a", meaning)], [program])


def test_what_nothing_uses_is_not_declared() -> None:
    variables = [("a", LONG), ("b", "variables.a + variables.a"), ("c", "f(variables.a)")]
    assert economical(variables, "true") == ([], ["true"])
    assert economical(variables, "variables.b") == ([("a", LONG)], ["(variables.a + variables.a)"])
    assert economical(variables, "variables.another") == ([], ["variables.another"])
