"""Everyday operations on objects that may contradict their classification: each has to complete, whatever it meets.

An operation gets a `Site` and the name of an object of its own that has been running there. Where new pods are refused
it completes all the same: the request is accepted, what runs goes on running, an event says why, and the way back and
the way forward (mending the template, deleting) are open.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from controlplane import ControlPlane
from controlplane.pools import EU_PRIVATE, ODC_NOORD, PLAIN, US_AMSTERDAM
from e2e.enforcement import expect
from keepalive import Answer, KeepAlive
from residency.api.names import Code, Fact

Json = dict[str, Any]

HOME: Final = ODC_NOORD.name
STRICT: Final = "nl-depv"
GONE: Final = "nl-gone"
PATIENCE: Final = 30.0
MARK: Final = "example.com/change"
UNTAINTED: Final = EU_PRIVATE.nodes + US_AMSTERDAM.nodes + PLAIN.nodes
CONTRADICTING: Final[Json] = {"nodeSelector": {Fact.DEPLOYMENT_MODEL: "public"}}


@dataclass(frozen=True)
class Origin:
    """How objects came to be in a classified namespace."""

    name: str
    label: str
    before: bool
    """Whether they ran before their namespace was classified."""
    daemons: int
    """On how many nodes a DaemonSet runs at first."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What their pods ask for."""
    code: Code | None = None
    """Why new pods of theirs are refused."""


PATHS: Final = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}

ORIGINS: Final = (
    Origin("after", STRICT, False, ODC_NOORD.nodes),
    Origin("before", STRICT, True, UNTAINTED),
    Origin("contradicting", STRICT, True, US_AMSTERDAM.nodes, CONTRADICTING, Code.CONTRADICTION),
    Origin("unknown", GONE, True, UNTAINTED, {}, Code.UNKNOWN_CLASSIFICATION),
)


