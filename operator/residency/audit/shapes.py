"""What thousands of pods and nodes have in common, kept once: a judgement depends on nothing else of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from residency.api.names import REGION, Fact
from residency.core.audit import NodeView
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term

_NODE: Final = "node"
_BY_NAME: Final = (Requirement("metadata.name", Operator.IN, (_NODE,)),)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PodShape:
    """What of a pod is judged; the pods of one ReplicaSet share it. Compared by identity."""

    view: PodView


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class NodeShape:
    """What of a node is judged, by the facts that some classification asks for. Compared by identity."""

    view: NodeView


class PodShapes:
    """Makes shapes, the same one for the same content, as long as anybody has it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[object, PodShape] = WeakValueDictionary()

    def of(self, pod: PodView) -> PodShape:
        """Find the shape of a pod, whose node is the only other thing that its judgement depends on.

        Once a pod is bound it does not matter which nodes its terms name, only that they do: a DaemonSet writes another
        name into every pod.
        """
        terms = pod.terms
        if pod.node_name and terms is not None:
            terms = tuple(Term(term.expressions, _BY_NAME if term.fields else ()) for term in terms)
        bound = _NODE if pod.node_name else ""
        content = (tuple(sorted(pod.node_selector.items())), terms, pod.classification, bound)
        shape = self._known.get(content)
        if shape is None:
            view = PodView(pod.node_selector, terms, node_name=bound, classification=pod.classification)
            shape = PodShape(view)
            self._known[content] = shape
        return shape


class NodeShapes:
    """The same for nodes, seen by some labels only."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Facts that contradict each other or the region are not believed, whichever of them is asked for.
        self._keys = frozenset({*keys, Fact.COUNTRY.value, Fact.SUBDIVISION.value, REGION})
        self._known: WeakValueDictionary[object, NodeShape] = WeakValueDictionary()

    def of(self, node: NodeView) -> NodeShape:
        """Find the shape of a node."""
        labels = {key: node.labels[key] for key in sorted(self._keys & node.labels.keys())}
        content = (tuple(labels.items()), node.virtual, node.sovereign)
        shape = self._known.get(content)
        if shape is None:
            shape = NodeShape(replace(node, name="", labels=labels, usable=True, repels=()))
            self._known[content] = shape
        return shape
