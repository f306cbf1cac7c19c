"""Workloads from before: which pods wait unplaced, and which DaemonSets are touched."""

from typing import Any, cast

import msgspec
import pytest

from residency.api import names
from residency.api.names import ClassificationName
from residency.cluster.client import Client, ItemT
from residency.cluster.errors import ApiError
from residency.cluster.resources import Resource
from residency.controller.workloads import Workloads
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement

Object = dict[str, Any]
NL = ClassificationName("nl")
DUTCH = Requirement(str(names.Fact.COUNTRY), Operator.IN, ("NL",))
CATALOGUE = {NL: restore(NL, "Dutch", (), Placement(((DUTCH,),)))}
LABELS = {"classified": NamespaceLabels("nl")}
DUTCH_TERMS = [{"matchExpressions": [{"key": str(names.Fact.COUNTRY), "operator": "In", "values": ["NL"]}]}]
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": DUTCH_TERMS}}}


class Cluster:
    def __init__(self, *items: Object) -> None:
        self.items = items
        self.fields = ""
        self.touched: list[str] = []
        self.refusal: ApiError | None = None

    async def find_as(self, item: type[ItemT], _: Resource, *, fields: str = "") -> list[ItemT]:
        self.fields = fields
        return msgspec.json.decode(msgspec.json.encode(self.items), type=list[item])  # type: ignore[valid-type]

    async def merge(self, _: Resource, name: str, patch: Object, *, namespace: str) -> Object:
        assert patch == {}
        if self.refusal:
            raise self.refusal
        self.touched.append(f"{namespace}/{name}")
        return {}


def workloads(cluster: Cluster) -> Workloads:
    return Workloads(cast(Client, cluster), ("kube-system",))


def pod(
    namespace: str = "classified", *, phase: str = "Pending", spec: Object | None = None, **metadata: Any
) -> Object:
    return {
        "metadata": {"name": "p", "namespace": namespace, "uid": "u", **metadata},
        "spec": {"containers": [{"name": "c"}]} | (spec or {}),
        "status": {"phase": phase},
    }


def daemonset(namespace: str = "classified", spec: Object | None = None, **metadata: Any) -> Object:
    template: Object = {"metadata": {}, "spec": {"containers": []} | (spec or {})}
    return {"metadata": {"name": "d", "namespace": namespace, **metadata}, "spec": {"template": template}}


@pytest.mark.parametrize(
    "waiting",
    [
        pod(),
        pod(spec={"nodeSelector": {str(names.Fact.COUNTRY): "US"}}),
        pod("elsewhere", annotations={names.CLASSIFICATION: "nl"}),
    ],
    ids=["unplaced", "contradicting", "annotated"],
)
async def test_a_pod_that_could_start_elsewhere_is_waiting(waiting: Object) -> None:
    cluster = Cluster(waiting)
    found = await workloads(cluster).waiting_unplaced(LABELS, CATALOGUE)
    assert found == {NL: [f"{waiting['metadata']['namespace']}/p"]}
    assert cluster.fields == "spec.nodeName="


@pytest.mark.parametrize(
    "harmless",
    [
        pod(spec={"affinity": AFFINITY}),
        pod(spec={"nodeSelector": {str(names.Fact.COUNTRY): "NL"}}),
        pod(deletionTimestamp="2026-11-23T12:00:00Z"),
        pod(phase="Failed"),
        pod("elsewhere"),
        pod("kube-system", annotations={names.CLASSIFICATION: "nl"}),
    ],
    ids=["placed", "selecting", "deleted", "ended", "unclassified", "excluded"],
)
async def test_a_pod_that_cannot_is_not(harmless: Object) -> None:
    assert await workloads(Cluster(harmless)).waiting_unplaced(LABELS, CATALOGUE) == {}


async def test_a_daemonset_that_is_not_placed_is_touched() -> None:
    cluster = Cluster(daemonset())
    assert await workloads(cluster).place_daemonsets(LABELS, CATALOGUE) == 0
    assert cluster.touched == ["classified/d"]


async def test_a_daemonset_that_was_placed_is_touched_also_where_nothing_asks_for_it_any_more() -> None:
    cluster = Cluster(daemonset("elsewhere", annotations={names.PLACED_TERMS: "x"}))
    await workloads(cluster).place_daemonsets(LABELS, CATALOGUE)
    assert cluster.touched == ["elsewhere/d"]


@pytest.mark.parametrize(
    "other",
    [
        daemonset("elsewhere"),
        daemonset("kube-system"),
        daemonset(deletionTimestamp="2026-11-23T12:00:00Z"),
        daemonset(ownerReferences=[{"controller": True}]),
        daemonset(spec={"affinity": AFFINITY}),
    ],
    ids=["unclassified", "excluded", "deleted", "controlled", "its own affinity fits"],
)
async def test_other_daemonsets_are_left_alone(other: Object) -> None:
    cluster = Cluster(other)
    assert await workloads(cluster).place_daemonsets(LABELS, CATALOGUE) == 0
    assert cluster.touched == []


async def test_a_daemonset_that_contradicts_is_counted_and_not_touched() -> None:
    cluster = Cluster(daemonset(spec={"nodeSelector": {str(names.Fact.COUNTRY): "US"}}))
    assert await workloads(cluster).place_daemonsets(LABELS, CATALOGUE) == 1
    assert cluster.touched == []


@pytest.mark.parametrize(("status", "refused"), [(403, 1), (404, 0)])
async def test_a_refused_touch_is_counted_unless_the_daemonset_is_gone(status: int, refused: int) -> None:
    cluster = Cluster(daemonset())
    cluster.refusal = ApiError(status, "", "no")
    assert await workloads(cluster).place_daemonsets(LABELS, CATALOGUE) == refused