@dataclass(frozen=True)
class Site:
    """A namespace of one origin, and a pipeline that works in it with ordinary rights."""

    cluster: ControlPlane
    api: KeepAlive
    namespace: str
    origin: Origin

    def path(self, kind: str, name: str = "") -> str:
        """The path of a kind, or of an object."""
        return PATHS[kind].format(self.namespace) + (f"/{name}" if name else "")

    def send(self, method: str, path: str, body: object = None, kind: str = "application/merge-patch+json") -> Json:
        """Send a request that has to be accepted."""
        content_type = kind if method == "PATCH" else "application/json"
        return expect(self.api.send(method, path, body, content_type), 200, 201, 202).body

    def get(self, kind: str, name: str) -> Answer:
        """Look at an object, which may be gone."""
        return self.api.send("GET", self.path(kind, name))

    def patch(self, kind: str, name: str, body: Json) -> Json:
        """Merge something into an object."""
        return self.send("PATCH", self.path(kind, name), body)

    def pods(self, name: str) -> list[Json]:
        """The pods of an object that are not going."""
        items = self.send("GET", f"{self.path('Pod')}?labelSelector=app%3D{name}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def wait(self, saying: str, met: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + patience
        while not met():
            assert time.monotonic() < deadline, f"{self.namespace}: waited in vain for {saying}"
            time.sleep(0.1)

    def running(self, name: str, count: int, mark: str = "") -> list[Json]:
        """The pods of an object once exactly so many run, all of them with a mark where one is given."""

        found: list[Json] = []

        def met() -> bool:
            found[:] = self.pods(name)
            run = [p for p in found if p["status"].get("phase") == "Running" and _marked(p, mark)]
            return len(found) == len(run) == count

        self.wait(f"{count} pods of {name} to run", met)
        return found

    def at_home(self, name: str, count: int, mark: str = "") -> None:
        """Wait until so many pods run, and fail if one runs where it may not."""
        nodes = [pod["spec"]["nodeName"] for pod in self.running(name, count, mark)]
        assert all(node.startswith(HOME) for node in nodes), nodes

    def told_why(self, name: str) -> None:
        """Wait for the event that says why pods of an object are not made."""
        code = self.origin.code
        assert code is not None

        def met() -> bool:
            events = self.send("GET", f"/api/v1/namespaces/{self.namespace}/events")["items"]
            return any(e["involvedObject"]["name"].startswith(name) and f" {code}" in e["message"] for e in events)

        self.wait(f"an event about {name} with {code}", met)

    def gone(self, kind: str, name: str) -> None:
        """Wait until an object and all pods of its are gone."""
        path = f"{self.path('Pod')}?labelSelector=app%3D{name}"
        self.wait(f"{name} to go", lambda: self.get(kind, name).status == 404 and not self.send("GET", path)["items"])


def _marked(pod: Json, mark: str) -> bool:
    return not mark or pod["metadata"].get("annotations", {}).get(MARK) == mark


# What operations are made on


def template(name: str, spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Json:
    """A pod template, or what is the same, most of a pod."""
    container = {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    basic: Json = {"containers": [container], "terminationGracePeriodSeconds": 1}
    metadata = {"labels": {"app": name}, "annotations": dict(annotations)}
    return {"metadata": metadata, "spec": basic | dict(spec)}


def make(kind: str, name: str, spec: Mapping[str, Any], replicas: int, finishes_after: str) -> Json:
    """An object whose pods have the spec."""
    annotations = {"pod-complete.stage.kwok.x-k8s.io/delay": finishes_after} if finishes_after else {}
    made = template(name, spec, annotations)
    metadata = {"name": name, "labels": {"app": name}}
    labels = {"app": name}
    match kind:
        case "Pod":
            return made | {"metadata": made["metadata"] | metadata}
        case "Job":
            wanted: Json = {"template": made | {"spec": made["spec"] | {"restartPolicy": "Never"}}}
        case "CronJob":
            ending = made | {"spec": made["spec"] | {"restartPolicy": "Never"}}
            wanted = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": ending}}}
        case "ReplicationController":
            wanted = {"replicas": replicas, "selector": labels, "template": made}
        case "DaemonSet":
            wanted = {"selector": {"matchLabels": labels}, "template": made}
        case "StatefulSet":
            wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": made, "serviceName": name}
        case _:
            wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": made}
    return {"metadata": metadata, "spec": wanted}


@dataclass(frozen=True)
class Operation:
    """An operation, and the object that it is made on."""

    name: str
    run: Callable[[Site, str], None]
    kind: str
    replicas: int
    finishes_after: str
    own: Mapping[str, Any]
    """What its pods ask for besides, where that is from before."""

    def manifest(self, origin: Origin) -> Json:
        """Its object."""
        spec = {**origin.spec, **(self.own if origin.before else {})}
        return make(self.kind, self.name, spec, self.replicas, self.finishes_after)

    def pods(self, origin: Origin) -> int:
        """How many pods its object has at first."""
        return {"DaemonSet": origin.daemons, "CronJob": 0}.get(self.kind, self.replicas)


OPERATIONS: Final[list[Operation]] = []


def on(
    kind: str, replicas: int = 1, finishes_after: str = "", own: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[Callable[[Site, str], None]], None]:
    """Make a function an operation on an object of a kind."""

    def register(run: Callable[[Site, str], None]) -> None:
        OPERATIONS.append(Operation(run.__name__.replace("_", "-"), run, kind, replicas, finishes_after, own))

    return register


# Rolling out

_changes = itertools.count()


def change_template(site: Site, kind: str, name: str, spec: Mapping[str, Any]) -> str:
    """Change the template of a workload, as a roll-out does; returns the mark of its new pods."""
    mark = f"change-{next(_changes)}"
    site.patch(kind, name, {"spec": {"template": {"metadata": {"annotations": {MARK: mark}}, "spec": dict(spec)}}})
    return mark


def mend(site: Site, kind: str, name: str, count: int) -> None:
    """Take the contradiction out of a template, where that is what is wrong."""
    if site.origin.code is Code.CONTRADICTION:
        mark = change_template(site, kind, name, {"nodeSelector": None})
        site.at_home(name, count, mark)


def roll_out(site: Site, kind: str, name: str, count: int, kept: int) -> None:
    """Change a template; where the new pods are refused as many old ones run on, and mending goes through."""
    spec = {"containers": [{"name": "app", "image": "app:2"}]}
    mark = change_template(site, kind, name, spec)
    if site.origin.code is None:
        site.at_home(name, count, mark)
        return
    site.told_why(name)
    assert len([pod for pod in site.pods(name) if pod["status"].get("phase") == "Running"]) >= kept
    mend(site, kind, name, count)


@on("Deployment", 2)
def roll_out_a_deployment(site: Site, name: str) -> None:
    roll_out(site, "Deployment", name, 2, kept=2)


@on("StatefulSet", 2)
def roll_out_a_statefulset(site: Site, name: str) -> None:
    roll_out(site, "StatefulSet", name, 2, kept=1)


@on("DaemonSet")
def roll_out_a_daemonset(site: Site, name: str) -> None:
    roll_out(site, "DaemonSet", name, ODC_NOORD.nodes, kept=site.origin.daemons - 1)


@on("DaemonSet", own={"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]})
def roll_out_a_daemonset_with_tolerations_of_its_own(site: Site, name: str) -> None:
    """What would be refused today (RES-107) is not looked at until what is wrong with it changes."""
    before = site.get("DaemonSet", name).body["spec"]["template"]["spec"]
    change_template(site, "DaemonSet", name, {"terminationGracePeriodSeconds": 2})
    after = site.get("DaemonSet", name).body["spec"]["template"]["spec"]
    assert after == before | {"terminationGracePeriodSeconds": 2}
    if site.origin.code is Code.UNKNOWN_CLASSIFICATION:
        site.told_why(name)
        return
    mark = change_template(site, "DaemonSet", name, {"tolerations": None, "nodeSelector": None})
    site.at_home(name, ODC_NOORD.nodes, mark)


@on("DaemonSet")
def write_a_daemonset_anew_as_operators_do(site: Site, name: str) -> None:
    """They take what is there, replace the template by their own, and put it back, notes of Residency's and all."""
    anew = template(name, {}, {MARK: "anew"})
    whole = [{"op": "replace", "path": "/spec/template", "value": anew}]
    for _ in range(2):
        site.send("PATCH", site.path("DaemonSet", name), whole, "application/json-patch+json")
    if site.origin.code is Code.UNKNOWN_CLASSIFICATION:
        site.told_why(name)
    else:
        site.at_home(name, ODC_NOORD.nodes, "anew")


@on("Deployment", 2)
def restart_a_deployment(site: Site, name: str) -> None:
    mark = change_template(site, "Deployment", name, {})
    if site.origin.code is None:
        site.at_home(name, 2, mark)
    else:
        site.told_why(name)


@on("Deployment", 2)
def roll_back_a_deployment(site: Site, name: str) -> None:
    pods = {pod["metadata"]["uid"] for pod in site.running(name, 2)}
    before = site.get("Deployment", name).body["spec"]["template"]
    mark = change_template(site, "Deployment", name, {"containers": [{"name": "app", "image": "app:broken"}]})
    if site.origin.code is None:
        site.at_home(name, 2, mark)
    else:
        site.told_why(name)
    undo = [{"op": "replace", "path": "/spec/template", "value": before}]
    made = site.send("PATCH", site.path("Deployment", name), undo, "application/json-patch+json")
    site.wait(f"{name} to be rolled back", lambda: _complete(site, name, made["metadata"]["generation"]))
    if site.origin.code is not None:
        assert {pod["metadata"]["uid"] for pod in site.running(name, 2)} == pods


def _complete(site: Site, name: str, generation: int) -> bool:
    status: Json = site.get("Deployment", name).body["status"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return bool(status.get("observedGeneration", 0) >= generation and counts == [2, 2, 2])


@on("Deployment", 1)
def pause_and_resume_a_deployment(site: Site, name: str) -> None:
    site.patch("Deployment", name, {"spec": {"paused": True}})
    change_template(site, "Deployment", name, {})
    site.patch("Deployment", name, {"spec": {"paused": False}})
    site.running(name, 1) if site.origin.code is None else site.told_why(name)


# Scaling


def scale(site: Site, kind: str, name: str, replicas: int) -> None:
    """Scale through the subresource, as kubectl and autoscalers do."""
    site.send("PATCH", f"{site.path(kind, name)}/scale", {"spec": {"replicas": replicas}})


def scale_up_and_down(site: Site, kind: str, name: str) -> None:
    """From one to three, back to one, to none."""
    before = {pod["metadata"]["uid"] for pod in site.running(name, 1)}
    scale(site, kind, name, 3)
    if site.origin.code is None:
        added = [pod for pod in site.running(name, 3) if pod["metadata"]["uid"] not in before]
        assert all(pod["spec"]["nodeName"].startswith(HOME) for pod in added)
    else:
        site.told_why(name)
        assert {pod["metadata"]["uid"] for pod in site.running(name, 1)} == before
    scale(site, kind, name, 1)
    site.running(name, 1)
    scale(site, kind, name, 0)
    site.running(name, 0)


@on("Deployment")
def scale_a_deployment(site: Site, name: str) -> None:
    scale_up_and_down(site, "Deployment", name)


@on("StatefulSet")
def scale_a_statefulset(site: Site, name: str) -> None:
    scale_up_and_down(site, "StatefulSet", name)


@on("ReplicaSet")
def scale_a_replicaset(site: Site, name: str) -> None:
    scale_up_and_down(site, "ReplicaSet", name)


@on("ReplicationController")
def scale_a_replicationcontroller(site: Site, name: str) -> None:
    scale_up_and_down(site, "ReplicationController", name)


# Draining


@on("Deployment")
def drain(site: Site, name: str) -> None:
    pod = site.running(name, 1)[0]
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    site.send("PATCH", node, {"spec": {"unschedulable": True}})
    try:
        _evict(site, pod)
        if site.origin.code is None:
            site.at_home(name, 1)
        else:
            site.told_why(name)
            mend(site, "Deployment", name, 1)
    finally:
        site.send("PATCH", node, {"spec": {"unschedulable": None}})


@on("Pod")
def evict_a_bare_pod(site: Site, name: str) -> None:
    _evict(site, site.get("Pod", name).body)


def _evict(site: Site, pod: Json) -> None:
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    site.send("POST", f"{site.path('Pod', name)}/eviction", eviction)
    site.wait(f"{name} to go", lambda: site.get("Pod", name).body.get("metadata", {}).get("uid") != uid)


# Finishing


@on("Job", finishes_after="30s")
def finish_a_job(site: Site, name: str) -> None:
    site.wait(f"{name} to complete", lambda: site.get("Job", name).body["status"].get("succeeded") == 1)


@on("Job", finishes_after="600s")
def suspend_and_resume_a_job(site: Site, name: str) -> None:
    site.patch("Job", name, {"spec": {"suspend": True}})
    site.running(name, 0)
    site.patch("Job", name, {"spec": {"suspend": False}})
    site.at_home(name, 1) if site.origin.code is None else site.told_why(name)
    site.send("DELETE", f"{site.path('Job', name)}?propagationPolicy=Foreground")
    site.gone("Job", name)


@on("CronJob")
def edit_and_trigger_a_cronjob(site: Site, name: str) -> None:
    made = site.patch("CronJob", name, {"spec": {"suspend": True, "schedule": "0 0 2 1 *"}})
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": made["metadata"]["uid"]}
    metadata = {"name": f"{name}-now", "ownerReferences": [owner | {"controller": True}]}
    site.send("POST", site.path("Job"), {"metadata": metadata, "spec": made["spec"]["jobTemplate"]["spec"]})
    if site.origin.code is None:
        site.wait("the job", lambda: site.get("Job", f"{name}-now").body["status"].get("succeeded") == 1)
    else:
        site.told_why(f"{name}-now")
    site.send("DELETE", f"{site.path('CronJob', name)}?propagationPolicy=Foreground")
    site.gone("CronJob", name)
    site.gone("Job", f"{name}-now")


@on("Pod")
def end_a_pod_as_its_kubelet_does(site: Site, name: str) -> None:
    node = site.get("Pod", name).body["spec"]["nodeName"]
    with KeepAlive(site.cluster.user_kubeconfig(f"system:node:{node}", ["system:nodes"])) as kubelet:
        status = {"status": {"phase": "Succeeded"}}
        answer = kubelet.send("PATCH", f"{site.path('Pod', name)}/status", status, "application/merge-patch+json")
    assert expect(answer, 200).body["status"]["phase"] == "Succeeded"


# Editing

_EDITED: Final = {"labels": {"edited": "yes"}, "annotations": {"edited": "yes"}}


def editing(kind: str) -> None:
    """Make editing the metadata of a kind an operation."""

    def edit(site: Site, name: str) -> None:
        site.patch(kind, name, {"metadata": _EDITED})
        site.patch(kind, name, {"metadata": {"labels": {"edited": None}, "finalizers": ["example.com/hold"]}})
        made = site.patch(kind, name, {"metadata": {"finalizers": None}})
        assert made["metadata"]["annotations"]["edited"] == "yes"

    edit.__name__ = f"edit_a_{kind.lower()}"
    on(kind, finishes_after="600s")(edit)


for _kind in PATHS:
    editing(_kind)


@on("Pod")
def change_the_image_of_a_pod(site: Site, name: str) -> None:
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "app:2"}]
    site.send("PATCH", site.path("Pod", name), image, "application/json-patch+json")


@on("Pod")
def debug_a_pod(site: Site, name: str) -> None:
    ephemeral = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "debug"}]}}
    path = f"{site.path('Pod', name)}/ephemeralcontainers"
    made = site.send("PATCH", path, ephemeral, "application/strategic-merge-patch+json")
    assert made["spec"]["ephemeralContainers"][0]["name"] == "debug"


