"""Who owns a pod: the workload that people know, by a few reads of metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from residency.audit.tally import PodKey
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError
from residency.cluster.resources import JOBS, NODES, PODS, REPLICA_SETS, Resource
from residency.reporting.limits import Recent

MOST_KNOWN: Final = 1_000
"""Owners whose own owner is remembered."""

# Owners that people may never have heard of, because another owner made them.
_BETWEEN: Final[Mapping[str, Resource]] = {"ReplicaSet": REPLICA_SETS, "Job": JOBS}


@dataclass(frozen=True, slots=True)
class Ref:
    """One object, as Events refer to it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def to_json(self) -> Object:
        """As an ObjectReference."""
        found = {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}
        return found | ({"namespace": self.namespace} if self.namespace else {})


@dataclass(slots=True)
class Owners:
    """Finds owners, and remembers those of ReplicaSets and Jobs."""

    client: Client
    _known: Recent[str, Ref] = field(default_factory=lambda: Recent(MOST_KNOWN))
    """Who is above a ReplicaSet or Job, by its UID; itself where nobody is."""

    async def node(self, name: str) -> Ref | None:
        """Find a node; None where there is none of that name."""
        found = await self._metadata(NODES, name, "")
        return None if found is None else Ref("v1", "Node", "", name, str(found["uid"]))

    async def pod(self, key: PodKey) -> tuple[Ref, Ref] | None:
        """Find a pod and its workload, which is the pod itself where nobody controls it; None: it is gone."""
        namespace, name = key
        found = await self._metadata(PODS, name, namespace)
        if found is None:
            return None
        pod = Ref("v1", "Pod", namespace, name, str(found["uid"]))
        owner = _controller(found, namespace)
        # A mirror pod belongs to its node, which has Events of its own.
        if owner is None or owner.kind == "Node":
            return pod, pod
        return pod, await self._above(owner)

    async def _above(self, owner: Ref) -> Ref:
        resource = _BETWEEN.get(owner.kind)
        if resource is None or resource.api_version != owner.api_version:
            return owner
        known = self._known.get(owner.uid)
        if known is None:
            found = await self._metadata(resource, owner.name, owner.namespace)
            above = None if found is None else _controller(found, owner.namespace)
            known = self._known.put(owner.uid, above or owner)
        return known

    async def _metadata(self, resource: Resource, name: str, namespace: str) -> Mapping[str, Any] | None:
        try:
            found = await self.client.get(resource, name, namespace=namespace, metadata_only=True)
        except ApiError as error:
            if error.not_found:
                return None
            raise
        metadata: Mapping[str, Any] = found["metadata"]
        return metadata


def _controller(metadata: Mapping[str, Any], namespace: str) -> Ref | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return Ref(owner["apiVersion"], owner["kind"], namespace, owner["name"], owner["uid"])
    return None
