"""Label selectors: what is taken, what they say, and what is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.core.requirements import Operator, Requirement
from residency.core.selectors import EXAMPLE, BadSelector, Selector, parse_selector
from selector_cases import BAD_SELECTORS, SELECTORS

KEYS = st.from_regex(r"([a-z]{1,5}\.[a-z]{1,5}/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,5}[A-Za-z0-9]", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?", fullmatch=True)
LISTS = st.lists(VALUES, min_size=1, max_size=4).map(tuple)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
    st.builds(Requirement, KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), LISTS),
)
SPACES = st.sampled_from(["", " ", "  "])


@pytest.mark.parametrize(("text", "said"), SELECTORS.items())
def test_a_selector_says_what_kubernetes_means_by_it(text: str, said: Selector) -> None:
    assert parse_selector(text) == said


@pytest.mark.parametrize(("text", "why"), BAD_SELECTORS.items())
def test_what_is_no_selector_is_refused_with_what_is_wrong_and_what_would_do(text: str, why: str) -> None:
    with pytest.raises(BadSelector) as caught:
        parse_selector(text)
    said = str(caught.value)
    assert said.startswith(f"{text!r} is not a label selector, such as {EXAMPLE}: ")
    assert why in said
    assert "\n" not in said


def test_a_prefix_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadSelector, match="is not the key of a label"):
        parse_selector("p" * 254 + "/x")


def written(requirement: Requirement, space: str) -> str:
    match requirement.operator:
        case Operator.EXISTS:
            return requirement.key
        case Operator.DOES_NOT_EXIST:
            return f"!{space}{requirement.key}"
    word = "in" if requirement.operator is Operator.IN else "notin"
    return f"{requirement.key} {space}{word}{space}({f'{space},{space}'.join(requirement.values)}{space})"


@given(st.lists(REQUIREMENTS, min_size=1, max_size=4), SPACES)
def test_whatever_is_written_is_read_again(requirements: list[Requirement], space: str) -> None:
    text = f"{space},{space}".join(written(requirement, space) for requirement in requirements)
    assert parse_selector(text) == tuple(requirements)


@given(st.text(st.sampled_from("ab1-./,()!= innot"), max_size=20))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        read = parse_selector(text)
    except BadSelector:
        return
    assert read
    assert all(bool(r.values) is (r.operator in (Operator.IN, Operator.NOT_IN)) for r in read)
