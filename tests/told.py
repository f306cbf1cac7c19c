"""What the pictures of pods and of volumes are both told, and a world beside each that forgets nothing."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from residency.core.audit import NodeView
from residency.core.judge import Catalogue, NamespaceLabels


class Told:
    """Tells a picture and its world the same of nodes, namespaces and classifications."""

    picture: Any
    world: Any

    def put_node(self, node: NodeView) -> None:
        """A node is new or changed."""
        self.picture.put_node(node)
        self.world.nodes[node.name] = node

    def remove_node(self, name: str) -> None:
        """A node is gone."""
        self.picture.remove_node(name)
        self.world.nodes.pop(name, None)

    def put_namespace(self, name: str, labels: NamespaceLabels) -> None:
        """A namespace is classified, or otherwise than before."""
        self.picture.put_namespace(name, labels)
        self.world.namespaces[name] = labels

    def remove_namespace(self, name: str) -> None:
        """A namespace is gone."""
        self.picture.remove_namespace(name)
        self.world.namespaces.pop(name, None)

    def set_catalogue(self, known: Catalogue) -> None:
        """There are other classifications."""
        self.picture.set_catalogue(known)
        self.world.catalogue = known


def telling(what: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Callable[[Any], None]]:
    """Generate calls of one of these methods, as functions of whom to tell."""
    return st.tuples(*arguments).map(lambda values: lambda both: getattr(both, what)(*values))
