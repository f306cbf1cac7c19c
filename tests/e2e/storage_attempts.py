"""Attempts to get the data of a classified namespace onto storage where it may not be.

There is nobody here who makes volumes: a claim or pod "works" when the API server takes it, one that is bound by hand
when Kubernetes binds it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from e2e.attempts import (
    STRICT,
    Attempt,
    Json,
    Refused,
    Site,
    pod,
    relabelling,
    workload,
)
from keepalive import KeepAlive
from residency.api.names import CLASSIFICATION, DEFAULT_CLASS, STORAGE_CLASS_ANNOTATION, Code, Fact

NL_DISK: Final = "nl-disk"
NL_SPARE: Final = "nl-spare"
US_DISK: Final = "us-disk"
UNSTORED: Final = "nl-depv-unstored"
MERGE: Final = "application/merge-patch+json"
CLAIMS: Final = "/api/v1/namespaces/{ns}/persistentvolumeclaims"
PODS: Final = "/api/v1/namespaces/{ns}/pods"
CLASSES: Final = "/apis/storage.k8s.io/v1/storageclasses"
PATIENCE: Final = 60.0


def storage_class(name: str, country: str = "", *, default: bool = False) -> Json:
    """A StorageClass whose volumes are made by hand."""
    metadata: Json = {"name": name, "labels": {Fact.COUNTRY: country} if country else {}}
    if default:
        metadata["annotations"] = {DEFAULT_CLASS[0]: "true"}
    return {"metadata": metadata, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}


STORAGE_CLASSES: Final = (
    storage_class(NL_DISK, "NL"),
    storage_class(NL_SPARE, "NL"),
    storage_class(US_DISK, default=True),
)


def claim(name: str = "data", storage_class: str | None = NL_DISK, **spec: Any) -> Json:
    """A claim; None: it names no class."""
    basic: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    named = {} if storage_class is None else {"storageClassName": storage_class}
    return {"metadata": {"name": name}, "spec": basic | named | spec}


def volume(source: Mapping[str, Any]) -> Json:
    """A pod spec with one volume."""
    return {"volumes": [{"name": "data", **source}]}


def ephemeral(storage_class: str | None) -> Json:
    """A volume that comes and goes with its pod."""
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim(storage_class=storage_class)["spec"]}}}


NFS: Final = {"nfs": {"server": "192.0.2.1", "path": "/"}}
CSI: Final = {"csi": {"driver": "us.csi.example.com"}}


def claiming(body: Json) -> Callable[[Site], bool]:
    """Create a claim."""

    def attempt(site: Site) -> bool:
        site.send("POST", CLAIMS, body)
        return True

    return attempt


def mounting(source: Mapping[str, Any]) -> Callable[[Site], bool]:
    """Create a pod with a volume."""

    def attempt(site: Site) -> bool:
        site.send("POST", PODS, pod(volume(source)))
        return True

    return attempt


def mounting_in(kind: str, source: Mapping[str, Any]) -> Callable[[Site], bool]:
    """Create a workload whose pods have a volume."""

    def attempt(site: Site) -> bool:
        site.send("POST", *workload(kind, volume(source)))
        return True

    return attempt


def claim_template(site: Site) -> bool:
    """A StatefulSet that makes claims of a foreign class."""
    path, body = workload("StatefulSet", {})
    body["spec"]["volumeClaimTemplates"] = [claim(storage_class=US_DISK)]
    site.send("POST", path, body)
    return True


def mounted_later(site: Site) -> bool:
    """A Deployment that gets its volume by an update."""
    path, body = workload("Deployment", {})
    site.send("POST", path, body)
    site.send("PATCH", f"{path}/app", {"spec": {"template": {"spec": volume(NFS)}}}, MERGE)
    return True


def annotated_mount(site: Site) -> bool:
    """An annotated pod in a namespace without a classification."""
    site.send("POST", PODS.replace("{ns}", site.unclassified), pod(volume(NFS), STRICT))
    return True


def by_annotation(site: Site) -> bool:
    """The older annotation, which overrules the field."""
    body = claim()
    body["metadata"]["annotations"] = {STORAGE_CLASS_ANNOTATION: US_DISK}
    site.send("POST", CLAIMS, body)
    return True


def annotated_through_status(site: Site) -> bool:
    """The same, later and through the status, where Kubernetes does not look at annotations."""
    site.send("POST", CLAIMS, claim())
    body = {"metadata": {"annotations": {STORAGE_CLASS_ANNOTATION: US_DISK}}}
    site.send("PATCH", f"{CLAIMS}/data/status", body, MERGE)
    return STORAGE_CLASS_ANNOTATION in site.send("GET", f"{CLAIMS}/data")["metadata"]["annotations"]


def without_default(site: Site) -> bool:
    """A claim that names no class while there is no default; it gets one when there is again."""
    with _no_default(site):
        site.send("POST", CLAIMS, claim(storage_class=None))
    return _wait(lambda: site.send("GET", f"{CLAIMS}/data")["spec"].get("storageClassName") == US_DISK)


def default_given_later(site: Site) -> bool:
    """The same with a claim that is older than the classification."""
    claims = CLAIMS.replace("{ns}", site.unclassified)
    with _no_default(site):
        site.send("POST", claims, claim(storage_class=None))
        _classify(site)
    # Kubernetes looks at claims when they change, and every quarter of a minute.
    site.send("PATCH", f"{claims}/data", {"metadata": {"labels": {"touched": "yes"}}}, MERGE)
    return _wait(lambda: site.send("GET", f"{claims}/data")["spec"].get("storageClassName") == US_DISK, 5)


def annotated_as_it_ends(site: Site) -> bool:
    """The older annotation added to a claim that is being deleted, and held: it would still get its volume."""
    body = claim()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    site.send("POST", CLAIMS, body)
    site.send("DELETE", f"{CLAIMS}/data")
    body = {"metadata": {"annotations": {STORAGE_CLASS_ANNOTATION: US_DISK}}}
    made = site.send("PATCH", f"{CLAIMS}/data/status", body, MERGE)
    return "deletionTimestamp" in made["metadata"] and STORAGE_CLASS_ANNOTATION in made["metadata"]["annotations"]


def chosen_later(site: Site) -> bool:
    """A claim from before whose volume somebody chooses afterwards."""
    claims = CLAIMS.replace("{ns}", site.unclassified)
    site.send("POST", claims, claim())
    _classify(site)
    site.send("PATCH", f"{claims}/data", {"spec": {"volumeName": "chosen"}}, MERGE)
    return True


def mounted_from_before(site: Site) -> bool:
    """A claim of a foreign class that is older than the classification, mounted by a new pod."""
    site.send("POST", CLAIMS.replace("{ns}", site.unclassified), claim(storage_class=US_DISK))
    _classify(site)
    site.controller()
    mounts = volume({"persistentVolumeClaim": {"claimName": "data"}})
    site.send("POST", PODS.replace("{ns}", site.unclassified), pod(mounts))
    return True


def _classify(site: Site) -> None:
    """Classify the namespace that was not, and wait until new claims are judged there."""
    path = f"/api/v1/namespaces/{site.unclassified}"
    site.send("PATCH", path, {"metadata": {"labels": {CLASSIFICATION: STRICT}}}, MERGE)
    probe = claim("probe", US_DISK)

    def judged() -> bool:
        url = CLAIMS.replace("{ns}", site.unclassified)
        return site.pipeline.send("POST", f"{url}?dryRun=All", probe).status == 403

    _wait(judged, 1)


@contextmanager
def _no_default(site: Site) -> Iterator[None]:
    path, (key, _) = f"{CLASSES}/{US_DISK}", DEFAULT_CLASS
    probe = f"{CLAIMS.replace('{ns}', site.unclassified)}?dryRun=All"

    def classless() -> bool:
        made = site.send("POST", probe, claim("probe", None))
        return "storageClassName" not in made["spec"]

    site.send("PATCH", path, {"metadata": {"annotations": {key: None}}}, MERGE, admin=True)
    try:
        assert _wait(classless), "there is a default all the same"
        yield
    finally:
        site.send("PATCH", path, {"metadata": {"annotations": {key: "true"}}}, MERGE, admin=True)
    # Where that is judged by now, a claim of the default is refused, which says as much.
    with suppress(Refused):
        assert _wait(lambda: not classless()), "the default is gone"


def _wait(met: Callable[[], bool], patience: float = PATIENCE) -> bool:
    deadline = time.monotonic() + patience
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def retained(change: Json) -> Callable[[Site], bool]:
    """Take a retained volume from the claim that it was bound to, and bind it where nothing is classified."""

    def attempt(site: Site) -> bool:
        name = f"of-{site.namespace}"
        path = f"/api/v1/persistentvolumes/{name}"
        # Too small for the claims that other attempts left waiting for a volume of this class.
        small = {"storage": "1Mi"}
        spec = {
            "capacity": small,
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": NL_DISK,
            "hostPath": {"path": "/data"},
        }
        body = {"metadata": {"name": name, "labels": {"site": name}}, "spec": spec}
        site.send("POST", "/api/v1/persistentvolumes", body, admin=True)
        own = claim(selector={"matchLabels": {"site": name}}, resources={"requests": small})
        site.send("POST", CLAIMS, own)
        # Kubernetes is done when the claim says so too.
        for bound in (path, f"{CLAIMS}/data"):
            assert _wait(lambda bound=bound: _phase(site, bound) == "Bound"), f"{bound} was never bound"  # type: ignore[misc]
        site.send("DELETE", f"{CLAIMS}/data")
        assert _wait(lambda: _phase(site, path) == "Released"), f"never released: {site.send('GET', path)}"
        site.send("PATCH", path, change, MERGE)
        wanted = change["spec"].get("storageClassName", NL_DISK)
        own["spec"]["storageClassName"] = wanted
        if change["spec"].get("claimRef", "") is not None:
            site.send("PATCH", path, {"spec": {"claimRef": None}}, MERGE)
        site.send("POST", CLAIMS.replace("{ns}", site.unclassified), own)
        return _wait(lambda: _bound_in(site, path) == site.unclassified)

    return attempt


def _phase(site: Site, path: str) -> str:
    return str(site.send("GET", path)["status"].get("phase"))


def _bound_in(site: Site, path: str) -> str:
    return str(site.send("GET", path)["spec"].get("claimRef", {}).get("namespace"))


def claiming_facts(method: str) -> Callable[[Site], bool]:
    """Make a foreign StorageClass Dutch by its labels."""

    def attempt(site: Site) -> bool:
        name = f"of-{site.namespace}"
        facts = {Fact.COUNTRY: "NL"}
        if method == "PATCH":
            site.send("POST", CLASSES, storage_class(name))
            site.send("PATCH", f"{CLASSES}/{name}", {"metadata": {"labels": facts}}, MERGE)
        else:
            site.send("POST", CLASSES, storage_class(name, "NL"))
        site.send("DELETE", f"{CLASSES}/{name}")
        return True

    return attempt


def class_deleted(site: Site) -> bool:
    """Delete a StorageClass that is allowed: nobody knows then that its volumes may hold classified data."""
    site.send("DELETE", f"{CLASSES}/{NL_SPARE}")
    site.send("POST", CLASSES, storage_class(NL_SPARE, "NL"), admin=True)
    return True


def made_anew(site: Site) -> bool:
    """Put another StorageClass in the place of one that is allowed, under its name."""
    site.send("DELETE", f"{CLASSES}/{NL_SPARE}", admin=True)
    site.send("POST", CLASSES, storage_class(NL_SPARE) | {"provisioner": "us.csi.example.com"})
    return True


def other_topology(site: Site) -> bool:
    """Let a StorageClass that is allowed make its volumes in another zone."""
    zone = {"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["us-east-1a"]}]}
    made = site.send("PATCH", f"{CLASSES}/{NL_DISK}", {"allowedTopologies": [zone]}, MERGE)
    site.send("PATCH", f"{CLASSES}/{NL_DISK}", {"allowedTopologies": None}, MERGE)
    return "allowedTopologies" in made


def forged_binder(site: Site) -> bool:
    """A ServiceAccount called as Kubernetes' own binder, in another namespace."""
    claims = CLAIMS.replace("{ns}", site.unclassified)
    site.send("POST", claims, claim())
    _classify(site)
    user = "system:serviceaccount:tenants:persistent-volume-binder"
    with KeepAlive(site.cluster.user_kubeconfig(user, ("system:masters",))) as binder:
        path = f"{claims}/data"
        answer = binder.send("PATCH", path, {"spec": {"volumeName": "chosen"}}, MERGE)
    if answer.status == 403:
        raise Refused(answer)
    return answer.status < 300


