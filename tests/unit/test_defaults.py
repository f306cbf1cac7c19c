"""The default classification: the shape of its policy, and what is told of it."""

import json
import logging
from typing import Any

import pytest

from residency.api.names import CANARY, CLASSIFIED_BY, ClassificationName, PolicyName
from residency.controller.defaults import Default
from residency.core.catalogue import restore
from residency.core.judge import Catalogue
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.selectors import parse_selector
from residency.policy.compile import Settings, compile_policies
from residency.policy.defaults import met
from residency.reporting.metrics import Metrics

Json = dict[str, Any]

NL = ClassificationName("nl")
KNOWN: Catalogue = {NL: restore(NL, "Dutch", (), Placement(((Requirement("country", Operator.IN, ("NL",)),),)))}
METRIC = "residency_default_classification_in_force"


def compiled(catalogue: Catalogue, default: str, *exceptions: str) -> dict[str, list[Json]]:
    """Binding and policy, by name."""
    selectors = tuple(map(parse_selector, exceptions))
    settings = Settings("own", CANARY, ("legacy",), default_classification=default, default_exceptions=selectors)
    made = compile_policies(catalogue, settings)
    specs: dict[str, list[Json]] = {}
    for item in json.loads(json.dumps(made.objects).replace(made.revision, "revision")):
        specs.setdefault(item["metadata"]["name"], []).append(item["spec"])
    return specs


def test_only_new_namespaces_without_a_classification_outside_the_excluded_are_looked_at() -> None:
    binding, policy = compiled(KNOWN, "nl")[PolicyName.DEFAULT_NAMESPACES]
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert rule == {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}
    assert binding["matchResources"]["namespaceSelector"]["matchExpressions"] == [
        {"key": "residency.dev/classification", "operator": "DoesNotExist"},
    ]
    (condition,) = policy["matchConditions"]
    assert f'in ["default","kube-system","legacy","own","{CANARY}"]' in condition["expression"]


@pytest.mark.parametrize(("catalogue", "default"), [(KNOWN, ""), ({}, ""), (KNOWN, "unknown"), ({}, "nl")])
def test_without_a_default_in_force_the_policy_is_there_and_does_nothing(catalogue: Catalogue, default: str) -> None:
    _, policy = compiled(catalogue, default)[PolicyName.DEFAULT_NAMESPACES]
    assert policy["matchConditions"] == [{"name": "default-in-force", "expression": "false"}]


def test_a_default_changes_nothing_but_what_concerns_namespaces_and_classifications() -> None:
    without, with_ = compiled(KNOWN, ""), compiled(KNOWN, "nl")
    assert {name for name in without if without[name] != with_[name]} == {
        PolicyName.DEFAULT_NAMESPACES,
        PolicyName.GUARD_NAMESPACES,
        PolicyName.GUARD_CLASSIFICATIONS,
    }


def test_without_a_default_the_guard_of_namespaces_makes_no_exception_for_what_a_default_writes() -> None:
    guards = [json.dumps(compiled(KNOWN, default)[PolicyName.GUARD_NAMESPACES]) for default in ("", "nl")]
    assert [CLASSIFIED_BY in guard for guard in guards] == [False, True]


def test_exceptions_are_one_condition_and_one_of_them_is_enough() -> None:
    one, other = "team in (ci)", "!tenant,sandbox"
    _, policy = compiled(KNOWN, "nl", one, other)[PolicyName.DEFAULT_NAMESPACES]
    either = " || ".join(f"({met(parse_selector(text))})" for text in (one, other))
    assert policy["matchConditions"][1:] == [{"name": "not-excepted", "expression": f"!({either})"}]


def test_what_only_selects_nodes_selects_no_labels() -> None:
    with pytest.raises(ValueError, match="Gt"):
        met((Requirement("size", Operator.GT, ("1",)),))


# What is told


def samples(metrics: Metrics) -> list[str]:
    return [line.removeprefix(METRIC) for line in metrics.exposition().decode().splitlines() if line.startswith(METRIC)]


def test_without_a_default_there_is_no_metric_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO):
        Default("", metrics).tell(KNOWN, policies_in_force=True)
    assert samples(metrics) == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("catalogue", "policies_in_force", "value"), [(KNOWN, True, "1.0"), (KNOWN, False, "0.0"), ({}, True, "0.0")]
)
def test_a_default_is_in_force_when_its_classification_is_and_the_policies_are(
    catalogue: Catalogue, policies_in_force: bool, value: str
) -> None:
    metrics = Metrics()
    Default("nl", metrics).tell(catalogue, policies_in_force=policies_in_force)
    assert samples(metrics) == [f'{{classification="nl"}} {value}']


def test_an_unknown_default_is_a_warning_once_and_its_coming_is_told(caplog: pytest.LogCaptureFixture) -> None:
    default = Default("nl", Metrics())
    seen: list[Catalogue] = [{}, {}, KNOWN, KNOWN, {}]
    with caplog.at_level(logging.INFO):
        for catalogue in seen:
            default.tell(catalogue, policies_in_force=True)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "default classification unknown: new namespaces get none"),
        ("INFO", "default classification known"),
        ("WARNING", "default classification unknown: new namespaces get none"),
    ]
