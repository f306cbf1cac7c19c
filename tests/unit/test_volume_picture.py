"""The picture of volumes: whatever is told in whatever order, it is what a fresh look would give."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import VIRTUAL, VIRTUAL_LABEL, ClassificationName, Fact, Mode, Outcome
from residency.audit import reaches, volumes
from residency.audit.volumes import ClaimKey, VolumeKey, VolumePicture
from residency.core.audit import Judged, NodeView, matches
from residency.core.catalogue import restore
from residency.core.judge import Catalogue, NamespaceLabels, asks
from residency.core.placement import ANYWHERE, Placement, Storage
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import (
    VolumeView,
    account,
    judge_volume,
    judge_without_volume,
    keys_asked,
    known,
    said_by_nodes,
)
from residency.core.workload import Term
from told import Told, telling

COUNTRY, SUBDIVISION, MODEL = Fact.COUNTRY.value, Fact.SUBDIVISION.value, Fact.DEPLOYMENT_MODEL.value
ZONE, HOST, TRUSTED = "topology.kubernetes.io/zone", "kubernetes.io/hostname", "example.com/trusted"
NL, EU = ClassificationName("nl"), ClassificationName("eu")


def has(key: str, *values: str) -> Requirement:
    return Requirement(key, Operator.IN, values)


STATE = has(MODEL, "government")
PLACEMENTS = (
    Placement(((has(COUNTRY, "NL"),),)),
    Placement(((has(COUNTRY, "NL"), STATE), (has(COUNTRY, "DE"),))),
    Placement(((has(COUNTRY, "US"),),)),
    ANYWHERE,
)
STORAGES = (None, Storage((has(COUNTRY, "NL"),)), Storage((has(TRUSTED, "true"),)))
Asked = tuple[Placement, Storage | None, Mode]


def catalogue(asked: Mapping[ClassificationName, Asked]) -> Catalogue:
    return {n: restore(n, n, (), placement, storage, mode) for n, (placement, storage, mode) in asked.items()}


@dataclass
class World:
    """All that was told, as somebody who forgets nothing and works nothing out in advance would keep it."""

    volumes: dict[str, VolumeView] = field(default_factory=dict)
    claims: dict[ClaimKey, tuple[str, bool]] = field(default_factory=dict)
    classes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    nodes: dict[str, NodeView] = field(default_factory=dict)
    namespaces: dict[str, NamespaceLabels] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=dict)

    def judged(self) -> dict[VolumeKey, tuple[Judged, ...]]:
        found = {}
        keys = keys_asked(self.catalogue)
        for name, view in self.volumes.items():
            of_class = self.classes.get(view.storage_class)
            says = None if of_class is None else account(of_class, keys)
            everything = known(view, says, said_by_nodes(view, self.nodes, keys), keys)
            asked = self._asked(view.claim[0])
            found[view.claim[0], name] = tuple(judge_volume(everything, ask, self.catalogue) for ask in asked)
        for key, (volume, bound) in self.claims.items():
            there = self.volumes.get(volume)
            if there is None or there.claim != key:
                lost = volume if bound else ""
                without = (judge_without_volume(ask, self.catalogue, lost) for ask in self._asked(key[0]))
                found[key[0], f"pvc/{key[1]}"] = tuple(without)
        return found

    def _asked(self, namespace: str) -> Any:
        says = self.namespaces.get(namespace, NamespaceLabels())
        return asks("", says.classification, None, says.enforcement)


def shown(picture: VolumePicture) -> tuple[Any, ...]:
    deviating = sorted((c, key, j.outcome, j.mode or "", j.why) for c, key, j in picture.tally.all_deviating())
    return dict(picture.counts), deviating


def expected(found: Mapping[VolumeKey, tuple[Judged, ...]]) -> tuple[Any, ...]:
    """The same without the picture."""
    judged = [(key, one) for key, some in found.items() for one in some]
    counts = Counter((j.classification, "" if j.mode is None else str(j.mode), j.outcome) for _, j in judged)
    deviating = sorted(
        (j.classification, key, j.outcome, j.mode or "", j.why)
        for key, j in judged
        if j.outcome not in (Outcome.COMPLIANT, Outcome.WAITING)
    )
    return dict(counts), deviating


class Both(Told):
    """Tells the picture and the world the same."""

    def __init__(self) -> None:
        self.picture, self.world = VolumePicture(("kube-system",)), World()

    def put_volume(self, view: VolumeView) -> None:
        self.picture.put_volume(view)
        self.world.volumes.pop(view.name, None)
        if view.claim[0] != "kube-system":
            self.world.volumes[view.name] = view

    def remove_volume(self, name: str) -> None:
        self.picture.remove_volume(name)
        self.world.volumes.pop(name, None)

    def put_claim(self, key: ClaimKey, volume: str, bound: bool) -> None:
        self.picture.put_claim(key, volume, bound=bound)
        if key[0] != "kube-system":
            self.world.claims[key] = volume, bound

    def remove_claim(self, key: ClaimKey) -> None:
        self.picture.remove_claim(key)
        self.world.claims.pop(key, None)

    def put_class(self, name: str, labels: Mapping[str, str]) -> None:
        self.picture.put_class(name, labels)
        self.world.classes[name] = labels

    def remove_class(self, name: str) -> None:
        self.picture.remove_class(name)
        self.world.classes.pop(name, None)

    def from_scratch(self) -> VolumePicture:
        """A picture that is told only what is now, in another order."""
        fresh, world = VolumePicture(("kube-system",)), self.world
        for key, (volume, bound) in reversed(world.claims.items()):
            fresh.put_claim(key, volume, bound=bound)
        for view in reversed(world.volumes.values()):
            fresh.put_volume(view)
        for name, labels in world.namespaces.items():
            fresh.put_namespace(name, labels)
        for node in reversed(world.nodes.values()):
            fresh.put_node(node)
        fresh.set_catalogue(world.catalogue)
        for name, of_class in world.classes.items():
            fresh.put_class(name, of_class)
        return fresh


_NAMESPACES = st.sampled_from(["a", "b", "kube-system"])
_NODES = st.sampled_from(["n-1", "n-2", "n-3"])
_VOLUMES = st.sampled_from(["v-1", "v-2", "v-3"])
_CLAIMS = st.tuples(_NAMESPACES, st.sampled_from(["c-1", "c-2"]))
_CLASSES = st.sampled_from(["fast", "slow"])
_NAMES = st.sampled_from([NL, EU, ClassificationName("gone")])
_EXPRESSIONS = st.sampled_from(
    [
        has(ZONE, "x"),
        has(ZONE, "x", "y"),
        has(HOST, "n-1"),
        has(HOST, "n-2", "n-3"),
        has(COUNTRY, "NL"),
        has(COUNTRY, "NL", "US"),
        Requirement(ZONE, Operator.EXISTS),
        Requirement(COUNTRY, Operator.NOT_IN, ("US",)),
    ]
)
_FIELDS = st.sampled_from([(), (), (Requirement("metadata.name", Operator.IN, ("n-1",)),)])
_TERMS = st.lists(
    st.builds(Term, st.lists(_EXPRESSIONS, max_size=2, unique=True).map(tuple), _FIELDS), min_size=1, max_size=2
).map(tuple)
_LABELS = {COUNTRY: st.sampled_from(["NL", "DE", "US"]), SUBDIVISION: st.just("NL-NH")}
_SAYS_VOLUME = st.fixed_dictionaries({}, optional=_LABELS | {"app": st.just("x"), TRUSTED: st.just("true")})
_SAYS_CLASS = st.fixed_dictionaries({}, optional=_LABELS | {TRUSTED: st.sampled_from(["true", "false"])})
_VIEWS = st.builds(
    VolumeView,
    _VOLUMES,
    _CLAIMS,
    st.sampled_from(["", "fast", "slow"]),
    _SAYS_VOLUME.map(lambda labels: tuple(sorted(labels.items()))),
    st.none() | _TERMS,
    st.booleans(),
    st.booleans(),
)
_NODE_LABELS = _LABELS | {
    MODEL: st.sampled_from(["government", "public"]),
    ZONE: st.sampled_from(["x", "y"]),
    VIRTUAL_LABEL: st.just(VIRTUAL),
}
_NODE_VIEWS = st.builds(
    lambda name, labels, usable: NodeView.of(name, {HOST: name} | labels, usable=usable),
    _NODES,
    st.fixed_dictionaries({}, optional=_NODE_LABELS),
    st.booleans(),
)
_SAYS = st.builds(NamespaceLabels, st.none() | _NAMES, st.sampled_from([None, "Audit", "rubbish"]))
_CATALOGUES = st.dictionaries(
    st.sampled_from([NL, EU]),
    st.tuples(st.sampled_from(PLACEMENTS), st.sampled_from(STORAGES), st.sampled_from([Mode.ENFORCE, Mode.WARN])),
).map(catalogue)


_NEWS = st.one_of(
    telling("put_volume", _VIEWS),
    telling("put_volume", _VIEWS),
    telling("put_volume", _VIEWS.map(lambda view: replace(view, claim=("a", "c-1")))),
    telling("remove_volume", _VOLUMES),
    telling("put_claim", _CLAIMS, st.just("") | _VOLUMES, st.booleans()),
    telling("put_claim", _CLAIMS, _VOLUMES, st.just(True)),
    telling("remove_claim", _CLAIMS),
    telling("put_class", _CLASSES, _SAYS_CLASS),
    telling("remove_class", _CLASSES),
    telling("put_node", _NODE_VIEWS),
    telling("put_node", _NODE_VIEWS),
    telling("remove_node", _NODES),
    telling("put_namespace", _NAMESPACES, _SAYS),
    telling("remove_namespace", _NAMESPACES),
    telling("set_catalogue", _CATALOGUES),
)


def _classified() -> Both:
    both = Both()
    dutch = {NL: (PLACEMENTS[0], None, Mode.ENFORCE), EU: (PLACEMENTS[1], STORAGES[1], Mode.WARN)}
    both.set_catalogue(catalogue(dutch))
    both.put_namespace("a", NamespaceLabels("nl"))
    both.put_namespace("b", NamespaceLabels("eu"))
    both.put_class("fast", {COUNTRY: "NL"})
    for name, zone in (("n-1", "x"), ("n-2", "y")):
        both.put_node(NodeView.of(name, {COUNTRY: "NL", ZONE: zone, HOST: name}))
    return both


def _full() -> Both:
    """Volumes of every kind, each with one who says where it is; no fact is asked for but the country."""
    both = Both()
    both.set_catalogue(
        catalogue({NL: (PLACEMENTS[0], None, Mode.ENFORCE), EU: (PLACEMENTS[0], STORAGES[1], Mode.WARN)})
    )
    for name, zone in (("n-1", "x"), ("n-2", "y")):
        both.put_node(NodeView.of(name, {COUNTRY: "NL", ZONE: zone, HOST: name}))
    for namespace, asked in (("a", "nl"), ("b", "eu")):
        both.put_namespace(namespace, NamespaceLabels(asked))
        both.put_claim((namespace, "c-2"), "v-3", bound=True)
    both.put_class("slow", {COUNTRY: "NL"})
    both.put_volume(VolumeView("v-1", ("a", "c-1"), terms=(Term((has(HOST, "n-1"),)),), local=True))
    both.put_volume(VolumeView("v-2", ("b", "c-1"), terms=(Term((has(ZONE, "y"),)),)))
    both.put_volume(VolumeView("v-3", ("a", "c-2"), "slow"))
    return both


@settings(max_examples=400)
@given(st.sampled_from([Both, _classified, _full]), st.lists(_NEWS, min_size=1, max_size=40))
def test_after_whatever_was_told_the_picture_is_what_a_fresh_look_gives(
    begin: Callable[[], Both], news: list[Callable[[Both], None]]
) -> None:
    both = begin()
    both.picture.tally.take_changed()
    before = {key: judged for key, judged in both.world.judged().items() if _deviates(judged)}
    for tell in news:
        tell(both)
        judged = both.world.judged()
        assert shown(both.picture) == expected(judged)
        after = {key: some for key, some in judged.items() if _deviates(some)}
        changed = {key for key in {**before, **after} if before.get(key) != after.get(key)}
        assert changed <= both.picture.tally.take_changed()
        before = after
    assert shown(both.from_scratch()) == expected(both.world.judged())


def _deviates(judged: tuple[Judged, ...]) -> bool:
    return any(one.outcome not in (Outcome.COMPLIANT, Outcome.WAITING) for one in judged)


@given(st.lists(_NEWS, max_size=30))
def test_when_everything_is_gone_nothing_is_left(news: list[Callable[[Both], None]]) -> None:
    both = _classified()
    for tell in news:
        tell(both)
    for name in list(both.world.volumes):
        both.remove_volume(name)
    for key in list(both.world.claims):
        both.remove_claim(key)
    picture = both.picture
    assert shown(picture) == ({}, [])
    indexes = ("_volumes", "_claims", "_of_class", "_volumes_of", "_claims_of", "_claims_on")
    assert not any(getattr(picture, name) for name in indexes)
    assert not any(getattr(picture._reaches, name) for name in ("_reaches", "_by_handle", "_wide"))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(_TERMS, st.booleans()), min_size=1, max_size=4),
    st.lists(st.tuples(_NODES, st.none() | _NODE_VIEWS), max_size=15),
    st.booleans(),
)
def test_whatever_becomes_of_nodes_it_is_known_what_they_say_of_an_affinity(
    affinities: list[tuple[tuple[Term, ...], bool]], news: list[tuple[str, NodeView | None]], nodes_first: bool
) -> None:
    keys = frozenset({COUNTRY, SUBDIVISION, MODEL})
    known_, nodes = reaches.Reaches(keys), dict[str, NodeView]()
    half = len(news) // 2 if nodes_first else 0
    joined: list[reaches.Reach] = []
    for number, (gone, node) in enumerate([*news, ("n-1", None)]):
        if number == half:
            joined = [known_.join(f"v-{n}", terms, local=local) for n, (terms, local) in enumerate(affinities)]
        name = gone if node is None else node.name
        before = {id(reach): reach.said for reach in joined}
        changed = known_.node_changed(name, node)
        nodes.pop(name, None)
        if node is not None:
            nodes[name] = node
        for (terms, local), reach in zip(affinities, joined, strict=False):
            view = VolumeView("v", ("a", "c"), terms=terms, local=local)
            assert reach.said == said_by_nodes(view, nodes, keys)
            assert (reach in changed) is (before[id(reach)] != reach.said)


def test_what_a_new_classification_asks_for_is_found_in_labels_that_nobody_asked_for_before() -> None:
    both = _classified()
    both.put_class("slow", {TRUSTED: "true"})
    both.put_volume(VolumeView("v-1", ("b", "c-1"), "slow"))
    both.put_volume(VolumeView("v-2", ("b", "c-2"), "nowhere", labels=((TRUSTED, "true"),)))
    assert both.picture.counts["eu", "Warn", Outcome.NOT_LOCATED] == 1
    trusting = {EU: (ANYWHERE, STORAGES[2], Mode.WARN)}
    both.set_catalogue(catalogue(trusting))
    assert both.picture.counts == {("eu", "Warn", Outcome.COMPLIANT): 2}
    assert shown(both.picture) == expected(both.world.judged())


# How much is done


class Touching:
    """Notes which volumes are judged anew, and how many nodes are held against affinities."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.volumes: list[str] = []
        self.matched = 0
        judge = VolumePicture._judge

        def noting(picture: VolumePicture, volume: Any) -> None:
            self.volumes.append(volume.view.name)
            judge(picture, volume)

        def counting(term: Term, node: NodeView) -> bool:
            self.matched += 1
            return matches(term, node)

        monkeypatch.setattr(VolumePicture, "_judge", noting)
        monkeypatch.setattr(reaches, "matches", counting)


