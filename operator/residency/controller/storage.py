"""What is read of the cluster's storage: the StorageClasses, and the claims of classified namespaces."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from residency.api.names import BOUND_BY_CONTROLLER, STORAGE_CLASS_ANNOTATION, Mode
from residency.cluster.client import Client
from residency.cluster.resources import CLAIMS, STORAGE_CLASSES
from residency.controller.workloads import Labels
from residency.core.judge import Catalogue, ceiling
from residency.core.storage import StorageClass, default_class, foreign_claims
from residency.core.surroundings import Surroundings

Json = Mapping[str, Any]

_COUNTED = (STORAGE_CLASS_ANNOTATION, BOUND_BY_CONTROLLER)


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str
    namespace: str
    annotations: dict[str, str] | None = None


class _ClaimSpec(msgspec.Struct, omit_defaults=True):
    storageClassName: str | None = None  # noqa: N815 (as JSON has it)
    volumeName: str | None = None  # noqa: N815
    dataSource: dict[str, Any] | None = None  # noqa: N815
    dataSourceRef: dict[str, Any] | None = None  # noqa: N815


class _Claim(msgspec.Struct):
    """Of a claim, what says where its volume is."""

    metadata: _Metadata
    spec: _ClaimSpec


@dataclass(frozen=True, slots=True)
class StorageFound:
    """The storage that was found in one pass."""

    classes: tuple[StorageClass, ...] = ()
    labels: Labels = field(default_factory=dict)
    claims: tuple[Json, ...] = ()

    def surroundings(self, catalogue: Catalogue) -> Surroundings:
        """What a catalogue has to be compiled for."""
        classified = {name: said.classification for name, said in self.labels.items() if said.classification}
        lowered = frozenset(ceiling(said.enforcement) for said in self.labels.values()) - {Mode.ENFORCE}
        return Surroundings(default_class(self.classes), foreign_claims(self.claims, classified, catalogue), lowered)


async def find_storage(client: Client, objects: Iterable[Json], labels: Labels) -> StorageFound:
    """Read what counts; claims only where something is demanded of them."""
    found = await client.find(STORAGE_CLASSES, metadata_only=True)
    classes = sorted((StorageClass.from_metadata(item["metadata"]) for item in found), key=lambda c: c.name)
    claims = await _claims(client, labels) if labels and any(map(_demands_storage, objects)) else ()
    return StorageFound(tuple(classes), labels, tuple(claims))


async def _claims(client: Client, namespaces: Collection[str]) -> Sequence[Json]:
    found = await client.find_as(_Claim, CLAIMS)
    return [_trimmed(claim) for claim in found if claim.metadata.namespace in namespaces]


def _trimmed(claim: _Claim) -> Json:
    annotations = claim.metadata.annotations or {}
    claim.metadata.annotations = {key: annotations[key] for key in _COUNTED if key in annotations} or None
    trimmed: Json = msgspec.to_builtins(claim)
    return trimmed


def _demands_storage(raw: Json) -> bool:
    """Whether a classification says anything of storage, now or when it was last in force."""
    status = raw.get("status")
    placement = status.get("placement") if isinstance(status, Mapping) else None
    return any(isinstance(said, Mapping) and bool(said.get("storage")) for said in (raw.get("spec"), placement))
