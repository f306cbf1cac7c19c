"""Workloads no one here wrote: untouched where nothing is classified, and where something is, placed or told why not.

Where pods may run is worked out by tests/brute_force.py from the pods as they are stored, over the nodes of the default
pools with and without the labels that these projects ask for.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from brute_force import Labels, Node, matches_pod
from controlplane import DEFAULT_POOLS, ControlPlane
from e2e.enforcement import enforce, expect
from golden import resolved
from keepalive import Answer, KeepAlive
from known_workloads import KNOWN, Known, owned_by
from residency.api.names import PLACED_BY, SOVEREIGN, Code, Fact
from residency.core.workload import PodView, template_of

Json = dict[str, Any]

STRICT, EITHER = "nl-depv", "eu-or-government"
SPECS: Mapping[str, Json] = {
    STRICT: {
        "title": "Departementaal Vertrouwelijk",
        "nodes": {
            "anyOf": [{"countries": ["NL"], "deploymentModels": ["government"]}],
            "tolerations": [{"key": SOVEREIGN, "operator": "Exists"}],
        },
    },
    EITHER: {
        "title": "European or of the government",
        "nodes": {
            "anyOf": [
                {"countries": ["NL"], "deploymentModels": ["government"]},
                {"countrySets": ["eea"], "deploymentModels": ["private-external"]},
            ]
        },
    },
}


def of_the_government(labels: Labels) -> bool:
    return labels.get(Fact.COUNTRY) == "NL" and labels.get(Fact.DEPLOYMENT_MODEL) == "government"


def german_and_private(labels: Labels) -> bool:
    return labels.get(Fact.COUNTRY) == "DE" and labels.get(Fact.DEPLOYMENT_MODEL) == "private-external"


# The classifications once more, said of the nodes that there are.
ALLOWED: Mapping[str, Callable[[Labels], bool]] = {
    STRICT: of_the_government,
    EITHER: lambda labels: of_the_government(labels) or german_and_private(labels),
}

CONTROL_PLANE, MASTER = "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"
ADDED: tuple[Labels, ...] = (
    {},
    {CONTROL_PLANE: ""},
    {MASTER: "", CONTROL_PLANE: ""},
    {MASTER: ""},
    {"kubernetes.io/os": "windows"},
    {"nvidia.com/gpu.present": "true"},
    {"feature.node.kubernetes.io/pci-10de.present": "true"},
    {"eks.amazonaws.com/compute-type": "fargate"},
    {"type": "virtual-kubelet"},
    {"node.kubernetes.io/instance-type": "a1.large"},
    {"karpenter.sh/nodepool": "default"},
    {"ingress-ready": "true"},
    {"lifecycle-status": "ready"},
)
BARE = [
    Node(manifest["metadata"]["labels"], manifest["metadata"]["name"])
    for pool in DEFAULT_POOLS
    for manifest in pool.manifests()
]
NODES = [Node({**node.labels, **added}, f"{node.name}.{n}") for node in BARE for n, added in enumerate(ADDED)]

PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EVERY = [pytest.param(known, id=known.title) for known in KNOWN]
CLASSIFIED = [
    pytest.param(known, classification, id=f"{known.title} in {classification}")
    for known in KNOWN
    for classification in SPECS
]


@dataclass
class Cluster:
    """An API server with the policies in force, and what it stored of every workload before they were."""

    api: KeepAlive
    before: Mapping[str, list[str]]

    def create(self, namespace: str, thing: Json) -> Answer:
        return self.api.send("POST", PATHS[thing["kind"]].format(namespace) + "?dryRun=All", thing)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with (
        ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane,
        KeepAlive(control_plane.kubeconfig) as api,
    ):
        priority = {"metadata": {"name": "longhorn-critical"}, "value": 1_000_000_000}
        expect(api.send("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", priority), 201)
        expect(api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}}), 201)
        before = {known.title: stored(api, known) for known in KNOWN}
        enforce(api, resolved(SPECS), [(name, name) for name in SPECS])
        yield Cluster(api, before)


def stored(api: KeepAlive, known: Known) -> list[str]:
    """The bytes that a dry run answers, for the object and for a pod of it, without what no two requests share."""
    answers = [_exchange(api, known.manifest())]
    if known.kind != "Pod":
        answers.append(_exchange(api, pod_of(known.manifest())))
    return answers


def _exchange(api: KeepAlive, thing: Json) -> str:
    path = PATHS[thing["kind"]].format("elsewhere") + "?dryRun=All"
    status, data = api.exchange("POST", path, json.dumps(thing).encode())
    answer = expect(Answer(status, json.loads(data)), 201)
    text = data.decode().replace(answer.body["metadata"]["uid"], "its-uid")
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "then", text)


def pod_of(workload: Json) -> Json:
    """A pod as the controller of a workload would make it of the template."""
    if workload["kind"] == "Pod":
        return workload
    template = template_of(workload["kind"], workload)
    assert template is not None
    name = workload["metadata"]["name"]
    metadata = {
        "name": f"{name}-0",
        "labels": dict(template["metadata"]["labels"]),
        "ownerReferences": [owned_by(workload["apiVersion"], workload["kind"], name)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


DAEMON_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
]


def daemon_pod(daemonset: Json, node: Node) -> Json:
    """The pod that the DaemonSet controller makes for a node: for that node alone, whatever the template requires."""
    pod = pod_of(daemonset)
    spec = pod["spec"]
    field = {"key": "metadata.name", "operator": "In", "values": [node.name]}
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity[REQUIRED] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    spec["tolerations"] = [*spec.get("tolerations", []), *DAEMON_TOLERATIONS]
    return pod


def where(thing: Json, kind: str) -> set[str]:
    """The nodes on which the pods of something may run, as Kubernetes' scheduler would see it."""
    template = template_of(kind, thing)
    assert template is not None
    view = PodView.from_template(template)
    return {node.name for node in NODES if matches_pod(view.node_selector, view.terms, node)}