def crowd(both: Both, prefix: str, namespace: str = "a", count: int = 5, **more: Any) -> list[str]:
    names = [f"{prefix}-{number}" for number in range(count)]
    for name in names:
        both.put_volume(VolumeView(name, (namespace, f"c-{name}"), **more))
    return names


def test_a_class_that_is_relabelled_costs_its_own_volumes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    fast = crowd(both, "fast", storage_class="fast")
    crowd(both, "slow", storage_class="slow")
    touching = Touching(monkeypatch)
    both.put_class("fast", {COUNTRY: "NL", "tier": "gold"})
    assert touching.volumes == [], "no classification asks for that"
    both.put_class("fast", {COUNTRY: "US"})
    assert sorted(touching.volumes) == fast
    assert both.picture.counts["nl", "Enforce", Outcome.MISPLACED] == 5


def test_a_namespace_that_is_relabelled_costs_its_own_volumes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    mine = crowd(both, "mine", storage_class="fast")
    crowd(both, "theirs", "b", storage_class="fast")
    touching = Touching(monkeypatch)
    both.put_namespace("a", NamespaceLabels("nl", "Audit"))
    assert sorted(touching.volumes) == mine
    assert both.picture.counts["nl", "Audit", Outcome.COMPLIANT] == 5


def test_a_node_costs_the_volumes_that_are_tied_to_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    for number in range(50):
        both.put_node(NodeView.of(f"m-{number}", {COUNTRY: "NL", ZONE: "z", HOST: f"m-{number}"}))
    touching = Touching(monkeypatch)
    for number in range(50):
        terms = (Term((has(HOST, f"m-{number}"),)),)
        both.put_volume(VolumeView(f"v-{number}", ("a", f"c-{number}"), terms=terms, local=True))
    assert touching.matched == 50, "each with its own node, and with no other"
    touching.volumes.clear()
    both.put_node(NodeView.of("m-7", {COUNTRY: "US", ZONE: "z", HOST: "m-7"}))
    assert touching.volumes == ["v-7"]
    assert touching.matched == 52
    assert both.picture.counts["nl", "Enforce", Outcome.MISPLACED] == 1


