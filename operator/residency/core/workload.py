"""The part of a pod or pod template that decides where it runs, read from plain JSON data.

Every built-in workload kind is here with the path to its template; nothing here judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.api.names import CLASSIFICATION
from residency.core.requirements import Operator, Requirement
from residency.core.storage import ClaimView, Volume

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Term:
    """A ``NodeSelectorTerm``: all its requirements must hold; one without any matches no node."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it says nothing and so, in Kubernetes, matches nothing."""
        return not self.expressions and not self.fields

    def to_dict(self) -> dict[str, Any]:
        """As the API writes it."""
        lists = {"matchExpressions": self.expressions, "matchFields": self.fields}
        return {name: [_write(r) for r in requirements] for name, requirements in lists.items() if requirements}


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint as a node has it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class PodToleration:
    """A toleration as a pod has it; ``seconds`` limits how long it holds (None: for ever)."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Whether a pod with it may be bound to a node with the taint; what is not known tolerates nothing."""
        key = self.key == taint.key or (not self.key and self.operator == "Exists")
        value = self.operator == "Exists" or (self.operator == "Equal" and self.value == taint.value)
        return key and value and self.effect in ("", taint.effect)


@dataclass(frozen=True, slots=True)
class PodView:
    """What decides where a pod runs and where its data is. ``terms`` is None without required node affinity."""

    node_selector: Mapping[str, str]
    terms: tuple[Term, ...] | None
    tolerations: tuple[PodToleration, ...] = ()
    node_name: str = ""
    classification: str | None = None
    """The annotation; None where there is none."""
    volumes: tuple[Volume, ...] = ()

    @classmethod
    def from_template(cls, template: Json) -> "PodView":
        """Read a Pod or a PodTemplateSpec (anything with ``metadata`` and ``spec``)."""
        spec = template.get("spec") or {}
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        return cls(
            node_selector=dict(spec.get("nodeSelector") or {}),
            terms=None if required is None else node_terms(required),
            tolerations=tuple(map(_toleration, spec.get("tolerations") or ())),
            node_name=spec.get("nodeName") or "",
            classification=annotation(template),
            volumes=tuple(map(Volume.from_volume, spec.get("volumes") or ())),
        )


def annotation(thing: Json) -> str | None:
    """The classification annotation of anything with metadata; None where there is none."""
    value = ((thing.get("metadata") or {}).get("annotations") or {}).get(CLASSIFICATION)
    return None if value is None else str(value)


def node_terms(required: Json) -> tuple[Term, ...]:
    """Read a ``NodeSelector``, a pod's or a PersistentVolume's."""
    return tuple(map(_term, required.get("nodeSelectorTerms") or ()))


def _term(data: Json) -> Term:
    return Term(
        expressions=tuple(map(_read, data.get("matchExpressions") or ())),
        fields=tuple(map(_read, data.get("matchFields") or ())),
    )


def _read(data: Json) -> Requirement:
    return Requirement(data["key"], Operator(data["operator"]), tuple(data.get("values") or ()))


def _write(requirement: Requirement) -> dict[str, Any]:
    data: dict[str, Any] = {"key": requirement.key, "operator": str(requirement.operator)}
    return data | {"values": list(requirement.values)} if requirement.values else data


def _toleration(data: Json) -> PodToleration:
    return PodToleration(
        key=data.get("key") or "",
        operator=data.get("operator") or "Equal",
        value=data.get("value") or "",
        effect=data.get("effect") or "",
        seconds=data.get("tolerationSeconds"),
    )


TEMPLATE_PATHS: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "PodTemplate": ("template",),
}
"""Where each workload kind keeps its pod template."""


def template_of(kind: str, workload: Json) -> Json | None:
    """The pod template of a workload (a Pod is its own); None where it has none."""
    found: Any = workload
    for step in TEMPLATE_PATHS[kind]:
        found = (found or {}).get(step)
    return found or None


def claim_templates(kind: str, workload: Json) -> tuple[tuple[str, ClaimView], ...]:
    """The claims that a StatefulSet makes for its pods, by name; others make none."""
    if kind != "StatefulSet":
        return ()
    templates = (workload.get("spec") or {}).get("volumeClaimTemplates") or ()
    return tuple(((t.get("metadata") or {}).get("name") or "", ClaimView.from_claim(t)) for t in templates)
