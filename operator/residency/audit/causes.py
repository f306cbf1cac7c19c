"""Changes that pass through the pictures, in words: what made a pod or a volume deviate, or made an end of it.

A change is noted as it comes and put into words only when somebody asks, so that the thousands that matter to nobody
cost next to nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from residency.api.names import FACT_PREFIX, NOT_IN_FORCE, REGION, SOVEREIGN, ClassificationName, Outcome
from residency.core import messages
from residency.core.audit import NodeView
from residency.core.judge import Catalogue, NamespaceLabels
from residency.core.placement import Classification, placement_implies
from residency.core.volumes import VolumeView

Key = tuple[str, str]
"""Namespace and name of what is judged."""

LONGEST: Final = 400
"""Bytes of a cause."""
_SHOWN: Final = 3

AT_THE_BEGINNING: Final = "it was so when the audit began"
MEANWHILE: Final = "it ended while the audit was not looking"
NOT_SEEN: Final = "the change that made it so was not seen"


class Change(Protocol):
    """Something that has happened."""

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:
        """Say in words how it made something deviate from a classification; without an outcome, how it ended that."""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod is new, was bound, or is another than before."""

    node: str
    before: str | None
    """The node as it was, "" while it waited; None: nothing was known of the pod."""

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say how it came to be there."""
        pod = f"pod {key[1]}"
        if not self.node:
            return f"{pod} was created" if self.before is None else f"{pod} was changed"
        if self.node == self.before:
            return f"{pod} was changed"
        if outcome in (Outcome.MISPLACED, Outcome.UNPINNED):
            # What the policies in force let through is neither.
            return f"{pod} was bound to node {self.node} by hand, or was created before the policies were in force"
        return f"{pod} was bound to node {self.node}"


@dataclass(frozen=True, slots=True)
class PodGone:
    """A pod has ended or was deleted."""

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say so."""
        return f"pod {key[1]} has ended or was deleted"


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node has come, changed or gone."""

    before: NodeView | None
    now: NodeView | None

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say what of it is another."""
        if self.now is None:
            return f"node {self.before.name if self.before else ''} was deleted"
        if self.before is None:
            return f"node {self.now.name} appeared"
        taints = list(_taints(self.before, self.now))
        labels = relabelled(self.before.labels, self.now.labels)
        if not labels:
            return f"node {self.now.name} was changed: {' and '.join(taints) or 'its state'}"
        return _cut(f"node {self.now.name} was relabelled: {'; '.join((labels, *taints))}")


@dataclass(frozen=True, slots=True)
class VolumeChanged:
    """A volume is new, was bound, labelled or tied to other places, or released."""

    before: VolumeView | None
    now: VolumeView | None

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say what of it is another."""
        name = (self.now or self.before or _NO_VOLUME).name
        if self.now is None:
            return f"volume {name} was deleted, or holds nobody's data any more"
        if self.before is None or self.before.claim != self.now.claim:
            return f"volume {name} was bound to claim {self.now.claim[1]}"
        if self.before.labels != self.now.labels:
            return _cut(f"volume {name} was relabelled: {relabelled(dict(self.before.labels), dict(self.now.labels))}")
        return f"volume {name} was {'released' if self.now.released and not self.before.released else 'changed'}"


@dataclass(frozen=True, slots=True)
class ClaimChanged:
    """A claim is new, names another volume, or is gone."""

    name: str
    gone: bool = False

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say so."""
        return f"claim {self.name} was {'deleted' if self.gone else 'created or changed'}"


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A StorageClass has come, was labelled otherwise, or is gone."""

    name: str
    before: Mapping[str, str] | None
    now: Mapping[str, str] | None

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say what of it is another."""
        if self.before is None or self.now is None:
            return f"StorageClass {self.name} was {'deleted' if self.now is None else 'created'}"
        return _cut(f"StorageClass {self.name} was relabelled: {relabelled(self.before, self.now)}")


_NO_VOLUME: Final = VolumeView("", ("", ""))


@dataclass(frozen=True, slots=True)
class NamespaceChanged:
    """A namespace was classified, otherwise or no more."""

    name: str
    before: NamespaceLabels
    now: NamespaceLabels

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say from what to what."""
        old, new = (None if said is None else messages.said(said) for said in (self.before[0], self.now[0]))
        namespace = f"namespace {self.name}"
        if old == new:
            return f"{namespace} was set to another mode"
        if old is None:
            return f"{namespace} was classified {new}"
        return f"{namespace} was declassified, from {old}" if new is None else f"{namespace} went from {old} to {new}"


@dataclass(frozen=True, slots=True)
class CatalogueChanged:
    """Some classifications are others than they were."""

    before: Catalogue
    now: Catalogue

    def text(self, key: Key, classification: str, outcome: Outcome | None) -> str:  # noqa: ARG002 (a change's)
        """Say what became of the one that matters."""
        if classification == NOT_IN_FORCE:
            return f"the classification that it names {'left' if outcome else 'came into'} force"
        name = ClassificationName(classification)
        old, new = self.before.get(name), self.now.get(name)
        if old is None or new is None:
            return f"classification {classification} {'left' if new is None else 'came into'} force"
        return f"classification {classification} was {_how(old, new)}"


def relabelled(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which labels are others, facts first; nothing where none is."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    keys.sort(key=lambda key: (not key.startswith(FACT_PREFIX), key != REGION, key))
    told = [_relabelled(messages.short(key), before.get(key), now.get(key)) for key in keys[:_SHOWN]]
    more = [f"{len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return ", ".join((*told, *more))


def _relabelled(key: str, before: str | None, now: str | None) -> str:
    if before is None:
        return f"{key} set to {now}"
    return f"{key} {before} taken away" if now is None else f"{key} from {before} to {now}"


def _taints(before: NodeView, now: NodeView) -> Iterator[str]:
    if before.sovereign is not now.sovereign:
        yield f"taint {SOVEREIGN} {'set' if now.sovereign else 'taken away'}"
    if before.virtual is not now.virtual:
        yield f"it is {'' if now.virtual else 'not '}marked as virtual"


def _how(before: Classification, now: Classification) -> str:
    if before.placement == now.placement:
        return "changed" if before.mode is now.mode else f"changed from mode {before.mode} to {now.mode}"
    tighter = placement_implies(now.placement, before.placement)
    looser = placement_implies(before.placement, now.placement)
    return "changed" if tighter is looser else "tightened" if tighter else "loosened"


def _cut(text: str) -> str:
    return messages.one_line(text, LONGEST)
