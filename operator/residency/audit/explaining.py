"""Why a pod waits for a node that there is not: what is asked of nodes, and how many have it."""

from collections.abc import Collection, Iterable
from typing import Final

from residency.api.names import ClassificationName
from residency.audit.picture import Picture
from residency.core.audit import NodeView, believed, satisfies, selects
from residency.core.messages import describe
from residency.core.placement import Alternative, Classification
from residency.core.requirements import Requirement, accepts
from residency.core.workload import PodView

MOST_ALTERNATIVES: Final = 3
MOST_REQUIREMENTS: Final = 4


def why_unplaceable(picture: Picture, name: str, pod: PodView) -> str:
    """Count the nodes by what the classification asks and by what the pod's own terms accept; one line."""
    classification = picture.catalogue.get(ClassificationName(name))
    if classification is None:
        return ""
    nodes = picture.nodes.values()
    accepted = [node for node in nodes if selects(pod, node)]
    allowed = [node for node in nodes if satisfies(node, classification.placement)]
    asked = f"{name} asks {_asked(classification, nodes)}; of {_nodes(len(nodes))}"
    if not allowed:
        return f"{asked} none has all of that"
    usable = sum(node.usable for node in allowed)
    have = f"{len(allowed)} ha{'s' if len(allowed) == 1 else 've'} all of that ({usable} Ready and not cordoned)"
    others = f"{len(accepted)} other{'' if len(accepted) == 1 else 's'}" if accepted else "none"
    return f"{asked} {have}, but the pod's own nodeSelector and node affinity accept {others}"


def _asked(classification: Classification, nodes: Collection[NodeView]) -> str:
    shown = classification.placement.alternatives[:MOST_ALTERNATIVES]
    more = len(classification.placement.alternatives) - len(shown)
    said = ", or ".join(_counted(alternative, nodes) for alternative in shown)
    return said + (f", or one of {more} further alternatives" if more else "")


def _counted(alternative: Alternative, nodes: Collection[NodeView]) -> str:
    if not alternative:
        return "nothing"
    shown = alternative[:MOST_REQUIREMENTS]
    more = len(alternative) - len(shown)
    said = " and ".join(f"{describe(requirement)} ({_nodes(_having(requirement, nodes))})" for requirement in shown)
    return said + (f" and {more} more" if more else "")


def _having(requirement: Requirement, nodes: Iterable[NodeView]) -> int:
    """How many nodes have it; none that is virtual, or contradicts itself."""
    return sum(not node.virtual and accepts(requirement, believed(node.labels).get(requirement.key)) for node in nodes)


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"
