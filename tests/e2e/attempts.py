"""Attempts to get a classified workload where it may not run: each a few requests that somebody could send.

An attempt gets a `Site`, a cluster with a fresh namespace labelled as classified, and returns whether it got its way.
On a cluster without Residency it does; with Residency a request of it is refused, or what it does is harmless.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from controlplane import ControlPlane
from keepalive import Answer, KeepAlive
from residency.api.names import CLASSIFICATION, ENFORCEMENT, PLACED_BY, SOVEREIGN, Code, Fact, Mode

Json = dict[str, Any]

HOME: Final = "odc-noord"
ABROAD: Final = "us-amsterdam"
ABROAD_NODE: Final = f"{ABROAD}-0"
PIPELINE: Final = "pipeline"
LAX: Final = "eu-gdpr"
STRICT: Final = "nl-depv"
PATIENCE: Final = 20.0


class Refused(Exception):
    """The API server refused a request of the attempt."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


@dataclass
class Site:
    """Where an attempt is made, and by whom: a pipeline that may do everything, but has not Residency's rights."""

    cluster: ControlPlane
    namespace: str
    unclassified: str
    administrator: KeepAlive
    pipeline: KeepAlive
    changing: Callable[[], Iterator[None]]
    """Changes the classifications there and back, policy by policy; on a bare cluster nothing changes meanwhile."""
    controller: Callable[[], object]
    """Does what the controller does after a change, where there is one."""

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        *,
        admin: bool = False,
    ) -> Json:
        """Send a request as the pipeline; raise Refused when it is forbidden, fail on any other error."""
        who = self.administrator if admin else self.pipeline
        answer = who.send(method, path.replace("{ns}", self.namespace), body, content_type)
        if answer.status == 403:
            raise Refused(answer)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.message}"
        return answer.body

    def ran_abroad(self, app: str = "app", namespace: str = "") -> bool:
        """Whether a pod of the app runs outside the classification's nodes, once all pods have settled."""
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods?labelSelector=app%3D{app}"
        deadline = time.monotonic() + PATIENCE
        while True:
            pods = self.send("GET", path, admin=True)["items"]
            nodes = [pod["spec"].get("nodeName", "") for pod in pods]
            if pods and all(nodes):
                return any(not node.startswith(HOME) for node in nodes)
            if pods and all(map(_unschedulable, pods)):
                return False
            assert time.monotonic() < deadline, f"no pod of {app} has settled: {nodes}"
            time.sleep(0.05)


def _unschedulable(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in conditions)


@dataclass(frozen=True)
class Attempt:
    """A named attempt, and how it ends with Residency: a code, or "" where it is harmless."""

    name: str
    run: Callable[[Site], bool]
    code: Code | str
    kubernetes_refuses: bool = False
    """Whether it gets nowhere even without Residency; then it is here to keep it so."""


# Building blocks

IN_ABROAD: Final = {"key": Fact.DEPLOYMENT_MODEL, "operator": "In", "values": ["public"]}
PREFERRING: Final = {
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchExpressions": [IN_ABROAD]}}
            ]
        }
    }
}
SELECTING: Final = {"nodeSelector": {Fact.DEPLOYMENT_MODEL: "public"}}


def requiring(*terms: Json) -> Json:
    """A pod spec with required node affinity."""
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def both(required: Json, preferred: Json) -> Json:
    """Required and preferred node affinity in one pod spec."""
    return {"affinity": {"nodeAffinity": required["affinity"]["nodeAffinity"] | preferred["affinity"]["nodeAffinity"]}}


def template(spec: Mapping[str, Any], annotation: str = "") -> Json:
    """A pod template."""
    metadata: Json = {"labels": {"app": "app"}}
    if annotation:
        metadata["annotations"] = {CLASSIFICATION: annotation}
    basic: Json = {"containers": [{"name": "app", "image": "app"}], "terminationGracePeriodSeconds": 1}
    return {"metadata": metadata, "spec": basic | dict(spec)}


