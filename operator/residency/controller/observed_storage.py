"""Volumes, claims and StorageClasses as they are watched, trimmed to what their picture needs, as pods are."""

import sys
from typing import Final

import msgspec

from residency.api.names import STORAGE_CLASS_ANNOTATION
from residency.audit.volumes import VolumePicture
from residency.cluster.reflector import Key, Metadata
from residency.core.volumes import VolumeView
from residency.core.workload import Term, node_terms

MOST_KNOWN: Final = 10_000
"""Texts of which the terms are remembered; then it starts afresh."""

_BOUND: Final = "Bound"
_RELEASED: Final = ("Released", "Failed")
"""Phases of a volume whose claim is gone and whose data is not; Failed: Kubernetes could not delete it."""
_LOST: Final = "Lost"
_NOTHING: Final = msgspec.Raw(b"null")


class _Annotations(msgspec.Struct):
    storage_class: str | None = msgspec.field(default=None, name=STORAGE_CLASS_ANNOTATION)


class _VolumeMetadata(Metadata):
    labels: dict[str, str] | None = None
    annotations: _Annotations | None = None


class _Reference(msgspec.Struct):
    namespace: str = ""
    name: str = ""


class _NodeAffinity(msgspec.Struct):
    required: msgspec.Raw = _NOTHING


class _OnNode(msgspec.Struct):
    """A source of data that is part of a node, whatever else it says."""


class _VolumeSpec(msgspec.Struct, rename="camel"):
    claim_ref: _Reference | None = None
    storage_class_name: str = ""
    node_affinity: _NodeAffinity | None = None
    local: _OnNode | None = None
    host_path: _OnNode | None = None


class _Status(msgspec.Struct):
    phase: str = ""


class PersistentVolume(msgspec.Struct):
    """Of a volume, what says where it is and whose data it holds."""

    metadata: _VolumeMetadata
    spec: _VolumeSpec | None = None
    status: _Status | None = None


class _ClaimSpec(msgspec.Struct, rename="camel"):
    volume_name: str = ""


class Claim(msgspec.Struct):
    """Of a claim, what it is bound to."""

    metadata: Metadata
    spec: _ClaimSpec | None = None
    status: _Status | None = None


class _ClassMetadata(Metadata):
    labels: dict[str, str] | None = None


class StorageClass(msgspec.Struct):
    """Of a StorageClass, what it says of its volumes."""

    metadata: _ClassMetadata


class _Telling:
    """Tells the picture."""

    def __init__(self, picture: VolumePicture) -> None:
        self.picture = picture


class PersistentVolumes(_Telling):
    """Tells the picture of volumes."""

    def __init__(self, picture: VolumePicture) -> None:
        super().__init__(picture)
        self._known: dict[bytes, tuple[Term, ...] | None] = {}

    def put(self, key: Key, item: PersistentVolume, before: PersistentVolume | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in a volume; one that was never bound holds nobody's data, even if it is kept for somebody."""
        spec, phase = item.spec or _VolumeSpec(), (item.status or _Status()).phase
        if spec.claim_ref is None or phase not in (_BOUND, *_RELEASED):
            self.picture.remove_volume(key[1])
        else:
            self.picture.put_volume(self._view(key[1], item.metadata, spec, released=phase in _RELEASED))
        item.spec = item.status = item.metadata.labels = item.metadata.annotations = None

    def removed(self, key: Key, item: PersistentVolume) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a volume is gone."""
        self.picture.remove_volume(key[1])

    def _view(self, name: str, metadata: _VolumeMetadata, spec: _VolumeSpec, *, released: bool) -> VolumeView:
        claim = spec.claim_ref or _Reference()
        said = None if metadata.annotations is None else metadata.annotations.storage_class
        labels = sorted((metadata.labels or {}).items())
        return VolumeView(
            name,
            (sys.intern(claim.namespace), claim.name),
            storage_class=sys.intern(spec.storage_class_name if said is None else said),
            labels=tuple((sys.intern(label), sys.intern(value)) for label, value in labels),
            terms=self._terms(spec.node_affinity),
            local=spec.local is not None or spec.host_path is not None,
            released=released,
        )

    def _terms(self, affinity: _NodeAffinity | None) -> tuple[Term, ...] | None:
        """Read a node affinity, unless the same text was read before."""
        text = b"null" if affinity is None else bytes(affinity.required)
        if text not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            required = msgspec.json.decode(text)
            self._known[text] = None if required is None else node_terms(required)
        return self._known[text]


class Claims(_Telling):
    """Tells the picture of claims."""

    def put(self, key: Key, item: Claim, before: Claim | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in a claim."""
        spec, phase = item.spec or _ClaimSpec(), (item.status or _Status()).phase
        self.picture.put_claim(key, spec.volume_name, bound=phase in (_BOUND, _LOST))
        item.spec = item.status = None

    def removed(self, key: Key, item: Claim) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a claim is gone."""
        self.picture.remove_claim(key)


class StorageClasses(_Telling):
    """Tells the picture of StorageClasses."""

    def put(self, key: Key, item: StorageClass, before: StorageClass | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in what a StorageClass's labels say."""
        self.picture.put_class(key[1], item.metadata.labels or {})
        item.metadata.labels = None

    def removed(self, key: Key, item: StorageClass) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a StorageClass is gone."""
        self.picture.remove_class(key[1])
