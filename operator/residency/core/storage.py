"""Judging storage: claims by the names of StorageClasses, volumes by what they are. Pure, like the judge that asks.

Which StorageClasses meet a classification is worked out here, from their labels, before anything is judged or
compiled: an admission policy cannot look one up. The same is true of claims that pods mount; those from before that
would be refused today are known by their names.

A claim is allowed when its class is, when it does not choose its volume itself, and when it is filled from nothing but
claims and snapshots of its own namespace. A volume is allowed by type: what Kubernetes makes itself or takes from the
node, claims, and inline CSI volumes of drivers that the classification names. Whatever is not known here is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from residency.api.names import (
    BOUND_BY_CONTROLLER,
    DEFAULT_CLASS,
    STORAGE_CLASS_ANNOTATION,
    ClassificationName,
    Code,
)
from residency.core import messages
from residency.core.placement import Classification, Storage
from residency.core.requirements import accepts
from residency.core.surroundings import ALL_CLAIMS

Json = Mapping[str, Any]

HARMLESS: Final = ("configMap", "secret", "downwardAPI", "projected", "emptyDir", "hostPath", "image")
"""Volumes that Kubernetes makes itself, reads only, or takes from the node, which is placed."""
CLAIM: Final = "PersistentVolumeClaim"
SNAPSHOT: Final = ("snapshot.storage.k8s.io", "VolumeSnapshot")

MOST_NAMES: Final = 50_000
"""Characters of claims' names that are compiled for one namespace; it has to fit into one expression."""
MOST_NAMES_IN_ALL: Final = 200_000


# StorageClasses


@dataclass(frozen=True, slots=True)
class StorageClass:
    """Of a StorageClass, what says where its volumes are, and whether it is the default."""

    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    default: bool = False
    created: str = ""

    @classmethod
    def from_metadata(cls, metadata: Json) -> "StorageClass":
        """Read the metadata of a StorageClass."""
        annotations = metadata.get("annotations") or {}
        return cls(
            metadata["name"],
            dict(metadata.get("labels") or {}),
            any(annotations.get(key) == "true" for key in DEFAULT_CLASS),
            metadata.get("creationTimestamp") or "",
        )


def default_class(storage_classes: Iterable[StorageClass]) -> str | None:
    """The class of claims that name none: the newest default, as Kubernetes chooses; the first name among equals."""
    defaults = sorted((c for c in storage_classes if c.default), key=lambda c: c.name)
    return max(defaults, key=lambda c: c.created).name if defaults else None


def with_classes(classification: Classification, storage_classes: Iterable[StorageClass]) -> Classification:
    """Fill in the names of the StorageClasses that a classification allows, in order."""
    storage = classification.storage
    if storage is None:
        return classification
    names = (c.name for c in storage_classes if all(accepts(r, c.labels.get(r.key)) for r in storage.requirements))
    return replace(classification, storage=replace(storage, classes=tuple(sorted(names))))


# Claims


@dataclass(frozen=True, slots=True)
class Source:
    """What a claim is filled from."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""

    @property
    def near(self) -> bool:
        """Whether it is a claim or a snapshot of the claim's own namespace."""
        known = (self.group, self.kind) in (("", CLAIM), SNAPSHOT)
        return known and not self.namespace


@dataclass(frozen=True, slots=True)
class ClaimView:
    """Of a claim, or of a template for one, what says where its volume will be. ``storage_class`` None: not said."""

    storage_class: str | None = None
    volume: str = ""
    """The volume that its author chose."""
    sources: tuple[Source, ...] = ()

    @classmethod
    def from_claim(cls, claim: Json) -> "ClaimView":
        """Read a PersistentVolumeClaim or a template for one, as somebody writes it."""
        spec = claim.get("spec") or {}
        annotations = (claim.get("metadata") or {}).get("annotations") or {}
        sources = (spec.get("dataSource"), spec.get("dataSourceRef"))
        return cls(
            annotations.get(STORAGE_CLASS_ANNOTATION, spec.get("storageClassName")),
            spec.get("volumeName") or "",
            tuple(_source(source) for source in sources if source is not None),
        )

    @classmethod
    def from_existing(cls, claim: Json) -> "ClaimView":
        """Read a claim that exists: its volume was chosen by its author unless the API says that it was found."""
        view = cls.from_claim(claim)
        annotations = (claim.get("metadata") or {}).get("annotations") or {}
        return replace(view, volume="") if BOUND_BY_CONTROLLER in annotations else view


