"""What is there: nodes, pods and whose they are, and which nodes a classification allows, as the API server says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane import ControlPlane
from controlplane.pools import POOL_LABEL
from residency.api.names import CLASSIFICATION, PLACED_BY, Fact

Object = dict[str, Any]

_DONE: Final = ("Running", "Succeeded")
_OWNERS: Final = (
    ("ReplicaSet", "/apis/apps/v1/replicasets"),
    ("Job", "/apis/batch/v1/jobs"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A node with its facts."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]

    @property
    def pool(self) -> str:
        """The pool that it belongs to."""
        return self.labels[POOL_LABEL]

    def fact(self, fact: Fact) -> str:
        """A fact; empty where nobody has stated it."""
        return self.labels.get(fact, "")


@dataclass(frozen=True, slots=True)
class Owner:
    """What people applied, of which a pod came."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod: whose it is, where it runs, and what Residency left on it."""

    owner: Owner
    name: str
    node: str
    phase: str
    going: bool
    annotations: Mapping[str, str]
    spec: Object

    @property
    def settled(self) -> bool:
        """Whether it is bound and runs, or has run."""
        return bool(self.node) and self.phase in _DONE

    @property
    def placed_by(self) -> tuple[str, ...]:
        """The classifications by which it was placed; none for one that was left as it was."""
        return tuple(filter(None, self.annotations.get(PLACED_BY, "").split(",")))

    @property
    def asks(self) -> str:
        """The classification that it asks for itself; empty where it asks for none."""
        return self.annotations.get(CLASSIFICATION, "")


@dataclass(frozen=True, slots=True)
class Sight:
    """Looks at one control plane; reads afresh every time."""

    cluster: ControlPlane

    def nodes(self) -> dict[str, Node]:
        """All nodes by name."""
        found = [
            Node(item["metadata"]["name"], item["metadata"]["labels"], item["spec"].get("taints", ()))
            for item in self._list("/api/v1/nodes")
        ]
        return {node.name: node for node in found}

    def pods(self, namespace: str = "") -> list[Pod]:
        """All pods, or those of a namespace, each with the workload that people know."""
        owners = {item["metadata"]["uid"]: (kind, item) for kind, path in _OWNERS for item in self._list(path)}
        path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        return [_pod(item, owners) for item in self._list(path)]

    def classification(self, name: str) -> Object:
        """A classification as it is now."""
        return self._get(f"/apis/residency.dev/v1alpha1/dataclassifications/{name}")

    def classifications(self) -> list[Object]:
        """All classifications."""
        return self._list("/apis/residency.dev/v1alpha1/dataclassifications")

    def labels(self) -> dict[str, str]:
        """The classification of every namespace that has one."""
        namespaces = (item["metadata"] for item in self._list("/api/v1/namespaces"))
        return {
            metadata["name"]: metadata["labels"][CLASSIFICATION]
            for metadata in namespaces
            if CLASSIFICATION in metadata.get("labels", {})
        }

    def _list(self, path: str) -> list[Object]:
        return list(self._get(path)["items"])

    def _get(self, path: str) -> Object:
        answer: Object = self.cluster.request("GET", path)
        return answer


def _pod(item: Object, owners: Mapping[str, tuple[str, Object]]) -> Pod:
    metadata = item["metadata"]
    return Pod(
        owner=_owner("Pod", item, owners),
        name=metadata["name"],
        node=item["spec"].get("nodeName", ""),
        phase=item["status"].get("phase", ""),
        going="deletionTimestamp" in metadata,
        annotations=metadata.get("annotations", {}),
        spec=item["spec"],
    )


def _owner(kind: str, item: Object, owners: Mapping[str, tuple[str, Object]]) -> Owner:
    """Follow the owners up to what people applied."""
    metadata = item["metadata"]
    for reference in metadata.get("ownerReferences", ()):
        if reference["uid"] in owners:
            return _owner(*owners[reference["uid"]], owners)
        return Owner(reference["kind"], metadata["namespace"], reference["name"])
    return Owner(kind, metadata["namespace"], metadata["name"])


# Which nodes a classification allows: as Kubernetes reads the placement in its status, written down once more here, so
# that the demo does not believe the code that it shows.


def allows(classification: Object, node: Node) -> bool:
    """Whether the facts of the node satisfy one of the alternatives."""
    alternatives = classification["status"]["placement"]["alternatives"]
    return any(
        all(_holds(requirement, node.labels) for requirement in alternative["requirements"])
        for alternative in alternatives
    )


def matches(term: Mapping[str, Any], node: Node) -> bool:
    """Whether a term of a pod's affinity holds for the node; one that says nothing holds for none."""
    expressions = term.get("matchExpressions", ())
    return bool(expressions) and all(_holds(expression, node.labels) for expression in expressions)


def tolerates(classification: Object, node: Node) -> bool:
    """Whether what the classification tolerates is enough for the taints of the node."""
    tolerated = {toleration["key"] for toleration in classification["status"]["placement"].get("tolerations", ())}
    return all(taint["key"] in tolerated for taint in node.taints)


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    if value is None:
        # Unknown is never compliant, also where Kubernetes would have it so.
        return False
    values = requirement.get("values", [])
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Gt":
            return int(value) > int(values[0])
        case "Lt":
            return int(value) < int(values[0])
    return bool(requirement["operator"] == "Exists")
