"""What is decoded of pods, nodes and namespaces, and told to the picture."""

import json
from typing import Any

import msgspec
import pytest

from residency.api.names import CLASSIFICATION, ENFORCEMENT, SOVEREIGN, ClassificationName, Fact, Outcome
from residency.audit.picture import Eligible, Picture
from residency.controller import observed
from residency.controller.observed import Namespace, Namespaces, Node, Nodes, Pod, Pods
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import Taint

Object = dict[str, Any]
NL = ClassificationName("nl")
COUNTRY = Fact.COUNTRY.value
DUTCH = Placement(((Requirement(COUNTRY, Operator.IN, ("NL",)),),))
TERMS = [{"matchExpressions": [{"key": COUNTRY, "operator": "In", "values": ["NL"]}]}]
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": TERMS}}}


class Cluster:
    def __init__(self) -> None:
        self.picture = Picture()
        self.picture.set_catalogue({NL: restore(NL, "Dutch", (), DUTCH)})
        self.picture.put_namespace("classified", NamespaceLabels("nl"))
        self.pods, self.nodes = Pods(self.picture), Nodes(self.picture)

    def node(self, name: str = "n-1", country: str = "NL", **spec: Any) -> None:
        self.nodes.put(("", name), read(Node, node(name, country, **spec)), None)

    def pod(self, spec: Object | None = None, *, phase: str = "Running", name: str = "p", **metadata: Any) -> Pod:
        item: Pod = read(
            Pod,
            {
                "metadata": {"name": name, "namespace": "classified", **metadata},
                "spec": {"nodeName": "n-1", "affinity": AFFINITY} if spec is None else spec,
                "status": {"phase": phase, "conditions": [{"type": "Ready"}]},
            },
        )
        self.pods.put(("classified", name), item, None)
        return item

    @property
    def counts(self) -> dict[Outcome, int]:
        return {outcome: count for (_, _, outcome), count in self.picture.counts.items()}


def read(kind: Any, data: Object) -> Any:
    return msgspec.json.decode(json.dumps(data), type=kind)


def node(name: str, country: str, ready: str = "True", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {COUNTRY: country, "zone": "a"}, "annotations": {"a": "b"}},
        "spec": spec,
        "status": {"conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]},
    }


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.node()
    return cluster


def test_a_pod_is_judged_by_its_affinity_its_selector_and_its_annotation(cluster: Cluster) -> None:
    cluster.pod()
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    cluster.pod({"nodeName": "n-1"})
    assert cluster.counts == {Outcome.UNPINNED: 1}
    cluster.pod({"nodeName": "n-1", "nodeSelector": {COUNTRY: "NL"}})
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    cluster.pod(annotations={CLASSIFICATION: "gone", "other": "x"})
    assert cluster.counts == {Outcome.COMPLIANT: 1, Outcome.UNKNOWN: 1}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_is_forgotten(cluster: Cluster, phase: str) -> None:
    cluster.pod()
    cluster.pod(phase=phase)
    assert cluster.counts == {}


def test_a_pod_that_is_deleted_counts_as_long_as_it_may_run(cluster: Cluster) -> None:
    cluster.pod(deletionTimestamp="2026-11-23T12:00:00Z")
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    cluster.pod({}, phase="Pending", name="waiting")
    assert cluster.counts == {Outcome.COMPLIANT: 1, Outcome.WAITING: 1}
    cluster.pod({}, phase="Pending", name="waiting", deletionTimestamp="2026-11-23T12:00:00Z")
    assert cluster.counts == {Outcome.COMPLIANT: 1}


def test_a_pod_that_is_gone_is_forgotten(cluster: Cluster) -> None:
    cluster.pods.removed(("classified", "p"), cluster.pod())
    assert cluster.counts == {}