def pod(spec: Mapping[str, Any], annotation: str = "", name: str = "app") -> Json:
    """A pod."""
    made = template(spec, annotation)
    return {"apiVersion": "v1", "kind": "Pod", **made, "metadata": made["metadata"] | {"name": name}}


_KINDS: Final[Mapping[str, tuple[str, Callable[[Json], Json]]]] = {
    "Deployment": ("apis/apps/v1/namespaces/{ns}/deployments", lambda t: _selecting(t)),
    "StatefulSet": ("apis/apps/v1/namespaces/{ns}/statefulsets", lambda t: _selecting(t) | {"serviceName": "app"}),
    "ReplicaSet": ("apis/apps/v1/namespaces/{ns}/replicasets", lambda t: _selecting(t)),
    "DaemonSet": ("apis/apps/v1/namespaces/{ns}/daemonsets", lambda t: _selecting(t)),
    "ReplicationController": (
        "api/v1/namespaces/{ns}/replicationcontrollers",
        lambda t: {"selector": {"app": "app"}, "template": t},
    ),
    "Job": ("apis/batch/v1/namespaces/{ns}/jobs", lambda t: {"template": _ending(t)}),
    "CronJob": (
        "apis/batch/v1/namespaces/{ns}/cronjobs",
        lambda t: {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": _ending(t)}}},
    ),
}


def _selecting(made: Json) -> Json:
    return {"selector": {"matchLabels": {"app": "app"}}, "template": made}


def _ending(made: Json) -> Json:
    return made | {"spec": made["spec"] | {"restartPolicy": "Never"}}


def workload(kind: str, spec: Mapping[str, Any], annotation: str = "") -> tuple[str, Json]:
    """The path and the body of a workload."""
    path, wrap = _KINDS[kind]
    return f"/{path}", {"metadata": {"name": "app"}, "spec": wrap(template(spec, annotation))}


def creating_pod(spec: Mapping[str, Any]) -> Callable[[Site], bool]:
    """Create a pod, and look where it runs."""

    def attempt(site: Site) -> bool:
        site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(spec))
        return site.ran_abroad()

    return attempt


def creating(kind: str, spec: Mapping[str, Any]) -> Callable[[Site], bool]:
    """Create a workload, and look where its pods run."""

    def attempt(site: Site) -> bool:
        site.send("POST", *workload(kind, spec))
        if kind == "CronJob":
            made = site.send("GET", "/apis/batch/v1/namespaces/{ns}/cronjobs/app")
            job = {"metadata": {"name": "app"}, "spec": made["spec"]["jobTemplate"]["spec"]}
            site.send("POST", "/apis/batch/v1/namespaces/{ns}/jobs", job)
        return site.ran_abroad()

    return attempt


# Attempts of more than one request


def annotated_abroad(site: Site) -> bool:
    """An annotated pod in a namespace without a classification, contradicting its own annotation."""
    site.send("POST", f"/api/v1/namespaces/{site.unclassified}/pods", pod(SELECTING, STRICT))
    return site.ran_abroad(namespace=site.unclassified)


def annotated_preferring(site: Site) -> bool:
    """An annotated pod in a namespace without a classification that prefers to be abroad."""
    site.send("POST", f"/api/v1/namespaces/{site.unclassified}/pods", pod(PREFERRING, STRICT))
    return site.ran_abroad(namespace=site.unclassified)


def annotated_unknown(site: Site) -> bool:
    """An annotation that names nothing, in the hope that nothing is asked then."""
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(PREFERRING, "nl-dpev"))
    return site.ran_abroad()


def annotated_laxer(site: Site) -> bool:
    """An annotation that asks for less than the namespace does."""
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(PREFERRING, LAX))
    return site.ran_abroad()


def server_side_applied(site: Site) -> bool:
    """A pod created by server-side apply."""
    body = pod(PREFERRING)
    site.send("PATCH", "/api/v1/namespaces/{ns}/pods/app?fieldManager=x", body, "application/apply-patch+yaml")
    return site.ran_abroad()


def _waiting_pod(site: Site, spec: Mapping[str, Any] = MappingProxyType({})) -> None:
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod({"schedulerName": "nobody"} | dict(spec)))


