"""Nothing that exists is ever stuck: claims, volumes and workloads from before that would be refused today.

The compiled policies are in force and no controller runs; the controller manager is real.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from controlplane import ControlPlane
from e2e.attempts import CATALOGUE, STRICT, workload
from e2e.enforcement import add_namespace, enforce, expect
from e2e.storage_attempts import CLASSES, NFS, NL_DISK, STORAGE_CLASSES, US_DISK, claim, volume
from golden import resolved
from keepalive import KeepAlive
from residency.api.names import ClassificationName, Code, Fact
from residency.core.storage import StorageClass, with_classes

Json = dict[str, Any]

NAMESPACE: Final = "from-before"
MERGE: Final = "application/merge-patch+json"
CLAIMS: Final = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
STATEFUL_SETS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
ABROAD: Final = {"nodeSelector": {Fact.COUNTRY: "US"}}
OF_BEFORE: Final = ("expanded", "edited", "held", "bound", "unbound")


@pytest.fixture(scope="module")
def api() -> Iterator[KeepAlive]:
    """An API server with a namespace that was filled before it was classified."""
    with (
        ControlPlane(scheduler=False, kwok=False, type_checking=False) as cluster,
        KeepAlive(cluster.kubeconfig) as api,
    ):
        for item in STORAGE_CLASSES:
            expect(api.send("POST", CLASSES, item), 201)
        add_namespace(api, NAMESPACE)
        expandable = {"allowVolumeExpansion": True}
        expect(api.send("PATCH", f"{CLASSES}/{US_DISK}", expandable, MERGE), 200)
        for name in OF_BEFORE:
            expect(api.send("POST", "/api/v1/persistentvolumes", hand_made(name)), 201)
            expect(api.send("POST", CLAIMS, claim(name, US_DISK, selector={"matchLabels": {"for": name}})), 201)
        for name in OF_BEFORE:
            if name != "unbound":
                wait("the claim to be bound", lambda name=name: phase(api, name) == "Bound")  # type: ignore[misc]
        for name, spec in (("app", volume(NFS)), ("both", volume(NFS) | ABROAD)):
            _, body = workload("Deployment", spec)
            expect(api.send("POST", DEPLOYMENTS, named(body, name)), 201)
        _, body = workload("StatefulSet", {})
        body["spec"] |= {"volumeClaimTemplates": [claim("data", US_DISK)], "replicas": 0}
        expect(api.send("POST", STATEFUL_SETS, named(body, "db")), 201)
        found = resolved({STRICT: CATALOGUE[STRICT]})[ClassificationName(STRICT)]
        classes = [StorageClass.from_metadata(item["metadata"]) for item in STORAGE_CLASSES]
        enforce(api, {found.name: with_classes(found, classes)}, [(NAMESPACE, STRICT)])
        new = claim("probe", US_DISK)
        wait("claims to be judged", lambda: api.send("POST", f"{CLAIMS}?dryRun=All", new).status == 403)
        yield api


def hand_made(name: str) -> Json:
    """A volume for the claim of the same name; that of "unbound" is too small."""
    spec = {
        "capacity": {"storage": "1Mi" if name == "unbound" else "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": US_DISK,
        "hostPath": {"path": "/data"},
    }
    return {"metadata": {"name": f"for-{name}", "labels": {"for": name}}, "spec": spec}


def named(body: Json, name: str) -> Json:
    return body | {"metadata": {"name": name}}


def phase(api: KeepAlive, name: str) -> str:
    return str(api.send("GET", f"{CLAIMS}/{name}").body.get("status", {}).get("phase"))


def wait(saying: str, met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline, f"waited in vain for {saying}"
        time.sleep(0.1)


def patch(api: KeepAlive, path: str, body: Json) -> Json:
    return expect(api.send("PATCH", path, body, MERGE), 200).body


def test_a_bound_claim_is_expanded(api: KeepAlive) -> None:
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    made = patch(api, f"{CLAIMS}/expanded", more)
    assert made["spec"]["resources"]["requests"]["storage"] == "2Gi"
    patch(api, f"{CLAIMS}/expanded/status", {"status": {"capacity": {"storage": "2Gi"}}})


def test_the_metadata_of_a_claim_is_edited(api: KeepAlive) -> None:
    made = patch(api, f"{CLAIMS}/edited", {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}})
    assert made["metadata"]["annotations"]["c"] == "d"


def test_a_claim_that_a_finalizer_holds_goes_when_that_is_removed(api: KeepAlive) -> None:
    patch(api, f"{CLAIMS}/held", {"metadata": {"finalizers": ["example.com/hold"]}})
    expect(api.send("DELETE", f"{CLAIMS}/held"), 200)
    patch(api, f"{CLAIMS}/held", {"metadata": {"finalizers": None}})
    wait("the claim to go", lambda: api.send("GET", f"{CLAIMS}/held").status == 404)


def test_a_claim_goes_and_its_volume_is_released(api: KeepAlive) -> None:
    expect(api.send("DELETE", f"{CLAIMS}/bound"), 200)
    wait("the claim to go", lambda: api.send("GET", f"{CLAIMS}/bound").status == 404)
    path = "/api/v1/persistentvolumes/for-bound"
    wait("the release", lambda: api.send("GET", path).body["status"].get("phase") == "Released")
    expect(api.send("DELETE", path), 200)
    wait("the volume to go", lambda: api.send("GET", path).status == 404)


def test_a_claim_that_waits_is_still_bound_by_kubernetes(api: KeepAlive) -> None:
    assert phase(api, "unbound") == "Pending"
    patch(api, "/api/v1/persistentvolumes/for-unbound", {"spec": {"capacity": {"storage": "1Gi"}}})
    wait("the claim to be bound", lambda: phase(api, "unbound") == "Bound")


def test_a_workload_whose_volume_is_refused_today_is_edited_scaled_and_mended(api: KeepAlive) -> None:
    path = f"{DEPLOYMENTS}/app"
    patch(api, path, {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 2}})
    image = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}
    patch(api, path, image)
    other = {"spec": {"template": {"spec": volume({"nfs": {"server": "192.0.2.2", "path": "/"}})}}}
    refused = expect(api.send("PATCH", path, other, MERGE), 403)
    assert Code.VOLUME in refused.message
    patch(api, path, {"spec": {"template": {"spec": volume({"emptyDir": {}})}}})


def test_of_two_things_that_are_refused_today_each_is_mended_by_itself(api: KeepAlive) -> None:
    path = f"{DEPLOYMENTS}/both"
    patch(api, path, {"spec": {"template": {"spec": volume({"emptyDir": {}})}}})
    patch(api, path, {"spec": {"template": {"spec": {"nodeSelector": None}}}})


def test_a_statefulset_whose_claims_are_refused_today_is_edited_and_deleted(api: KeepAlive) -> None:
    path = f"{STATEFUL_SETS}/db"
    image = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}
    patch(api, path, image)
    patch(api, f"{path}/scale", {"spec": {"replicas": 1}})

    def told() -> bool:
        events = api.send("GET", f"/api/v1/namespaces/{NAMESPACE}/events").body["items"]
        return any(e["involvedObject"]["name"] == "db" and Code.STORAGE_CLAIM in e["message"] for e in events)

    wait("an event that says why", told)
    patch(api, f"{path}/scale", {"spec": {"replicas": 0}})
    expect(api.send("DELETE", f"{path}?propagationPolicy=Foreground"), 200)
    wait("the StatefulSet to go", lambda: api.send("GET", path).status == 404)


def test_a_new_claim_of_an_allowed_class_is_made_in_the_same_namespace(api: KeepAlive) -> None:
    expect(api.send("POST", CLAIMS, claim("new", NL_DISK)), 201)