@on("Pod")
def resize_a_pod(site: Site, name: str) -> None:
    # What the kubelet says where it can resize, and the simulated one does not.
    reported = [{"op": "add", "path": "/status/containerStatuses/0/resources", "value": {"requests": {"cpu": "10m"}}}]
    site.send("PATCH", f"{site.path('Pod', name)}/status", reported, "application/json-patch+json")
    bigger = {"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "20m"}}}]}}
    path = f"{site.path('Pod', name)}/resize"
    made = site.send("PATCH", path, bigger, "application/strategic-merge-patch+json")
    assert made["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "20m"


@on("Pod")
def tolerate_more_in_a_pod(site: Site, name: str) -> None:
    more = [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "example.com/more", "operator": "Exists"}}]
    site.send("PATCH", site.path("Pod", name), more, "application/json-patch+json")


# Deleting


def deleting(kind: str, policy: str) -> None:
    """Make deleting a kind an operation."""

    def delete(site: Site, name: str) -> None:
        site.send("DELETE", f"{site.path(kind, name)}?propagationPolicy={policy}")
        site.gone(kind, name)

    delete.__name__ = f"delete_a_{kind.lower()}_in_the_{policy.lower()}"
    on(kind, finishes_after="600s")(delete)


for _kind in PATHS:
    for _policy in ("Background", "Foreground"):
        deleting(_kind, _policy)


