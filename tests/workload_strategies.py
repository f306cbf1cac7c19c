"""Generated pods, templates and catalogues in a world small enough that they often meet.

What is generated is valid for Kubernetes, however odd: empty terms, bounds that are no numbers, the same key
asked for several times, tolerations that cover half of what is needed.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import permutations, product
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from golden import resolved
from known_workloads import KNOWN
from residency.api.names import (
    CLASSIFICATION,
    PLACED_TERMS,
    PLACED_TOLERATIONS,
    SOVEREIGN,
    STORAGE_CLASS_ANNOTATION,
    ClassificationName,
    Fact,
)
from residency.core.placement import ANYWHERE, Alternative, Placement, Storage, Toleration, normalise
from residency.core.requirements import Operator, Requirement
from residency.core.surroundings import ALL_CLAIMS
from residency.core.templates import canonical_terms, canonical_tolerations
from residency.core.workload import PodView, Term, template_of

Json = dict[str, Any]

# Long enough to be cut in messages.
RACK = f"{'-'.join(['example'] * 7)}.node-restriction.kubernetes.io/rack"
COUNTRY, MODEL, SEAL = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value, Fact.SEAL.value
VALUES = {
    COUNTRY: ("NL", "DE", "CH", "US"),
    MODEL: ("government", "private-external", "public"),
    SEAL: ("0", "1", "2", "03", "4"),
    RACK: ("1", "2", "10", "007", "a"),
    "topology.kubernetes.io/zone": ("a", "b"),
}
RESTRICTED = (COUNTRY, MODEL, SEAL, RACK)
BOUNDS = ("0", "1", "2", "3", "9", "10", "a", "999999999999999999", "9999999999999999999")
NAMES = tuple(f"class-{letter}" for letter in "abcdefghijkl")
NOT_THERE = "class-unknown"
NO_NAME = "class\n" * 20
# The second is long enough to be cut in messages.
STORAGE_CLASSES = {
    "nl-disk": {COUNTRY: "NL"},
    f"nl-{'fast' * 24}": {COUNTRY: "NL", "example.com/tier": "fast"},
    "eu-disk": {COUNTRY: "DE"},
    "us-disk": {COUNTRY: "US"},
    "unlabelled": {},
}
DRIVERS = ("secrets-store.csi.k8s.io", "us.csi.example.com")
CLAIMS = ("data", "old", "older")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _seldom(draw: st.DrawFn, one_in: int) -> bool:
    """Not ``booleans``: what is seldom has to be so however Hypothesis draws, and to be shrunk away."""
    return draw(st.sampled_from([*[False] * (one_in - 1), True]))


# Whole requirements out of lists: a few draws for each would take longer than the API server takes to judge them.
_LISTS = {
    key: [list(some) for count in (1, 2, 3) for some in permutations(values, count)] for key, values in VALUES.items()
}
_OPERATORS = (*[Operator.IN] * 3, *[Operator.NOT_IN] * 2, *Operator)


def _values(key: str, operator: Operator) -> list[list[str]]:
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return _LISTS[key]
        case Operator.GT | Operator.LT:
            return [[bound] for bound in BOUNDS]
    return [[]]


@st.composite
def requirements(draw: st.DrawFn, keys: tuple[str, ...] = tuple(VALUES)) -> Requirement:
    """Any requirement a pod may have."""
    key, operator = draw(st.sampled_from([(key, operator) for operator in _OPERATORS for key in keys]))
    return Requirement(key, operator, tuple(draw(st.sampled_from(_values(key, operator)))))


def _write(requirement: Requirement) -> Json:
    data: Json = {"key": requirement.key, "operator": str(requirement.operator)}
    return data | {"values": list(requirement.values)} if requirement.values else data


_FIELDS = [
    [{"key": "metadata.name", "operator": operator, "values": ["node-1"]} for operator in operators]
    for operators in (["In"], ["NotIn"], ["In", "NotIn"])
]


@st.composite
def terms(draw: st.DrawFn, known: Sequence[Placement] = ()) -> Json:
    """A node selector term, now and then empty or with nothing but fields; some say what a placement asks."""
    term: Json = {}
    expressions = [_write(r) for r in draw(st.lists(requirements(), max_size=3))]
    if known and _seldom(draw, 3):
        asked = draw(st.sampled_from([a for placement in known for a in placement.alternatives]))
        expressions += [_write(r) for r in asked]
    if expressions or _seldom(draw, 3):
        term["matchExpressions"] = expressions
    if _seldom(draw, 6):
        term["matchFields"] = draw(st.sampled_from(_FIELDS))
    return term


_TOLERATIONS: list[Json] = [
    {name: value for name, value in zip(("key", "operator", "value", "effect"), parts, strict=True) if value}
    for parts in product(
        (SOVEREIGN, "dedicated"), ("Exists", "Equal", ""), ("", "true", "nl"), ("", "NoSchedule", "NoExecute")
    )
    if not (parts[1] == "Exists" and parts[2])
] + [
    {"operator": "Exists"},
    {"operator": "Exists", "effect": "NoSchedule"},
    {"key": SOVEREIGN, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    {"key": SOVEREIGN, "value": "nl", "effect": "NoExecute", "tolerationSeconds": 0},
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
]
_CONTAINER = {"name": "app", "image": "app"}
_SIDECAR = {"name": "proxy", "image": "proxy", "restartPolicy": "Always"}
_VOLUMES: list[Json] = [
    {"emptyDir": {"medium": "Memory"}},
    {"configMap": {"name": "settings", "optional": True}},
    {"secret": {"secretName": "token"}},
    {"hostPath": {"path": "/var/log", "type": "Directory"}},
    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"projected": {"sources": [{"configMap": {"name": "authority"}}, {"secret": {"name": "token"}}]}},
    {"image": {"reference": "registry.example/model"}},
    {"nfs": {"server": "files.example", "path": "/"}},
    {"iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:disk", "lun": 0}},
    {"cephfs": {"monitors": ["192.0.2.1"]}},
    {"csi": {"driver": "secrets.example"}},
    *({"csi": {"driver": driver}} for driver in DRIVERS),
    *({"persistentVolumeClaim": {"claimName": name}} for name in CLAIMS),
]
_SOURCES: list[Json] = [
    {"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "other"}},
    {"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snapshot"}},
    {"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" * 100}},
    {"dataSourceRef": {"apiGroup": "example.com", "kind": "Bucket", "name": "bucket"}},
    {"dataSourceRef": {"apiGroup": "example.com", "kind": "Line\nend", "name": "bucket"}},
]
_COMMON: list[Json] = [
    {"terminationGracePeriodSeconds": 0, "securityContext": {"runAsNonRoot": True, "runAsUser": 1000}},
    {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet", "hostAliases": [{"ip": "192.0.2.1"}]},
    {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": COUNTRY, "whenUnsatisfiable": "DoNotSchedule"}]},
    {"initContainers": [_CONTAINER | {"name": "first"}, _SIDECAR], "shareProcessNamespace": True},
    {"runtimeClassName": None, "schedulerName": "other", "enableServiceLinks": False},
]
_PEERS = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "app"}}}


def _of_a_known_workload(spec: Json) -> Json:
    """The pod spec of a workload that no one here wrote, as far as any kind and any cluster takes it."""
    kept = {name: value for name, value in deepcopy(spec).items() if name != "restartPolicy"}
    if not kept.get("priorityClassName", "system-").startswith("system-"):
        del kept["priorityClassName"]
    return kept


_KNOWN = [_of_a_known_workload((template_of(w.kind, w.manifest()) or {})["spec"]) for w in KNOWN]


@st.composite
def _whole_pods(draw: st.DrawFn) -> Json:
    """What a pod says besides where it runs; some are those of well-known projects, placed as these are."""
    shape = draw(st.sampled_from(["plain", "plain", "plain", "furnished", "known"]))
    if shape == "known":
        return deepcopy(draw(st.sampled_from(_KNOWN)))
    if shape == "plain":
        return {"containers": [_CONTAINER]}
    volumes = draw(st.lists(st.sampled_from(_VOLUMES), max_size=len(_VOLUMES)))
    return draw(st.sampled_from(_COMMON)) | {
        "containers": [_CONTAINER, *draw(st.sampled_from([[], [{"name": "metrics", "image": "metrics"}]]))],
        "volumes": [{"name": f"volume-{number}"} | volume for number, volume in enumerate(volumes)],
    }


@st.composite
def _affinities(draw: st.DrawFn, known: Sequence[Placement]) -> Json | None:
    """The affinity of a pod: none, all but a required one to nodes, or from one term up to more than may be written."""
    shape = draw(st.sampled_from(["none", "none", "empty", "preferred", *["required"] * 4, "many", "many", "crowded"]))
    match shape:
        case "none":
            return None
        case "empty":
            peers = {"podAntiAffinity": {REQUIRED: [_PEERS]}}
            shapes: list[Json] = [{}, {"nodeAffinity": {}}, peers]
            return draw(st.sampled_from(shapes))
        case "preferred":
            preference = {"weight": 1, "preference": {"matchExpressions": [_write(draw(requirements()))]}}
            return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
        case "crowded":
            few = draw(st.lists(terms(known), min_size=1, max_size=2))
            written = (few * 17)[: draw(st.sampled_from([4, 5, 8, 16, 17]))]
        case _:
            most = 3 if shape == "required" else 9
            written = draw(st.lists(terms(known), min_size=1, max_size=most))
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": written}}}


@st.composite
def pod_specs(draw: st.DrawFn, known: Sequence[Placement] = ()) -> Json:
    """A pod spec: node selector, required affinity, tolerations, seldom a node name.

    What ``known`` placements ask is now and then what the author asks too.
    """
    spec = draw(_whole_pods())
    keys = draw(st.lists(st.sampled_from(tuple(VALUES)), max_size=2, unique=True))
    if keys or _seldom(draw, 8):
        spec["nodeSelector"] = {key: draw(st.sampled_from(VALUES[key])) for key in keys}
    affinity = draw(_affinities(known))
    if affinity is not None:
        spec["affinity"] = affinity
    most = 12 if _seldom(draw, 10) else 2
    some = draw(st.lists(st.sampled_from(_TOLERATIONS), max_size=most))
    if some or _seldom(draw, 8):
        spec["tolerations"] = some
    if _seldom(draw, 31):
        spec["nodeName"] = "node-1"
    if _seldom(draw, 4):
        spec["volumes"] = draw(_volumes())
    return spec


@st.composite
def claims(draw: st.DrawFn, name: str = "data") -> Json:
    """A PersistentVolumeClaim as the API server takes it: mostly of some class, seldom of a chosen volume."""
    metadata: Json = {"name": name} if name else {}
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    chosen = draw(st.sampled_from([*STORAGE_CLASSES, *STORAGE_CLASSES, "not-there", "", None, None]))
    if chosen is not None:
        spec["storageClassName"] = chosen
    if _seldom(draw, 2 if chosen is None else 10):
        metadata["annotations"] = {STORAGE_CLASS_ANNOTATION: draw(st.sampled_from([*STORAGE_CLASSES, ""]))}
    if _seldom(draw, 5):
        spec["volumeName"] = draw(st.sampled_from(["pv-1", "pv" * 60]))
    if _seldom(draw, 3):
        spec |= draw(st.sampled_from(_SOURCES))
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _claim_templates(name: str = "") -> SearchStrategy[Json]:
    return claims(name).map(lambda claim: {key: claim[key] for key in ("metadata", "spec")})


@st.composite
def _volumes(draw: st.DrawFn) -> list[Json]:
    sources = draw(st.lists(st.sampled_from(_VOLUMES), max_size=2))
    if not sources or _seldom(draw, 3):
        sources.append({"ephemeral": {"volumeClaimTemplate": draw(_claim_templates())}})
    return [{"name": f"volume-{number}"} | source for number, source in enumerate(sources)]


def annotations() -> SearchStrategy[str | None]:
    """A classification annotation, mostly none."""
    return st.sampled_from([*[None] * 24, *NAMES, *NAMES, NOT_THERE, NO_NAME, ""])


@st.composite
def templates(draw: st.DrawFn, known: Sequence[Placement] = ()) -> Json:
    """A pod template: metadata and spec."""
    annotation = draw(annotations())
    metadata: Json = {"labels": {"app": "app"}}
    if annotation is not None:
        metadata["annotations"] = {CLASSIFICATION: annotation}
    return {"metadata": metadata, "spec": draw(pod_specs(known))}


@st.composite
def workloads(draw: st.DrawFn, known: Sequence[Placement] = ()) -> Json:
    """A workload of any built-in kind with a template."""
    kind = draw(st.sampled_from([*_WRAPPERS, *["DaemonSet"] * 4]))
    version, wrap = _WRAPPERS[kind]
    template = draw(templates(known))
    notes: Json = {}
    outer = draw(st.sampled_from([*[None] * 12, "same", NOT_THERE, NO_NAME]))
    if outer is not None:
        own = template["metadata"].get("annotations", {}).get(CLASSIFICATION, NAMES[0])
        notes[CLASSIFICATION] = own if outer == "same" else outer
    if kind == "DaemonSet":
        notes |= draw(_notes(template, known))
    workload: Json = {"apiVersion": version, "kind": kind, "metadata": {"name": "app"}} | wrap(template)
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
    if kind == "StatefulSet" and _seldom(draw, 2):
        workload["spec"]["volumeClaimTemplates"] = [draw(_claim_templates("data"))]
    if kind == "CronJob" and notes and draw(st.booleans()):
        workload["spec"]["jobTemplate"]["metadata"] = {"annotations": notes}
    elif notes:
        workload["metadata"]["annotations"] = notes
    return workload


@st.composite
def _notes(draw: st.DrawFn, template: Json, known: Sequence[Placement]) -> Json:
    """What Residency noted on a DaemonSet: nothing, the truth, or what its operator has overwritten since."""
    shape = draw(st.sampled_from(["none", "none", "placed", "true", "stale"]))
    if shape == "none":
        return {}
    placement = draw(st.sampled_from(known or [ANYWHERE]))
    if shape == "placed":
        _put(template["spec"], placement)
    view = PodView.from_template(template)
    stale = shape == "stale"
    written = tuple(map(Term, placement.alternatives)) if stale else view.terms or ()
    notes = {PLACED_TERMS: canonical_terms(written)}
    tolerations = view.tolerations[: draw(st.integers(0, 1))] if stale else view.tolerations
    if tolerations or _seldom(draw, 2):
        notes[PLACED_TOLERATIONS] = canonical_tolerations(tolerations)
    return notes


def _put(spec: Json, placement: Placement) -> None:
    """Write into a template what Residency would."""
    alternatives = [{"matchExpressions": [_write(r) for r in a]} for a in placement.alternatives]
    spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": alternatives}}}
    spec["tolerations"] = [t.to_dict() for t in placement.tolerations]


def _selected(template: Json) -> Json:
    return {"spec": {"selector": {"matchLabels": {"app": "app"}}, "template": template}}


_WRAPPERS: dict[str, tuple[str, Any]] = {
    "Deployment": ("apps/v1", _selected),
    "StatefulSet": ("apps/v1", lambda t: {"spec": _selected(t)["spec"] | {"serviceName": "app"}}),
    "DaemonSet": ("apps/v1", _selected),
    "ReplicaSet": ("apps/v1", _selected),
    "ReplicationController": ("v1", lambda t: {"spec": {"selector": {"app": "app"}, "template": t}}),
    "Job": ("batch/v1", lambda t: {"spec": {"template": t}}),
    "CronJob": (
        "batch/v1",
        lambda t: {"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": t}}}},
    ),
    "PodTemplate": ("v1", lambda t: {"template": t}),
}
RESOURCES = {
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "apis/apps/v1/namespaces/{}/daemonsets",
    "ReplicaSet": "apis/apps/v1/namespaces/{}/replicasets",
    "ReplicationController": "api/v1/namespaces/{}/replicationcontrollers",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "apis/batch/v1/namespaces/{}/cronjobs",
    "PodTemplate": "api/v1/namespaces/{}/podtemplates",
}


@st.composite
def alternatives(draw: st.DrawFn) -> Alternative:
    """An alternative in normal form, as a resolved classification has it."""
    operators = tuple(o for o in Operator if o is not Operator.DOES_NOT_EXIST)
    asked = draw(
        st.lists(
            requirements(RESTRICTED).filter(lambda r: r.operator in operators and _sensible(r)),
            min_size=1,
            max_size=4,
        )
    )
    normal = normalise(asked)
    return normal if normal is not None else (Requirement(COUNTRY, Operator.IN, ("NL",)),)


def _sensible(requirement: Requirement) -> bool:
    return requirement.operator not in (Operator.GT, Operator.LT) or requirement.bound is not None


@st.composite
def storages(draw: st.DrawFn) -> Storage | None:
    """What a resolved classification asks of storage, as often as not nothing."""
    if draw(st.booleans()):
        return None
    some = draw(st.lists(st.sampled_from(list(STORAGE_CLASSES)), max_size=3, unique=True))
    drivers = tuple(draw(st.lists(st.sampled_from(DRIVERS), max_size=1)))
    asked = (Requirement(COUNTRY, Operator.IN, ("NL",)),)
    return Storage(asked, _seldom(draw, 4), _seldom(draw, 4), drivers, tuple(sorted(some)))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    """What a resolved classification asks: one to four alternatives, now and then nothing."""
    if draw(st.integers(0, 15)) == 0:
        return ANYWHERE
    some = tuple(dict.fromkeys(draw(st.lists(alternatives(), min_size=1, max_size=4))))
    needed = draw(
        st.lists(
            st.sampled_from([Toleration(SOVEREIGN, "Exists"), Toleration(SOVEREIGN, "Equal", "nl", "NoSchedule")]),
            max_size=2,
            unique=True,
        )
    )
    return Placement(some, tuple(needed))


_SPEC_OPERATORS = (Operator.IN, Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.GT, Operator.LT)
_SPEC_REQUIREMENTS = {
    (key, operator): [
        requirement
        for values in _values(key, operator)
        if _sensible(requirement := Requirement(key, operator, tuple(values))) and not (key == SEAL and "03" in values)
    ]
    for key in RESTRICTED
    for operator in _SPEC_OPERATORS
}
_FACTS: list[Json] = [
    {"countries": ["NL"]},
    {"countries": ["DE", "NL"], "deploymentModels": ["government"]},
    {"countries": ["CH", "US"], "minSEAL": 2},
    {"countrySets": ["eea"]},
    {"countrySets": ["eea-ch"], "deploymentModels": ["private-external", "government"]},
    {"controlledFrom": ["NL", "DE"], "countries": ["NL", "DE", "CH"]},
    {"controlledFromSets": ["eea"], "minSEAL": 1},
    {"minSEAL": 4},
    {"providers": ["odc-noord", "odc-zuid"]},
]
_FACTS_OR_NONE: list[Json] = [{}, {}, *_FACTS]
_NEEDED: list[Json] = [
    {"key": SOVEREIGN, "operator": "Exists"},
    {"key": SOVEREIGN, "operator": "Equal", "value": "nl", "effect": "NoSchedule"},
    {"key": "dedicated", "operator": "Equal", "value": "true"},
    {"key": "dedicated", "operator": "Exists", "effect": "NoExecute"},
    {"key": "pool"},
]


@st.composite
def _alternative_specs(draw: st.DrawFn) -> Json:
    spec = dict(draw(st.sampled_from(_FACTS_OR_NONE)))
    expressions = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3, 4]))):
        if spec and _seldom(draw, 2):
            continue
        key, operator = draw(st.sampled_from(RESTRICTED)), draw(st.sampled_from(_SPEC_OPERATORS))
        expressions.append(_write(draw(st.sampled_from(_SPEC_REQUIREMENTS[key, operator]))))
    return spec | ({"matchExpressions": expressions} if expressions else {})


@st.composite
def _specs(draw: st.DrawFn, name: str, others: Sequence[str]) -> Json:
    spec: Json = {"title": f"Title of {name}", "references": [{"title": f"Law on {name}", "clause": "4.6"}]}
    if others and _seldom(draw, 3):
        spec["includes"] = draw(st.lists(st.sampled_from(others), min_size=1, max_size=2, unique=True))
    count = draw(st.sampled_from([1, 1, 2, 2, 3, 3, 4, 4, 0]))
    nodes: Json = {}
    if count:
        nodes["anyOf"] = [draw(_alternative_specs()) for _ in range(count)]
    needed = draw(st.lists(st.sampled_from(_NEEDED), max_size=2, unique_by=str))
    if needed:
        nodes["tolerations"] = needed
    mode: Json = {"mode": draw(st.sampled_from(["Warn", "Audit"]))} if _seldom(draw, 6) else {}
    storage: Json = {"storage": draw(_storage_specs())} if _seldom(draw, 2) else {}
    return spec | mode | storage | ({"nodes": nodes} if nodes else {})


@st.composite
def _storage_specs(draw: st.DrawFn) -> Json:
    exists = {"key": COUNTRY, "operator": "Exists"}
    selectors: list[Json] = [
        {"matchLabels": {COUNTRY: "NL"}},
        {"matchLabels": {COUNTRY: "NL", "example.com/tier": "fast"}},
        {"matchLabels": {COUNTRY: "BE"}},
        {"matchExpressions": [{"key": COUNTRY, "operator": "In", "values": ["NL", "DE"]}]},
        {"matchExpressions": [exists]},
        {"matchLabels": {"example.com/tier": "fast"}, "matchExpressions": [exists]},
    ]
    spec: Json = {"classSelector": draw(st.sampled_from(selectors))}
    allowed = [exception for exception in ("StaticVolumes", "DataSources") if _seldom(draw, 4)]
    drivers = [draw(st.sampled_from(DRIVERS))] if _seldom(draw, 3) else []
    return spec | ({"allow": allowed} if allowed else {}) | ({"inlineDrivers": drivers} if drivers else {})


@st.composite
def clusters(draw: st.DrawFn, namespaces: Sequence[str] = ()) -> Json:
    """What a cluster is like, as golden cases say it: StorageClasses, and claims from before in some namespaces."""
    cluster: Json = {"storageClasses": STORAGE_CLASSES}
    default = draw(st.sampled_from([*STORAGE_CLASSES, None]))
    if default is not None:
        cluster["defaultClass"] = default
    some = st.sampled_from([[], ["old"], ["old", "older"], [ALL_CLAIMS]])
    foreign = {namespace: draw(some) for namespace in namespaces}
    return cluster | {"foreignClaims": {namespace: names for namespace, names in foreign.items() if names}}


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Json]:
    """Twelve specs of DataClassifications, all of which can be resolved."""
    specs: dict[str, Json] = {}
    for name in NAMES:
        spec = draw(_specs(name, tuple(specs)))
        # What contradicts itself goes one by one: a classification that is nowhere in force would tell nothing.
        for part in ("", "includes", "nodes", "storage"):
            spec.pop(part, None)
            if ClassificationName(name) in resolved(specs | {name: spec}):
                break
        specs[name] = spec
    return specs
