"""From DataClassifications to what is compiled: what one of them says never hurts another."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from residency.api.names import ClassificationName, Reason
from residency.controller.catalogue import Plan, country_sets_json, nothing, placement_json, plan
from residency.core.judge import Catalogue
from residency.core.requirements import Operator
from residency.core.storage import StorageClass
from residency.policy.cel import DoesNotFit
from residency.policy.compile import CompiledPolicies, Settings, compile_policies
from strategies import NAMES, specs

Object = dict[str, Any]
COUNTRY = "residency.node-restriction.kubernetes.io/country"


def compile_(catalogue: Catalogue) -> CompiledPolicies:
    return CompiledPolicies(revision=f"r{len(catalogue)}", objects=())


def at_most(count: int) -> Callable[[Catalogue], CompiledPolicies]:
    def compile_few(catalogue: Catalogue) -> CompiledPolicies:
        if len(catalogue) > count:
            raise DoesNotFit(f"{len(catalogue)} are too many")
        return compile_(catalogue)

    return compile_few


def classification(name: str, *countries: str, generation: int = 2, **spec: Any) -> Object:
    nodes = {"nodes": {"anyOf": [{"countries": list(countries)}]}} if countries else {}
    return {
        "apiVersion": "residency.dev/v1alpha1",
        "kind": "DataClassification",
        "metadata": {"name": name, "generation": generation},
        "spec": {"title": name.upper()} | nodes | spec,
    }


def remembering(item: Object, *countries: str, generation: int = 1) -> Object:
    requirement = {"key": COUNTRY, "operator": "In", "values": list(countries)}
    placement = {"generation": generation, "alternatives": [{"requirements": [requirement]}], "tolerations": []}
    return item | {"status": {"placement": placement}}


def values(planned: Plan, name: str) -> tuple[str, ...]:
    return planned.catalogue[ClassificationName(name)].placement.alternatives[0][0].values


def reason(planned: Plan, name: str) -> Reason | None:
    (entry,) = (entry for entry in planned.entries if entry.name == name)
    return entry.problem.reason if entry.problem else None


def test_what_can_be_resolved_is_compiled() -> None:
    planned = plan([classification("b", "DE"), classification("a", "NL")], compile_)
    assert list(planned.catalogue) == ["a", "b"]
    assert planned.compiled == CompiledPolicies("r2", ())


def test_what_cannot_be_read_does_not_hurt_the_others_and_says_where() -> None:
    planned = plan([classification("good", "NL"), classification("bad", "EL")], compile_)
    assert list(planned.catalogue) == ["good"]
    (bad, _) = planned.entries
    assert bad.problem is not None
    assert bad.problem.reason is Reason.INVALID
    assert "spec.nodes.anyOf[0].countries[0]" in bad.problem.message


def test_pods_are_evicted_for_whom_asks_for_it_in_a_spec_that_can_be_read() -> None:
    evicting: Object = {"runningPods": "Evict", "eviction": {"maxPerMinute": 60}}
    items = [
        classification("asking", "NL", runningPods="Evict"),
        classification("faster", "NL", **evicting),
        remembering(classification("garbled", "EL", **evicting), "NL"),
        classification("prepared", "NL", eviction={"maxPerMinute": 60}),
        classification("silent", "NL"),
    ]
    asked = {str(e.name): e.eviction and e.eviction.max_per_minute for e in plan(items, compile_).entries}
    assert asked == {"asking": 6, "faster": 60, "garbled": None, "prepared": None, "silent": None}


def test_what_cannot_be_read_keeps_its_last_good_placement() -> None:
    planned = plan([remembering(classification("bad", "EL"), "NL", "DE")], compile_)
    assert values(planned, "bad") == ("NL", "DE")
    (bad,) = planned.entries
    assert placement_json(bad)["generation"] == bad.good_generation == 1


def test_what_includes_something_unreadable_keeps_its_last_good_placement() -> None:
    outer = remembering(classification("outer", "NL", includes=["bad"]), "NL")
    planned = plan([outer, classification("bad", "EL")], compile_)
    assert reason(planned, "outer") is Reason.UNKNOWN_INCLUDE
    assert values(planned, "outer") == ("NL",)


@pytest.mark.parametrize(
    "status",
    [
        None,
        "rubbish",
        {"placement": "rubbish"},
        {"placement": {"generation": 1, "alternatives": []}},
        {"placement": {"generation": 1, "alternatives": [{"requirements": [{"key": "k", "operator": "Sometimes"}]}]}},
        {"placement": {"generation": 1, "alternatives": [{"requirements": [{"key": "k", "operator": "Gt"}]}]}},
        {"placement": {"generation": 1, "alternatives": [{"requirements": [{"key": "k", "operator": "In"}]}]}},
        {
            "placement": {
                "generation": 1,
                "alternatives": [{"requirements": [{"key": "k", "operator": "DoesNotExist"}]}],
            }
        },
    ],
)
def test_rubbish_in_the_status_is_no_last_good_placement(status: Any) -> None:
    planned = plan([classification("bad", "EL") | {"status": status}], compile_)
    assert planned.catalogue == {}
    assert planned.compiled is not None


def test_what_is_resolved_now_wins_over_what_was_good() -> None:
    planned = plan([remembering(classification("a", "NL"), "DE")], compile_)
    assert values(planned, "a") == ("NL",)
    assert placement_json(planned.entries[0])["generation"] == 2


def test_what_is_too_much_leaves_the_old_in_force_and_the_new_out() -> None:
    old, new = remembering(classification("old", "NL"), "NL"), classification("new", "DE")
    planned = plan([old, new], at_most(1))
    assert list(planned.catalogue) == ["old"]
    assert reason(planned, "old") is None
    assert reason(planned, "new") is Reason.DOES_NOT_FIT


def test_what_is_too_much_leaves_the_old_version_of_a_changed_one_in_force() -> None:
    def only_short(catalogue: Catalogue) -> CompiledPolicies:
        if any(len(c.placement.alternatives[0][0].values) > 1 for c in catalogue.values()):
            raise DoesNotFit("too long")
        return compile_(catalogue)

    planned = plan([remembering(classification("a", "NL", "DE"), "NL")], only_short)
    assert reason(planned, "a") is Reason.DOES_NOT_FIT
    assert values(planned, "a") == ("NL",)


def test_where_not_even_the_old_fits_the_policies_are_left_alone() -> None:
    planned = plan([remembering(classification("a", "NL"), "NL")], at_most(0))
    assert planned.compiled is None
    assert reason(planned, "a") is Reason.DOES_NOT_FIT


def test_what_the_api_server_refuses_altogether_is_held_back_without_losing_the_first_reason() -> None:
    planned = plan([classification("a", "NL"), classification("bad", "EL")], compile_)
    left = nothing(planned.entries, "refused")
    assert left.compiled is None
    assert reason(left, "a") is Reason.DOES_NOT_FIT
    assert reason(left, "bad") is Reason.INVALID


def test_a_classification_that_is_being_deleted_stays_compiled() -> None:
    item = classification("a", "NL")
    item["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    planned = plan([item], compile_)
    assert planned.entries[0].deleting
    assert "a" in planned.catalogue


def test_country_sets_are_named_with_their_versions_also_those_of_includes() -> None:
    outer = classification("outer", includes=["inner"], nodes={"anyOf": [{"controlledFromSets": ["eea"]}]})
    inner = classification("inner", nodes={"anyOf": [{"countrySets": ["eu"]}]})
    (_, entry) = plan([outer, inner], compile_).entries
    assert [item["name"] for item in country_sets_json(entry)] == ["eea", "eu"]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(specs(), min_size=len(NAMES), max_size=len(NAMES)))
def test_whatever_the_schema_lets_through_is_compiled_or_says_why_not(drawn: list[Object]) -> None:
    objects = [classification(name) | {"spec": spec} for name, spec in zip(NAMES, drawn, strict=True)]
    policies = Settings(own_namespace="own", canary_namespace="canaries")
    planned = plan([*objects, classification("good", "NL")], lambda catalogue: compile_policies(catalogue, policies))
    assert planned.compiled is not None
    assert "good" in planned.catalogue
    for entry in planned.entries:
        assert entry.compiled or entry.problem


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
REQUIREMENTS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["", "k", COUNTRY]),
        "operator": st.sampled_from([*map(str, Operator), "Sometimes"]),
    },
    optional={"values": st.lists(st.sampled_from(["", "NL", "1", "-1", "9" * 30]), max_size=3)},
)
ALTERNATIVES = st.lists(st.fixed_dictionaries({"requirements": st.lists(REQUIREMENTS, max_size=3)}), max_size=3)
PLACEMENTS = st.fixed_dictionaries(
    {"generation": st.integers(), "alternatives": ALTERNATIVES}, optional={"tolerations": ANYTHING}
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    spec=ANYTHING | st.fixed_dictionaries({}, optional={"title": ANYTHING, "includes": ANYTHING, "nodes": ANYTHING}),
    status=ANYTHING | st.fixed_dictionaries({}, optional={"placement": ANYTHING | PLACEMENTS, "countrySets": ANYTHING}),
)
def test_whatever_a_classification_says_the_others_are_compiled(spec: Any, status: Any) -> None:
    odd: Object = {"metadata": {"name": "odd", "generation": 1}, "spec": spec, "status": status}
    planned = plan([odd, classification("good", "NL")], compile_)
    assert "good" in planned.catalogue
    for entry in planned.entries:
        country_sets_json(entry)
        if entry.compiled is not None:
            placement_json(entry)


def test_storageclasses_are_filled_in_whether_the_spec_or_its_memory_counts() -> None:
    classes = [StorageClass("nl-disk", {"disk": "nl"}), StorageClass("us-disk")]
    stored = {"classSelector": {"matchLabels": {"disk": "nl"}}}
    good = classification("good", "NL", storage=stored)
    broken = remembering(classification("broken", "NL", includes=["nowhere"]), "NL")
    requirement = {"key": "disk", "operator": "In", "values": ["nl"]}
    broken["status"]["placement"]["storage"] = {"requirements": [requirement]}
    planned = plan([good, broken], compile_, classes)
    found = {name: c.storage.classes for name, c in planned.catalogue.items() if c.storage is not None}
    assert found == {"good": ("nl-disk",), "broken": ("nl-disk",)}
    (entry,) = (entry for entry in planned.entries if entry.name == "good")
    assert placement_json(entry)["storage"]["classes"] == ["nl-disk"]


def test_other_storageclasses_are_no_change_of_what_is_asked() -> None:
    stored = {"classSelector": {"matchLabels": {"disk": "nl"}}}
    item = classification("good", "NL", storage=stored)
    (entry,) = plan([item], compile_, [StorageClass("a", {"disk": "nl"})]).entries
    known = item | {"status": {"placement": placement_json(entry)}}
    (after,) = plan([known], compile_, [StorageClass("b", {"disk": "nl"})]).entries
    assert not after.changed
