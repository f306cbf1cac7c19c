"""Writing CEL: literals and texts, tables too long for one expression, and what the API server could not take."""

import json
import re
import string
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.api.classification import DataClassificationSpec
from residency.api.countries import ISO_3166_1
from residency.api.names import MANAGED_BY, REVISION, ClassificationName, Fact, Mode, PolicyName
from residency.core import messages
from residency.core.catalogue import Unresolved, resolve
from residency.core.judge import Catalogue
from residency.core.placement import Classification
from residency.core.storage import MOST_NAMES
from residency.core.surroundings import Surroundings
from residency.policy.cel import CHUNK_LENGTH, DoesNotFit, Table, literal, message
from residency.policy.compile import LARGEST_OBJECT, CompiledPolicies, Settings, compile_policies

Json = dict[str, Any]

# The API server's own limit, in code points.
LONGEST_EXPRESSION = 100_000
SETTINGS = Settings(own_namespace="residency-system", canary_namespace="residency-canary")
COUNTRIES = sorted(ISO_3166_1)[:31]
RACK = "example.node-restriction.kubernetes.io/rack"

TREES = st.recursive(
    st.text() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
def test_a_literal_says_what_it_was_made_from(value: Any) -> None:
    """For everything but dyn(), what CEL reads is what JSON reads."""
    assert json.loads(literal(value)) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("NL", '"NL"'),
        ('a"b\\c\n', '"a\\"b\\\\c\\n"'),
        ("Überwachung", '"Überwachung"'),
        (("a", "b"), '["a","b"]'),
        ({"a": ["b"], "c": []}, '{"a":["b"],"c":[]}'),
        (True, "true"),
        (7, "7"),
    ],
)
def test_literals_are_written_as_cel_reads_them(value: Any, written: str) -> None:
    assert literal(value) == written


def test_a_message_is_a_concatenation_of_texts_and_expressions() -> None:
    assert message("Not {what}: {why}.", what="variables.a", why="b()") == '"Not " + variables.a + ": " + b() + "."'
    assert message("{a}{b}", a="x", b="y") == "x + y"
    assert message('say "{a}"', a="x") == '"say \\"" + x + "\\""'


