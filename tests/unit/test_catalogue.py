"""Resolving classifications: facts to requirements, includes conjoined, and what cannot be resolved said plainly."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brute_force import World
from residency.api.classification import DataClassificationSpec
from residency.api.countries import COUNTRY_SETS, ISO_3166_1, CountrySetName
from residency.api.names import SOVEREIGN, ClassificationName, Fact, Reason
from residency.core.catalogue import LARGEST_PLACEMENT, Unresolved, resolve, restore
from residency.core.placement import MAX_TERMS, Classification, Placement, Toleration
from residency.core.requirements import Operator, Requirement
from strategies import specs as any_specs

RACK = "example.node-restriction.kubernetes.io/rack"
COUNTRIES = sorted(ISO_3166_1)


def spec(**fields: Any) -> DataClassificationSpec:
    return DataClassificationSpec.model_validate({"title": "A title", **fields})


def nodes(*any_of: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"nodes": {**({"anyOf": any_of} if any_of else {}), **fields}}


def expression(operator: str, *values: str, key: str = RACK) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}


def resolve_all(**specs: DataClassificationSpec) -> dict[str, Classification | Unresolved]:
    """Resolve; a name is written with ``_`` for ``-``."""
    named = {ClassificationName(name.replace("_", "-")): given for name, given in specs.items()}
    return {str(name): outcome for name, outcome in resolve(named).items()}


def resolved(name: str, **specs: DataClassificationSpec) -> Classification:
    outcome = resolve_all(**specs)[name]
    assert isinstance(outcome, Classification), outcome
    return outcome


def unresolved(name: str, **specs: DataClassificationSpec) -> Unresolved:
    outcome = resolve_all(**specs)[name]
    assert isinstance(outcome, Unresolved), outcome
    assert "\n" not in outcome.message
    assert len(outcome.message) < 1024
    return outcome


def said(classification: Classification) -> list[str]:
    """Alternatives as ``country In NL, DE; seal In 2``."""
    prefix = Fact.COUNTRY.removesuffix("country")
    return [
        "; ".join(f"{r.key.removeprefix(prefix)} {r.operator} {', '.join(r.values)}".rstrip() for r in alternative)
        for alternative in classification.placement.alternatives
    ]


ONE_ALTERNATIVE = (
    ({"countries": ["NL"]}, "country In NL"),
    ({"countries": ["NL", "DE", "BE"]}, "country In BE, DE, NL"),
    ({"countrySets": ["eu"]}, "country In " + ", ".join(COUNTRY_SETS[CountrySetName.EU].members)),
    ({"controlledFrom": ["CH"]}, "controlled-from In CH"),
    (
        {"controlledFromSets": ["eea"], "controlledFrom": ["CH"]},
        "controlled-from In " + ", ".join(COUNTRY_SETS[CountrySetName.EEA_CH].members),
    ),
    ({"deploymentModels": ["on-premises", "government"]}, "deployment-model In on-premises, government"),
    ({"providers": ["odc-noord", "odc-zuid"]}, "provider In odc-noord, odc-zuid"),
    ({"minSEAL": 1}, "seal In 1, 2, 3, 4"),
    ({"minSEAL": 3}, "seal In 3, 4"),
    ({"minSEAL": 4}, "seal In 4"),
    (expression("In", "b", "a"), f"{RACK} In b, a"),
    (expression("Exists"), f"{RACK} Exists"),
    (expression("NotIn", "a", "b"), f"{RACK} Exists; {RACK} NotIn a, b"),
    (expression("Gt", "007"), f"{RACK} Gt 7"),
    (expression("Lt", "9"), f"{RACK} Lt 9"),
    (
        expression("NotIn", "NL-BQ1", key=Fact.SUBDIVISION),
        "subdivision Exists; subdivision NotIn NL-BQ1",
    ),
    (
        {"countries": ["NL", "DE"], **expression("NotIn", "DE", key=Fact.COUNTRY)},
        "country In NL",
    ),
    ({"minSEAL": 1, **expression("Gt", "2", key=Fact.SEAL)}, "seal In 3, 4"),
    (
        {"countries": ["NL"], "controlledFrom": ["NL"], "deploymentModels": ["government"], "minSEAL": 4},
        "country In NL; controlled-from In NL; deployment-model In government; seal In 4",
    ),
)


@pytest.mark.parametrize(("alternative", "expected"), ONE_ALTERNATIVE)
def test_facts_become_requirements_on_their_labels(alternative: dict[str, Any], expected: str) -> None:
    assert said(resolved("x", x=spec(**nodes(alternative)))) == [expected]


def test_without_demands_every_node_will_do() -> None:
    assert resolved("x", x=spec()).placement == Placement(((),))
    tolerant = resolved("x", x=spec(**nodes(tolerations=[{"key": SOVEREIGN, "operator": "Exists"}])))
    assert tolerant.placement == Placement(((),), (Toleration(SOVEREIGN, "Exists"),))


def test_tolerations_are_taken_over_with_what_is_left_out_empty() -> None:
    written = [{"key": "a"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]
    assert resolved("x", x=spec(**nodes(tolerations=written))).placement.tolerations == (
        Toleration("a", "Equal", "", ""),
        Toleration("a", "Equal", "b", "NoSchedule"),
    )


def test_alternatives_keep_their_order_and_what_an_earlier_one_covers_goes() -> None:
    one = resolved(
        "x", x=spec(**nodes({"countries": ["NL"], "minSEAL": 4}, {"countries": ["NL"]}, {"countries": ["DE"]}))
    )
    assert said(one) == ["country In NL; seal In 4", "country In NL", "country In DE"]
    other = resolved("x", x=spec(**nodes({"countries": ["NL", "DE"]}, {"countries": ["NL"], "minSEAL": 4})))
    assert said(other) == ["country In DE, NL"]


def test_an_alternative_that_contradicts_itself_is_dropped_as_long_as_another_stays() -> None:
    impossible = {"countries": ["NL"], **expression("NotIn", "NL", key=Fact.COUNTRY)}
    assert said(resolved("x", x=spec(**nodes(impossible, {"countries": ["DE"]})))) == ["country In DE"]


def test_includes_are_conjoined_directly_or_not_each_once() -> None:
    whole = {
        "top": spec(includes=["middle", "base"], **nodes({"deploymentModels": ["government"]})),
        "middle": spec(includes=["base"], **nodes({"minSEAL": 2}, {"providers": ["odc-noord"]})),
        "base": spec(**nodes({"countries": ["NL", "DE"]}, tolerations=[{"key": SOVEREIGN, "operator": "Exists"}])),
    }
    top = resolved("top", **whole)
    assert said(top) == [
        "deployment-model In government; seal In 2, 3, 4; country In DE, NL",
        "deployment-model In government; provider In odc-noord; country In DE, NL",
    ]
    assert top.placement.tolerations == (Toleration(SOVEREIGN, "Exists"),)


def test_an_include_narrows_what_the_classification_says_itself() -> None:
    both = {
        "top": spec(includes=["base"], **nodes({"countrySets": ["eea-ch"]})),
        "base": spec(**nodes({"countries": ["CH", "US"]})),
    }
    assert said(resolved("top", **both)) == ["country In CH"]


def test_a_diamond_repeats_no_alternative() -> None:
    diamond = {
        "top": spec(includes=["left", "right"]),
        "left": spec(includes=["base"], **nodes({"minSEAL": 2})),
        "right": spec(includes=["base"], **nodes({"deploymentModels": ["government"]})),
        "base": spec(**nodes(*({"countries": [country]} for country in ("NL", "DE", "BE", "LU")))),
    }
    assert said(resolved("top", **diamond)) == [
        f"seal In 2, 3, 4; country In {country}; deployment-model In government" for country in ("NL", "DE", "BE", "LU")
    ]


CIRCLE = {
    "a": spec(includes=["b"]),
    "b": spec(includes=["c"]),
    "c": spec(includes=["b"]),
    "d": spec(includes=["a"]),
    "fine": spec(),
}


@pytest.mark.parametrize("name", "abcd")
def test_a_circle_of_includes_is_named_by_all_that_it_reaches(name: str) -> None:
    problem = unresolved(name, **CIRCLE)
    assert problem.reason is Reason.INCLUDE_CYCLE
    assert problem.message == "includes go in a circle: b -> c -> b; take one of them out of spec.includes"


def test_a_classification_beside_the_circle_is_resolved() -> None:
    assert resolved("fine", **CIRCLE).placement == Placement(((),))


def test_a_long_circle_is_elided() -> None:
    circle = {f"c{number:03}": spec(includes=[f"c{(number + 1) % 200:03}"]) for number in range(200)}
    assert unresolved("c100", **circle).message == (
        "includes go in a circle: c000 -> c001 -> c002 -> c003 -> c004 -> c005 -> 194 more -> c000; "
        "take one of them out of spec.includes"
    )


def test_an_unknown_include_is_named_with_the_one_that_includes_it() -> None:
    both = {"top": spec(includes=["middle"]), "middle": spec(includes=["nowhere"])}
    for name in both:
        problem = unresolved(name, **both)
        assert problem.reason is Reason.UNKNOWN_INCLUDE
        assert problem.message == (
            'middle includes "nowhere", which is not there or cannot be read; create it, or take it out of '
            "spec.includes"
        )


def test_a_classification_that_contradicts_itself_says_so() -> None:
    problem = unresolved("x", x=spec(**nodes({"minSEAL": 3, **expression("Lt", "3", key=Fact.SEAL)})))
    assert problem.reason is Reason.CONTRADICTORY
    assert problem.message == (
        "no node can satisfy any alternative in spec.nodes.anyOf of x: each contradicts itself; "
        "see its matchExpressions"
    )


def test_a_classification_that_contradicts_what_it_includes_names_both() -> None:
    both = {
        "top": spec(includes=["free", "base"], **nodes({"countries": ["NL"]})),
        "base": spec(**nodes({"countries": ["US"]})),
        "free": spec(),
    }
    problem = unresolved("top", **both)
    assert problem.reason is Reason.CONTRADICTORY
    assert problem.message == (
        "no node can satisfy both base, which top includes, and what else top asks, itself or by its other includes; "
        "change one of them or take one out of spec.includes"
    )


def test_what_includes_the_unresolved_is_unresolved_for_the_same_reason() -> None:
    both = {"top": spec(includes=["base"]), "base": spec(**nodes(expression("Lt", "0")))}
    assert unresolved("top", **both) == unresolved("base", **both)


def grid(axis: str, values: list[str]) -> DataClassificationSpec:
    return spec(**nodes(*({axis: [value]} for value in values)))


def test_at_most_16_alternatives_are_possible() -> None:
    axes = {
        "base_a": grid("countries", COUNTRIES[:4]),
        "base_b": grid("controlledFrom", COUNTRIES[:4]),
        "base_c": grid("providers", ["p", "q"]),
        "sixteen": spec(includes=["base-a", "base-b"]),
        "more": spec(includes=["base-a", "base-b", "base-c"]),
    }
    assert len(resolved("sixteen", **axes).placement.alternatives) == MAX_TERMS
    problem = unresolved("more", **axes)
    assert problem.reason is Reason.TOO_MANY_ALTERNATIVES
    assert problem.message == (
        "more comes to 32 alternatives with base-c, which it includes; at most 16 are possible: "
        "write fewer in spec.nodes.anyOf"
    )


def test_a_placement_too_long_for_one_expression_does_not_fit_and_hurts_no_other() -> None:
    """The schema lets 4 alternatives of 8 expressions of 64 values of 63 characters through."""
    values = [f"{number:063}" for number in range(64)]
    longest = [{"key": f"{RACK}-{n}", "operator": "In", "values": values} for n in range(8)]
    alternatives = [{"providers": [f"p{number}"], "matchExpressions": longest} for number in range(4)]
    both = {"long": spec(**nodes(*alternatives)), "fine": spec()}
    problem = unresolved("long", **both)
    assert problem.reason is Reason.DOES_NOT_FIT
    assert problem.message == (
        "with all that long includes, its labels and their values come to 138408 characters, at most "
        f"{LARGEST_PLACEMENT} are possible: shorten its lists or split it"
    )
    assert isinstance(resolve_all(**both)["fine"], Classification)


def test_the_longest_country_lists_of_sixteen_alternatives_fit() -> None:
    sets = {"countrySets": ["eea-ch"], "controlledFromSets": ["eea-ch"], "deploymentModels": ["public", "hybrid"]}
    axes = {
        "models": spec(**nodes(*({**sets, "providers": [provider]} for provider in "abcd"))),
        "racks": spec(**nodes(*(expression("In", rack) for rack in "abcd"))),
        "both": spec(includes=["models", "racks"]),
    }
    assert len(resolved("both", **axes).placement.alternatives) == MAX_TERMS


def test_the_law_is_cited_with_that_of_what_is_included_each_once() -> None:
    whole = {
        "top": spec(includes=["base"], references=[{"title": "Own law", "clause": "4.6"}]),
        "base": spec(references=[{"title": "GDPR"}, {"title": "Own law", "clause": "4.6"}, {"title": "Third"}]),
        "none": spec(),
    }
    assert resolved("base", **whole).why == " Why: GDPR, Own law, 4.6 and 1 more."
    assert resolved("top", **whole).why == " Why: Own law, 4.6, GDPR and 1 more."
    assert resolved("none", **whole).why == ""


ALLOWED = (
    ([{"countries": ["NL"]}], {Fact.COUNTRY: "country NL"}),
    ([{"countries": ["NL", "DE"]}], {Fact.COUNTRY: "country DE or NL"}),
    ([{"countries": ["NL", "DE", "BE"]}], {Fact.COUNTRY: "country BE, DE and 1 more"}),
    ([{"countrySets": ["eea-ch"]}], {Fact.COUNTRY: "country in eea-ch (31 countries)"}),
    ([{"controlledFromSets": ["eu"]}], {Fact.CONTROLLED_FROM: "controlled-from in eu (27 countries)"}),
    ([{"countries": ["NL"]}, {"countrySets": ["eu"]}], {Fact.COUNTRY: "country NL or country in eu (27 countries)"}),
    ([{"countries": ["NL"], "minSEAL": 1}, {"countries": ["NL"], "minSEAL": 2}], {Fact.COUNTRY: "country NL"}),
    ([expression("NotIn", "a")], {RACK: f"{RACK} other than a"}),
    ([expression("Exists")], {RACK: f"any {RACK}"}),
    ([expression("Gt", "3")], {RACK: f"{RACK} above 3"}),
    (
        [
            {
                "matchExpressions": [
                    {"key": Fact.SEAL, "operator": "Gt", "values": ["1"]},
                    {"key": Fact.SEAL, "operator": "Lt", "values": ["4"]},
                    {"key": Fact.SEAL, "operator": "NotIn", "values": ["2"]},
                ]
            },
            {"minSEAL": 4},
        ],
        {Fact.SEAL: "seal above 1 and seal below 4 and seal other than 2 or seal 4"},
    ),
)


@pytest.mark.parametrize(("any_of", "expected"), ALLOWED)
def test_what_is_allowed_of_a_label_is_told_in_words(any_of: list[dict[str, Any]], expected: dict[str, str]) -> None:
    allows = dict(resolved("x", x=spec(**nodes(*any_of))).allows)
    assert {key: allows[key] for key in expected} == expected
    assert set(allows) == {
        r.key for alternative in resolved("x", x=spec(**nodes(*any_of))).placement.alternatives for r in alternative
    }


def test_a_classification_restored_from_its_status_is_the_one_that_was_resolved() -> None:
    before = resolved("x", x=spec(references=[{"title": "GDPR"}], **nodes({"countrySets": ["eu"], "minSEAL": 2})))
    assert restore(before.name, before.title, ("GDPR",), before.placement) == before


COUNT = 200


def chain(nodes_of: Any, count: int = COUNT) -> dict[str, DataClassificationSpec]:
    return {f"c{n:04}": spec(includes=[f"c{n + 1:04}"] if n + 1 < count else [], **nodes_of(n)) for n in range(count)}


def dense(nodes_of: Any) -> dict[str, DataClassificationSpec]:
    """Each includes the eight after it: as many paths as a diamond a step deeper each time."""
    return {
        f"c{n:04}": spec(includes=[f"c{other:04}" for other in range(n + 1, min(n + 9, COUNT))], **nodes_of(n))
        for n in range(COUNT)
    }


def long_lists(number: int) -> dict[str, Any]:
    lists = {"controlledFromSets": ["eea-ch"], "minSEAL": 1}
    return nodes(*({"countries": COUNTRIES[: 31 + step], **lists} for step in range(1 + number % 4)))


def exclusions(number: int) -> dict[str, Any]:
    """The first label values that a search for a free one would try."""
    values = [str(n).zfill(width) for n in range(9 * number, 9 * number + 9) for width in range(5, 62)]
    lists = [values[start : start + 64] for start in range(0, len(values), 64)][:8]
    return nodes({"matchExpressions": [{"key": RACK, "operator": "NotIn", "values": values} for values in lists]})


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(lambda: chain(long_lists), id="a chain of long lists"),
        pytest.param(lambda: chain(exclusions), id="a chain of exclusions"),
        pytest.param(lambda: dense(long_lists), id="diamonds of long lists"),
        pytest.param(lambda: dense(lambda _: {}), id="diamonds of nothing"),
        pytest.param(lambda: chain(lambda _: {}, 3_000), id="a chain deeper than the stack"),
    ],
)
def test_hostile_includes_are_resolved_quickly_or_refused_in_one_line(hostile: Any) -> None:
    specs = hostile()
    outcomes = resolve_all(**specs)
    assert list(outcomes) == sorted(specs)
    for outcome in outcomes.values():
        if isinstance(outcome, Unresolved):
            assert outcome.reason is Reason.DOES_NOT_FIT
            assert len(outcome.message) < 1024
        else:
            assert len(outcome.placement.alternatives) <= MAX_TERMS


NAMES = tuple("abcdef")


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(NAMES), any_specs(), min_size=1), st.data())
def test_whatever_the_schema_lets_through_is_resolved_or_refused_in_one_line(
    fields: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    includes = st.lists(st.sampled_from([*NAMES, "nowhere"]), max_size=3, unique=True)
    given = {
        name: DataClassificationSpec.model_validate({**one, "includes": data.draw(includes)})
        for name, one in fields.items()
    }
    for name, outcome in resolve_all(**given).items():
        if isinstance(outcome, Unresolved):
            assert len(outcome.message) < 1024
            assert "\n" not in outcome.message
            continue
        for alternative in outcome.placement.alternatives:
            # Unknown is never compliant: a node with none of the labels passes only where nothing is asked.
            assert alternative == () or World({}).alternative(alternative) == 0
        for included in given[name].includes:
            assert isinstance(resolve_all(**given)[included], Classification)


def test_a_requirement_of_a_status_is_what_was_written() -> None:
    assert resolved("x", x=spec(**nodes({"countries": ["NL"]}))).placement.alternatives == (
        (Requirement(Fact.COUNTRY.value, Operator.IN, ("NL",)),),
    )
