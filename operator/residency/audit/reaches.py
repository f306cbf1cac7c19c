"""Which nodes volumes are tied to, and what those say of the place: one reach for all volumes of the same affinity.

A node that changes is held against those reaches alone whose terms could select it: nearly all of them name a label's
values (a zone, a host), by which they are found. With a volume for each of thousands of nodes nothing else would do.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from residency.core.audit import NodeView, matches
from residency.core.requirements import Operator
from residency.core.volumes import Account, of_node, said_by_term
from residency.core.workload import Term

_NAME = ""
"""Stands for a node's name where a label's key would be; no label has an empty key."""

Handle = tuple[str, str]
"""A label, or the name, that a node must have for a term to select it."""


@dataclass(slots=True, eq=False)
class Reach:
    """A required node affinity, and what is said of the places where it leads. Compared by identity."""

    terms: tuple[Term, ...]
    local: bool
    said: frozenset[Account] = frozenset()
    volumes: set[str] = field(default_factory=set)
    """Those that have it."""
    seen: list[Counter[Account]] = field(default_factory=list)
    """For each term, what the nodes say that it selects, and how many say so."""


class Reaches:
    """All of them, and the nodes."""

    def __init__(self, keys: frozenset[str]) -> None:
        """``keys`` are the labels of nodes that count."""
        self._keys = keys
        self._nodes: dict[str, NodeView] = {}
        self._reaches: dict[tuple[tuple[Term, ...], bool], Reach] = {}
        self._by_handle: dict[Handle, dict[Reach, None]] = {}
        self._wide: dict[Reach, None] = {}
        """Those with a term that any node could meet."""
        self._labelled: dict[str, dict[str, set[str]]] = {}
        """Nodes by label, for keys that were ever asked for; there are few."""

    def join(self, volume: str, terms: tuple[Term, ...], *, local: bool) -> Reach:
        """Find the reach of a volume."""
        reach = self._reaches.get((terms, local))
        if reach is None:
            reach = self._reaches[terms, local] = Reach(terms, local)
            for index in self._indexes(reach):
                index[reach] = None
            self._look(reach)
        reach.volumes.add(volume)
        return reach

    def leave(self, volume: str, reach: Reach) -> None:
        """Forget that a volume has it."""
        reach.volumes.discard(volume)
        if reach.volumes:
            return
        del self._reaches[reach.terms, reach.local]
        for index in self._indexes(reach):
            del index[reach]
        for handle in _handles(reach) or ():
            if not self._by_handle.get(handle, True):
                del self._by_handle[handle]

    def count_by(self, keys: frozenset[str]) -> None:
        """Let these labels of nodes count from now on; what is said of every reach may be another."""
        self._keys = keys
        for reach in self._reaches.values():
            self._look(reach)

    def node(self, name: str) -> NodeView | None:
        """A node as it was told of last."""
        return self._nodes.get(name)

    def node_changed(self, name: str, node: NodeView | None) -> list[Reach]:
        """Take in a node that has come, changed or gone (None); return the reaches of which something else is said."""
        before = self._nodes.pop(name, None)
        if node is not None:
            self._nodes[name] = node
        if before == node or (before and node and (before.labels, before.virtual) == (node.labels, node.virtual)):
            return []
        views = [view for view in (before, node) if view is not None]
        met = dict.fromkeys(reach for view in views for reach in self._that_may_select(view))
        for key, index in self._labelled.items():
            _move(index, name, _label(before, key), _label(node, key))
        return [reach for reach in met if self._update(reach, before, node)]

    # How it finds them

    def _indexes(self, reach: Reach) -> Iterator[dict[Reach, None]]:
        handles = _handles(reach)
        if handles is None:
            yield self._wide
        for handle in handles or ():
            yield self._by_handle.setdefault(handle, {})

    def _that_may_select(self, node: NodeView) -> Iterator[Reach]:
        yield from self._wide
        yield from self._by_handle.get((_NAME, node.name), ())
        for key in self._labelled:
            if key in node.labels:
                yield from self._by_handle.get((key, node.labels[key]), ())

    def _that_it_may_select(self, reach: Reach) -> Iterable[NodeView]:
        handles = _handles(reach)
        if handles is None:
            return self._nodes.values()
        names = {name for handle in handles for name in self._with(*handle)}
        return [self._nodes[name] for name in names if name in self._nodes]

    def _with(self, key: str, value: str) -> Iterable[str]:
        if key == _NAME:
            return (value,)
        index = self._labelled.get(key)
        if index is None:
            index = self._labelled[key] = {}
            for name, node in self._nodes.items():
                _move(index, name, None, node.labels.get(key))
        return index.get(value, ())

    # What is said of them

    def _look(self, reach: Reach) -> None:
        reach.seen = [Counter() for _ in reach.terms]
        for node in self._that_it_may_select(reach):
            self._count(reach, node, 1)
        self._sum_up(reach)

    def _update(self, reach: Reach, before: NodeView | None, node: NodeView | None) -> bool:
        if before is not None:
            self._count(reach, before, -1)
        if node is not None:
            self._count(reach, node, 1)
        said = reach.said
        self._sum_up(reach)
        return reach.said != said

    def _count(self, reach: Reach, node: NodeView, by: int) -> None:
        says = of_node(node, self._keys, local=reach.local)
        if says is None:
            return
        for term, seen in zip(reach.terms, reach.seen, strict=True):
            if matches(term, node):
                seen[says] += by
                if not seen[says]:
                    del seen[says]

    def _sum_up(self, reach: Reach) -> None:
        together = zip(reach.terms, reach.seen, strict=True)
        reach.said = frozenset(one for term, seen in together for one in said_by_term(term, seen))


def _handles(reach: Reach) -> Collection[Handle] | None:
    """What a node must have one of to be selected; None where that cannot be told."""
    handles: dict[Handle, None] = {}
    for term in reach.terms:
        if term.empty:
            continue
        named = [(r.key, r.values) for r in term.expressions if r.operator is Operator.IN]
        named += [(_NAME, f.values) for f in term.fields if f.operator is Operator.IN]
        if not named:
            return None
        key, values = min(named, key=lambda one: len(one[1]))
        handles |= dict.fromkeys((key, value) for value in values)
    return handles


def _label(node: NodeView | None, key: str) -> str | None:
    return None if node is None else node.labels.get(key)


def _move(index: dict[str, set[str]], name: str, before: str | None, now: str | None) -> None:
    if before == now:
        return
    if before is not None:
        index[before].discard(name)
        if not index[before]:
            del index[before]
    if now is not None:
        index.setdefault(now, set()).add(name)
