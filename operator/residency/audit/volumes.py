"""Which volumes hold the data of classified namespaces, and what is to be thought of them: as `Picture` for pods.

A volume counts under the namespace of its claim and its own name, a claim without a volume as ``pvc/`` and its name.
Claims with a volume do not count by themselves. Volumes of excluded namespaces are not kept.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from residency.api.names import ClassificationName
from residency.audit.causes import (
    CatalogueChanged,
    ClaimChanged,
    ClassChanged,
    NamespaceChanged,
    NodeChanged,
    VolumeChanged,
)
from residency.audit.reaches import Reach, Reaches
from residency.audit.tally import Line, PodKey, Tally
from residency.core.audit import Judged, NodeView
from residency.core.judge import Ask, Catalogue, NamespaceLabels, asks
from residency.core.volumes import (
    Account,
    Known,
    VolumeView,
    account,
    judge_volume,
    judge_without_volume,
    keys_asked,
    known,
)

MOST_KEPT: Final = 10_000
"""Judgements that are kept; then it starts afresh."""

VolumeKey = PodKey
"""The namespace of its claim, and its name."""
ClaimKey = tuple[str, str]

_T = TypeVar("_T")

_NOT_CLASSIFIED = NamespaceLabels()
_NO_VOLUME = "pvc/"


class _Volume(msgspec.Struct):
    view: VolumeView
    reach: Reach | None
    judged: tuple[Judged, ...] = ()

    @property
    def key(self) -> VolumeKey:
        return self.view.claim[0], self.view.name


class _Claim(msgspec.Struct):
    volume: str
    """The one that it names; "" where it names none."""
    bound: bool
    """Whether it has been bound to that."""
    judged: tuple[Judged, ...] = ()


class VolumePicture:
    """Volumes, claims, StorageClasses, nodes, namespaces and classifications, judged."""

    def __init__(self, excluded: Collection[str] = ()) -> None:
        """``excluded`` are the namespaces that are left alone."""
        self._excluded = frozenset(excluded)
        self._catalogue: Catalogue = {}
        self._keys = keys_asked({})
        self._volumes: dict[str, _Volume] = {}
        self._claims: dict[ClaimKey, _Claim] = {}
        self._classes: dict[str, Mapping[str, str]] = {}
        self._said_by_class: dict[str, Account] = {}
        self._namespaces: dict[str, NamespaceLabels] = {}
        self._of_class: dict[str, set[str]] = {}
        self._volumes_of: dict[str, set[str]] = {}
        """By namespace of the claim."""
        self._claims_of: dict[str, set[ClaimKey]] = {}
        self._claims_on: dict[str, set[ClaimKey]] = {}
        """By the volume that they name."""
        self._reaches = Reaches(self._keys)
        self._kept: dict[tuple[Known, NamespaceLabels], tuple[Judged, ...]] = {}
        self._tally = Tally()

    # What it shows

    @property
    def counts(self) -> Mapping[Line, int]:
        """How many volumes there are by classification, mode and outcome."""
        return self._tally.counts

    @property
    def tally(self) -> Tally:
        """The counts, and the volumes that deviate."""
        return self._tally

    @property
    def catalogue(self) -> Catalogue:
        """The classifications that it judges by."""
        return self._catalogue

    def claim_of(self, key: VolumeKey) -> str:
        """The name of the claim whose data it is, whether or not there is a volume."""
        volume = self._volumes.get(key[1])
        return volume.view.claim[1] if volume is not None and volume.key == key else key[1].removeprefix(_NO_VOLUME)

    def volume_of(self, key: VolumeKey) -> str:
        """The name of the volume; "" where there is none."""
        return "" if key[1].startswith(_NO_VOLUME) else key[1]

    # What it is told

    def put_volume(self, view: VolumeView) -> None:
        """Take in a volume that holds somebody's data, new or changed."""
        if view.claim[0] in self._excluded:
            self.remove_volume(view.name)
            return
        before = self._volumes.get(view.name)
        if before is not None and before.view == view:
            return
        self._tally.change = VolumeChanged(None if before is None else before.view, view)
        if before is not None:
            self._forget(before)
        reach = None if view.terms is None else self._reaches.join(view.name, view.terms, local=view.local)
        # Thousands of volumes have the same affinity: they share one copy.
        kept = view if reach is None else replace(view, terms=reach.terms)
        volume = self._volumes[view.name] = _Volume(kept, reach)
        _add(self._of_class, view.storage_class, view.name)
        _add(self._volumes_of, view.claim[0], view.name)
        self._judge(volume)
        self._judge_claims(self._claims_on.get(view.name, ()))

    def remove_volume(self, name: str) -> None:
        """Forget a volume that is gone, or holds nobody's data."""
        volume = self._volumes.pop(name, None)
        if volume is not None:
            self._tally.change = VolumeChanged(volume.view, None)
            self._forget(volume)
            self._judge_claims(self._claims_on.get(name, ()))

    def put_claim(self, key: ClaimKey, volume: str, *, bound: bool) -> None:
        """Take in a claim: the volume that it names, and whether it has been bound to it."""
        if key[0] in self._excluded:
            return
        claim = self._claims.get(key)
        if claim is None:
            claim = self._claims[key] = _Claim(volume, bound)
            _add(self._claims_of, key[0], key)
        else:
            _remove(self._claims_on, claim.volume, key)
            claim.volume, claim.bound = volume, bound
        _add(self._claims_on, volume, key)
        self._tally.change = ClaimChanged(key[1])
        self._judge_claim(key, claim)

    def remove_claim(self, key: ClaimKey) -> None:
        """Forget a claim that is gone."""
        claim = self._claims.pop(key, None)
        if claim is not None:
            _remove(self._claims_of, key[0], key)
            _remove(self._claims_on, claim.volume, key)
            self._tally.change = ClaimChanged(key[1], gone=True)
            self._tell(_without_volume(key), claim.judged, ())

    def put_class(self, name: str, labels: Mapping[str, str]) -> None:
        """Take in the labels of a StorageClass."""
        self._tally.change = ClassChanged(name, self._classes.get(name), labels)
        self._classes[name] = labels
        self._class_says(name, account(labels, self._keys))

    def remove_class(self, name: str) -> None:
        """Forget a StorageClass that is gone."""
        self._tally.change = ClassChanged(name, self._classes.pop(name, None), None)
        self._class_says(name, None)

    def put_node(self, node: NodeView) -> None:
        """Take in a node, new or changed."""
        self._tally.change = NodeChanged(self._reaches.node(node.name), node)
        self._judge_reached(self._reaches.node_changed(node.name, node))

    def remove_node(self, name: str) -> None:
        """Forget a node that is gone."""
        self._tally.change = NodeChanged(self._reaches.node(name), None)
        self._judge_reached(self._reaches.node_changed(name, None))

    def put_namespace(self, name: str, labels: NamespaceLabels) -> None:
        """Take in what a namespace's labels say."""
        before = self._namespaces.get(name, _NOT_CLASSIFIED)
        if before == labels:
            return
        self._tally.change = NamespaceChanged(name, before, labels)
        if labels == _NOT_CLASSIFIED:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        self._judge_namespace(name)

    def remove_namespace(self, name: str) -> None:
        """Forget a namespace that is gone."""
        self.put_namespace(name, _NOT_CLASSIFIED)

    def set_catalogue(self, catalogue: Catalogue) -> None:
        """Judge by these classifications from now on."""
        before, self._catalogue = self._catalogue, dict(catalogue)
        changed = {name for name in {**before, **catalogue} if _asks(before, name) != _asks(catalogue, name)}
        if not changed:
            return
        self._tally.change = CatalogueChanged(before, self._catalogue)
        self._kept.clear()
        keys = keys_asked(catalogue)
        other = keys != self._keys
        if other:
            self._keys = keys
            self._reaches.count_by(keys)
            self._said_by_class = {name: account(labels, keys) for name, labels in self._classes.items()}
        for name, labels in self._namespaces.items():
            if other or labels.classification in changed:
                self._judge_namespace(name)

    # How it keeps up

    def _forget(self, volume: _Volume) -> None:
        view = volume.view
        if volume.reach is not None:
            self._reaches.leave(view.name, volume.reach)
        _remove(self._of_class, view.storage_class, view.name)
        _remove(self._volumes_of, view.claim[0], view.name)
        self._tell(volume.key, volume.judged, ())

    def _class_says(self, name: str, says: Account | None) -> None:
        if self._said_by_class.get(name) == says:
            return
        if says is None:
            del self._said_by_class[name]
        else:
            self._said_by_class[name] = says
        self._judge_volumes(self._of_class.get(name, ()))

    def _judge_namespace(self, name: str) -> None:
        self._judge_volumes(self._volumes_of.get(name, ()))
        self._judge_claims(self._claims_of.get(name, ()))

    def _judge_reached(self, reaches: Iterable[Reach]) -> None:
        for reach in reaches:
            self._judge_volumes(reach.volumes)

    def _judge_volumes(self, names: Iterable[str]) -> None:
        for name in names:
            self._judge(self._volumes[name])

    def _judge_claims(self, keys: Iterable[ClaimKey]) -> None:
        for key in keys:
            self._judge_claim(key, self._claims[key])

    def _judge(self, volume: _Volume) -> None:
        asked = self._asked(volume.view.claim[0])
        judged = self._judgement(volume, asked) if asked else ()
        self._tell(volume.key, volume.judged, judged)
        volume.judged = judged

    def _judgement(self, volume: _Volume, asked: tuple[Ask, ...]) -> tuple[Judged, ...]:
        view = volume.view
        nodes = None if volume.reach is None else volume.reach.said
        everything = known(view, self._said_by_class.get(view.storage_class), nodes, self._keys)
        said = everything, self._namespaces[view.claim[0]]
        judged = self._kept.get(said)
        if judged is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            judged = self._kept[said] = tuple(judge_volume(everything, ask, self._catalogue) for ask in asked)
        return judged

    def _judge_claim(self, key: ClaimKey, claim: _Claim) -> None:
        volume = self._volumes.get(claim.volume)
        judged: tuple[Judged, ...] = ()
        if volume is None or volume.view.claim != key:
            lost = claim.volume if claim.bound else ""
            judged = tuple(judge_without_volume(ask, self._catalogue, lost) for ask in self._asked(key[0]))
        self._tell(_without_volume(key), claim.judged, judged)
        claim.judged = judged

    def _asked(self, namespace: str) -> tuple[Ask, ...]:
        says = self._namespaces.get(namespace, _NOT_CLASSIFIED)
        return asks("", says.classification, None, says.enforcement)

    def _tell(self, key: VolumeKey, before: tuple[Judged, ...], judged: tuple[Judged, ...]) -> None:
        if judged != before:
            self._tally.remove(key, before)
            self._tally.add(key, judged)


def _without_volume(key: ClaimKey) -> VolumeKey:
    return key[0], f"{_NO_VOLUME}{key[1]}"


def _asks(catalogue: Catalogue, name: ClassificationName) -> object:
    """What of a classification a judgement depends on; which StorageClasses meet it is looked at here."""
    known_ = catalogue.get(name)
    return None if known_ is None else (known_.placement, known_.storage and known_.storage.demand, known_.mode)


def _add(index: dict[str, set[_T]], word: str, one: _T) -> None:
    index.setdefault(word, set()).add(one)


def _remove(index: dict[str, set[_T]], word: str, one: _T) -> None:
    together = index[word]
    together.discard(one)
    if not together:
        del index[word]