def _binding(metadata: Mapping[str, Any] = MappingProxyType({}), node: str = ABROAD_NODE) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "app"} | dict(metadata),
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def bound(site: Site) -> bool:
    """A pod bound by hand."""
    _waiting_pod(site)
    site.send("POST", "/api/v1/namespaces/{ns}/pods/app/binding", _binding())
    return site.ran_abroad()


def bound_the_old_way(site: Site) -> bool:
    """A pod bound through the older collection of bindings."""
    _waiting_pod(site)
    site.send("POST", "/api/v1/namespaces/{ns}/bindings", _binding())
    return site.ran_abroad()


def own_scheduler(site: Site) -> bool:
    """A scheduler of the tenant's own, with the rights of Kubernetes' scheduler under another name."""
    _waiting_pod(site)
    with _as(site, "system:serviceaccount:tenants:scheduler", "system:masters") as scheduler:
        answer = scheduler.send("POST", f"/api/v1/namespaces/{site.namespace}/pods/app/binding", _binding())
    if answer.status == 403:
        raise Refused(answer)
    return site.ran_abroad()


def binding_that_annotates(site: Site) -> bool:
    """A binding whose metadata writes Residency's annotations onto the pod."""
    _waiting_pod(site)
    with _as(site, "system:kube-scheduler", "system:masters") as scheduler:
        metadata = {"annotations": {PLACED_BY: "forged"}}
        body = _binding(metadata, f"{HOME}-0")
        answer = scheduler.send("POST", f"/api/v1/namespaces/{site.namespace}/pods/app/binding", body)
    if answer.status == 403:
        raise Refused(answer)
    return _annotations(site).get(PLACED_BY) == "forged"


def binding_that_annotates_elsewhere(site: Site) -> bool:
    """The same with an annotated pod of a namespace without a classification, which anybody may bind."""
    pods = f"/api/v1/namespaces/{site.unclassified}/pods"
    site.send("POST", pods, pod({"schedulerName": "nobody"}, STRICT))
    body = _binding({"annotations": {CLASSIFICATION: LAX}}, f"{HOME}-0")
    site.send("POST", f"{pods}/app/binding", body)
    annotations: Json = site.send("GET", f"{pods}/app")["metadata"]["annotations"]
    return bool(annotations[CLASSIFICATION] == LAX)


@contextlib.contextmanager
def _as(site: Site, user: str, *groups: str) -> Iterator[KeepAlive]:
    with KeepAlive(site.cluster.user_kubeconfig(user, groups)) as connection:
        yield connection


def _annotations(site: Site) -> Json:
    made: Json = site.send("GET", "/api/v1/namespaces/{ns}/pods/app")["metadata"].get("annotations", {})
    return made


def changing_annotation(route: str, content_type: str) -> Callable[[Site], bool]:
    """Change what a running pod is annotated with."""

    def attempt(site: Site) -> bool:
        site.send("POST", "/api/v1/namespaces/{ns}/pods", pod({}, STRICT))
        body: object = {"metadata": {"annotations": {CLASSIFICATION: LAX}}}
        if content_type == "application/json-patch+json":
            where = "/metadata/annotations/" + CLASSIFICATION.replace("/", "~1")
            body = [{"op": "replace", "path": where, "value": LAX}]
        if content_type == "application/apply-patch+yaml":
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", **body["metadata"]}}  # type: ignore[index]
        query = "?fieldManager=x&force=true" if "apply" in content_type else ""
        site.send("PATCH", f"/api/v1/namespaces/{{ns}}/pods/app{route}{query}", body, content_type)
        return bool(_annotations(site).get(CLASSIFICATION) == LAX)

    return attempt


def replacing_pod(site: Site) -> bool:
    """The same by a PUT of the whole pod."""
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod({"schedulerName": "nobody"}, STRICT))
    live = site.send("GET", "/api/v1/namespaces/{ns}/pods/app")
    del live["metadata"]["annotations"][CLASSIFICATION]
    site.send("PUT", "/api/v1/namespaces/{ns}/pods/app", live)
    return CLASSIFICATION not in _annotations(site)


