"""Generated pods, templates and catalogues in a world small enough that they often meet.

What is generated is valid for Kubernetes, however odd: empty terms, bounds that are no numbers, the same key
asked for several times, tolerations that cover half of what is needed.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from residency.api.names import (
    CLASSIFICATION,
    PLACED_TERMS,
    PLACED_TOLERATIONS,
    SOVEREIGN,
    STORAGE_CLASS_ANNOTATION,
    ClassificationName,
    Fact,
)
from residency.core.catalogue import allowances
from residency.core.judge import Catalogue
from residency.core.placement import ANYWHERE, Alternative, Classification, Placement, Storage, Toleration, normalise
from residency.core.requirements import Operator, Requirement
from residency.core.surroundings import ALL_CLAIMS, Surroundings
from residency.core.templates import canonical_terms, canonical_tolerations
from residency.core.workload import PodView

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
STORAGE_CLASSES = ("nl-disk", f"nl-{'fast' * 24}", "eu-disk", "us-disk")
DRIVERS = ("secrets-store.csi.k8s.io", "us.csi.example.com")
CLAIMS = ("data", "old", "older")


def _few(strategy: SearchStrategy[Any], least: int, most: int) -> SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=least, max_size=most, unique=True)


@st.composite
def requirements(draw: st.DrawFn, keys: tuple[str, ...] = tuple(VALUES)) -> Requirement:
    """Any requirement a pod may have."""
    key = draw(st.sampled_from(keys))
    operator = draw(st.sampled_from([*Operator, Operator.IN, Operator.IN, Operator.NOT_IN]))
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return Requirement(key, operator, tuple(draw(_few(st.sampled_from(VALUES[key]), 1, 3))))
        case Operator.GT | Operator.LT:
            return Requirement(key, operator, (draw(st.sampled_from(BOUNDS)),))
    return Requirement(key, operator)


def _write(requirement: Requirement) -> Json:
    data: Json = {"key": requirement.key, "operator": str(requirement.operator)}
    return data | {"values": list(requirement.values)} if requirement.values else data


_FIELDS = st.just([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}])


@st.composite
def terms(draw: st.DrawFn) -> Json:
    """A node selector term, now and then empty or with nothing but fields."""
    term: Json = {}
    expressions = draw(st.lists(requirements(), max_size=4))
    if expressions:
        term["matchExpressions"] = [_write(r) for r in expressions]
    if draw(st.integers(0, 5)) == 0:
        term["matchFields"] = draw(_FIELDS)
    return term


@st.composite
def tolerations(draw: st.DrawFn) -> Json:
    """A toleration, of the sovereign taint or everything or something else."""
    toleration: Json = {"operator": draw(st.sampled_from(["Exists", "Equal"]))}
    toleration["key"] = draw(st.sampled_from([SOVEREIGN, "dedicated"]))
    if toleration["operator"] == "Equal":
        toleration["value"] = draw(st.sampled_from(["true", "nl"]))
    elif draw(st.integers(0, 3)) == 0:
        del toleration["key"]
    effect = draw(st.sampled_from(["", "NoSchedule", "NoExecute"]))
    if effect:
        toleration["effect"] = effect
    if effect == "NoExecute" and draw(st.booleans()):
        toleration["tolerationSeconds"] = 60
    return toleration


@st.composite
def pod_specs(draw: st.DrawFn) -> Json:
    """A pod spec: node selector, required affinity, tolerations, seldom a node name."""
    spec: Json = {"containers": [{"name": "app", "image": "app"}]}
    keys = draw(st.lists(st.sampled_from(tuple(VALUES)), max_size=2, unique=True))
    if keys:
        spec["nodeSelector"] = {key: draw(st.sampled_from(VALUES[key])) for key in keys}
    shape = draw(
        st.sampled_from(["none", "none", "empty", "pods", "required", "required", "required", "many", "crowded"])
    )
    if shape == "empty":
        spec["affinity"] = {}
    elif shape == "pods":
        preference = {"weight": 1, "preference": {"matchExpressions": [_write(draw(requirements()))]}}
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    elif shape in ("required", "many"):
        most = 3 if shape == "required" else 9
        required = {"nodeSelectorTerms": draw(st.lists(terms(), min_size=1, max_size=most))}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    elif shape == "crowded":
        required = {"nodeSelectorTerms": [draw(terms())] * 17}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    some = draw(st.lists(tolerations(), max_size=2))
    if some:
        spec["tolerations"] = some
    if draw(st.sampled_from([False] * 30 + [True])):
        spec["nodeName"] = "node-1"
    if draw(st.integers(0, 2)) == 0:
        spec["volumes"] = draw(_volumes())
    return spec


def _claim_templates(name: str = "") -> SearchStrategy[Json]:
    """A template for a claim: mostly of some class, seldom of a chosen volume or filled from something."""
    return claims(name).map(lambda claim: {key: claim[key] for key in ("metadata", "spec") if key in claim})


@st.composite
def claims(draw: st.DrawFn, name: str = "data") -> Json:
    """A PersistentVolumeClaim as the API server takes it."""
    metadata: Json = {"name": name} if name else {}
    resources = {"requests": {"storage": "1Gi"}}
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": resources}
    chosen = draw(st.sampled_from([*STORAGE_CLASSES, *STORAGE_CLASSES, "", None]))
    if chosen is not None:
        spec["storageClassName"] = chosen
    elif draw(st.booleans()):
        metadata["annotations"] = {STORAGE_CLASS_ANNOTATION: draw(st.sampled_from([*STORAGE_CLASSES, ""]))}
    if draw(st.integers(0, 4)) == 0:
        spec["volumeName"] = draw(st.sampled_from(["pv-1", "pv" * 60]))
    match draw(st.integers(0, 8)):
        case 0:
            spec["dataSourceRef"] = {"kind": "PersistentVolumeClaim", "name": "other"}
        case 1:
            spec["dataSource"] = {
                "apiGroup": "snapshot.storage.k8s.io",
                "kind": "VolumeSnapshot",
                "name": draw(st.sampled_from(["snapshot", "s" * 100])),
            }
        case 2:
            spec["dataSourceRef"] = {"apiGroup": "example.com", "kind": "Bucket", "name": "bucket"}
        case 3:
            spec["dataSourceRef"] = {"apiGroup": "example.com", "kind": "Line\nend", "name": "bucket"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _volume_sources() -> SearchStrategy[Json]:
    """What a volume is; types that stay in the cluster as often as all others."""
    harmless = st.sampled_from(
        [
            {"emptyDir": {}},
            {"configMap": {"name": "app"}},
            {"secret": {"secretName": "app"}},
            {"hostPath": {"path": "/data"}},
            {"projected": {"sources": []}},
            {"downwardAPI": {}},
            {"image": {"reference": "app"}},
        ]
    )
    foreign = st.sampled_from(
        [
            {"nfs": {"server": "192.0.2.1", "path": "/"}},
            {"iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:disk", "lun": 0}},
            {"cephfs": {"monitors": ["192.0.2.1"]}},
            *({"csi": {"driver": driver}} for driver in DRIVERS),
        ]
    )
    mounted = st.sampled_from([{"persistentVolumeClaim": {"claimName": name}} for name in CLAIMS])
    ephemeral = _claim_templates().map(lambda claim: {"ephemeral": {"volumeClaimTemplate": claim}})
    return st.one_of(harmless, harmless, mounted, mounted, ephemeral, foreign)


@st.composite
def _volumes(draw: st.DrawFn) -> list[Json]:
    sources = draw(st.lists(_volume_sources(), min_size=1, max_size=3))
    return [{"name": f"volume-{number}"} | source for number, source in enumerate(sources)]


def annotations() -> SearchStrategy[str | None]:
    """A classification annotation, mostly none."""
    return st.one_of(st.none(), st.none(), st.sampled_from(NAMES), st.sampled_from([*NAMES, NOT_THERE, NO_NAME, ""]))


@st.composite
def templates(draw: st.DrawFn) -> Json:
    """A pod template: metadata and spec."""
    annotation = draw(annotations())
    metadata: Json = {"labels": {"app": "app"}}
    if annotation is not None:
        metadata["annotations"] = {CLASSIFICATION: annotation}
    return {"metadata": metadata, "spec": draw(pod_specs())}


@st.composite
def workloads(draw: st.DrawFn) -> Json:
    """A workload of any built-in kind with a template."""
    kind = draw(st.sampled_from([*_WRAPPERS, "DaemonSet", "DaemonSet"]))
    version, wrap = _WRAPPERS[kind]
    template = draw(templates())
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
    workload: Json = {"apiVersion": version, "kind": kind, "metadata": {"name": "app"}} | wrap(template)
    if kind == "StatefulSet" and draw(st.booleans()):
        workload["spec"]["volumeClaimTemplates"] = [draw(_claim_templates("data"))]
    notes: Json = {}
    if draw(st.integers(0, 5)) == 0:
        notes[CLASSIFICATION] = draw(st.sampled_from([*NAMES, NOT_THERE, NO_NAME]))
    if kind == "DaemonSet" and draw(st.booleans()):
        view = PodView.from_template(template)
        if view.terms is not None:
            notes[PLACED_TERMS] = canonical_terms(view.terms)
        if draw(st.booleans()) and view.tolerations:
            notes[PLACED_TOLERATIONS] = canonical_tolerations(view.tolerations)
    if notes:
        workload["metadata"]["annotations"] = notes
    return workload


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


@st.composite
def storages(draw: st.DrawFn) -> Storage | None:
    """What a resolved classification asks of storage, as often as not nothing."""
    if draw(st.booleans()):
        return None
    classes = tuple(sorted(draw(_few(st.sampled_from(STORAGE_CLASSES), 0, 3))))
    drivers = tuple(draw(_few(st.sampled_from(DRIVERS), 0, 1)))
    asked = (Requirement(COUNTRY, Operator.IN, ("NL",)),)
    return Storage(asked, draw(st.integers(0, 3)) == 0, draw(st.integers(0, 3)) == 0, drivers, classes)


@st.composite
def surroundings(draw: st.DrawFn) -> Surroundings:
    """What a cluster is like: a default class or none, and claims from before in some of its namespaces."""
    default = draw(st.sampled_from([*STORAGE_CLASSES, None]))
    foreign = {f"of-{name}": tuple(draw(_few(st.sampled_from(CLAIMS), 0, 2))) for name in NAMES}
    return Surroundings(default, foreign | {f"of-{NAMES[0]}": (ALL_CLAIMS,)})


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    """Twelve resolved classifications."""
    names = map(ClassificationName, NAMES)
    return {name: _classification(name, draw(placements()), draw(storages())) for name in names}


def _classification(name: ClassificationName, placement: Placement, storage: Storage | None) -> Classification:
    return Classification(
        name, f"Title of {name}", placement, f" Why: Law on {name}, 4.6.", tuple(allowances(placement)), storage
    )
