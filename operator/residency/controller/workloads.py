"""Workloads from before: pods that wait without their placement, and DaemonSets to be placed anew."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from residency.api.names import ENDED, PLACED_TERMS, PLACED_TOLERATIONS, ClassificationName, Mode
from residency.cluster.client import Client
from residency.cluster.errors import ApiError
from residency.cluster.resources import DAEMON_SETS, PODS
from residency.core.judge import Catalogue, Denied, NamespaceLabels, Place, asks, guard_pod, in_mode
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.templates import judge_workload
from residency.core.workload import PodView

log = logging.getLogger(__name__)

Labels = Mapping[str, NamespaceLabels]
"""Classified namespaces and what their labels say."""

_NOT_CLASSIFIED = NamespaceLabels()


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None
    deletionTimestamp: str | None = None  # noqa: N815 (as JSON has it)
    ownerReferences: list[dict[str, Any]] = []  # noqa: N815

    @property
    def controlled(self) -> bool:
        """Whether a controller owns it; its owner is what is judged then."""
        return any(owner.get("controller") for owner in self.ownerReferences)

    @property
    def placed(self) -> bool:
        """Whether something was written into its template before, which may have to go."""
        return not {PLACED_TERMS, PLACED_TOLERATIONS}.isdisjoint(self.annotations or {})


class _PodSpec(msgspec.Struct, omit_defaults=True):
    nodeSelector: dict[str, str] | None = None  # noqa: N815
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None
    nodeName: str | None = None  # noqa: N815


class _WholePodSpec(_PodSpec):
    volumes: list[dict[str, Any]] | None = None


class _PodStatus(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    """Of a pod, what decides where it runs and where its data is."""

    metadata: _Metadata
    spec: _WholePodSpec
    status: _PodStatus

    @property
    def waiting(self) -> bool:
        return self.metadata.deletionTimestamp is None and self.status.phase not in ENDED


class _Template(msgspec.Struct):
    """Without its volumes: what is written into a template is where its pods run, and nothing else is judged then."""

    spec: _PodSpec
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _DaemonSetSpec(msgspec.Struct):
    template: _Template


class _DaemonSet(msgspec.Struct):
    """Of a DaemonSet, what decides where its pods run."""

    metadata: _Metadata
    spec: _DaemonSetSpec


@dataclass(frozen=True, slots=True)
class Workloads:
    """The workloads in the cluster, judged as admission would."""

    client: Client
    excluded: Collection[str]
    """Namespaces in which no policy applies."""

    async def waiting_unplaced(
        self, labels: Labels, catalogue: Catalogue, surroundings: Surroundings = NOTHING_KNOWN
    ) -> Mapping[ClassificationName, Sequence[str]]:
        """Find pods that nobody has scheduled yet and that could start where they must not."""
        found: dict[ClassificationName, list[str]] = {}
        for pod in await self.client.find_as(_Pod, PODS, fields="spec.nodeName="):
            if not pod.waiting or pod.metadata.namespace in self.excluded:
                continue
            view = PodView.from_template(msgspec.to_builtins(pod))
            metadata = pod.metadata
            of_namespace = labels.get(metadata.namespace, _NOT_CLASSIFIED)
            asked = in_mode(
                Mode.ENFORCE,
                asks(metadata.namespace, of_namespace.classification, view.classification, of_namespace.enforcement),
                catalogue,
            )
            if asked and guard_pod(view, asked, catalogue, surroundings=surroundings) is not None:
                for ask in asked:
                    found.setdefault(ask.name, []).append(f"{metadata.namespace}/{metadata.name}")
        return found

    async def place_daemonsets(self, labels: Labels, catalogue: Catalogue) -> int:
        """Touch the DaemonSets whose template is not as it should be; return how many cannot be placed.

        The patch is empty: the API server passes it through the mutating policy like any update, and where
        that changes nothing, nothing is written.
        """
        refused = 0
        for daemonset in await self.client.find_as(_DaemonSet, DAEMON_SETS):
            metadata = daemonset.metadata
            if metadata.deletionTimestamp is not None or metadata.namespace in self.excluded or metadata.controlled:
                continue
            label, enforcement = labels.get(metadata.namespace, _NOT_CLASSIFIED)
            raw = msgspec.to_builtins(daemonset)
            verdict = judge_workload("DaemonSet", raw, metadata.namespace, label, catalogue, enforcement)
            if isinstance(verdict, Denied):
                refused += 1
                _report(metadata, verdict.message)
            elif isinstance(verdict, Place) or metadata.placed:
                refused += not await self._touch(metadata)
        return refused

    async def _touch(self, metadata: _Metadata) -> bool:
        try:
            await self.client.merge(DAEMON_SETS, metadata.name, {}, namespace=metadata.namespace)
        except ApiError as error:
            if error.not_found:
                return True
            _report(metadata, error.message)
            return False
        return True


def _report(metadata: _Metadata, message: str) -> None:
    log.warning(
        "DaemonSet not placed",
        extra={"daemonset": f"{metadata.namespace}/{metadata.name}", "answer": message},
    )
