"""Where the pods of a classification are: by node, and so by the facts of nodes, and by namespace.

Kept by node, not by fact: a node that is relabelled takes its pods along without anybody counting them anew.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from residency.api.names import MISSING, NO_CLASSIFICATION, Fact
from residency.audit.tally import Line, PodKey, line_of
from residency.core.audit import Judged, NodeView, believed, undoubted

_K = TypeVar("_K")


class Place(NamedTuple):
    """What of a node's facts says where it is, and in whose hands."""

    country: str
    provider: str
    controlled_from: str
    deployment_model: str


NOWHERE: Final = Place(MISSING, MISSING, MISSING, MISSING)
_FACTS: Final = (Fact.COUNTRY.value, Fact.PROVIDER.value, Fact.CONTROLLED_FROM.value, Fact.DEPLOYMENT_MODEL.value)


def place_of(node: NodeView | None) -> Place:
    """Read a node's place as far as it is known: nothing of a virtual one, nor what is contradicted."""
    if node is None or node.virtual:
        return NOWHERE
    labels = undoubted(believed(node.labels))
    return Place(*(labels.get(fact) or MISSING for fact in _FACTS))


class Spread:
    """Counts claims on pods, one by one."""

    def __init__(self) -> None:
        self._on_node: dict[str, Counter[str]] = {}
        self._in_namespace: dict[str, Counter[Line]] = {}

    def add(self, pod: PodKey, node: str, judged: Iterable[Judged]) -> None:
        """Count what was judged of a pod; ``node`` is empty while it waits for one."""
        for one in judged:
            self._in_namespace.setdefault(pod[0], Counter())[line_of(one)] += 1
            if node and one.classification != NO_CLASSIFICATION:
                self._on_node.setdefault(node, Counter())[one.classification] += 1

    def remove(self, pod: PodKey, node: str, judged: Iterable[Judged]) -> None:
        """Take it out again."""
        for one in judged:
            _less(self._in_namespace, pod[0], line_of(one))
            if node and one.classification != NO_CLASSIFICATION:
                _less(self._on_node, node, one.classification)

    @property
    def namespaces(self) -> Mapping[str, Mapping[Line, int]]:
        """How many claims there are on each line, by namespace."""
        return self._in_namespace

    def located(self, nodes: Mapping[str, NodeView]) -> Mapping[tuple[str, Place], int]:
        """Count what is bound to a node, by classification and by where that node is."""
        found = Counter[tuple[str, Place]]()
        for name, counts in self._on_node.items():
            place = place_of(nodes.get(name))
            for classification, count in counts.items():
                found[classification, place] += count
        return found


def _less(of: dict[str, Counter[_K]], name: str, key: _K) -> None:
    counts = of[name]
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
        if not counts:
            del of[name]