BUCKET: Final = {"apiGroup": "example.com", "kind": "Bucket", "name": "us-bucket"}

STORAGE_ATTEMPTS: Final = (
    Attempt("a claim of a foreign class", claiming(claim(storage_class=US_DISK)), Code.STORAGE_CLAIM),
    Attempt("a claim of the default class", claiming(claim(storage_class=None)), Code.STORAGE_CLAIM),
    Attempt("a claim that names no class where there is no default", without_default, Code.STORAGE_CLAIM),
    Attempt("a claim from before that gets the default class", default_given_later, ""),
    Attempt('a claim of storageClassName ""', claiming(claim(storage_class="")), Code.STORAGE_CLAIM),
    Attempt("a claim whose class the older annotation names", by_annotation, Code.STORAGE_CLAIM),
    Attempt("the older annotation added through the status", annotated_through_status, Code.STORAGE_CLAIM),
    Attempt("the older annotation added to a claim that is held in deletion", annotated_as_it_ends, Code.STORAGE_CLAIM),
    Attempt("a claim that names its volume", claiming(claim(volumeName="chosen")), Code.STORAGE_CLAIM),
    Attempt("a claim from before that is told its volume", chosen_later, Code.STORAGE_CLAIM),
    Attempt("a claim told its volume by a namesake of the binder", forged_binder, Code.STORAGE_CLAIM),
    Attempt("a claim filled from a bucket", claiming(claim(dataSourceRef=BUCKET)), Code.STORAGE_CLAIM),
    Attempt("an inline nfs volume", mounting(NFS), Code.VOLUME),
    Attempt("an inline csi volume", mounting(CSI), Code.VOLUME),
    Attempt("an ephemeral volume of a foreign class", mounting(ephemeral(US_DISK)), Code.STORAGE_CLAIM),
    Attempt("an ephemeral volume of the default class", mounting(ephemeral(None)), Code.STORAGE_CLAIM),
    *(
        Attempt(f"a {kind} with an inline nfs volume", mounting_in(kind, NFS), Code.VOLUME)
        for kind in ("Deployment", "DaemonSet", "CronJob")
    ),
    Attempt("a StatefulSet that makes claims of a foreign class", claim_template, Code.STORAGE_CLAIM),
    Attempt("a Deployment that gets its volume later", mounted_later, Code.VOLUME),
    Attempt("an annotated pod with an inline nfs volume", annotated_mount, Code.VOLUME),
    Attempt("a claim from before, mounted after (needs the controller)", mounted_from_before, Code.VOLUME),
    Attempt("a retained volume bound elsewhere", retained({"spec": {"claimRef": None}}), Code.VOLUME_RELEASED),
    Attempt(
        "a retained volume taken out of its class first",
        retained({"spec": {"storageClassName": US_DISK}}),
        Code.VOLUME_RELEASED,
    ),
    Attempt("facts stated of a StorageClass", claiming_facts("PATCH"), Code.NODE_FACTS),
    Attempt("a StorageClass made with facts", claiming_facts("POST"), Code.NODE_FACTS),
    Attempt("a StorageClass that is allowed deleted", class_deleted, Code.NODE_FACTS),
    Attempt("a StorageClass made anew under a name that is allowed", made_anew, Code.NODE_FACTS),
    Attempt("a StorageClass that is allowed given another zone", other_topology, Code.NODE_FACTS),
    Attempt(
        "a namespace moved to where storage is free", relabelling("PATCH", "", MERGE, UNSTORED), Code.DECLASSIFICATION
    ),
)
