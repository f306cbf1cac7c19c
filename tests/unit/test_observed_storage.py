"""What is decoded of volumes, claims and StorageClasses, and told to the picture."""

import json
from typing import Any

import msgspec
import pytest

from residency.api.names import STORAGE_CLASS_ANNOTATION, ClassificationName, Fact, Outcome
from residency.audit.picture import Picture
from residency.audit.volumes import VolumePicture
from residency.controller import observed_storage
from residency.controller.observed import Namespace, Namespaces, Node, Nodes
from residency.controller.observed_storage import (
    Claim,
    Claims,
    PersistentVolume,
    PersistentVolumes,
    StorageClass,
    StorageClasses,
)
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement

Object = dict[str, Any]
NL = ClassificationName("nl")
COUNTRY, MODEL = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value
STATE = Placement(((Requirement(COUNTRY, Operator.IN, ("NL",)), Requirement(MODEL, Operator.IN, ("government",))),))


class Cluster:
    def __init__(self) -> None:
        self.picture = VolumePicture()
        self.picture.set_catalogue({NL: restore(NL, "Dutch", (), STATE)})
        self.picture.put_namespace("ns", NamespaceLabels("nl"))
        self.volumes, self.claims = PersistentVolumes(self.picture), Claims(self.picture)
        self.classes = StorageClasses(self.picture)

    def storage_class(self, name: str, country: str) -> StorageClass:
        item: StorageClass = read(StorageClass, {"metadata": {"name": name, "labels": {COUNTRY: country}}})
        self.classes.put(("", name), item, None)
        return item

    def volume(self, phase: str = "Bound", metadata: Object | None = None, **spec: Any) -> PersistentVolume:
        held = {"claimRef": {"namespace": "ns", "name": "data", "uid": "u"}, "storageClassName": "nl"} | spec
        data = {"metadata": {"name": "pv", **(metadata or {})}, "spec": held, "status": {"phase": phase}}
        item: PersistentVolume = read(PersistentVolume, data)
        self.volumes.put(("", "pv"), item, None)
        return item

    def claim(self, phase: str, **spec: Any) -> Claim:
        data = {"metadata": {"name": "data", "namespace": "ns"}, "spec": spec, "status": {"phase": phase}}
        item: Claim = read(Claim, data)
        self.claims.put(("ns", "data"), item, None)
        return item

    @property
    def counts(self) -> dict[Outcome, int]:
        return {outcome: count for (_, _, outcome), count in self.picture.counts.items()}

    @property
    def why(self) -> list[str]:
        return [judged.why for _, judged in self.picture.tally.examples("nl", 5)]


def read(kind: Any, data: Object) -> Any:
    return msgspec.json.decode(json.dumps(data), type=kind)


def tied(zone: str) -> Object:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.storage_class("nl", "NL")
    cluster.storage_class("us", "US")
    return cluster


def test_a_volume_is_judged_by_its_class_its_labels_and_its_affinity(cluster: Cluster) -> None:
    cluster.volume()
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    cluster.volume(storageClassName="us")
    assert cluster.counts == {Outcome.MISPLACED: 1}
    cluster.volume(storageClassName="us", metadata={"labels": {COUNTRY: "NL"}})
    assert cluster.counts == {Outcome.UNKNOWN: 1}
    cluster.volume(metadata={"annotations": {STORAGE_CLASS_ANNOTATION: "us"}})
    assert cluster.counts == {Outcome.MISPLACED: 1}, "the annotation overrules the field"
    cluster.volume(storageClassName="", **tied("x"))
    assert cluster.counts == {Outcome.NOT_LOCATED: 1}


@pytest.mark.parametrize("source", ["local", "hostPath"])
def test_a_volume_that_is_part_of_its_node_needs_all_that_nodes_need(cluster: Cluster, source: str) -> None:
    labels = {COUNTRY: "NL", MODEL: "public", "zone": "x"}
    nodes = Nodes(Picture(), cluster.picture)
    nodes.put(("", "n"), read(Node, {"metadata": {"name": "n", "labels": labels}}), None)
    cluster.volume(csi={"driver": "d"}, **tied("x"))
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    in_the_node: Any = tied("x") | {source: {"path": "/"}}
    cluster.volume(**in_the_node)
    assert cluster.counts == {Outcome.MISPLACED: 1}
    assert cluster.why == [
        "the node that it is on says deployment-model public, where nl allows deployment-model government"
    ]
    nodes.removed(("", "n"), read(Node, {"metadata": {"name": "n"}}))
    assert cluster.counts == {Outcome.UNKNOWN: 1}


