"""Rights by RBAC verb: who may loosen, who may attest, and what needs no right at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import ControlPlane
from e2e.attempts import CATALOGUE, STRICT
from e2e.enforcement import add_namespace, enforce, expect
from keepalive import Answer, KeepAlive
from residency.api.classification import DataClassificationSpec
from residency.api.names import CLASSIFICATION, ClassificationName, Code, Fact
from residency.core.catalogue import resolve
from residency.core.placement import Classification

CHART = Path(__file__).parents[2] / "charts" / "residency"
LAX, TWIN = "nl-lax", "nl-twin"
SPECS = {
    STRICT: CATALOGUE[STRICT],
    TWIN: CATALOGUE[STRICT] | {"title": "The same under another name"},
    LAX: {"title": "Anywhere in the Netherlands", "nodes": {"anyOf": [{"countries": ["NL"]}]}},
}
ORDINARY = ["get", "list", "create", "update", "patch", "delete"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane:
        roles = control_plane.helm("template", str(CHART), "--show-only", "templates/rights.yaml")
        control_plane.kubectl("apply", "-f", "-", input=roles)
        control_plane.kubectl(
            *("create", "clusterrole", "ordinary", "--resource=namespaces,nodes", f"--verb={','.join(ORDINARY)}")
        )
        for user, *granted in (
            ("developer", "ordinary"),
            ("officer", "ordinary", "residency-declassifier"),
            ("attestor", "ordinary", "residency-attestor"),
        ):
            for role in granted:
                name = f"{user}-{role}"
                control_plane.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        yield control_plane


@pytest.fixture(scope="module")
def administrator(cluster: ControlPlane) -> Iterator[KeepAlive]:
    specs = {ClassificationName(name): DataClassificationSpec.parse(spec) for name, spec in SPECS.items()}
    with KeepAlive(cluster.kubeconfig) as api:
        enforce(api, {name: c for name, c in resolve(specs).items() if isinstance(c, Classification)})
        yield api


def move(cluster: ControlPlane, user: str, namespace: str, classification: str | None) -> Answer:
    """Relabel a namespace as a user."""
    with KeepAlive(cluster.user_kubeconfig(user)) as api:
        body = {"metadata": {"labels": {CLASSIFICATION: classification}}}
        return api.send("PATCH", f"/api/v1/namespaces/{namespace}", body, "application/merge-patch+json")


@pytest.mark.parametrize(("old", "new"), [(None, LAX), (LAX, STRICT), (STRICT, TWIN)])
def test_tightening_needs_no_right(cluster: ControlPlane, administrator: KeepAlive, old: str | None, new: str) -> None:
    name = f"tighten-{old}-{new}".lower()
    add_namespace(administrator, name, old)
    expect(move(cluster, "developer", name, new), 200)


@pytest.mark.parametrize("new", [LAX, None])
def test_loosening_needs_the_right_to_declassify(
    cluster: ControlPlane, administrator: KeepAlive, new: str | None
) -> None:
    name = f"loosen-{new}".lower()
    add_namespace(administrator, name, STRICT)
    refused = expect(move(cluster, "developer", name, new), 403)
    assert f"somebody who may declassify dataclassifications.residency.dev/{STRICT}" in refused.message
    assert refused.message.endswith(Code.DECLASSIFICATION)
    expect(move(cluster, "attestor", name, new), 403)
    expect(move(cluster, "officer", name, new), 200)


def test_the_right_to_declassify_can_be_given_by_name(cluster: ControlPlane, administrator: KeepAlive) -> None:
    role = {
        "metadata": {"name": "of-lax"},
        "rules": [
            {
                "apiGroups": ["residency.dev"],
                "resources": ["dataclassifications"],
                "resourceNames": [LAX],
                "verbs": ["declassify"],
            }
        ],
    }
    expect(administrator.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role), 201)
    for granted in ("of-lax", "ordinary"):
        cluster.kubectl("create", "clusterrolebinding", f"team-{granted}", f"--clusterrole={granted}", "--user=team")
    add_namespace(administrator, "named-lax", LAX)
    add_namespace(administrator, "named-strict", STRICT)
    expect(move(cluster, "team", "named-lax", None), 200)
    expect(move(cluster, "team", "named-strict", None), 403)


def test_facts_of_nodes_need_the_right_to_attest(cluster: ControlPlane, administrator: KeepAlive) -> None:
    expect(administrator.send("POST", "/api/v1/nodes", {"metadata": {"name": "node"}}), 201)
    body = {"metadata": {"labels": {Fact.COUNTRY: "NL"}}}
    for user, status in (("developer", 403), ("officer", 403), ("attestor", 200)):
        with KeepAlive(cluster.user_kubeconfig(user)) as api:
            answer = expect(api.send("PATCH", "/api/v1/nodes/node", body, "application/merge-patch+json"), status)
            if status == 403:
                assert "somebody who may attest nodes/node (ClusterRole residency-attestor)" in answer.message


def test_other_labels_of_nodes_need_no_right(cluster: ControlPlane, administrator: KeepAlive) -> None:
    expect(administrator.send("POST", "/api/v1/nodes", {"metadata": {"name": "other"}}), 201)
    body = {"metadata": {"labels": {"example.com/rack": "12"}}}
    with KeepAlive(cluster.user_kubeconfig("developer")) as api:
        expect(api.send("PATCH", "/api/v1/nodes/other", body, "application/merge-patch+json"), 200)