TEMPLATES = {
    name: text
    for name, text in vars(messages).items()
    if name.isupper() and isinstance(text, str) and "{" in text and not name.startswith("_") and name != "NAME_PATTERN"
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_message_reads_the_same_in_cel_as_in_python(name: str) -> None:
    template = TEMPLATES[name]
    fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
    expression = message(template, **{field: literal(f"<{field}>") for field in fields})
    # A concatenation of literals alone: put together, it is the text.
    text = "".join(json.loads(part) for part in re.findall(r'"(?:[^"\\]|\\.)*"', expression))
    assert text == template.format(**{field: f"<{field}>" for field in fields})


def names_of(table: Table) -> list[list[str]]:
    """Which names each variable of a table holds."""
    return [list(json.loads(text)) for _, text in table.variables()]


def test_a_short_table_is_one_variable() -> None:
    table = Table("values", {"a": ["x"], "b": []})
    assert table.variables() == [("values0", '{"a":["x"],"b":[]}')]
    assert table.find("n") == "variables.values0[?n]"


def test_an_empty_table_finds_nothing_and_is_still_declared() -> None:
    table = Table("values", {})
    assert table.variables() == [("values0", "{}")]
    assert table.find("n") == "variables.values0[?n]"


@given(st.lists(st.integers(0, CHUNK_LENGTH // 2), max_size=12))
def test_a_long_table_is_spread_over_variables_that_each_fit(lengths: list[int]) -> None:
    entries = {f"n{number}": "x" * length for number, length in enumerate(lengths)}
    table = Table("values", entries)
    assert [name for names in names_of(table) for name in names] == list(entries)
    assert all(len(text) <= CHUNK_LENGTH + len(entries) + 2 for _, text in table.variables())
    assert [name for name, _ in table.variables()] == [f"values{n}" for n in range(len(table.variables()))]
    for name, _ in table.variables():
        assert f"variables.{name}[?n]" in table.find("n")


def test_lookups_go_from_one_variable_to_the_next() -> None:
    table = Table("t", dict.fromkeys("abc", "x" * 30000))
    assert names_of(table) == [["a"], ["b"], ["c"]]
    assert table.find("n") == "variables.t0[?n].or(variables.t1[?n]).or(variables.t2[?n])"


def test_an_entry_too_long_for_one_variable_does_not_fit() -> None:
    with pytest.raises(
        DoesNotFit, match=r"^long needs 60\d\d\d characters once compiled, at most 60000 are possible: "
    ):
        Table("values", {"short": "x", "long": "x" * 60_000})


def spec(**fields: Any) -> DataClassificationSpec:
    return DataClassificationSpec.model_validate({"title": "A title", **fields})


def resolved(specs: dict[str, DataClassificationSpec]) -> Catalogue:
    outcomes = resolve({ClassificationName(name): given for name, given in specs.items()})
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Classification)}


def of_31_values(count: int) -> Catalogue:
    """Classifications as they come: two alternatives, three lists of 31 values, law and tolerations."""
    lists = {"countries": COUNTRIES, "controlledFrom": COUNTRIES, "providers": [f"provider-{n}" for n in range(31)]}
    nodes = {
        "anyOf": [{**lists, "minSEAL": 2}, {"countries": ["NL"], "deploymentModels": ["government"]}],
        "tolerations": [{"key": "residency.dev/sovereign", "operator": "Exists"}],
    }
    references = [{"title": "Rijksbreed Cloudbeleid 2026", "clause": "4.6"}]
    return resolved({f"class-{n:03}": spec(nodes=nodes, references=references) for n in range(count)})


@cache
def compiled_of(count: int) -> CompiledPolicies:
    return compile_policies(of_31_values(count), SETTINGS)


def expressions(compiled: CompiledPolicies) -> Iterator[str]:
    """Every expression of every policy."""

    def below(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in ("expression", "messageExpression"):
                    yield item
                else:
                    yield from below(item)
        elif isinstance(value, list):
            for item in value:
                yield from below(item)

    return below([item["spec"] for item in compiled.objects])


@pytest.mark.parametrize("count", [0, 1, 10, 60, 200])
def test_catalogues_of_31_value_lists_fit_into_what_the_api_server_takes(count: int) -> None:
    compiled = compiled_of(count)
    for item in compiled.objects:
        assert len(json.dumps(item)) <= LARGEST_OBJECT, item["metadata"]["name"]
    found = list(expressions(compiled))
    assert max(map(len, found)) < LONGEST_EXPRESSION
    # What is measured grows with the catalogue, and the tables are where.
    assert sum(map(len, found)) > count * 1_000


def test_more_classifications_make_longer_tables_and_not_more_policies_or_longer_rules() -> None:
    one, many = compiled_of(1), compiled_of(200)
    assert len(one.objects) == len(many.objects) == 2 * len(PolicyName)
    rules = [[len(e) for e in expressions(c) if not e.startswith('{"class-')] for c in (one, many)]
    # Beside the tables themselves, only a lookup knows how many variables they are spread over.
    assert sum(rules[1]) < 1.5 * sum(rules[0])


def test_a_catalogue_too_large_for_one_object_does_not_fit_and_says_what_would_help() -> None:
    values = [f"{number:063}" for number in range(64)]
    lists = [{"key": f"{RACK}-{n}", "operator": "In", "values": values} for n in range(8)]
    long = spec(nodes={"anyOf": [{"matchExpressions": lists}]})
    catalogue = resolved({f"class-{n:03}": long for n in range(40)})
    assert len(catalogue) == 40
    expected = (
        r"^40 classifications compile to a policy of \d+ bytes, at most 1000000 are possible: delete classifications"
    )
    with pytest.raises(DoesNotFit, match=expected):
        compile_policies(catalogue, SETTINGS)


def chained(count: int, **alternative: Any) -> dict[str, DataClassificationSpec]:
    """Each includes the next one and adds something of its own, so that they grow as far as they can."""
    return {
        f"c{n:03}": spec(
            includes=[f"c{n + 1:03}"] if n + 1 < count else [],
            nodes={
                "anyOf": [
                    {"matchExpressions": [{**alternative, "key": f"{RACK}-{n}"}], "providers": [f"p{step}"]}
                    for step in range(4)
                ],
                "tolerations": [{"key": f"taint-{n}-{step}", "operator": "Exists"} for step in range(8)],
            },
        )
        for n in range(count)
    }


@pytest.mark.parametrize(
    "alternative",
    [{"operator": "Exists"}, {"operator": "NotIn", "values": ["a"]}, {"operator": "In", "values": [*"0123456789"]}],
    ids=lambda alternative: alternative["operator"],
)
def test_what_resolves_fits_into_one_variable_by_itself(alternative: Json) -> None:
    """So that one classification that is too long never holds up the others."""
    specs = chained(200, **alternative)
    outcomes = resolve({ClassificationName(name): given for name, given in specs.items()})
    assert any(isinstance(outcome, Unresolved) for outcome in outcomes.values())
    longest = next(outcome for outcome in outcomes.values() if isinstance(outcome, Classification))
    assert compile_policies({longest.name: longest}, SETTINGS).size < LARGEST_OBJECT


def test_the_revision_tells_catalogues_apart_and_nothing_else() -> None:
    two = of_31_values(2)
    compiled = compile_policies(two, SETTINGS)
    assert compile_policies(dict(reversed(list(two.items()))), SETTINGS) == compiled
    assert compiled_of(1).revision != compiled.revision
    assert re.fullmatch(r"[0-9a-f]{12}", compiled.revision)
    assert {item["metadata"]["labels"][MANAGED_BY] for item in compiled.objects} == {"residency"}


def test_what_says_nothing_of_the_revision_stays_as_it_is_when_other_things_change() -> None:
    one, two = compiled_of(1), compiled_of(2)
    for compiled in (one, two):
        for item in compiled.objects:
            speaks = compiled.revision in json.dumps(item["spec"])
            assert (item["metadata"]["annotations"][REVISION] == compiled.revision) is speaks
        shown = {item["kind"]: item for item in compiled.objects if not item["kind"].endswith("Binding")}
        assert all(item["metadata"]["annotations"][REVISION] == compiled.revision for item in shown.values())
    same = [before for before, after in zip(one.objects, two.objects, strict=True) if before == after]
    for before, after in zip(one.objects, two.objects, strict=True):
        assert (before == after) is (before["spec"] == after["spec"])
    assert len(same) > len(one.objects) / 2


def test_policies_and_bindings_have_fixed_names_and_each_policy_its_binding() -> None:
    compiled = compiled_of(1)
    policies = [item for item in compiled.objects if not item["kind"].endswith("Binding")]
    bindings = [item for item in compiled.objects if item["kind"].endswith("Binding")]
    assert {item["metadata"]["name"] for item in policies} == set(map(str, PolicyName))
    assert [b["metadata"]["name"] for b in bindings] == [p["metadata"]["name"] for p in policies]
    assert all(b["spec"]["policyName"] == b["metadata"]["name"] for b in bindings)
    assert all(b["kind"] == f"{p['kind']}Binding" for p, b in zip(policies, bindings, strict=True))
    # Bindings first: a policy is in force as soon as it is there.
    assert list(compiled.objects) == bindings + policies


STORED = {"classSelector": {"matchLabels": {"disk": "nl"}}}


def expressions_of(compiled: CompiledPolicies, name: PolicyName) -> str:
    """All that a policy says."""
    (policy,) = (
        item for item in compiled.objects if item["metadata"]["name"] == name and not item["kind"].endswith("Binding")
    )
    return json.dumps(policy["spec"])


JUDGING_PODS = (PolicyName.GUARD_PODS, PolicyName.GUARD_ANNOTATED_PODS, PolicyName.GUARD_TEMPLATES)


@pytest.mark.parametrize("name", JUDGING_PODS)
def test_where_nothing_is_demanded_of_storage_nothing_of_it_is_compiled_for_pods(name: PolicyName) -> None:
    without, demanding = (
        compile_policies(resolved({"a": spec(nodes={"anyOf": [{"countries": ["NL"]}]}, **more)}), SETTINGS)
        for more in ({}, {"storage": STORED})
    )
    assert "olume" in expressions_of(demanding, name)
    assert "olume" not in expressions_of(without, name)


def test_what_the_cluster_is_like_is_compiled_and_tells_revisions_apart() -> None:
    catalogue = resolved({"a": spec(storage=STORED)})
    bare = compile_policies(catalogue, SETTINGS)
    around = compile_policies(catalogue, SETTINGS, Surroundings("nl-disk", {"payments": ("old-claim",)}))
    assert bare.revision != around.revision
    assert "old-claim" in expressions_of(around, PolicyName.GUARD_PODS)
    assert "old-claim" in expressions_of(around, PolicyName.GUARD_TEMPLATES)
    # Where nothing is classified nobody has looked for claims.
    assert "old-claim" not in expressions_of(around, PolicyName.GUARD_ANNOTATED_PODS)
    assert "nl-disk" in expressions_of(around, PolicyName.GUARD_ANNOTATED_TEMPLATES)


def test_as_many_claims_from_before_as_are_told_by_name_fit() -> None:
    most = {f"namespace-{number}": tuple(f"{n:0200}" for n in range(MOST_NAMES // 203)) for number in range(4)}
    compiled = compile_policies(
        {**of_31_values(60), **resolved({"a": spec(storage=STORED)})}, SETTINGS, Surroundings(None, most)
    )
    assert max(len(expression) for expression in expressions(compiled)) < LONGEST_EXPRESSION


def test_every_policy_fails_closed() -> None:
    for item in compiled_of(1).objects:
        if not item["kind"].endswith("Binding"):
            assert item["spec"]["failurePolicy"] == "Fail"
            for validation in item["spec"].get("validations", []):
                if validation == {"expression": "true"}:
                    assert item["metadata"]["name"].startswith(("residency-warn-", "residency-audit-"))
                    continue
                assert validation["reason"] == "Forbidden"
                assert len(validation["messageExpression"]) < LONGEST_EXPRESSION
        if item["kind"] == "ValidatingAdmissionPolicyBinding":
            told = {"warn": ["Warn", "Audit"], "audit": ["Audit"], "guard": ["Deny"]}
            assert item["spec"]["validationActions"] == told[item["metadata"]["name"].split("-")[1]]


@pytest.mark.parametrize("stored", [False, True])
def test_a_policy_declares_the_variables_that_it_uses_and_no_other(stored: bool) -> None:
    """A match condition, too, costs more with each that is declared."""
    storage = {"storage": {"classSelector": {"matchExpressions": [{"key": Fact.COUNTRY, "operator": "Exists"}]}}}
    specs = {
        str(mode).lower(): spec(mode=mode, nodes={"anyOf": [{"countries": ["NL"]}]}, **(storage if stored else {}))
        for mode in Mode
    }
    for policy in compile_policies(resolved(specs), SETTINGS).objects:
        declared = {variable["name"] for variable in policy["spec"].get("variables", [])}
        used = set(re.findall(r"\bvariables\.(\w+)", json.dumps(policy)))
        assert declared == used, policy["metadata"]["name"]


def test_excluded_namespaces_are_left_out_by_every_binding_that_selects_by_namespace() -> None:
    settings = Settings("own", "canary", excluded_namespaces=("legacy",))
    assert settings.excluded == ("kube-system", "legacy", "own")
    for item in compile_policies({}, settings).objects:
        resources = item["spec"].get("matchResources")
        # Of new namespaces the names are looked at, not the label: they bring that themselves.
        if resources and item["metadata"]["name"] != PolicyName.DEFAULT_NAMESPACES:
            expressions = resources["namespaceSelector"]["matchExpressions"]
            if item["metadata"]["name"].startswith(("residency-warn-", "residency-audit-")):
                # Nothing is in that mode here: bound to no namespace at all.
                assert [e["operator"] for e in expressions] == ["Exists", "DoesNotExist"]
                assert len({e["key"] for e in expressions}) == 1
                continue
            *_, excluded = expressions
            assert excluded["operator"] == "NotIn"
            assert excluded["values"] == ["kube-system", "legacy", "own"]


@pytest.mark.parametrize("text", ["'+'", '"', "\\", "{{x}}", "${x}", "\u2028", "é" * 40, "{a}"])
def test_a_hostile_title_stays_a_literal(text: str) -> None:
    """Titles are the only free text that is compiled."""
    usual = next(iter(of_31_values(1).values()))
    hostile = Classification(usual.name, text, usual.placement, usual.why, usual.allows)
    before, after = (compile_policies({one.name: one}, SETTINGS) for one in (usual, hostile))
    expected = literal(messages.titled(hostile.name, text))
    assert any(expected in expression for expression in expressions(after))
    replaced = [
        expression.replace(expected, literal(messages.titled(usual.name, usual.title))).replace(
            after.revision, before.revision
        )
        for expression in expressions(after)
    ]
    assert replaced == list(expressions(before))