def allowed(known: Known, classification: str) -> set[str]:
    """The nodes that are both what the project asks for and what the classification allows."""
    asked = where(known.manifest(), known.kind)
    return {node.name for node in NODES if node.name in asked and ALLOWED[classification](node.labels)}


def without_placement(spec: Json) -> Json:
    """A pod spec without what Residency may write, and what Kubernetes writes into any pod."""
    rest = copy.deepcopy(spec)
    rest.pop("tolerations", None)
    affinity = rest.pop("affinity", {})
    affinity.get("nodeAffinity", {}).pop(REQUIRED, None)
    return rest | {name: part for name, part in affinity.items() if part}


def check_placed(known: Known, classification: str, sent: Json, made: Json) -> None:
    """Fail unless a stored pod may run exactly where it should, and is otherwise what was sent."""
    assert where(made, "Pod") == where(sent, "Pod") & allowed(known, classification)
    assert without_placement(made["spec"]) == without_placement(sent["spec"])
    kept = made["spec"]["tolerations"][: len(sent["spec"].get("tolerations", []))]
    assert kept == sent["spec"].get("tolerations", [])
    if classification == STRICT:
        assert any(tolerates_the_sovereign(toleration) for toleration in made["spec"]["tolerations"])
    if where(made, "Pod") != where(sent, "Pod"):
        assert made["metadata"]["annotations"][PLACED_BY] == classification


def tolerates_the_sovereign(toleration: Json) -> bool:
    everything = toleration.get("key", "") in ("", SOVEREIGN) and toleration["operator"] == "Exists"
    return everything and "effect" not in toleration


def test_the_table_is_of_at_least_thirty_workloads_of_ten_projects_of_every_kind() -> None:
    assert len({known.title for known in KNOWN}) == len(KNOWN) >= 30
    assert len({known.project for known in KNOWN}) >= 10
    assert {known.kind for known in KNOWN} == set(PATHS)


@pytest.mark.parametrize("known", EVERY)
def test_it_is_untouched_byte_for_byte_in_an_unclassified_namespace(cluster: Cluster, known: Known) -> None:
    assert stored(cluster.api, known) == cluster.before[known.title]


@pytest.mark.parametrize(("known", "classification"), CLASSIFIED)
def test_it_is_placed_in_a_classified_namespace_or_told_why_not(
    cluster: Cluster, known: Known, classification: str
) -> None:
    answer = cluster.create(classification, known.manifest())
    if classification in known.refused:
        check_refusal(known, answer, known.refused[classification])
        return
    expect(answer, 201)
    assert bool(allowed(known, classification)) == (classification not in known.nowhere)
    check_workload(cluster, known, classification, answer.body)


