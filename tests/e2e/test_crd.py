"""The custom resource definition on a real API server, held against the models."""

import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from classification_cases import INVALID, VALID, Invalid, Valid, resource
from controlplane import ControlPlane, RequestError
from residency.api.classification import (
    ConditionStatus,
    CountrySetVersion,
    DataClassification,
    DataClassificationStatus,
    EvictionStatus,
    PodCounts,
    ResolvedAlternative,
    ResolvedPlacement,
    ResolvedRequirement,
    ResolvedToleration,
    TaintEffect,
    TolerationOperator,
    UsedBy,
)
from residency.api.countries import ISO_3166_1, CountrySetName
from residency.api.names import Condition, EvictionResult, EvictionState, Fact, Reason
from residency.api.schema import describe
from strategies import Json, hostile_specs, specs

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "residency.dev_dataclassifications.yaml"
EXAMPLES = ROOT / "examples" / "classifications"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/dataclassifications.residency.dev"
PATH = "/apis/residency.dev/v1alpha1/dataclassifications"
MOST_COUNTRIES = 64

# Every example is a request to a real API server: no deadline, and what was generated slowly is kept.
ON_A_REAL_SERVER = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """An API server that serves nothing of Residency's but this definition."""
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane:
        control_plane.kubectl("apply", "-f", str(CRD))
        control_plane.kubectl("wait", "--for=condition=Established", "crd/dataclassifications.residency.dev")
        yield control_plane


def dry_run(cluster: ControlPlane, raw: object) -> Any:
    """Return what the API server would have stored; what it refuses raises RequestError."""
    return cluster.request("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", raw)


def refusal(cluster: ControlPlane, raw: object) -> str:
    """Return why the API server refuses it."""
    with pytest.raises(RequestError) as refused:
        dry_run(cluster, raw)
    assert refused.value.status in {400, 422}
    return refused.value.message


def test_the_definition_is_structural_and_its_names_are_accepted(cluster: ControlPlane) -> None:
    conditions = cluster.request("GET", CRD_PATH)["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "Established": "True",
        "NamesAccepted": "True",
    }


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.rule)
def test_the_api_server_accepts_what_the_models_accept(cluster: ControlPlane, case: Valid) -> None:
    sent = resource(case.spec, case.name)
    stored = dry_run(cluster, sent)
    assert DataClassification.parse(stored).spec == DataClassification.parse(sent).spec


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.rule)
def test_the_api_server_refuses_naming_the_field_and_what_would_be_right(cluster: ControlPlane, case: Invalid) -> None:
    message = refusal(cluster, resource(case.spec, case.name))
    assert case.at in message
    assert (case.server_says or case.says).lower() in message.lower()


def test_exactly_the_codes_of_iso_3166_1_are_countries(cluster: ControlPlane) -> None:
    codes = [first + second for first, second in product(ascii_uppercase, repeat=2)]
    for field in ("countries", "controlledFrom"):
        refused = set()
        for start in range(0, len(codes), MOST_COUNTRIES):
            some = codes[start : start + MOST_COUNTRIES]
            message = refusal(cluster, resource({"title": "x", "nodes": {"anyOf": [{field: some}]}}))
            refused |= {some[int(index)] for index in re.findall(rf"{field}\[(\d+)\]: Invalid", message)}
        assert set(codes) - refused == ISO_3166_1


@pytest.mark.parametrize("fact", [Fact.COUNTRY, Fact.CONTROLLED_FROM])
def test_exactly_the_codes_of_iso_3166_1_are_values_of_the_facts(cluster: ControlPlane, fact: Fact) -> None:
    def with_values(values: list[str]) -> Json:
        expression = {"key": fact, "operator": "NotIn", "values": values}
        return resource({"title": "x", "nodes": {"anyOf": [{"matchExpressions": [expression]}]}})

    known = sorted(ISO_3166_1)
    for start in range(0, len(known), MOST_COUNTRIES):
        dry_run(cluster, with_values(known[start : start + MOST_COUNTRIES]))
    assert "must be values that the fact can have" in refusal(cluster, with_values(["NL", "XK"]))


