"""What runs where, and what is to be thought of it: every change costs what it touches.

Judgements are kept by what they depend on (what a pod is like, what its node is like, what its namespace says), so
that judging the hundred pods of a node anew after it was relabelled is mostly looking up. Whatever the order in which
things are told, the picture is the one that a fresh look would give.

Pods of excluded namespaces are not kept: nothing is asked of them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from residency.api.names import ClassificationName
from residency.audit.causes import CatalogueChanged, NamespaceChanged, NodeChanged, PodGone, PodSeen
from residency.audit.searches import Kind, Searches
from residency.audit.shapes import NodeShape, NodeShapes, PodShape
from residency.audit.spread import Spread
from residency.audit.tally import Line, PodKey, Tally
from residency.core.audit import Judged, NodeView, judge_bound, judge_waiting, satisfies
from residency.core.judge import Ask, Catalogue, NamespaceLabels, asked_keys, asks
from residency.core.workload import PodView

MOST_KEPT: Final = 50_000
"""Judgements that are kept; then it starts afresh, so that what is gone does not pile up."""

_NOT_CLASSIFIED = NamespaceLabels()
_GONE = PodGone()


class _Kept(msgspec.Struct, gc=False):
    """A pod in the picture, and what was judged of it last."""

    node: str
    """"" while it waits for one."""
    shape: PodShape
    judged: tuple[Judged, ...] = ()


class _Node(msgspec.Struct, gc=False):
    view: NodeView
    shape: NodeShape


class Seen(NamedTuple):
    """What there is to know of one pod."""

    node: str
    """"" while it waits for one."""
    view: PodView
    """What of it is judged; once it is bound, without the names of nodes."""
    judged: tuple[Judged, ...]


class Eligible(msgspec.Struct, frozen=True):
    """How many nodes satisfy a classification."""

    by_facts: int
    """By their facts alone."""
    usable: int
    """Of these, those that are Ready and not cordoned."""


_Said = tuple[PodShape, NodeShape | None, NamespaceLabels]


class Picture:
    """Pods, nodes, namespaces and classifications, judged."""

    def __init__(self, excluded: Collection[str] = ()) -> None:
        """``excluded`` are the namespaces that are left alone."""
        self._excluded = frozenset(excluded)
        self._catalogue: Catalogue = {}
        self._pods: dict[PodKey, _Kept] = {}
        self._nodes: dict[str, _Node] = {}
        self._views: dict[str, NodeView] = {}
        self._namespaces: dict[str, NamespaceLabels] = {}
        self._on_node: dict[str, set[PodKey]] = {}
        self._in_namespace: dict[str, set[PodKey]] = {}
        self._annotated: dict[str, set[PodKey]] = {}
        self._waiting: dict[PodKey, tuple[Kind, ...]] = {}
        self._shapes = NodeShapes(())
        self._searches = Searches(self._views, self._catalogue)
        self._kept: dict[_Said, tuple[Judged, ...]] = {}
        self._tally = Tally()
        self._spread = Spread()
        self._eligible: Mapping[ClassificationName, Eligible] | None = None

    # What it shows

    @property
    def counts(self) -> Mapping[Line, int]:
        """How many pods there are by classification, mode and outcome; a pod of two classifications counts in both."""
        return self._tally.counts

    @property
    def tally(self) -> Tally:
        """The counts, and the pods that deviate."""
        return self._tally

    def node_of(self, pod: PodKey) -> str:
        """The node that a pod is bound to; empty while it waits, and of pods that are not known."""
        kept = self._pods.get(pod)
        return "" if kept is None else kept.node

    @property
    def spread(self) -> Spread:
        """Where they are."""
        return self._spread

    @property
    def nodes(self) -> Mapping[str, NodeView]:
        """The nodes by name."""
        return self._views

    @property
    def catalogue(self) -> Catalogue:
        """The classifications that it judges by."""
        return self._catalogue

    @property
    def eligible(self) -> Mapping[ClassificationName, Eligible]:
        """How many nodes satisfy each classification."""
        if self._eligible is None:
            self._eligible = self._count_eligible()
        return self._eligible

    @property
    def waiting(self) -> Collection[PodKey]:
        """The classified pods that wait for a node."""
        return self._waiting.keys()

    @property
    def classified(self) -> Mapping[str, NamespaceLabels]:
        """The namespaces that are classified, and what their labels say; also those that are left alone."""
        return self._namespaces

    def pods_on(self, node: str) -> Collection[PodKey]:
        """The pods that are bound to a node; not to be changed, nor kept."""
        return self._on_node.get(node, ())

    def pods_in(self, namespace: str) -> Collection[PodKey]:
        """The pods of a namespace; not to be changed, nor kept."""
        return self._in_namespace.get(namespace, ())

    def look(self, key: PodKey) -> Seen | None:
        """Look at one pod; None where there is no such pod, or nothing is asked of it."""
        pod = self._pods.get(key)
        return None if pod is None else Seen(pod.node, pod.shape.view, pod.judged)

    # What it is told

    def put_pod(self, key: PodKey, node: str, shape: PodShape) -> None:
        """Take in a pod that has not ended, new or changed; ``node`` is empty while it waits for one."""
        if key[0] in self._excluded:
            return
        pod = self._pods.get(key)
        seen = PodSeen(node, None if pod is None else pod.node)
        if pod is not None and pod.node not in ("", node):
            # Pods never move: this is another one of the same name.
            self.remove_pod(key)
            pod = None
        if pod is None:
            pod = self._pods[key] = _Kept(node, shape)
        elif pod.node == node and pod.shape is shape:
            return
        else:
            self._unlink(key, pod)
            pod.node, pod.shape = node, shape
        self._link(key, pod)
        self._tally.change = seen
        self._judge(key, pod)

    def remove_pod(self, key: PodKey) -> None:
        """Forget a pod that is gone or has ended."""
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._unlink(key, pod)
            self._wait(key, ())
            self._tally.change = _GONE
            self._tally.remove(key, pod.judged)

    def put_node(self, node: NodeView) -> None:
        """Take in a node, new or changed."""
        before = self._nodes.get(node.name)
        if before is not None and before.view == node:
            return
        self._views[node.name] = node
        self._nodes[node.name] = _Node(node, self._shapes.of(node))
        self._node_changed(node.name, before)

    def remove_node(self, name: str) -> None:
        """Forget a node that is gone."""
        before = self._nodes.pop(name, None)
        if before is not None:
            del self._views[name]
            self._node_changed(name, before)

    def put_namespace(self, name: str, labels: NamespaceLabels) -> None:
        """Take in what a namespace's labels say."""
        before = self._namespaces.get(name, _NOT_CLASSIFIED)
        if labels == _NOT_CLASSIFIED:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        if before != labels:
            self._tally.change = NamespaceChanged(name, before, labels)
            self._judge_all(self._in_namespace.get(name, ()))

    def remove_namespace(self, name: str) -> None:
        """Forget a namespace that is gone."""
        self.put_namespace(name, _NOT_CLASSIFIED)

    def set_catalogue(self, catalogue: Catalogue) -> None:
        """Judge by these classifications from now on."""
        before, self._catalogue = self._catalogue, dict(catalogue)
        changed = {name for name in {**before, **catalogue} if _asks(before, name) != _asks(catalogue, name)}
        if not changed:
            return
        self._tally.change = CatalogueChanged(before, self._catalogue)
        self._eligible = None
        self._kept.clear()
        self._shapes = NodeShapes(asked_keys(catalogue))
        for node in self._nodes.values():
            node.shape = self._shapes.of(node.view)
        self._searches.reclassify(self._catalogue, changed)
        for name, labels in self._namespaces.items():
            if labels.classification in changed:
                self._judge_all(self._in_namespace.get(name, ()))
        for name in changed:
            self._judge_all(self._annotated.get(name, ()))

    # How it keeps up

    def _link(self, key: PodKey, pod: _Kept) -> None:
        for index, word in self._indexes(key, pod):
            index.setdefault(word, set()).add(key)
        self._spread.add(key, pod.node, pod.judged)

    def _unlink(self, key: PodKey, pod: _Kept) -> None:
        for index, word in self._indexes(key, pod):
            together = index[word]
            together.discard(key)
            if not together:
                del index[word]
        self._spread.remove(key, pod.node, pod.judged)

    def _indexes(self, key: PodKey, pod: _Kept) -> Iterable[tuple[dict[str, set[PodKey]], str]]:
        yield self._in_namespace, key[0]
        if pod.node:
            yield self._on_node, pod.node
        if pod.shape.view.classification is not None:
            yield self._annotated, pod.shape.view.classification

    def _node_changed(self, name: str, before: _Node | None) -> None:
        self._eligible = None
        now = self._nodes.get(name)
        self._tally.change = NodeChanged(None if before is None else before.view, None if now is None else now.view)
        if before is None or now is None or before.shape is not now.shape:
            self._judge_all(self._on_node.get(name, ()))
        self._judge_all(self._searches.node_changed(name))

    def _count_eligible(self) -> Mapping[ClassificationName, Eligible]:
        all_, usable = Counter[NodeShape](), Counter[NodeShape]()
        for node in self._nodes.values():
            all_[node.shape] += 1
            usable[node.shape] += node.view.usable
        counted = {}
        for name, classification in self._catalogue.items():
            fits = [shape for shape in all_ if satisfies(shape.view, classification.placement)]
            counted[name] = Eligible(sum(map(all_.__getitem__, fits)), sum(map(usable.__getitem__, fits)))
        return counted

    def _judge_all(self, keys: Iterable[PodKey]) -> None:
        for key in keys:
            self._judge(key, self._pods[key])

    def _judge(self, key: PodKey, pod: _Kept) -> None:
        says = self._namespaces.get(key[0], _NOT_CLASSIFIED)
        judged = self._judge_bound(pod, says) if pod.node else self._judge_waiting(key, pod, says)
        if pod.node and key in self._waiting:
            self._wait(key, ())
        if judged != pod.judged:
            self._tally.remove(key, pod.judged)
            self._tally.add(key, judged)
            self._spread.remove(key, pod.node, pod.judged)
            self._spread.add(key, pod.node, judged)
        pod.judged = judged

    def _judge_bound(self, pod: _Kept, says: NamespaceLabels) -> tuple[Judged, ...]:
        node = self._nodes.get(pod.node)
        said = pod.shape, None if node is None else node.shape, says
        judged = self._kept.get(said)
        if judged is None:
            view = None if node is None else node.shape.view
            judged = judge_bound(pod.shape.view, view, _claims(pod, says), self._catalogue)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[said] = judged
        return judged

    def _judge_waiting(self, key: PodKey, pod: _Kept, says: NamespaceLabels) -> tuple[Judged, ...]:
        claims = _claims(pod, says)
        kinds = tuple((pod.shape, ask.name) for ask in claims if ask.name in self._catalogue)
        somewhere = {kind[1]: self._searches.join(key, kind) for kind in kinds}
        self._wait(key, kinds)
        return tuple(judge_waiting(ask, self._catalogue, somewhere=somewhere.get(ask.name, False)) for ask in claims)

    def _wait(self, key: PodKey, kinds: tuple[Kind, ...]) -> None:
        for kind in self._waiting.pop(key, ()):
            if kind not in kinds:
                self._searches.leave(key, kind)
        if kinds:
            self._waiting[key] = kinds


def _claims(pod: _Kept, says: NamespaceLabels) -> tuple[Ask, ...]:
    return asks("", says.classification, pod.shape.view.classification, says.enforcement)


def _asks(catalogue: Catalogue, name: ClassificationName) -> object:
    """What of a classification a judgement depends on."""
    known = catalogue.get(name)
    return None if known is None else (known.placement, known.mode)
