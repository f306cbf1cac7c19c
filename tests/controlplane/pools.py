"""Pools of simulated nodes: what stands where, who runs it, who controls who runs it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.components import NODE_ANNOTATION
from residency.api.names import SOVEREIGN, Fact

POOL_LABEL: Final = "cloud.example/pool"
ZONES: Final = "abc"
CAPACITY: Final = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "500Gi", "pods": "250"}
# What a kubelet keeps back for itself and the system.
ALLOCATABLE: Final = {"cpu": "31", "memory": "122Gi", "ephemeral-storage": "450Gi", "pods": "250"}


@dataclass(frozen=True, slots=True)
class Pool:
    """Some equal nodes, named ``<pool>-0``, ``<pool>-1``, ... and spread over the zones of a region."""

    name: str
    nodes: int = 2
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    region: str = "region-1"

    @property
    def node_names(self) -> list[str]:
        """The names of its nodes."""
        return [f"{self.name}-{number}" for number in range(self.nodes)]

    def manifests(self) -> list[dict[str, Any]]:
        """The Node objects, as kwok wants them."""
        return [self._node(name, ZONES[number % len(ZONES)]) for number, name in enumerate(self.node_names)]

    def _node(self, name: str, zone: str) -> dict[str, Any]:
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": "kwok-32",
            "topology.kubernetes.io/region": self.region,
            "topology.kubernetes.io/zone": f"{self.region}-{zone}",
            POOL_LABEL: self.name,
            **self.labels,
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": {NODE_ANNOTATION: "fake"}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": {"capacity": CAPACITY, "allocatable": ALLOCATABLE, "nodeInfo": _node_info()},
        }


def _node_info() -> dict[str, str]:
    unknown = ("bootID", "machineID", "systemUUID", "kubeProxyVersion")
    return {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "osImage": "simulated",
        "kernelVersion": "simulated",
        "containerRuntimeVersion": "kwok://0.8.0",
        "kubeletVersion": "v1.37.2",
        **dict.fromkeys(unknown, ""),
    }


ODC_NOORD: Final = Pool(
    "odc-noord",
    nodes=3,
    region="nl-groningen",
    labels={
        Fact.COUNTRY: "NL",
        Fact.PROVIDER: "odc-noord",
        Fact.CONTROLLED_FROM: "NL",
        Fact.DEPLOYMENT_MODEL: "government",
        Fact.SEAL: "4",
    },
    taints=[{"key": SOVEREIGN, "value": "true", "effect": "NoSchedule"}],
)
"""A data centre of the Dutch government, kept for those who tolerate its taint."""

EU_PRIVATE: Final = Pool(
    "eu-private",
    nodes=3,
    region="de-frankfurt",
    labels={
        Fact.COUNTRY: "DE",
        Fact.PROVIDER: "rheincloud",
        Fact.CONTROLLED_FROM: "DE",
        Fact.DEPLOYMENT_MODEL: "private-external",
        Fact.SEAL: "3",
    },
)
"""A private cloud in Germany, run by a European company for one customer."""

US_AMSTERDAM: Final = Pool(
    "us-amsterdam",
    nodes=3,
    region="eu-amsterdam",
    labels={
        Fact.COUNTRY: "NL",
        Fact.PROVIDER: "megacloud",
        Fact.CONTROLLED_FROM: "US",
        Fact.DEPLOYMENT_MODEL: "public",
        Fact.SEAL: "1",
    },
)
"""A public cloud that stands in Amsterdam and is controlled from the United States."""

PLAIN: Final = Pool("plain", nodes=2, region="somewhere")
"""Nodes of which nobody has stated a fact."""

DEFAULT_POOLS: Final = (ODC_NOORD, EU_PRIVATE, US_AMSTERDAM, PLAIN)


def node_is_usable(node: Mapping[str, Any]) -> bool:
    """Whether pods can be bound to the node: Ready, and the taint for the time before that lifted."""
    conditions = node.get("status", {}).get("conditions", ())
    taints = node.get("spec", {}).get("taints", ())
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not _keys(taints) & {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}


def _keys(taints: Iterable[Mapping[str, str]]) -> set[str]:
    return {taint["key"] for taint in taints}