GATED: Final = {"schedulingGates": [{"name": "example.com/wait"}]}


def released_after_classification(site: Site) -> bool:
    """A pod kept back by a gate while its namespace is classified, released afterwards."""
    path = f"/api/v1/namespaces/{site.unclassified}"
    site.send("POST", f"{path}/pods", pod(GATED | PREFERRING))
    site.send("PATCH", path, {"metadata": {"labels": {CLASSIFICATION: STRICT}}}, "application/merge-patch+json")
    _settle(site, path)
    site.send("PATCH", f"{path}/pods/app", {"spec": {"schedulingGates": []}}, "application/merge-patch+json")
    return site.ran_abroad(namespace=site.unclassified)


def _settle(site: Site, path: str) -> None:
    """Give a new label the moment that it takes to reach the API server's cache of namespaces."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        made = site.send("POST", f"{path}/pods?dryRun=All", pod({}, name="probe"))
        if PLACED_BY in made["metadata"].get("annotations", {}):
            return


def gated_and_widened(site: Site) -> bool:
    """A gated pod whose affinity is replaced before it is released."""
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(GATED | requiring({"matchExpressions": [_LINUX]})))
    wider = {"spec": requiring({"matchExpressions": [IN_ABROAD]})}
    answer = site.pipeline.send(
        "PATCH", f"/api/v1/namespaces/{site.namespace}/pods/app", wider, "application/merge-patch+json"
    )
    return answer.status < 300


_LINUX: Final = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}


def stripped_by_another(site: Site) -> bool:
    """Another mutating policy, later than Residency's, that takes the affinity away from pods of this namespace."""
    name = f"zz-strip-{site.namespace}"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    taking = f'JSONPatch{{op: "remove", path: "/spec/affinity/nodeAffinity/{required}"}}'
    has = f"object.spec.?affinity.?nodeAffinity.?{required}.hasValue()"
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}},
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ],
        },
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"{has} ? [{taking}] : []"}}],
    }
    root = "/apis/admissionregistration.k8s.io/v1"
    site.send("POST", f"{root}/mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec}, admin=True)
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    site.send("POST", f"{root}/mutatingadmissionpolicybindings", binding, admin=True)
    probe = pod(requiring({"matchExpressions": [_LINUX]}), name="probe")
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            made = site.send("POST", "/api/v1/namespaces/{ns}/pods?dryRun=All", probe)
            if required not in json.dumps(made["spec"].get("affinity", {})):
                break
            assert time.monotonic() < deadline, "the stripping policy never came into force"
            # On a busy machine an API server sometimes overlooks that both are there, until one of them changes.
            touched = {"metadata": {"annotations": {"touched": str(time.monotonic())}}}
            for kind in ("mutatingadmissionpolicybindings", "mutatingadmissionpolicies"):
                site.send("PATCH", f"{root}/{kind}/{name}", touched, "application/merge-patch+json", admin=True)
            time.sleep(0.5)
        site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(PREFERRING))
        return site.ran_abroad()
    finally:
        for kind in ("mutatingadmissionpolicybindings", "mutatingadmissionpolicies"):
            site.send("DELETE", f"{root}/{kind}/{name}", admin=True)


def owned_replicaset(site: Site) -> bool:
    """A ReplicaSet that claims a controller, so that its template is not judged."""
    path, body = workload("ReplicaSet", SELECTING)
    made = site.send("POST", "/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "owner"}})
    uid = made["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": True}
    body["metadata"]["ownerReferences"] = [owner]
    body["spec"]["replicas"] = 1
    site.send("POST", path, body)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        pods = site.send("GET", "/api/v1/namespaces/{ns}/pods")["items"]
        if pods and pods[0]["spec"].get("nodeName"):
            return True
        time.sleep(0.1)
    return False


def scaled(site: Site) -> bool:
    """A Deployment without pods, scaled up through the scale subresource."""
    path, body = workload("Deployment", PREFERRING)
    body["spec"]["replicas"] = 0
    site.send("POST", path, body)
    site.send("PATCH", f"{path}/app/scale", {"spec": {"replicas": 2}}, "application/merge-patch+json")
    return site.ran_abroad()


def template_changed_later(site: Site) -> bool:
    """A Deployment that is made to contradict by an update."""
    path, body = workload("Deployment", {})
    site.send("POST", path, body)
    change = {"spec": {"template": {"spec": SELECTING}}}
    site.send("PATCH", f"{path}/app", change, "application/merge-patch+json")
    return site.ran_abroad()


def forged_mirror(site: Site) -> bool:
    """A pod that calls itself the mirror of a static pod."""
    made = pod({"nodeName": ABROAD_NODE})
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "a1b2"}
    site.send("POST", "/api/v1/namespaces/{ns}/pods", made)
    return site.ran_abroad()


