"""The picture of what runs: whatever is told in whatever order, it is what a fresh look would give."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import REGION, SOVEREIGN, ClassificationName, Fact, Mode, Outcome
from residency.audit import picture as module
from residency.audit.picture import Eligible, Picture
from residency.audit.shapes import PodShapes
from residency.audit.tally import PodKey
from residency.core.audit import Judged, NodeView, believed, judge_bound, judge_running, satisfies, undoubted
from residency.core.catalogue import restore
from residency.core.judge import Catalogue, NamespaceLabels, asks
from residency.core.placement import ANYWHERE, Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from told import Told, telling

COUNTRY, MODEL = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value
NL, EU = ClassificationName("nl"), ClassificationName("eu")


def country(*values: str) -> Requirement:
    return Requirement(COUNTRY, Operator.IN, values)


STATE = Requirement(MODEL, Operator.IN, ("government",))
PLACEMENTS = (
    Placement(((country("NL"),),)),
    Placement(((country("NL", "DE"),),)),
    Placement(((country("NL"), STATE), (country("DE"),))),
    Placement(((country("US"),),)),
    ANYWHERE,
)


def catalogue(placed: Mapping[ClassificationName, tuple[Placement, Mode]]) -> Catalogue:
    return {name: restore(name, name, (), placement, mode=mode) for name, (placement, mode) in placed.items()}


@dataclass
class World:
    """All that was told, as somebody who forgets nothing and works nothing out in advance would keep it."""

    pods: dict[PodKey, PodView] = field(default_factory=dict)
    nodes: dict[str, NodeView] = field(default_factory=dict)
    namespaces: dict[str, NamespaceLabels] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=dict)

    def judged(self) -> dict[PodKey, tuple[Judged, ...]]:
        found = {}
        for key, pod in self.pods.items():
            says = self.namespaces.get(key[0], NamespaceLabels())
            claims = asks("", says.classification, pod.classification, says.enforcement)
            found[key] = judge_running(pod, self.nodes, claims, self.catalogue)
        return found


def shown(picture: Picture) -> tuple[Any, ...]:
    deviating = sorted((c, pod, j.outcome, j.mode or "", j.why) for c, pod, j in picture.tally.all_deviating())
    namespaces = {(name, line): n for name, lines in picture.spread.namespaces.items() for line, n in lines.items()}
    located = dict(picture.spread.located(picture.nodes))
    return dict(picture.counts), deviating, dict(picture.eligible), namespaces, located


def expected(world: World) -> tuple[Any, ...]:
    """The same without the picture."""
    judged = world.judged()
    counts = Counter(
        (j.classification, "" if j.mode is None else str(j.mode), j.outcome) for some in judged.values() for j in some
    )
    wrong = {
        (j.classification, pod): (j.outcome, j.mode or "", j.why)
        for pod, some in judged.items()
        for j in some
        if j.outcome not in (Outcome.COMPLIANT, Outcome.WAITING)
    }
    eligible = {}
    for name, classification in world.catalogue.items():
        fits = [node for node in world.nodes.values() if satisfies(node, classification.placement)]
        eligible[name] = Eligible(len(fits), sum(node.usable for node in fits))
    deviating = sorted((c, pod, *rest) for (c, pod), rest in wrong.items())
    return dict(counts), deviating, eligible, _by_namespace(judged), _located(world, judged)


def _by_namespace(judged: Mapping[PodKey, Iterable[Judged]]) -> Mapping[Any, int]:
    return Counter(
        (pod[0], (j.classification, "" if j.mode is None else str(j.mode), j.outcome))
        for pod, some in judged.items()
        for j in some
    )


def _located(world: World, judged: Mapping[PodKey, Iterable[Judged]]) -> Mapping[Any, int]:
    """Where the nodes of classified pods are, fact by fact."""
    facts = (Fact.COUNTRY, Fact.PROVIDER, Fact.CONTROLLED_FROM, Fact.DEPLOYMENT_MODEL)
    counts = Counter[Any]()
    for pod, some in judged.items():
        node = world.nodes.get(world.pods[pod].node_name)
        known = undoubted(believed(node.labels)) if node is not None and not node.virtual else {}
        place = tuple(known.get(fact.value, "(unknown)") for fact in facts)
        names = [j.classification for j in some if j.outcome is not Outcome.INTRUDER]
        counts.update((name, place) for name in names if world.pods[pod].node_name)
    return counts


class Both(Told):
    """Tells the picture and the world the same."""

    def __init__(self) -> None:
        self.picture, self.world, self.shapes = Picture(("kube-system",)), World(), PodShapes()

    def put_pod(self, key: PodKey, pod: PodView) -> None:
        self.picture.put_pod(key, pod.node_name, self.shapes.of(pod))
        if key[0] != "kube-system":
            self.world.pods[key] = pod

    def remove_pod(self, key: PodKey) -> None:
        self.picture.remove_pod(key)
        self.world.pods.pop(key, None)

    def from_scratch(self) -> Picture:
        """A picture that is told only what is now, in another order."""
        fresh = Picture(("kube-system",))
        fresh.set_catalogue(self.world.catalogue)
        for key, pod in reversed(self.world.pods.items()):
            fresh.put_pod(key, pod.node_name, self.shapes.of(pod))
        for node in reversed(self.world.nodes.values()):
            fresh.put_node(node)
        for name, labels in self.world.namespaces.items():
            fresh.put_namespace(name, labels)
        return fresh


_NAMESPACES = st.sampled_from(["a", "b", "kube-system"])
_NODES = st.sampled_from(["n-1", "n-2", "n-3"])
_KEYS = st.tuples(_NAMESPACES, st.sampled_from(["p-1", "p-2", "p-3", "p-4"]))
_NAMES = st.sampled_from([NL, EU, ClassificationName("gone"), ClassificationName("lost")])
_REQUIREMENTS = st.sampled_from([country("NL"), country("NL", "DE"), country("US"), STATE])
_FIELDS = st.sampled_from(
    [
        (),
        (),
        *((Requirement("metadata.name", o, (n,)),) for n in ("n-1", "n-2") for o in (Operator.IN, Operator.NOT_IN)),
    ]
)
_TERMS = st.lists(
    st.builds(Term, st.lists(_REQUIREMENTS, max_size=2, unique=True).map(tuple), _FIELDS), min_size=1, max_size=2
).map(tuple)
_PODS = st.builds(
    PodView,
    node_selector=st.sampled_from([{}, {}, {COUNTRY: "NL"}, {COUNTRY: "DE", MODEL: "government"}]),
    terms=st.none() | _TERMS,
    node_name=st.just("") | _NODES,
    classification=st.none() | _NAMES,
)
_FACTS = st.fixed_dictionaries(
    {},
    optional={
        COUNTRY: st.sampled_from(["NL", "DE", "US"]),
        MODEL: st.sampled_from(["government", "public"]),
        # No classification asks for it, so that judgements stay the same where it changes.
        Fact.PROVIDER.value: st.sampled_from(["one", "two"]),
        Fact.SUBDIVISION.value: st.sampled_from(["NL-NH"]),
        REGION: st.sampled_from(["nl-groningen", "eu-west-1"]),
        "type": st.just("virtual-kubelet"),
    },
)
_VIEWS = st.builds(
    lambda name, labels, taints, usable: NodeView.of(name, labels, taints, usable=usable),
    _NODES,
    _FACTS,
    st.sampled_from([(), (SOVEREIGN,)]),
    st.booleans(),
)
_SAYS = st.builds(NamespaceLabels, st.none() | _NAMES, st.sampled_from([None, "Audit", "Warn", "rubbish"]))
_CATALOGUES = st.dictionaries(
    st.sampled_from([NL, EU]), st.tuples(st.sampled_from(PLACEMENTS), st.sampled_from(list(Mode)))
).map(catalogue)


_NEWS = st.one_of(
    telling("put_pod", _KEYS, _PODS),
    telling("put_pod", _KEYS, _PODS.map(lambda pod: replace(pod, node_name=""))),
    telling("put_pod", _KEYS, _PODS),
    telling("remove_pod", _KEYS),
    telling("put_node", _VIEWS),
    telling("put_node", _VIEWS),
    telling("remove_node", _NODES),
    telling("put_namespace", _NAMESPACES, _SAYS),
    telling("remove_namespace", _NAMESPACES),
    telling("set_catalogue", _CATALOGUES),
)


def _classified() -> Both:
    both = Both()
    both.set_catalogue(catalogue({NL: (PLACEMENTS[0], Mode.ENFORCE), EU: (PLACEMENTS[1], Mode.WARN)}))
    both.put_namespace("a", NamespaceLabels("nl"))
    both.put_node(NodeView.of("n-1", {COUNTRY: "NL", "kubernetes.io/hostname": "n-1"}))
    both.put_node(NodeView.of("n-2", {COUNTRY: "NL", "kubernetes.io/hostname": "n-2"}))
    return both


@settings(max_examples=400)
@given(st.sampled_from([Both, _classified]), st.lists(_NEWS, min_size=1, max_size=40))
def test_after_whatever_was_told_the_picture_is_what_a_fresh_look_gives(
    begin: Callable[[], Both], news: list[Callable[[Both], None]]
) -> None:
    both = begin()
    for tell in news:
        tell(both)
        assert shown(both.picture) == expected(both.world)
    assert shown(both.from_scratch()) == expected(both.world)
    assert not any(both.world.pods[key].node_name for key in both.picture._waiting)


@given(st.lists(_NEWS, max_size=30))
def test_when_everything_is_gone_nothing_is_left(news: list[Callable[[Both], None]]) -> None:
    both = _classified()
    for tell in news:
        tell(both)
    for key in list(both.world.pods):
        both.remove_pod(key)
    picture = both.picture
    assert shown(picture)[:2] == ({}, [])
    kept = ("_pods", "_on_node", "_in_namespace", "_annotated", "_waiting")
    assert not any(getattr(picture, name) for name in kept)
    assert not picture._searches._searches


# How much is done


class Judging:
    """Counts judgements that are really made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0

        def counting(*arguments: Any) -> tuple[Judged, ...]:
            self.made += 1
            return judge_bound(*arguments)

        monkeypatch.setattr(module, "judge_bound", counting)