def test_nodes_that_say_the_same_cost_the_volumes_of_their_zone_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _classified()
    crowd(both, "zonal", terms=(Term((has(ZONE, "x"),)),))
    touching = Touching(monkeypatch)
    for number in range(10):
        both.put_node(NodeView.of(f"more-{number}", {COUNTRY: "NL", ZONE: "x", MODEL: "public"}))
        both.remove_node(f"more-{number}")
    both.put_node(NodeView.of("n-1", {COUNTRY: "NL", ZONE: "x", HOST: "n-1", "heartbeat": "1"}, usable=False))
    assert touching.volumes == []


def test_like_volumes_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, made = _classified(), []

    def counting(*arguments: Any) -> Judged:
        made.append(arguments)
        return judge_volume(*arguments)

    monkeypatch.setattr(volumes, "judge_volume", counting)
    monkeypatch.setattr(volumes, "MOST_KEPT", 3)
    crowd(both, "alike", storage_class="fast", count=100, terms=(Term((has(ZONE, "x"),)),))
    assert len(made) == 1
    for country in ("NL", "DE", "US", "FR", "BE"):
        both.put_class("fast", {COUNTRY: country})
        assert len(both.picture._kept) <= 3
    assert shown(both.picture) == expected(both.world.judged())


def test_a_volume_is_known_by_its_namespace_its_name_and_its_claim() -> None:
    both = _classified()
    both.put_volume(VolumeView("pv-1", ("a", "data"), "nowhere"))
    both.put_claim(("a", "lost"), "pv-2", bound=True)
    assert {key for key, _ in both.picture.tally.examples("nl", 5)} == {("a", "pv-1"), ("a", "pvc/lost")}
    keys = ("a", "pv-1"), ("a", "pvc/lost")
    assert [both.picture.claim_of(key) for key in keys] == ["data", "lost"]
    assert [both.picture.volume_of(key) for key in keys] == ["pv-1", ""]
