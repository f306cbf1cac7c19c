"""The other pods of a pod's owner, read just before it may be evicted."""

from collections.abc import Sequence

import msgspec

from residency.api.names import ENDED
from residency.audit.departure import READY, TEMPLATE_HASH, Live, Sibling
from residency.cluster.client import Client
from residency.cluster.resources import PODS


class _Owner(msgspec.Struct):
    uid: str
    controller: bool = False


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    deletion_timestamp: str | None = None
    owner_references: list[_Owner] | None = None


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    phase: str = ""
    conditions: list[_Condition] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    status: _Status

    @property
    def owner(self) -> str:
        return next((one.uid for one in self.metadata.owner_references or () if one.controller), "")

    @property
    def ready(self) -> bool:
        return any((one.type, one.status) == READY for one in self.status.conditions or ())


async def siblings(client: Client, namespace: str, pod: Live) -> Sequence[Sibling]:
    """Read the pods of its owner that have not ended, without itself."""
    labels = f"{TEMPLATE_HASH}={pod.template}" if pod.template else ""
    return [
        Sibling(one.metadata.name, one.metadata.deletion_timestamp is not None, one.ready)
        for one in await client.find_as(_Pod, PODS, namespace=namespace, labels=labels)
        if one.owner == pod.owner_uid and one.metadata.uid != pod.uid and one.status.phase not in ENDED
    ]
