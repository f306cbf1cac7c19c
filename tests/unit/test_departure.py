"""Whether a misplaced pod may be evicted, by what was just read of it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import CLASSIFICATION, MIRROR, ClassificationName, EvictionResult, Fact, Mode
from residency.audit.departure import Around, Live, Sibling, decide, held_by, reach
from residency.core.audit import NodeView, may_take
from residency.core.catalogue import restore
from residency.core.judge import Catalogue, NamespaceLabels
from residency.core.placement import Classification, Placement, Storage, Toleration
from residency.core.requirements import Operator, Requirement
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.workload import PodToleration, Taint

Json = dict[str, Any]

COUNTRY = Fact.COUNTRY.value
DE, NL = ClassificationName("de"), ClassificationName("nl")
HERE, THERE = NodeView.of("here", {COUNTRY: "US", "disk": "ssd"}), NodeView.of("there", {COUNTRY: "DE", "disk": "ssd"})
OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "r", "controller": True}]}
SAYS = NamespaceLabels("de")


def only(name: ClassificationName, *countries: str, **fields: Any) -> Classification:
    tolerations = fields.pop("tolerations", ())
    placement = Placement(((Requirement(COUNTRY, Operator.IN, countries),),), tolerations)
    return restore(name, name, (), placement, **fields)


CATALOGUE: Catalogue = {DE: only(DE, "DE"), NL: only(NL, "NL")}


def live(spec: Json | None = None, phase: str = "Running", *, ready: bool = True, **metadata: Any) -> Live:
    made = {"name": "web-1-x", "uid": "u", "creationTimestamp": "2026-11-23T12:00:00Z", **OWNED, **metadata}
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return Live.of({"metadata": made, "spec": {"nodeName": "here", **(spec or {})}, "status": status})


def around(*nodes: NodeView, catalogue: Catalogue = CATALOGUE, says: NamespaceLabels = SAYS, **other: Any) -> Around:
    nodes = nodes or (HERE, THERE)
    known = {node.name: node for node in nodes}
    values = {"surroundings": NOTHING_KNOWN} | other
    return Around(known.get("here"), "ns", says, known, catalogue, **values)


def result(pod: Live, where: Around, name: ClassificationName = DE) -> EvictionResult | None:
    found = decide(pod, where, name)
    return None if found is None else found[0]


def test_a_misplaced_pod_that_has_somewhere_to_go_may_be_evicted() -> None:
    assert decide(live(), around(), DE) is None


def owner(kind: str) -> Json:
    return {"ownerReferences": [{"kind": kind, "name": "o", "uid": "o", "controller": True}]}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"annotations": {MIRROR: "a1b2"}}, EvictionResult.MIRROR),
        (owner("Node"), EvictionResult.MIRROR),
        ({"ownerReferences": []}, EvictionResult.NO_CONTROLLER),
        ({"ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "r"}]}, EvictionResult.NO_CONTROLLER),
        (owner("DaemonSet"), EvictionResult.DAEMON_SET),
        (owner("Job"), EvictionResult.JOB),
        (owner("StatefulSet"), None),
        (owner("CloneSet"), None),
    ],
)
def test_whom_nothing_would_bring_back_elsewhere_is_left_alone(metadata: Json, expected: EvictionResult | None) -> None:
    assert result(live(**metadata), around()) is expected


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
@pytest.mark.parametrize("kind", ["TaskRun", "Workflow", "Job"])
def test_what_is_to_end_by_itself_is_left_alone_whoever_owns_it(kind: str, policy: str) -> None:
    assert result(live({"restartPolicy": policy}, **owner(kind)), around()) is EvictionResult.JOB


READY, STARTING, GOING = (
    Sibling("web-1-a", False, True),
    Sibling("web-1-b", False, False),
    Sibling("web-1-c", True, True),
)


@pytest.mark.parametrize(
    ("pod", "siblings", "misplaced", "waits_for"),
    [
        (live(), (), (), None),
        (live(), (READY,), (), None),
        (live(), (READY, STARTING), (), "web-1-b"),
        (live(), (STARTING,), ("web-1-b",), None),
        (live(), (READY, GOING), (), "web-1-c"),
        (live(), (GOING,), ("web-1-c",), "web-1-c"),
        (live(ready=False), (STARTING, GOING), (), None),
    ],
    ids=[
        "alone",
        "all are Ready",
        "one is not Ready yet",
        "one is not Ready and is to go too",
        "one is going",
        "one that was to go is going",
        "it serves nobody itself",
    ],
)
def test_a_workload_is_not_emptied(
    pod: Live, siblings: Sequence[Sibling], misplaced: Collection[str], waits_for: str | None
) -> None:
    found = held_by(pod, siblings, misplaced.__contains__)
    if waits_for is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] is EvictionResult.OTHERS_NOT_READY
        assert found[1].startswith(f"{waits_for}, of the same owner, is ")


@pytest.mark.parametrize(
    ("pod", "where"),
    [
        (live(deletionTimestamp="2026-11-23T12:00:00Z"), around()),
        (live(phase="Succeeded"), around()),
        (live(), around(replace(HERE, labels={COUNTRY: "DE"}), THERE)),
        (live(), around(replace(HERE, labels={}), THERE)),
        (live(), around(THERE)),
        (live(), around(replace(HERE, virtual=True), THERE)),
        (live(), around(says=NamespaceLabels())),
        (live(), around(says=NamespaceLabels("nl"))),
        (live(), around(says=NamespaceLabels("de", "Warn"))),
        (live(), around(catalogue={DE: only(DE, "DE", mode=Mode.AUDIT)})),
        (live(), around(catalogue={})),
    ],
    ids=[
        "going",
        "ended",
        "its node was put right",
        "its node says nothing any more",
        "its node is gone",
        "its node is virtual",
        "its namespace is not classified",
        "its namespace is classified otherwise",
        "its namespace is lowered",
        "its classification is lowered",
        "its classification is not in force",
    ],
)
def test_only_a_pod_that_is_misplaced_where_that_is_enforced_is_evicted(pod: Live, where: Around) -> None:
    assert result(pod, where) is EvictionResult.CHANGED


def affinity(key: str, *values: str) -> Json:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}


SSD = Requirement("disk", Operator.IN, ("ssd",))
TAINTED = replace(THERE, repels=(Taint("pool", "odc"),))
TOLERATION = {"key": "pool", "operator": "Equal", "value": "odc"}


@pytest.mark.parametrize(
    ("pod", "nodes"),
    [
        (live(), (HERE,)),
        (live(), (HERE, replace(THERE, usable=False))),
        (live(), (HERE, replace(THERE, labels={}))),
        (live(), (HERE, replace(THERE, virtual=True))),
        (live({"nodeSelector": {"disk": "hdd"}}), (HERE, THERE)),
        (live({"affinity": {"nodeAffinity": affinity(COUNTRY, "NL")}}), (HERE, THERE)),
        (live(), (HERE, TAINTED)),
        (live({"tolerations": [{**TOLERATION, "value": "other"}]}), (HERE, TAINTED)),
        (live({"tolerations": [{**TOLERATION, "effect": "NoExecute"}]}), (HERE, TAINTED)),
        (live(annotations={CLASSIFICATION: "nl"}), (HERE, THERE)),
    ],
    ids=[
        "no other node",
        "not usable",
        "no facts",
        "virtual",
        "its node selector",
        "its affinity, from an older classification",
        "a taint",
        "another value tolerated",
        "another effect tolerated",
        "another classification besides",
    ],
)
def test_what_would_have_nowhere_to_go_is_left_where_it_is(pod: Live, nodes: tuple[NodeView, ...]) -> None:
    assert result(pod, around(*nodes)) is EvictionResult.NOWHERE_TO_GO


def test_a_node_has_to_satisfy_every_classification_that_is_asked_of_the_pod() -> None:
    fast = ClassificationName("fast")
    fields = {DE: only(DE, "DE"), fast: restore(fast, "Fast", (), Placement(((SSD,),)))}
    pod = live(annotations={CLASSIFICATION: "fast"})
    assert result(pod, around(HERE, THERE, catalogue=fields)) is None
    slow = replace(THERE, labels={COUNTRY: "DE", "disk": "hdd"})
    abroad = replace(THERE, name="abroad", labels={COUNTRY: "US", "disk": "ssd"})
    assert result(pod, around(HERE, slow, abroad, catalogue=fields)) is EvictionResult.NOWHERE_TO_GO


def test_a_taint_that_the_pod_or_its_classification_tolerates_is_in_nobodys_way() -> None:
    tolerating = {DE: only(DE, "DE", tolerations=(Toleration("pool", "Exists"),))}
    assert result(live({"tolerations": [TOLERATION]}), around(HERE, TAINTED)) is None
    assert result(live({"tolerations": [{"operator": "Exists"}]}), around(HERE, TAINTED)) is None
    assert result(live(), around(HERE, TAINTED, catalogue=tolerating)) is None


def test_a_pod_goes_nowhere_without_its_volumes() -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e", "emptyDir": {}}]
    pod = live({"volumes": volumes})
    assert pod.claims == ("data",)
    local = reach({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [expression("disk", "hdd")]}}}})
    reachable = reach({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [expression("disk", "ssd")]}}}})
    anywhere = reach({"spec": {}})
    assert result(pod, around(reaches=(reachable, anywhere))) is None
    assert result(pod, around(reaches=(reachable, local))) is EvictionResult.NOWHERE_TO_GO


def expression(key: str, *values: str) -> Json:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}


def test_a_pod_whose_successor_would_be_refused_is_left_where_it_is() -> None:
    """It mounts a claim from before its namespace was classified."""
    storage = Storage((Requirement("disk", Operator.IN, ("nl",)),), classes=("nl-disk",))
    pod = live({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "old"}}]})
    where = around(
        catalogue={DE: only(DE, "DE", storage=storage)}, surroundings=Surroundings(foreign_claims={"ns": ("old",)})
    )
    found = decide(pod, where, DE)
    assert found is not None
    assert found[0] is EvictionResult.NOWHERE_TO_GO
    assert "its successor would be refused (RES-" in found[1]
    assert result(pod, replace(where, surroundings=NOTHING_KNOWN)) is None


COUNTRIES = st.sampled_from(["DE", "NL", "US", None])
TAINTS = st.sampled_from([(), (Taint("pool", "odc"),), (Taint("pool", "odc"), Taint("gpu"))])
NODES = st.builds(
    lambda name, country, disk, usable, virtual, repels: NodeView(
        name, {k: v for k, v in ((COUNTRY, country), ("disk", disk)) if v}, virtual, False, usable, repels
    ),
    st.sampled_from(["here", "n1", "n2", "n3"]),
    COUNTRIES,
    st.sampled_from(["ssd", "hdd"]),
    st.booleans(),
    st.sampled_from([False, False, True]),
    TAINTS,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "nodeSelector": st.sampled_from([{}, {"disk": "ssd"}]),
        "affinity": st.sampled_from([{}, {"nodeAffinity": affinity(COUNTRY, "DE", "NL")}]),
        "tolerations": st.sampled_from([[], [TOLERATION], [{"operator": "Exists"}]]),
    },
)


@given(st.lists(NODES, max_size=6), SPECS, st.sampled_from([None, "nl", "de"]), st.sampled_from([None, "ssd", "hdd"]))
@settings(max_examples=300, deadline=None)
def test_whoever_is_evicted_has_a_node_that_would_take_him(
    nodes: list[NodeView], spec: Json, annotation: str | None, disk: str | None
) -> None:
    pod = live(spec, annotations={} if annotation is None else {CLASSIFICATION: annotation})
    known = [node for node in nodes if node.name != "here"]
    reaches = () if disk is None else (reach(volume_on(disk)),)
    found = result(pod, around(HERE, *known, reaches=reaches))
    names = {DE} | ({ClassificationName(annotation)} if annotation else set())
    successor = replace(pod.view, node_name="")
    room = [
        node
        for node in {node.name: node for node in known}.values()
        if node.usable
        and all(may_take(node, successor, CATALOGUE[name]) for name in names)
        and disk in (None, node.labels["disk"])
        and all(tolerated(taint, pod.view.tolerations) for taint in node.repels)
    ]
    assert found in (None, EvictionResult.NOWHERE_TO_GO)
    assert (found is None) == bool(room)


def volume_on(disk: str) -> Json:
    return {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [expression("disk", disk)]}}}}


def tolerated(taint: Taint, tolerations: tuple[PodToleration, ...]) -> bool:
    everything = any(not toleration.key for toleration in tolerations)
    return everything or (taint.key == "pool" and any(t.key == "pool" for t in tolerations))
