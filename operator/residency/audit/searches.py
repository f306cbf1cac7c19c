"""Where pods that wait could go: for each kind of them one node that would do, looked for again only when it is lost.

A judgement needs to know whether there is such a node, not which: a witness settles that until it changes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from residency.api.names import ClassificationName
from residency.audit.shapes import PodShape
from residency.audit.tally import PodKey
from residency.core.audit import NodeView, may_take
from residency.core.judge import Catalogue
from residency.core.requirements import Operator

Kind = tuple[PodShape, ClassificationName]


@dataclass(slots=True)
class _Search:
    pods: set[PodKey] = field(default_factory=set)
    witness: str | None = None


class Searches:
    """One search for each kind of waiting pod."""

    def __init__(self, nodes: Mapping[str, NodeView], catalogue: Catalogue) -> None:
        """``nodes`` is looked at, and may be changed by whoever tells of it."""
        self._nodes = nodes
        self._catalogue = catalogue
        self._searches: dict[Kind, _Search] = {}

    def join(self, pod: PodKey, kind: Kind) -> bool:
        """Let a pod wait, and say whether there is a node for its kind."""
        search = self._searches.get(kind)
        if search is None:
            search = self._searches[kind] = _Search(witness=self._find(kind))
        search.pods.add(pod)
        return search.witness is not None

    def leave(self, pod: PodKey, kind: Kind) -> None:
        """Let it wait no longer."""
        search = self._searches.get(kind)
        if search is not None:
            search.pods.discard(pod)
            if not search.pods:
                del self._searches[kind]

    def node_changed(self, name: str) -> list[PodKey]:
        """Look again after a node has come, changed or gone; return the pods for which the answer is another now."""
        changed: list[PodKey] = []
        node = self._nodes.get(name)
        for kind, search in self._searches.items():
            there = search.witness is not None
            if search.witness == name:
                search.witness = name if node is not None and self._fits(kind, node) else self._find(kind)
            elif not there and node is not None and self._fits(kind, node):
                search.witness = name
            if there is not (search.witness is not None):
                changed += search.pods
        return changed

    def reclassify(self, catalogue: Catalogue, changed: Collection[ClassificationName]) -> None:
        """Look again wherever a classification has changed; the pods are judged anew anyway."""
        self._catalogue = catalogue
        for kind, search in self._searches.items():
            if kind[1] in changed:
                search.witness = self._find(kind)

    def _find(self, kind: Kind) -> str | None:
        return next((node.name for node in self._candidates(kind[0]) if self._fits(kind, node)), None)

    def _fits(self, kind: Kind, node: NodeView) -> bool:
        shape, name = kind
        classification = self._catalogue.get(name)
        return classification is not None and may_take(node, shape.view, classification)

    def _candidates(self, shape: PodShape) -> Iterator[NodeView]:
        """All nodes, or those that the pod's terms name: a DaemonSet's pods each name one."""
        named = _named(shape)
        if named is None:
            return iter(self._nodes.values())
        return (self._nodes[name] for name in named if name in self._nodes)


def _named(shape: PodShape) -> Iterable[str] | None:
    names: list[str] = []
    for term in shape.view.terms or ((),):
        said = next((f.values for f in getattr(term, "fields", ()) if f.operator is Operator.IN), None)
        if said is None:
            return None
        names += said
    return names