def test_the_largest_classification_stays_within_the_cost_limits(cluster: ControlPlane) -> None:
    codes = sorted(ISO_3166_1)[-MOST_COUNTRIES:]
    expressions = [{"key": Fact.COUNTRY, "operator": "In", "values": codes}] * 8
    alternative = {
        "countries": codes,
        "controlledFrom": codes,
        "providers": [f"{n:02}{'p' * 61}" for n in range(32)],
        "matchExpressions": expressions,
    }
    tolerations = [{"key": f"{n}{'k' * 62}", "value": "v" * 63} for n in range(8)]
    reference = {"title": "t" * 120, "clause": "c" * 40, "url": f"https://{'u' * 292}"}
    spec = {
        "title": "t" * 120,
        "references": [reference] * 8,
        "includes": [f"{n}{'i' * 62}" for n in range(8)],
        "nodes": {"anyOf": [alternative] * 4, "tolerations": tolerations},
    }
    DataClassification.parse(dry_run(cluster, resource(spec)))


def test_every_generated_spec_is_accepted_by_both(cluster: ControlPlane) -> None:
    @ON_A_REAL_SERVER
    @given(specs())
    def check(spec: Json) -> None:
        sent = resource(spec)
        assert DataClassification.parse(dry_run(cluster, sent)).spec == DataClassification.parse(sent).spec

    check()


def test_every_hostile_spec_gets_the_same_verdict_from_both(cluster: ControlPlane) -> None:
    verdicts = {"accepted": 0, "refused": 0}

    @ON_A_REAL_SERVER
    @given(hostile_specs())
    def check(spec: Json) -> None:
        sent = resource(spec)
        try:
            stored = dry_run(cluster, sent)
        except RequestError as error:
            verdicts["refused"] += 1
            if error.status not in {400, 422}:
                raise
            with pytest.raises(ValidationError) as refused:
                DataClassification.parse(sent)
            message = describe(refused.value)
            assert message.startswith("spec")
            assert "\n" not in message
        else:
            verdicts["accepted"] += 1
            DataClassification.parse(stored)

    check()
    # A generator of nothing but nonsense, or of nothing hostile, would prove little.
    assert min(verdicts.values()) >= 30, verdicts


def test_the_example_classifications_are_accepted(cluster: ControlPlane) -> None:
    answer = cluster.kubectl("apply", "--dry-run=server", "-f", str(EXAMPLES))
    assert len(answer.splitlines()) == len(list(EXAMPLES.glob("*.yaml")))


def full_status() -> DataClassificationStatus:
    """Return a status with every field in it."""
    requirement = ResolvedRequirement(key=Fact.COUNTRY, operator="In", values=("DE", "NL"))
    toleration = ResolvedToleration(
        key="pool", operator=TolerationOperator.EQUAL, value="odc", effect=TaintEffect.NO_EXECUTE
    )
    return DataClassificationStatus.parse(
        {
            "observedGeneration": 1,
            "revision": "0123456789abcdef",
            "placement": ResolvedPlacement(
                generation=1,
                alternatives=(ResolvedAlternative(requirements=(requirement,)),),
                tolerations=(toleration,),
            ),
            "countrySets": [CountrySetVersion(name=CountrySetName.EEA, version="2020-02-01")],
            "usedBy": UsedBy(namespaces=2, namespace_names=("a", "b"), classifications=("nl-depv",)),
            "pods": PodCounts(compliant=7, misplaced=6, unpinned=5, unplaceable=4, waiting=3, unknown=2, not_located=1),
            "eligibleNodes": 3,
            "eviction": EvictionStatus.parse(
                {
                    "state": EvictionState.BLOCKED,
                    "message": "2 are left.",
                    "dryRun": True,
                    "results": [{"result": result, "count": 2} for result in EvictionResult],
                    "lastEvictionTime": "2026-11-23T18:00:00Z",
                }
            ),
            "conditions": [
                ConditionStatus.parse(
                    {
                        "type": condition,
                        "status": status,
                        "reason": reason,
                        "message": "Seen to be in force.",
                        "lastTransitionTime": "2026-11-23T18:00:00Z",
                        "observedGeneration": 1,
                    }
                )
                for condition, status, reason in (
                    (Condition.READY, "True", Reason.IN_FORCE),
                    (Condition.ENFORCED, "True", Reason.NONE_WAITING),
                    (Condition.SATISFIABLE, "True", Reason.NODES_ELIGIBLE),
                    (Condition.COMPLIANT, "False", Reason.PODS_DEVIATE),
                )
            ],
        }
    )


