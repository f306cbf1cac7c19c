"""Golden cases: objects on which judge and policies once differed, or easily might, with the verdict that is right.

A case holds all that its verdict depends on: the specs of the classifications, the namespace, the object. What the
comparison of judge and policies finds is written as such a case, ready for ``golden_cases.yaml``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from residency.api.classification import DataClassificationSpec
from residency.api.names import CLASSIFICATION, ENFORCEMENT, ClassificationName, Code, Mode
from residency.core.catalogue import resolve
from residency.core.judge import Catalogue, Denied, Place, Untouched, Verdict, asks, in_mode, judge_claim, judge_pod
from residency.core.placement import Classification, Toleration
from residency.core.storage import CLAIM, ClaimView, StorageClass, with_classes
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.templates import judge_workload, outer_annotation
from residency.core.workload import PodView, annotation, template_of

Json = dict[str, Any]
Specs = Mapping[str, Json]

FILE: Final = Path(__file__).with_name("golden_cases.yaml")
_UNTOUCHED: Final = "Untouched"
_SHORT: Final = 120


def resolved(specs: Specs) -> Catalogue:
    """What of some specs is in force; what cannot be resolved is not."""
    parsed = {ClassificationName(name): DataClassificationSpec.parse(spec) for name, spec in specs.items()}
    return {name: found for name, found in resolve(parsed).items() if isinstance(found, Classification)}


def in_force(specs: Specs, cluster: Json) -> Catalogue:
    """The same for a cluster with these StorageClasses."""
    classes = [StorageClass(name, labels) for name, labels in cluster.get("storageClasses", {}).items()]
    return {name: with_classes(found, classes) for name, found in resolved(specs).items()}


def around(cluster: Json) -> Surroundings:
    """What policies are compiled for; namespaces may be lowered to any mode."""
    foreign = {namespace: tuple(names) for namespace, names in cluster.get("foreignClaims", {}).items()}
    return Surroundings(cluster.get("defaultClass"), foreign, frozenset({Mode.WARN, Mode.AUDIT}))


def judge(
    thing: Json,
    namespace: str,
    labels: Mapping[str, str],
    catalogue: Catalogue,
    mode: Mode = Mode.ENFORCE,
    surroundings: Surroundings = NOTHING_KNOWN,
) -> Verdict:
    """What the judge says of a pod, a workload or a claim in a namespace with these labels."""
    kind, label, enforcement = thing["kind"], labels.get(CLASSIFICATION), labels.get(ENFORCEMENT)
    if kind == CLAIM:
        asked = in_mode(mode, asks(namespace, label, None, enforcement), catalogue)
        return judge_claim(ClaimView.from_claim(thing), asked, catalogue) or Untouched()
    if kind == "Pod":
        asked = in_mode(mode, asks(namespace, label, annotation(thing), enforcement), catalogue)
        return judge_pod(PodView.from_template(thing), asked, catalogue, surroundings=surroundings)
    return judge_workload(kind, thing, namespace, label, catalogue, enforcement, mode, surroundings)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One object in one namespace under some classifications, and what has to become of it."""

    name: str
    why: str
    specs: Specs
    namespace: str
    labels: Mapping[str, str]
    object: Json
    verdict: Verdict
    cluster: Json = field(default_factory=dict)
    """Its ``storageClasses`` (labels by name), its ``defaultClass``, and ``foreignClaims`` by namespace."""

    @property
    def catalogue(self) -> Catalogue:
        """What is in force."""
        return in_force(self.specs, self.cluster)

    def judged(self) -> Verdict:
        """What the judge says today."""
        known = around(self.cluster)
        return judge(self.object, self.namespace, self.labels, self.catalogue, surroundings=known)

    def restricted(self) -> "Case":
        """The same with no classification but those that its verdict can depend on."""
        kind = self.object["kind"]
        asked = (
            self.labels.get(CLASSIFICATION),
            *(() if kind == CLAIM else (annotation(template_of(kind, self.object) or {}),)),
            *(() if kind == CLAIM else (outer_annotation(kind, self.object),)),
        )
        needed: dict[str, None] = {}
        to_see = [name for name in asked if name is not None and name in self.specs]
        while to_see:
            name = to_see.pop(0)
            needed[name] = None
            to_see += [other for other in self.specs[name].get("includes", ()) if other not in needed]
        specs = {name: spec for name, spec in self.specs.items() if name in needed}
        return replace(self, specs=specs)

    def render(self, *comments: str) -> str:
        """The case as an item of the file's list, below comments of one line each."""
        item = {
            "name": self.name,
            "why": self.why,
            "catalogue": dict(self.specs),
            **({"cluster": self.cluster} if self.cluster else {}),
            "namespace": {"name": self.namespace, "labels": dict(self.labels)},
            "object": self.object,
            "verdict": _write(self.verdict),
        }
        text = yaml.dump([item], Dumper=_Compact, sort_keys=False, allow_unicode=True, width=140)
        return "".join(f"# {' '.join(comment.split())}\n" for comment in comments) + text


class _Compact(yaml.SafeDumper):
    """Writes what is short on one line, and what occurs twice twice: an alias is hard to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style or len(repr(mapping)) <= _SHORT)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style or len(repr(sequence)) <= _SHORT)


def _write(verdict: Verdict) -> str | Json:
    match verdict:
        case Denied(code=code, message=message):
            return {"Denied": {"code": str(code), "message": message}}
        case Place(terms=terms, tolerations=tolerations):
            placed: Json = {} if terms is None else {"nodeSelectorTerms": [term.to_dict() for term in terms]}
            return {"Place": placed | ({"tolerations": [t.to_dict() for t in tolerations]} if tolerations else {})}
    return _UNTOUCHED


def _read_verdict(data: Any) -> Verdict:
    match data:
        case "Untouched":
            return Untouched()
        case {"Denied": {"code": code, "message": message}}:
            return Denied(Code(code), message)
        case {"Place": placed}:
            affinity = {"requiredDuringSchedulingIgnoredDuringExecution": placed}
            pod = {"spec": {"affinity": {"nodeAffinity": affinity if "nodeSelectorTerms" in placed else {}}}}
            tolerations = tuple(Toleration(**toleration) for toleration in placed.get("tolerations", ()))
            return Place(PodView.from_template(pod).terms, tolerations)
    raise ValueError(f"not a verdict: {data!r}; it is Untouched, or Place or Denied with what belongs to it")


def read(text: str) -> Iterator[Case]:
    """Read cases: a list, or a mapping of shared ``catalogues``, which cases name, and ``cases``."""
    content: Any = yaml.safe_load(text)
    shared: Mapping[str, Specs]
    items: list[Json]
    shared, items = ({}, content) if isinstance(content, list) else (content["catalogues"], content["cases"])
    for item in items:
        catalogue = item["catalogue"]
        namespace = item["namespace"]
        yield Case(
            name=item["name"],
            why=item["why"],
            specs=shared[catalogue] if isinstance(catalogue, str) else catalogue,
            namespace=namespace["name"],
            labels=namespace.get("labels", {}),
            object=item["object"],
            verdict=_read_verdict(item["verdict"]),
            cluster=item.get("cluster", {}),
        )


@cache
def golden_cases() -> tuple[Case, ...]:
    """All cases of the file."""
    return tuple(read(FILE.read_text()))