def _source(data: Json) -> Source:
    return Source(
        data.get("kind") or "", data.get("name") or "", data.get("apiGroup") or "", data.get("namespace") or ""
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why storage is refused: what is asked, what is allowed instead, and what to do."""

    code: Code
    asks: str
    allows: str
    fix: str


def claim_trouble(claim: ClaimView, storage: Storage, path: str, default: str | None = None) -> Trouble | None:
    """What is wrong with a claim; ``default`` is the class that it gets where it names none."""
    wanted = default if claim.storage_class is None else claim.storage_class
    # A volume of no class is one that somebody made by hand; to name no class is something else.
    by_hand = claim.storage_class == "" and storage.static_volumes
    if not (by_hand or (wanted is not None and wanted in storage.classes)):
        asks = _asks_class(path, claim.storage_class, default)
        return Trouble(Code.STORAGE_CLAIM, asks, messages.classes(storage.classes), messages.FIX_CLASS)
    if claim.volume and not storage.static_volumes:
        asks = messages.ASKS_VOLUME.format(path=path, volume=messages.shown(claim.volume))
        return Trouble(Code.STORAGE_CLAIM, asks, messages.ALLOWS_NEW_VOLUMES, messages.FIX_VOLUME_NAME)
    far = None if storage.data_sources else next((source for source in claim.sources if not source.near), None)
    if far is not None:
        asks = _asks_source(path, far)
        return Trouble(Code.STORAGE_CLAIM, asks, messages.ALLOWS_SOURCES, messages.FIX_SOURCE)
    return None


def _asks_class(path: str, name: str | None, default: str | None) -> str:
    if name is not None:
        return messages.ASKS_CLASS.format(path=path, storage_class=messages.storage_class(name))
    if default is not None:
        return messages.ASKS_DEFAULT.format(path=path, default=messages.shown(default))
    return messages.ASKS_NO_CLASS.format(path=path)


def _asks_source(path: str, source: Source) -> str:
    fields = {"path": path, "kind": messages.shown(source.kind), "name": messages.shown(source.name)}
    if not source.namespace:
        return messages.ASKS_SOURCE.format(**fields)
    return messages.ASKS_FAR_SOURCE.format(**fields, namespace=messages.shown(source.namespace))


# Volumes


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a pod: its type, and what of it counts for that type."""

    name: str
    type: str = "emptyDir"
    driver: str = ""
    claim: str = ""
    template: ClaimView | None = None

    @classmethod
    def from_volume(cls, volume: Json) -> "Volume":
        """Read an item of ``spec.volumes``; one that says no type is an emptyDir."""
        type_ = next((key for key in volume if key != "name"), "emptyDir")
        source = volume.get(type_) or {}
        return cls(
            volume.get("name") or "",
            type_,
            source.get("driver") or "" if type_ == "csi" else "",
            source.get("claimName") or "" if type_ == "persistentVolumeClaim" else "",
            ClaimView.from_claim(source.get("volumeClaimTemplate") or {}) if type_ == "ephemeral" else None,
        )


def volume_trouble(
    volume: Volume, storage: Storage, path: str, foreign: Sequence[str], default: str | None
) -> Trouble | None:
    """What is wrong with a volume; ``foreign`` are the claims that must not be mounted, ``path`` is the pod spec's."""
    where = f"{path}.volumes[{messages.shown(volume.name)}]"
    if volume.template is not None:
        return claim_trouble(volume.template, storage, f"{where}.ephemeral", default)
    if volume.type == "persistentVolumeClaim":
        if volume.claim not in foreign and ALL_CLAIMS not in foreign:
            return None
        template = messages.MOUNTS_ANY_CLAIM if ALL_CLAIMS in foreign else messages.MOUNTS_CLAIM
        asks = template.format(path=where, claim=messages.shown(volume.claim))
        return Trouble(Code.VOLUME, asks, messages.classes(storage.classes), messages.FIX_MOUNT)
    if volume.type in HARMLESS or (volume.type == "csi" and volume.driver in storage.drivers):
        return None
    if volume.type == "csi":
        asks = messages.MOUNTS_DRIVER.format(path=where, driver=messages.shown(volume.driver))
    else:
        asks = messages.MOUNTS_TYPE.format(path=where, type=messages.shown(volume.type))
    return Trouble(Code.VOLUME, asks, messages.mounts(storage.drivers), messages.FIX_VOLUME)


# Claims from before


def foreign_claims(
    claims: Iterable[Json], labels: Mapping[str, str], catalogue: Mapping[ClassificationName, Classification]
) -> Mapping[str, tuple[str, ...]]:
    """By namespace, the claims that its classification would refuse today; names of so many as can be compiled.

    Where there are more, the namespaces with the longest lists are closed: every claim counts as foreign there.
    """
    found: dict[str, list[str]] = {}
    for claim in claims:
        metadata = claim["metadata"]
        label = labels.get(metadata["namespace"])
        classification = None if label is None else catalogue.get(ClassificationName(label))
        storage = classification.storage if classification is not None else None
        if storage is not None and claim_trouble(ClaimView.from_existing(claim), storage, "") is not None:
            found.setdefault(metadata["namespace"], []).append(metadata["name"])
    return _bounded({namespace: tuple(sorted(names)) for namespace, names in sorted(found.items())})


def _bounded(found: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    lengths = {namespace: sum(len(name) + 3 for name in names) for namespace, names in found.items()}
    room = MOST_NAMES_IN_ALL
    closed = set()
    for namespace, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
        if length > min(MOST_NAMES, room):
            closed.add(namespace)
        else:
            room -= length
    return {namespace: (ALL_CLAIMS,) if namespace in closed else names for namespace, names in found.items()}