def _crowd(both: Both, pods: Iterable[int], node: str = "n-1", namespace: str = "a") -> None:
    for number in pods:
        both.put_pod((namespace, f"p-{number}"), PodView({}, (Term((country("NL"),)),), node_name=node))


def test_like_pods_on_like_nodes_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, judging = _classified(), Judging(monkeypatch)
    _crowd(both, range(100))
    _crowd(both, range(100, 200), "n-2")
    assert judging.made == 1
    both.put_node(NodeView.of("n-1", {COUNTRY: "US"}))
    assert judging.made == 2
    assert both.picture.counts == {
        ("nl", "Enforce", Outcome.COMPLIANT): 100,
        ("nl", "Enforce", Outcome.MISPLACED): 100,
    }


def test_what_no_classification_asks_for_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    _crowd(both, range(10))
    judging = Judging(monkeypatch)
    both.put_node(NodeView.of("n-1", {COUNTRY: "NL", "heartbeat": "1"}, usable=False))
    assert judging.made == 0
    assert both.picture.eligible[NL] == Eligible(2, 1)


def test_a_classification_that_changes_costs_its_own_pods_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    both.put_namespace("b", NamespaceLabels("eu"))
    _crowd(both, range(10))
    _crowd(both, range(10), namespace="b")
    touched: list[PodKey] = []
    original = Picture._judge

    def noting(self: Picture, key: PodKey, pod: Any) -> None:
        touched.append(key)
        original(self, key, pod)

    monkeypatch.setattr(Picture, "_judge", noting)
    both.set_catalogue(catalogue({NL: (PLACEMENTS[0], Mode.ENFORCE), EU: (PLACEMENTS[3], Mode.WARN)}))
    assert {namespace for namespace, _ in touched} == {"b"}
    assert both.picture.counts["eu", "Warn", Outcome.MISPLACED] == 10


def test_only_so_many_judgements_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    both = _classified()
    for number in range(10):
        pod = PodView({f"key-{number}": "x"}, None, node_name="n-1")
        both.put_pod(("a", f"p-{number}"), pod)
        assert len(both.picture._kept) <= 3
    assert shown(both.picture) == expected(both.world)


def test_a_daemonsets_pods_share_their_shape_once_they_are_bound() -> None:
    shapes = PodShapes()
    views = [
        PodView({}, (Term((country("NL"),), (Requirement("metadata.name", Operator.IN, (name,)),)),), node_name=name)
        for name in ("n-1", "n-2")
    ]
    assert shapes.of(views[0]) is shapes.of(views[1])
    waiting = [replace(view, node_name="") for view in views]
    assert shapes.of(waiting[0]) is not shapes.of(waiting[1])


def test_examples_are_the_first_by_name_however_they_came() -> None:
    both = _classified()
    both.put_node(NodeView.of("n-1", {COUNTRY: "US"}))
    _crowd(both, (7, 3, 9, 1, 5))
    assert [key for key, _ in both.picture.tally.examples("nl", 3)] == [("a", "p-1"), ("a", "p-3"), ("a", "p-5")]