@pytest.fixture
def stored(cluster: ControlPlane) -> Iterator[Callable[[Json, str], None]]:
    """Store classifications for one test."""
    names: list[str] = []

    def store(spec: Json, name: str) -> None:
        cluster.request("POST", PATH, resource(spec, name))
        names.append(name)

    yield store
    for name in names:
        cluster.request("DELETE", f"{PATH}/{name}")


def test_a_full_status_is_stored_as_it_was_written(cluster: ControlPlane, stored: Callable[[Json, str], None]) -> None:
    stored({"title": "Persoonsgegevens"}, "nl-status")
    written = full_status()
    cluster.request("PATCH", f"{PATH}/nl-status/status", {"status": written.as_json()})
    read = cluster.request("GET", f"{PATH}/nl-status")
    assert DataClassificationStatus.parse(read["status"]) == written
    assert read["metadata"]["generation"] == 1


def test_kubectl_shows_title_readiness_use_and_age(cluster: ControlPlane, stored: Callable[[Json, str], None]) -> None:
    stored({"title": "Persoonsgegevens"}, "nl-columns")
    cluster.request("PATCH", f"{PATH}/nl-columns/status", {"status": full_status().as_json()})
    header, line = cluster.kubectl("get", "dcl").splitlines()
    assert header.split() == ["NAME", "TITLE", "READY", "ENFORCED", "COMPLIANT", "NAMESPACES", "NODES", "MODE", "AGE"]
    assert line.split()[:7] == ["nl-columns", "Persoonsgegevens", "True", "True", "False", "2", "3"]
    wide_header, wide_line = cluster.kubectl("get", "residency", "-o", "wide").splitlines()
    assert wide_header.split()[-2:] == ["REASON", "MESSAGE"]
    assert wide_line.endswith("Seen to be in force.")


def test_what_became_invalid_by_a_stricter_rule_can_still_be_edited_elsewhere(cluster: ControlPlane) -> None:
    strict = yaml.safe_load(CRD.read_text())
    lax = yaml.safe_load(CRD.read_text())
    alternative = lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["nodes"][
        "properties"
    ]["anyOf"]["items"]["properties"]
    del alternative["countries"]["items"]["x-kubernetes-validations"]
    raw = resource({"title": "Old", "nodes": {"anyOf": [{"countries": ["UK"]}]}}, "nl-ratchet")
    replace_definition(cluster, lax)
    try:
        cluster.wait_for(lambda: refusal_or_none(cluster, raw))
        cluster.request("POST", PATH, raw)
    finally:
        replace_definition(cluster, strict)
    cluster.wait_for(lambda: None if refusal_or_none(cluster, raw) else "the strict rules are not in force")

    cluster.request("PATCH", f"{PATH}/nl-ratchet", {"spec": {"title": "New"}})
    worse = {"spec": {"nodes": {"anyOf": [{"countries": ["UK", "XX"]}]}}}
    with pytest.raises(RequestError, match="write two capital letters"):
        cluster.request("PATCH", f"{PATH}/nl-ratchet", worse)
    better = {"spec": {"nodes": {"anyOf": [{"countries": ["GB"]}]}}}
    cluster.request("PATCH", f"{PATH}/nl-ratchet", better)
    cluster.request("DELETE", f"{PATH}/nl-ratchet")


def replace_definition(cluster: ControlPlane, definition: Json) -> None:
    """Put the definition in place of the one that is there."""
    cluster.request("PATCH", CRD_PATH, {"spec": {"versions": definition["spec"]["versions"]}})


def refusal_or_none(cluster: ControlPlane, raw: Json) -> str | None:
    """Return why the API server refuses a new resource, or None when it does not."""
    try:
        dry_run(cluster, {**raw, "metadata": {"name": "nl-new"}})
    except RequestError as error:
        return error.message
    return None