def test_what_the_reflector_keeps_of_a_pod_holds_on_to_nothing(cluster: Cluster) -> None:
    kept = cluster.pod(annotations={CLASSIFICATION: "nl"}, deletionTimestamp="2026-11-23T12:00:00Z")
    assert (kept.spec, kept.status, kept.metadata.annotations, kept.metadata.deletion_timestamp) == (None,) * 4
    item = read(Node, node("n-2", "NL"))
    cluster.nodes.put(("", "n-2"), item, None)
    assert (item.spec, item.status, item.metadata.labels) == (None,) * 3


def test_pods_that_say_the_same_share_their_shape(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "MOST_KNOWN", 5)
    for number in range(40):
        cluster.pod({"nodeName": "n-1", "nodeSelector": {"key": str(number % 10)}}, name=f"p-{number}")
    assert len({id(pod.shape) for pod in cluster.picture._pods.values()}) == 10
    assert len(cluster.pods._known) <= 5


def test_empty_and_absent_parts_are_as_nothing(cluster: Cluster) -> None:
    empty: tuple[Any, ...] = (None, {}, {"nodeAffinity": {}}, {"podAntiAffinity": {"x": 1}})
    for number, affinity in enumerate(empty):
        cluster.pod({"nodeName": "n-1", "affinity": affinity, "nodeSelector": None}, name=f"p-{number}")
    assert cluster.counts == {Outcome.UNPINNED: 4}
    bare = read(Pod, {"metadata": {"name": "bare", "namespace": "classified"}})
    cluster.pods.put(("classified", "bare"), bare, None)
    assert cluster.counts == {Outcome.UNPINNED: 4, Outcome.WAITING: 1}


def test_only_nodes_that_are_ready_and_not_cordoned_are_usable(cluster: Cluster) -> None:
    cluster.node("cordoned", unschedulable=True)
    for number, ready in enumerate(("False", "Unknown")):
        cluster.node(f"unready-{number}", ready=ready)
    cluster.nodes.put(("", "bare"), read(Node, {"metadata": {"name": "bare", "labels": {COUNTRY: "NL"}}}), None)
    assert cluster.picture.eligible == {NL: Eligible(5, 1)}


def test_a_node_repels_by_the_taints_that_keep_pods_off_it(cluster: Cluster) -> None:
    taints = [{"key": key, "value": "v", "effect": key} for key in ("NoSchedule", "PreferNoSchedule", "NoExecute")]
    cluster.node("kept", taints=taints)
    repels = cluster.picture.nodes["kept"].repels
    assert repels == (Taint("NoSchedule", "v", "NoSchedule"), Taint("NoExecute", "v", "NoExecute"))


def test_the_sovereign_taint_makes_intruders(cluster: Cluster) -> None:
    cluster.node("kept", taints=[{"key": SOVEREIGN, "value": "true", "effect": "NoSchedule"}])
    other = read(Pod, {"metadata": {"name": "p", "namespace": "other"}, "spec": {"nodeName": "kept"}})
    cluster.pods.put(("other", "p"), other, None)
    assert cluster.counts == {Outcome.INTRUDER: 1}


def test_a_node_that_is_gone_takes_the_place_of_its_pods_with_it(cluster: Cluster) -> None:
    cluster.pod()
    cluster.nodes.removed(("", "n-1"), read(Node, node("n-1", "NL")))
    assert cluster.counts == {Outcome.NOT_LOCATED: 1}


def test_namespaces_say_what_their_labels_do(cluster: Cluster) -> None:
    namespaces = Namespaces(cluster.picture)
    labels = {CLASSIFICATION: "nl", ENFORCEMENT: "Audit", "kubernetes.io/metadata.name": "classified"}
    item = read(Namespace, {"metadata": {"name": "classified", "labels": labels}, "status": {"phase": "Active"}})
    cluster.pod()
    namespaces.put(("", "classified"), item, None)
    assert dict(cluster.picture.counts) == {("nl", "Audit", Outcome.COMPLIANT): 1}
    namespaces.removed(("", "classified"), item)
    assert cluster.counts == {}