def relabelling(method: str, route: str, content_type: str, new: str | None) -> Callable[[Site], bool]:
    """Take a namespace out of its classification, or move it to a laxer one."""

    def attempt(site: Site) -> bool:
        path = "/api/v1/namespaces/{ns}"
        live = site.send("GET", path)
        if method == "PUT":
            labels = {key: value for key, value in live["metadata"]["labels"].items() if key != CLASSIFICATION}
            live["metadata"]["labels"] = labels | ({CLASSIFICATION: new} if new else {})
            site.send("PUT", path + route, live)
        else:
            site.send("PATCH", path + route + _query(content_type), _change(live, content_type, new), content_type)
        after = site.send("GET", path)["metadata"]["labels"].get(CLASSIFICATION)
        return bool(after == new)

    return attempt


def _query(content_type: str) -> str:
    return "?fieldManager=owner&force=true" if "apply" in content_type else ""


def _change(live: Json, content_type: str, new: str | None) -> object:
    labels = {CLASSIFICATION: new}
    if content_type == "application/json-patch+json":
        where = "/metadata/labels/" + CLASSIFICATION.replace("/", "~1")
        return [{"op": "remove", "path": where} if new is None else {"op": "replace", "path": where, "value": new}]
    if "apply" in content_type:
        name = live["metadata"]["name"]
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels if new else {}}}
    return {"metadata": {"labels": labels}}


def replacing_labels(site: Site) -> bool:
    """Put other labels in the place of all that a namespace has, by a directive of the strategic merge patch."""
    body = {"metadata": {"labels": {"$patch": "replace", "team": "payments"}}}
    made = site.send("PATCH", "/api/v1/namespaces/{ns}", body, "application/strategic-merge-patch+json")
    return CLASSIFICATION not in made["metadata"]["labels"]


def called_kube_system(site: Site) -> bool:
    """Give a namespace the label by which policies know those that they leave alone."""
    body = {"metadata": {"labels": {"kubernetes.io/metadata.name": "kube-system"}}}
    for route in ("", "/status"):
        site.send("PATCH", "/api/v1/namespaces/{ns}" + route, body, "application/merge-patch+json")
    return creating_pod(SELECTING)(site)


def lowering(route: str) -> Callable[[Site], bool]:
    """Lower a classified namespace to a mode in which nothing is refused."""

    def attempt(site: Site) -> bool:
        body = {"metadata": {"labels": {ENFORCEMENT: Mode.AUDIT}}}
        site.send("PATCH", "/api/v1/namespaces/{ns}" + route, body, "application/merge-patch+json")
        site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(SELECTING))
        return site.ran_abroad()

    return attempt


def lowered_beforehand(site: Site) -> bool:
    """Lower a namespace while that asks for no right, and have it classified so."""
    path = f"/api/v1/namespaces/{site.unclassified}"
    for label, value in ((ENFORCEMENT, str(Mode.AUDIT)), (CLASSIFICATION, STRICT)):
        site.send("PATCH", path, {"metadata": {"labels": {label: value}}}, "application/merge-patch+json")
    site.send("POST", f"{path}/pods", pod(SELECTING))
    return site.ran_abroad(namespace=site.unclassified)


