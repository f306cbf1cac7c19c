"""Workloads no one here wrote: objects made of the table of known_workloads.yaml."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

Json = dict[str, Any]

TABLE: Final = Path(__file__).with_name("known_workloads.yaml")
_SELECTOR = re.compile(r"(?P<no>!?)(?P<key>[\w./-]+)(?: (?P<operator>in|notin) \((?P<values>[^)]*)\))?")
_TOLERATION = re.compile(
    r"(?P<all>\*)|(?P<key>[\w./-]*)(?P<equal>=(?P<value>\w*))?(:(?P<effect>\w+))?( for (?P<seconds>\d+)s)?"
)
_OPERATORS: Final = {"in": "In", "notin": "NotIn"}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What decides where a workload of a well-known project runs; the fields are the table's."""

    project: str
    name: str
    kind: str
    odd: str
    nodeSelector: Mapping[str, str] = field(default_factory=dict)  # noqa: N815
    nodeAffinity: Sequence[Sequence[str]] = ()  # noqa: N815
    prefer: Sequence[Sequence[str]] = ()
    tolerations: Sequence[str] = ()
    avoid: Sequence[str] = ()
    avoidPreferred: Sequence[str] = ()  # noqa: N815
    beside: Sequence[str] = ()
    spread: Sequence[str] = ()
    init: Sequence[str] = ()
    sidecars: Sequence[str] = ()
    containers: int = 1
    host: Sequence[str] = ()
    priority: str = ""
    nodeName: str = ""  # noqa: N815
    owner: str = ""
    hook: str = ""
    schedule: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    nowhere: Sequence[str] = ()

    @property
    def title(self) -> str:
        """How tests name it."""
        return f"{self.project} {self.name}"

    def manifest(self) -> Json:
        """The object as its project would have it created."""
        metadata: Json = {"name": self.name, "labels": self._labels()}
        if self.hook:
            metadata["annotations"] = {"helm.sh/hook": self.hook}
        if self.owner:
            metadata["ownerReferences"] = [owned_by("example.com/v1", self.owner, self.name)]
        made = {"apiVersion": _API_VERSIONS[self.kind], "kind": self.kind, "metadata": metadata}
        return made | {"spec": self._spec()}

    def _labels(self) -> Json:
        return {"app.kubernetes.io/name": self.name}

    def _spec(self) -> Json:
        template = {"metadata": {"labels": self._labels()}, "spec": self._pod_spec()}
        selecting = {"selector": {"matchLabels": self._labels()}, "template": template}
        match self.kind:
            case "Pod":
                return self._pod_spec()
            case "Job":
                return {"template": template}
            case "CronJob":
                return {"schedule": self.schedule, "jobTemplate": {"spec": {"template": template}}}
            case "StatefulSet":
                return selecting | {"serviceName": self.name}
        return selecting

    def _pod_spec(self) -> Json:
        spec: Json = {"containers": [_container(f"c{number}") for number in range(self.containers)]}
        spec["initContainers"] = [
            *map(_container, self.init),
            *(_container(name) | {"restartPolicy": "Always"} for name in self.sidecars),
        ]
        spec["nodeSelector"] = dict(self.nodeSelector)
        spec["tolerations"] = [toleration(text) for text in self.tolerations]
        spec["affinity"] = self._affinity()
        spec["topologySpreadConstraints"] = [self._constraint(*text.split()) for text in self.spread]
        spec["priorityClassName"] = self.priority
        spec["nodeName"] = self.nodeName
        spec |= {f"host{space}": True for space in self.host}
        if self.kind in ("Job", "CronJob"):
            spec["restartPolicy"] = "OnFailure"
        return {name: value for name, value in spec.items() if value}

    def _affinity(self) -> Json:
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        preferred = "preferredDuringSchedulingIgnoredDuringExecution"
        terms = [{"matchExpressions": [selector(text) for text in term]} for term in self.nodeAffinity]
        preferences = [
            {"weight": 1, "preference": {"matchExpressions": [selector(text) for text in term]}} for term in self.prefer
        ]
        far = [{"weight": 1, "podAffinityTerm": self._peers(key)} for key in self.avoidPreferred]
        affinity = {
            "nodeAffinity": _said({required: {"nodeSelectorTerms": terms} if terms else {}, preferred: preferences}),
            "podAffinity": _said({required: [self._peers(key) for key in self.beside]}),
            "podAntiAffinity": _said({required: [self._peers(key) for key in self.avoid], preferred: far}),
        }
        return _said(affinity)

    def _peers(self, key: str) -> Json:
        return {"topologyKey": key, "labelSelector": {"matchLabels": self._labels()}}

    def _constraint(self, key: str, otherwise: str) -> Json:
        labels = {"matchLabels": self._labels()}
        return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": otherwise, "labelSelector": labels}


_API_VERSIONS: Final = {
    "Pod": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}


def _said(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value}


def _container(name: str) -> Json:
    return {"name": name, "image": f"images.example/{name}"}


def owned_by(api_version: str, kind: str, name: str) -> Json:
    """A reference to a controlling owner."""
    uid = "00000000-0000-4000-8000-000000000000"
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


def selector(text: str) -> Json:
    """``key``, ``!key``, ``key in (a, b)`` or ``key notin (a, b)`` as a node selector requirement."""
    parts = _SELECTOR.fullmatch(text)
    assert parts, f"not a label selector: {text!r}"
    if not parts["operator"]:
        return {"key": parts["key"], "operator": "DoesNotExist" if parts["no"] else "Exists"}
    values = [value.strip() for value in parts["values"].split(",")]
    return {"key": parts["key"], "operator": _OPERATORS[parts["operator"]], "values": values}


def toleration(text: str) -> Json:
    """A toleration written as the table writes it."""
    parts = _TOLERATION.fullmatch(text)
    assert parts, f"not a toleration: {text!r}"
    if parts["all"]:
        return {"operator": "Exists"}
    equal = parts["equal"] is not None
    made = {
        "key": parts["key"],
        "operator": "Equal" if equal else "Exists",
        "value": parts["value"],
        "effect": parts["effect"],
        "tolerationSeconds": parts["seconds"] and int(parts["seconds"]),
    }
    return _said(made)


def _read() -> Iterator[Known]:
    for row in yaml.safe_load(TABLE.read_text()):
        yield Known(**row)


KNOWN: Final = tuple(_read())
