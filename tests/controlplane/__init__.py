"""A real Kubernetes control plane for the tests and the demo, without containers.

>>> with ControlPlane() as cluster:
...     cluster.add_pools(DEFAULT_POOLS)
...     print(cluster.kubectl("get", "nodes"))
"""

from controlplane.admission import StaticManifests
from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandError, ControlPlaneError, RequestError
from controlplane.pools import DEFAULT_POOLS, Pool

__all__ = [
    "DEFAULT_POOLS",
    "CommandError",
    "ControlPlane",
    "ControlPlaneError",
    "Pool",
    "RequestError",
    "StaticManifests",
]