def bursting(site: Site) -> bool:
    """Pods sent all the time while the classifications change: one of them may find a gap."""
    for number, _ in enumerate(site.changing()):
        made = pod(PREFERRING, name=f"app-{number}")
        answer = site.pipeline.send("POST", f"/api/v1/namespaces/{site.namespace}/pods", made)
        # Placed by what was in force and guarded by what came: refused, and sent again it passes.
        assert answer.status == 201 or (answer.status == 403 and Code.NOT_PLACED in answer.message), answer
    site.send("POST", "/api/v1/namespaces/{ns}/pods", pod(PREFERRING))
    return site.ran_abroad()


_NUMBERS = itertools.count()


def stating_facts(route: str) -> Callable[[Site], bool]:
    """Make a foreign node Dutch by its labels, and run there."""

    def attempt(site: Site) -> bool:
        facts = {Fact.COUNTRY: "NL", Fact.CONTROLLED_FROM: "NL", Fact.DEPLOYMENT_MODEL: "government"}
        name = f"stated-{next(_NUMBERS)}"
        site.send("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        try:
            body = {"metadata": {"labels": facts}}
            site.send("PATCH", f"/api/v1/nodes/{name}{route}", body, "application/merge-patch+json")
            return Fact.COUNTRY in site.send("GET", f"/api/v1/nodes/{name}")["metadata"]["labels"]
        finally:
            site.send("DELETE", f"/api/v1/nodes/{name}")

    return attempt


def registering_with_facts(site: Site) -> bool:
    """Register a node that says of itself that it is Dutch."""
    name = f"registered-{next(_NUMBERS)}"
    site.send("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {Fact.COUNTRY: "NL"}}})
    site.send("DELETE", f"/api/v1/nodes/{name}")
    return True


def kubelet_states_facts(site: Site) -> bool:
    """A kubelet that gives its own node a fact."""
    with _as(site, f"system:node:{ABROAD_NODE}", "system:nodes") as kubelet:
        body = {"metadata": {"labels": {Fact.DEPLOYMENT_MODEL: "government"}}}
        path = f"/api/v1/nodes/{ABROAD_NODE}/status"
        return kubelet.send("PATCH", path, body, "application/merge-patch+json").status < 300


def kubelet_registers_with_facts(site: Site) -> bool:
    """A kubelet that registers its node with a fact."""
    with _as(site, "system:node:new", "system:nodes") as kubelet:
        body = {"metadata": {"name": "new", "labels": {Fact.DEPLOYMENT_MODEL: "government"}}}
        return kubelet.send("POST", "/api/v1/nodes", body).status < 300


def in_a_terminating_namespace(site: Site) -> bool:
    """A pod created while its namespace goes."""
    path = f"/api/v1/namespaces/{site.unclassified}"
    held = pod({"schedulerName": "nobody"}, name="held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    site.send("POST", f"{path}/pods", held)
    site.send("DELETE", path)
    answer = site.pipeline.send("POST", f"{path}/pods", pod(PREFERRING))
    site.send("PATCH", f"{path}/pods/held", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    return answer.status < 300


def unknown_namespace_label(site: Site) -> bool:
    """A namespace that says it is of a classification that there is not."""
    name = f"{site.namespace}-typo"
    site.send("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {CLASSIFICATION: "nl-dpev"}}})
    return True


def classified_kube_system(site: Site) -> bool:
    """A classification on kube-system, to bring the cluster down."""
    body = {"metadata": {"labels": {CLASSIFICATION: STRICT}}}
    site.send("PATCH", "/api/v1/namespaces/kube-system", body, "application/merge-patch+json")
    site.send(
        "PATCH",
        "/api/v1/namespaces/kube-system",
        {"metadata": {"labels": {CLASSIFICATION: None}}},
        "application/merge-patch+json",
    )
    return True


def misplaced_annotation(site: Site) -> bool:
    """A workload that looks classified, because the annotation stands where pods do not get it."""
    path, body = workload("Deployment", PREFERRING)
    body["metadata"]["annotations"] = {CLASSIFICATION: STRICT}
    site.send("POST", path.replace("{ns}", site.unclassified), body)
    return site.ran_abroad(namespace=site.unclassified)


_GOVERNMENT: Final = {"key": Fact.DEPLOYMENT_MODEL, "operator": "In", "values": ["government"]}
_EVERYTHING: Final = {"tolerations": [{"operator": "Exists"}]}
_MERGE, _JSON, _APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"

ATTEMPTS: Final = (
    Attempt(
        "OR-ed terms, one of them abroad",
        creating_pod(
            requiring(
                {"matchExpressions": [{"key": Fact.COUNTRY, "operator": "In", "values": ["BE"]}]},
                {"matchExpressions": [IN_ABROAD]},
            )
        ),
        Code.CONTRADICTION,
    ),
    Attempt(
        "OR-ed terms, one allowed and one anywhere",
        creating_pod(both(requiring({"matchExpressions": [_GOVERNMENT]}, {"matchExpressions": [_LINUX]}), PREFERRING)),
        "",
    ),
    Attempt(
        "an empty term beside one abroad",
        creating_pod(requiring({}, {"matchExpressions": [IN_ABROAD]})),
        Code.CONTRADICTION,
    ),
    Attempt("a preference for abroad", creating_pod(PREFERRING), ""),
    Attempt("tolerating everything, preferring abroad", creating_pod(PREFERRING | _EVERYTHING), ""),
    Attempt("an empty affinity, preferring nothing", creating_pod({"affinity": {}}), ""),
    Attempt("a contradictory nodeSelector", creating_pod(SELECTING), Code.CONTRADICTION),
    Attempt("a contradictory affinity", creating_pod(requiring({"matchExpressions": [IN_ABROAD]})), Code.CONTRADICTION),
    Attempt(
        "NotIn of what is allowed",
        creating_pod(
            requiring(
                {"matchExpressions": [{"key": Fact.DEPLOYMENT_MODEL, "operator": "NotIn", "values": ["government"]}]}
            )
        ),
        Code.CONTRADICTION,
    ),
    Attempt(
        "DoesNotExist of a fact",
        creating_pod(requiring({"matchExpressions": [{"key": Fact.COUNTRY, "operator": "DoesNotExist"}]})),
        Code.CONTRADICTION,
    ),
    Attempt(
        "a node by matchFields",
        creating_pod(requiring({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [ABROAD_NODE]}]})),
        "",
    ),
    Attempt("a node by its hostname", creating_pod({"nodeSelector": {"kubernetes.io/hostname": ABROAD_NODE}}), ""),
    Attempt("nodeName of a pod", creating_pod({"nodeName": ABROAD_NODE}), Code.NODE_NAME),
    Attempt("nodeName of a Deployment", creating("Deployment", {"nodeName": ABROAD_NODE}), Code.NODE_NAME),
    Attempt("pods/binding", bound, Code.BINDING),
    Attempt("the older bindings", bound_the_old_way, Code.BINDING),
    Attempt("a scheduler of one's own", own_scheduler, Code.BINDING),
    Attempt("a binding that annotates", binding_that_annotates, Code.BINDING),
    Attempt("a binding that annotates where nothing is classified", binding_that_annotates_elsewhere, Code.BINDING),
    Attempt("the annotation changed by a merge patch", changing_annotation("", _MERGE), Code.ANNOTATION_CHANGED),
    Attempt("the annotation changed by a JSON patch", changing_annotation("", _JSON), Code.ANNOTATION_CHANGED),
    Attempt("the annotation changed by server-side apply", changing_annotation("", _APPLY), Code.ANNOTATION_CHANGED),
    Attempt(
        "the annotation changed through pods/status", changing_annotation("/status", _MERGE), Code.ANNOTATION_CHANGED
    ),
    Attempt("the annotation taken away by a PUT", replacing_pod, Code.ANNOTATION_CHANGED),
    Attempt("a gated pod from before, released after", released_after_classification, Code.NOT_PLACED),
    Attempt("editing a gated pod", gated_and_widened, "", kubernetes_refuses=True),
    Attempt("another mutation that takes the affinity away", stripped_by_another, Code.NOT_PLACED),
    *(Attempt(f"a {kind} that contradicts", creating(kind, SELECTING), Code.CONTRADICTION) for kind in _KINDS),
    *(Attempt(f"a {kind} that prefers abroad", creating(kind, PREFERRING), "") for kind in _KINDS),
    Attempt("an owned ReplicaSet that contradicts", owned_replicaset, ""),
    Attempt("a Deployment scaled from nothing", scaled, ""),
    Attempt("a Deployment changed later", template_changed_later, Code.CONTRADICTION),
    Attempt("a forged mirror pod", forged_mirror, Code.NODE_NAME),
    Attempt("an annotated pod abroad", annotated_abroad, Code.CONTRADICTION),
    Attempt("an annotated pod that prefers abroad", annotated_preferring, ""),
    Attempt("an unknown annotation", annotated_unknown, Code.UNKNOWN_CLASSIFICATION),
    Attempt("an annotation that asks for less", annotated_laxer, ""),
    Attempt("the annotation on the workload", misplaced_annotation, Code.MISPLACED_ANNOTATION),
    Attempt("a pod by server-side apply", server_side_applied, ""),
    Attempt("a namespace unlabelled by a merge patch", relabelling("PATCH", "", _MERGE, None), Code.DECLASSIFICATION),
    Attempt("a namespace unlabelled by a JSON patch", relabelling("PATCH", "", _JSON, None), Code.DECLASSIFICATION),
    Attempt(
        "a namespace unlabelled by server-side apply", relabelling("PATCH", "", _APPLY, None), Code.DECLASSIFICATION
    ),
    Attempt("a namespace unlabelled by an update", relabelling("PUT", "", "", None), Code.DECLASSIFICATION),
    Attempt(
        "a namespace unlabelled through its status",
        relabelling("PATCH", "/status", _MERGE, None),
        Code.DECLASSIFICATION,
    ),
    Attempt(
        "a namespace unlabelled through finalize", relabelling("PUT", "/finalize", "", None), Code.DECLASSIFICATION
    ),
    Attempt("a namespace whose labels are all replaced", replacing_labels, Code.DECLASSIFICATION),
    Attempt("a namespace labelled with the name of another", called_kube_system, Code.CONTRADICTION),
    Attempt("a namespace moved sideways", relabelling("PATCH", "", _MERGE, LAX), Code.DECLASSIFICATION),
    Attempt("a namespace lowered to Audit", lowering(""), Code.ENFORCEMENT),
    Attempt("a namespace lowered through its status", lowering("/status"), Code.ENFORCEMENT),
    Attempt("a namespace lowered before it is classified", lowered_beforehand, Code.ENFORCEMENT),
    Attempt("a burst while classifications change", bursting, ""),
    Attempt("a namespace of an unknown classification", unknown_namespace_label, Code.UNKNOWN_CLASSIFICATION),
    Attempt("kube-system classified", classified_kube_system, Code.EXCLUDED_NAMESPACE),
    Attempt("facts stated through nodes", stating_facts(""), Code.NODE_FACTS),
    Attempt("facts stated through nodes/status", stating_facts("/status"), Code.NODE_FACTS),
    Attempt("a node registered with facts", registering_with_facts, Code.NODE_FACTS),
    Attempt("a kubelet stating facts of its own node", kubelet_states_facts, "", kubernetes_refuses=True),
    Attempt("a kubelet registering with facts", kubelet_registers_with_facts, "", kubernetes_refuses=True),
    Attempt("a pod in a terminating namespace", in_a_terminating_namespace, "", kubernetes_refuses=True),
)

CATALOGUE: Final[Mapping[str, Json]] = {
    STRICT: {
        "title": "Departementaal Vertrouwelijk",
        "references": [{"title": "Rijksbreed Cloudbeleid 2026", "clause": "4.6"}],
        "nodes": {
            "anyOf": [{"countries": ["NL"], "deploymentModels": ["government"]}],
            "tolerations": [{"key": SOVEREIGN, "operator": "Exists"}],
        },
        "storage": {"classSelector": {"matchLabels": {Fact.COUNTRY: "NL"}}},
    },
    LAX: {"title": "Persoonsgegevens", "nodes": {"anyOf": [{"countrySets": ["eea"]}]}},
}
