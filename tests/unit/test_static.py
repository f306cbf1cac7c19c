"""Policies as files: what an API server demands of them, and that they say what the compiled ones say."""

import copy
from typing import Any

import pytest

from golden import resolved
from residency.api.names import (
    BREAK_GLASS,
    DEFINITION,
    NAMESPACE_NAME,
    RESERVED_PREFIX,
    SELF_PROTECTION,
    STATIC_SUFFIX,
)
from residency.policy.compile import Settings, compile_policies
from residency.policy.static import StaticSet, admission_configuration, static_set

Json = dict[str, Any]

SETTINGS = Settings(own_namespace="own", canary_namespace="canary")
CATALOGUE = resolved({"nl": {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}}})
COMPILED = compile_policies(CATALOGUE, SETTINGS).objects
SELECTING_PODS = {"pods", "pods/binding", "pods/status"}


@pytest.fixture
def full() -> StaticSet:
    return static_set(SETTINGS, "account", COMPILED)


def is_binding(item: Json) -> bool:
    return str(item["kind"]).endswith("Binding")


def name(item: Json) -> str:
    return str(item["metadata"]["name"])


def resources(policy: Json) -> set[str]:
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    return {resource for rule in rules for resource in rule["resources"]}


def test_every_compiled_object_has_one_static_twin_in_the_folder_of_its_kind(full: StaticSet) -> None:
    for kind, items in (("Validating", full.validating), ("Mutating", full.mutating)):
        wanted = [(c["kind"], name(c) + STATIC_SUFFIX) for c in COMPILED if c["kind"].startswith(kind)]
        assert [(i["kind"], name(i)) for i in items if name(i) != SELF_PROTECTION] == wanted != []


def test_twins_say_what_the_compiled_say_and_stay_out_of_the_canary_namespace(full: StaticSet) -> None:
    twins = {(item["kind"], name(item)): item for item in (*full.validating, *full.mutating)}
    selecting = 0
    for compiled in COMPILED:
        twin = copy.deepcopy(twins[compiled["kind"], name(compiled) + STATIC_SUFFIX])
        twin["metadata"]["name"] = name(compiled)
        if is_binding(compiled):
            twin["spec"]["policyName"] = compiled["spec"]["policyName"]
        if "matchResources" in compiled["spec"]:
            last = twin["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"].pop()
            assert last == {"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["canary"]}
            selecting += 1
        assert twin == compiled
    assert selecting >= 8


def test_no_static_policy_that_sees_pods_answers_the_canary(full: StaticSet) -> None:
    for items in (full.validating, full.mutating):
        seeing = {name(item) for item in items if not is_binding(item) and resources(item) & SELECTING_PODS}
        bindings = [item for item in items if is_binding(item) and item["spec"]["policyName"] in seeing]
        assert bindings
        for binding in bindings:
            expressions = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
            assert any(e["key"] == NAMESPACE_NAME and "canary" in e["values"] for e in expressions), name(binding)


def test_a_selector_that_a_binding_has_is_kept() -> None:
    selector = {"matchLabels": {"a": "b"}}
    item = {
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "n"},
        "spec": {"policyName": "n", "matchResources": {"objectSelector": selector, "namespaceSelector": selector}},
    }
    twin = static_set(SETTINGS, "account", [item]).validating[-1]
    assert twin["spec"]["matchResources"]["objectSelector"] == selector
    assert twin["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] == {"a": "b"}


def test_what_the_api_server_demands_of_static_manifests_holds(full: StaticSet) -> None:
    for items in (full.validating, full.mutating):
        policies = {name(item) for item in items if not is_binding(item)}
        for item in items:
            assert item["apiVersion"] == "admissionregistration.k8s.io/v1"
            assert name(item).endswith(STATIC_SUFFIX)
            assert not {"paramKind", "paramRef"} & item["spec"].keys()
            if is_binding(item):
                assert item["spec"]["policyName"] in policies
        assert len({(item["kind"], name(item)) for item in items}) == len(items)


def test_the_compiled_objects_are_left_as_they_are() -> None:
    before = copy.deepcopy(COMPILED)
    static_set(SETTINGS, "account", COMPILED)
    assert before == COMPILED


def test_without_compiled_objects_there_is_the_self_protection_alone() -> None:
    alone = static_set(SETTINGS, "account")
    assert [name(item) for item in alone.validating] == [SELF_PROTECTION, SELF_PROTECTION]
    assert alone.mutating == ()
    assert static_set(SETTINGS, "account", COMPILED).validating[:2] == alone.validating


def test_the_self_protection_lets_this_controller_and_the_group_pass_and_covers_all_that_is_compiled() -> None:
    policy, _ = static_set(SETTINGS, "account").validating
    (allowed,) = (v["expression"] for v in policy["spec"]["variables"] if v["name"] == "allowed")
    assert '"system:serviceaccount:own:account"' in allowed
    assert f'"{BREAK_GLASS}" in' in allowed
    assert {
        item["kind"].lower().replace("policy", "policies").replace("policiesbinding", "policybindings")
        for item in COMPILED
    } | {"customresourcedefinitions"} == resources(policy)
    assert all(name(item).startswith(RESERVED_PREFIX) for item in COMPILED)
    (own, _) = (c["expression"] for c in policy["spec"]["matchConditions"])
    assert f'startsWith("{RESERVED_PREFIX}")' in own
    assert f'== "{DEFINITION}"' in own


@pytest.mark.parametrize("folder", ["/etc/residency", "/etc/residency/"])
def test_the_configuration_names_a_folder_for_each_kind(folder: str) -> None:
    configuration = admission_configuration(folder)
    folders = {p["name"]: p["configuration"]["staticManifestsDir"] for p in configuration["plugins"]}
    assert folders == {
        "ValidatingAdmissionPolicy": "/etc/residency/validating",
        "MutatingAdmissionPolicy": "/etc/residency/mutating",
    }


def test_no_policy_has_a_say_in_evictions(full: StaticSet) -> None:
    """Draining a node, and Residency's own corrections, are up to the PodDisruptionBudgets alone."""
    policies = [item for item in (*COMPILED, *full.validating, *full.mutating) if not is_binding(item)]
    rules = [rule for item in policies for rule in item["spec"]["matchConstraints"]["resourceRules"]]
    concerned = {resource for rule in rules for resource in rule["resources"]}
    assert "pods" in concerned
    assert concerned.isdisjoint({"pods/eviction", "pods/*", "*", "*/*", "*/eviction"})