@on("Pod")
def delete_a_pod_that_a_finalizer_holds(site: Site, name: str) -> None:
    site.patch("Pod", name, {"metadata": {"finalizers": ["example.com/hold"]}})
    site.send("DELETE", site.path("Pod", name))
    assert site.get("Pod", name).status == 200
    site.patch("Pod", name, {"metadata": {"finalizers": None}})
    site.gone("Pod", name)


@on("Deployment", 2)
def orphan_and_adopt_pods(site: Site, name: str) -> None:
    kept = {pod["metadata"]["uid"] for pod in site.running(name, 2)}
    manifest = make("Deployment", name, site.origin.spec, 2, "")
    site.send("DELETE", f"{site.path('Deployment', name)}?propagationPolicy=Orphan")
    site.wait(f"{name} to go", lambda: site.get("Deployment", name).status == 404)
    again = site.api.send("POST", site.path("Deployment"), manifest)
    if site.origin.code is None:
        expect(again, 201)
        site.wait(f"{name} to adopt", lambda: _complete(site, name, 1))
    else:
        assert f" {site.origin.code}" in again.message
    assert {pod["metadata"]["uid"] for pod in site.running(name, 2)} == kept


@on("Deployment", 2)
def delete_all_pods(site: Site, name: str) -> None:
    site.send("DELETE", f"{site.path('Pod')}?labelSelector=app%3D{name}")
    site.at_home(name, 2) if site.origin.code is None else site.told_why(name)


ONE_OF_EACH_KIND: Final = [operation for operation in OPERATIONS if operation.name.startswith("edit-")]


def total(operations: Sequence[Operation], origin: Origin) -> int:
    """How many pods run at first in a namespace of the origin."""
    return sum(operation.pods(origin) for operation in operations)
