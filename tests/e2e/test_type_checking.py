"""Type checking: what the controller manager says of the compiled policies, whatever they are compiled from.

It checks each validating policy against the schema of every kind that the policy matches, and writes what it finds into
its status; of mutating policies it says nothing.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from controlplane import ControlPlane
from e2e.attempts import CATALOGUE, LAX, STRICT
from e2e.enforcement import SETTINGS, enforce, expect
from golden import in_force
from keepalive import KeepAlive
from residency.api.names import FACT_PREFIX, Fact, Mode, PolicyName
from residency.core.surroundings import ALL_CLAIMS, NOTHING_KNOWN, Surroundings
from residency.policy.compile import Settings

Json = dict[str, Any]

POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
PATIENCE: Final = 120.0
CLASSES: Final = {"storageClasses": {"nl-disk": {Fact.COUNTRY: "NL"}}}
ALL_OPERATORS: Final = {
    "title": "Every operator",
    "nodes": {
        "anyOf": [
            {
                "matchExpressions": [
                    {"key": f"{FACT_PREFIX}{operator.lower()}", "operator": operator, "values": values}
                    for operator, values in (
                        ("In", ["a"]),
                        ("NotIn", ["b"]),
                        ("Exists", []),
                        ("Gt", ["1"]),
                        ("Lt", ["9"]),
                    )
                ]
            }
        ]
    },
}
MODES: Final = {f"{name}-{mode.lower()}": CATALOGUE[name] | {"mode": str(mode)} for name in CATALOGUE for mode in Mode}
KNOWN: Final = Surroundings("nl-disk", {"a": ("x", "y"), "b": (ALL_CLAIMS,)}, frozenset({Mode.WARN, Mode.AUDIT}))
COMPILED: Final[Mapping[str, tuple[Mapping[str, Json], Surroundings, Settings]]] = {
    "no classification": ({}, NOTHING_KNOWN, SETTINGS),
    "no storage": ({LAX: CATALOGUE[LAX]}, NOTHING_KNOWN, SETTINGS),
    "storage": (CATALOGUE, replace(KNOWN, lowered=frozenset()), SETTINGS),
    "lowered namespaces": (CATALOGUE, KNOWN, SETTINGS),
    "every operator, mode and kind of storage, and a default": (
        {**CATALOGUE, **MODES, "all": ALL_OPERATORS},
        KNOWN,
        replace(SETTINGS, default_classification=STRICT),
    ),
}


@pytest.fixture(scope="module")
def api() -> Iterator[KeepAlive]:
    with ControlPlane(scheduler=False, kwok=False) as cluster, KeepAlive(cluster.kubeconfig) as connection:
        yield connection


def checked(api: KeepAlive) -> Iterator[Json]:
    """All policies, once the controller manager has looked at each as it is now."""
    deadline = time.monotonic() + PATIENCE
    while True:
        items: list[Json] = expect(api.send("GET", POLICIES), 200).body["items"]
        behind = [p["metadata"]["name"] for p in items if _seen(p) != p["metadata"]["generation"]]
        if items and not behind:
            return iter(items)
        assert time.monotonic() < deadline, f"never checked: {behind}"
        time.sleep(0.2)


def _seen(policy: Json) -> int | None:
    seen: int | None = policy.get("status", {}).get("observedGeneration")
    return seen


def warnings(policy: Json) -> list[Json]:
    found: list[Json] = policy["status"].get("typeChecking", {}).get("expressionWarnings", [])
    return found


def test_an_expression_of_the_wrong_type_would_be_seen(api: KeepAlive) -> None:
    spec = {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]
        },
        "validations": [{"expression": "object.spec.containers > 1"}],
    }
    expect(api.send("POST", POLICIES, {"metadata": {"name": "wrong"}, "spec": spec}), 201)
    (policy,) = checked(api)
    assert warnings(policy)
    expect(api.send("DELETE", f"{POLICIES}/wrong"), 200)


@pytest.mark.parametrize("compiled", COMPILED)
def test_no_compiled_policy_has_an_expression_of_the_wrong_type(api: KeepAlive, compiled: str) -> None:
    specs, surroundings, settings = COMPILED[compiled]
    enforce(api, in_force(specs, CLASSES), surroundings=surroundings, settings=settings)
    found = {policy["metadata"]["name"]: warnings(policy) for policy in checked(api)}
    assert found.keys() == {
        name for name in map(str, PolicyName) if "-guard-" in name or "-warn-" in name or "-audit-" in name
    }
    assert {name: said for name, said in found.items() if said} == {}