def check_workload(cluster: Cluster, known: Known, classification: str, made: Json) -> None:
    """Fail unless the pods of what was stored run where they should, and on nothing else."""
    if known.kind == "DaemonSet":
        assert where(made, known.kind) == allowed(known, classification)
        check_daemon_pods(cluster, known, classification, made)
        return
    if known.kind == "Pod":
        check_pod(cluster, known, classification, known.manifest())
        return
    plain = expect(cluster.create("elsewhere", known.manifest()), 201).body
    assert template_of(known.kind, made)["spec"] == template_of(known.kind, plain)["spec"]  # type: ignore[index]
    check_pod(cluster, known, classification, pod_of(made))


def check_pod(cluster: Cluster, known: Known, classification: str, pod: Json) -> Json:
    """Fail unless a pod is placed; returns it as it is stored."""
    plain = expect(cluster.create("elsewhere", pod), 201).body
    made = expect(cluster.create(classification, pod), 201).body
    check_placed(known, classification, plain, made)
    return made


def check_daemon_pods(cluster: Cluster, known: Known, classification: str, daemonset: Json) -> None:
    """Fail unless the pod for each kind of node is accepted, and can run there and nowhere else."""
    meant = where(daemonset, "DaemonSet")
    for node in [node for node in NODES if node.name in meant and "-0." in node.name]:
        made = check_pod(cluster, known, classification, daemon_pod(daemonset, node))
        assert where(made, "Pod") == {node.name}


REFUSALS = {
    "affinity": (
        Code.DAEMONSET_AFFINITY,
        f"spec.template.spec.affinity.nodeAffinity is the DaemonSet's own, .* in each nodeSelectorTerm require "
        f"{Fact.COUNTRY} In NL; {Fact.DEPLOYMENT_MODEL} In government; or remove the node affinity",
    ),
    "tolerations": (
        Code.DAEMONSET_AFFINITY,
        f"spec.template.spec.tolerations is the DaemonSet's own, .* lacks {SOVEREIGN}, .* Fix: add it; or remove the",
    ),
    "nodeName": (Code.NODE_NAME, "nodeName"),
}


def check_refusal(known: Known, answer: Answer, reason: str) -> None:
    code, text = REFUSALS[reason]
    assert answer.status == 403, f"{known.title} was not refused"
    assert f" {code}" in answer.message
    assert re.search(text, answer.message), answer.message


MENDED = [
    pytest.param(known, classification, id=f"{known.title} in {classification}")
    for known in KNOWN
    for classification in known.refused
]


@pytest.mark.parametrize(("known", "classification"), MENDED)
def test_the_fix_that_the_message_names_is_all_that_is_needed(
    cluster: Cluster, known: Known, classification: str
) -> None:
    thing = known.manifest()
    for _ in range(3):
        answer = cluster.create(classification, thing)
        if answer.status == 201:
            break
        mend(thing, answer.message)
    expect(answer, 201)
    assert known.kind in ("DaemonSet", "Pod")
    first = of_the_government if known.kind == "DaemonSet" and "nodeAffinity" in str(thing) else ALLOWED[classification]
    asked = where(known.manifest(), known.kind)
    assert where(answer.body, known.kind) == {n.name for n in NODES if n.name in asked and first(n.labels)}


@pytest.mark.parametrize(("known", "classification"), MENDED)
def test_taking_out_what_the_message_names_is_enough_too(cluster: Cluster, known: Known, classification: str) -> None:
    thing = known.manifest()
    spec = template_of(known.kind, thing)["spec"]  # type: ignore[index]
    for name in ("affinity", "tolerations", "nodeName"):
        spec.pop(name, None)
    made = expect(cluster.create(classification, thing), 201).body
    asked = where(thing, known.kind)
    assert where(made, known.kind) == {n.name for n in NODES if n.name in asked and ALLOWED[classification](n.labels)}


def mend(thing: Json, message: str) -> None:
    """Do what a refusal says, word by word."""
    spec = template_of(thing["kind"], thing)["spec"]  # type: ignore[index]
    if "Fix: remove nodeName" in message:
        del spec["nodeName"]
    elif (required := re.search(r"in each nodeSelectorTerm require (.+?); or remove", message)) is not None:
        for term in spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]:
            term["matchExpressions"] += [_requirement(text) for text in required[1].split("; ")]
    elif (lacking := re.search(r"it lacks ([^,]+),", message)) is not None:
        spec["tolerations"].append({"key": lacking[1], "operator": "Exists"})


def _requirement(text: str) -> Json:
    key, operator, values = text.split(" ", 2)
    return {"key": key, "operator": operator, "values": values.split(" and ")}
