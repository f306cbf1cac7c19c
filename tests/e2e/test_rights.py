"""Rights by RBAC verb: who may loosen, who may attest, and what needs no right at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import ControlPlane
from e2e.attempts import CATALOGUE, STRICT
from e2e.enforcement import add_namespace, enforce, expect
from e2e.storage_attempts import CLASSES, NL_DISK, US_DISK, storage_class
from golden import resolved
from keepalive import Answer, KeepAlive
from residency.api.names import CLASSIFICATION, Code, Fact
from residency.core.storage import StorageClass, with_classes

CHART = Path(__file__).parents[2] / "charts" / "residency"
LAX, TWIN = "nl-lax", "nl-twin"
SPECS = {
    STRICT: CATALOGUE[STRICT],
    TWIN: CATALOGUE[STRICT] | {"title": "The same under another name"},
    LAX: {"title": "Anywhere in the Netherlands", "nodes": {"anyOf": [{"countries": ["NL"]}]}},
}
RESOURCES = ["namespaces", "nodes", "persistentvolumes", "storageclasses.storage.k8s.io"]
ORDINARY = ["get", "list", "create", "update", "patch", "delete"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane:
        roles = control_plane.helm("template", str(CHART), "--show-only", "templates/rights.yaml")
        control_plane.kubectl("apply", "-f", "-", input=roles)
        control_plane.kubectl(
            *("create", "clusterrole", "ordinary", f"--resource={','.join(RESOURCES)}", f"--verb={','.join(ORDINARY)}")
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
    with KeepAlive(cluster.kubeconfig) as api:
        known = [StorageClass(NL_DISK, {Fact.COUNTRY: "NL"})]
        enforce(api, {name: with_classes(c, known) for name, c in resolved(SPECS).items()})
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


def test_facts_of_storageclasses_need_the_right_to_attest(cluster: ControlPlane, administrator: KeepAlive) -> None:
    expect(administrator.send("POST", CLASSES, storage_class(US_DISK)), 201)
    body = {"metadata": {"labels": {Fact.COUNTRY: "NL"}}}
    path = f"{CLASSES}/{US_DISK}"
    for user, status in (("developer", 403), ("officer", 403), ("attestor", 200)):
        with KeepAlive(cluster.user_kubeconfig(user)) as api:
            answer = expect(api.send("PATCH", path, body, "application/merge-patch+json"), status)
            if status == 403:
                assert f"{user} may not set {Fact.COUNTRY} of StorageClass {US_DISK}" in answer.message
                assert f"somebody who may attest storageclasses.storage.k8s.io/{US_DISK}" in answer.message
    with KeepAlive(cluster.user_kubeconfig("developer")) as api:
        taken = {"metadata": {"labels": {Fact.COUNTRY: None}}}
        expect(api.send("PATCH", path, taken, "application/merge-patch+json"), 403)


def test_a_name_that_is_allowed_needs_it_too_and_others_do_not(cluster: ControlPlane, administrator: KeepAlive) -> None:
    expect(administrator.send("GET", CLASSES), 200)
    with KeepAlive(cluster.user_kubeconfig("developer")) as api:
        expect(api.send("POST", CLASSES, storage_class("plain")), 201)
        refused = expect(api.send("POST", CLASSES, storage_class(NL_DISK)), 403)
        assert f"developer may not make StorageClass {NL_DISK}" in refused.message
        labels = {"metadata": {"labels": {"team": "platform"}}}
        expect(api.send("PATCH", f"{CLASSES}/plain", labels, "application/merge-patch+json"), 200)
    options = {"mountOptions": ["ro"]}
    with KeepAlive(cluster.user_kubeconfig("attestor")) as api:
        expect(api.send("POST", CLASSES, storage_class(NL_DISK)), 201)
    with KeepAlive(cluster.user_kubeconfig("developer")) as api:
        path = f"{CLASSES}/{NL_DISK}"
        refused = expect(api.send("PATCH", path, options, "application/merge-patch+json"), 403)
        assert f"may not change the topologies or mount options of StorageClass {NL_DISK}" in refused.message
        expandable = {"allowVolumeExpansion": True}
        expect(api.send("PATCH", path, expandable, "application/merge-patch+json"), 200)
        expect(api.send("PATCH", f"{CLASSES}/plain", options, "application/merge-patch+json"), 200)


def bound_volume(name: str, storage_class: str) -> dict[str, object]:
    reference = {"namespace": "payments", "name": "data", "uid": "b6f1e2f0-0000-4000-8000-000000000000"}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": storage_class,
        "hostPath": {"path": "/data"},
        "claimRef": reference,
    }
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("released", {"claimRef": None}),
        ("another-uid", {"claimRef": {"uid": None}}),
        ("another-namespace", {"claimRef": {"namespace": "elsewhere"}}),
        ("another-claim", {"claimRef": {"name": "other"}}),
        ("another-class", {"storageClassName": US_DISK}),
    ],
)
def test_releasing_a_volume_that_may_be_classified_needs_the_right_to_declassify(
    cluster: ControlPlane, administrator: KeepAlive, name: str, change: dict[str, object]
) -> None:
    expect(administrator.send("POST", "/api/v1/persistentvolumes", bound_volume(name, NL_DISK)), 201)
    path = f"/api/v1/persistentvolumes/{name}"
    for user, status in (("developer", 403), ("attestor", 403), ("officer", 200)):
        with KeepAlive(cluster.user_kubeconfig(user)) as api:
            answer = expect(api.send("PATCH", path, {"spec": change}, "application/merge-patch+json"), status)
            if status == 403:
                assert "was bound to claim payments/data" in answer.message
                assert f"somebody who may declassify persistentvolumes/{name}" in answer.message
    expect(administrator.send("DELETE", path), 200)


def test_what_else_is_done_to_volumes_needs_no_right(cluster: ControlPlane, administrator: KeepAlive) -> None:
    released, path = {"spec": {"claimRef": None}}, "/api/v1/persistentvolumes"
    for name, storage_class_ in (("foreign", US_DISK), ("held", NL_DISK)):
        expect(administrator.send("POST", path, bound_volume(name, storage_class_)), 201)
    with KeepAlive(cluster.user_kubeconfig("developer")) as api:
        expect(api.send("PATCH", f"{path}/foreign", released, "application/merge-patch+json"), 200)
        policy = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        expect(api.send("PATCH", f"{path}/held", policy, "application/merge-patch+json"), 200)
        kept = {"metadata": {"finalizers": ["example.com/hold"]}}
        expect(api.send("PATCH", f"{path}/held", kept, "application/merge-patch+json"), 200)
        expect(api.send("DELETE", f"{path}/held"), 200)
        gone = {"metadata": {"finalizers": None}}
        expect(api.send("PATCH", f"{path}/held", gone, "application/merge-patch+json"), 200)
    assert administrator.send("GET", f"{path}/held").status == 404