def test_both_pictures_hear_of_namespaces(cluster: Cluster) -> None:
    namespaces = Namespaces(Picture(), cluster.picture)
    item = read(Namespace, {"metadata": {"name": "ns"}})
    cluster.volume()
    namespaces.removed(("", "ns"), item)
    assert cluster.counts == {}
    labels = {"residency.dev/classification": "nl", "residency.dev/enforcement": "Audit"}
    namespaces.put(("", "ns"), read(Namespace, {"metadata": {"name": "ns", "labels": labels}}), None)
    assert dict(cluster.picture.counts) == {("nl", "Audit", Outcome.COMPLIANT): 1}


@pytest.mark.parametrize("phase", ["Released", "Failed"])
def test_a_volume_counts_as_long_as_it_holds_the_data(cluster: Cluster, phase: str) -> None:
    cluster.volume(phase, storageClassName="us")
    assert cluster.counts == {Outcome.MISPLACED: 1}
    assert cluster.why[0].startswith("released, and still there: ")
    cluster.volume("Available", storageClassName="us")
    assert cluster.counts == {}, "kept for a claim, and still empty"
    cluster.volume(storageClassName="us")
    assert cluster.counts == {Outcome.MISPLACED: 1}
    cluster.volume(storageClassName="us", claimRef=None)
    assert cluster.counts == {}
    item = cluster.volume()
    cluster.volumes.removed(("", "pv"), item)
    assert cluster.counts == {}


def test_a_claim_counts_only_while_it_has_no_volume(cluster: Cluster) -> None:
    cluster.claim("Pending")
    assert cluster.counts == {Outcome.WAITING: 1}
    cluster.claim("Pending", volumeName="pv")
    assert cluster.counts == {Outcome.WAITING: 1}
    cluster.claim("Bound", volumeName="pv")
    assert cluster.counts == {Outcome.NOT_LOCATED: 1}
    cluster.volume()
    assert cluster.counts == {Outcome.COMPLIANT: 1}
    cluster.volumes.removed(("", "pv"), cluster.volume())
    item = cluster.claim("Lost", volumeName="pv")
    assert cluster.counts == {Outcome.NOT_LOCATED: 1}
    cluster.claims.removed(("ns", "data"), item)
    assert cluster.counts == {}


def test_a_class_that_is_gone_says_nothing_any_more(cluster: Cluster) -> None:
    cluster.volume()
    cluster.classes.removed(("", "nl"), cluster.storage_class("nl", "NL"))
    assert cluster.counts == {Outcome.NOT_LOCATED: 1}
    assert "a StorageClass nl that is not there" in cluster.why[0]


def test_what_the_reflector_keeps_holds_on_to_nothing(cluster: Cluster) -> None:
    volume, claim = cluster.volume(metadata={"labels": {"a": "b"}, "annotations": {"c": "d"}}), cluster.claim("Pending")
    assert (volume.spec, volume.status, volume.metadata.labels, volume.metadata.annotations) == (None,) * 4
    assert (claim.spec, claim.status) == (None, None)
    assert cluster.storage_class("nl", "NL").metadata.labels is None


def test_volumes_of_the_same_affinity_share_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_storage, "MOST_KNOWN", 3)
    for number in range(30):
        spec = {"claimRef": {"namespace": "ns", "name": f"c-{number}"}, **tied(f"z-{number % 5}")}
        data = {"metadata": {"name": f"v-{number}"}, "spec": spec, "status": {"phase": "Bound"}}
        cluster.volumes.put(("", f"v-{number}"), read(PersistentVolume, data), None)
    assert len({id(volume.view.terms) for volume in cluster.picture._volumes.values()}) == 5
    assert len(cluster.volumes._known) <= 3


def test_bare_objects_are_as_nothing(cluster: Cluster) -> None:
    cluster.volumes.put(("", "bare"), read(PersistentVolume, {"metadata": {"name": "bare"}}), None)
    cluster.claims.put(("ns", "bare"), read(Claim, {"metadata": {"name": "bare", "namespace": "ns"}}), None)
    cluster.classes.put(("", "bare"), read(StorageClass, {"metadata": {"name": "bare"}}), None)
    assert cluster.counts == {Outcome.WAITING: 1}
