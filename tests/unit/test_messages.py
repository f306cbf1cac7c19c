"""What people read: every denial, word for word, and never more than one line of 1 KB."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.api.classification import DataClassificationSpec
from residency.api.names import CLASSIFICATION, PLACED_TERMS, ClassificationName, Code, Fact
from residency.core import messages
from residency.core.catalogue import Unresolved, resolve
from residency.core.judge import Catalogue, Denied, asks, guard_pod, judge_claim, judge_pod
from residency.core.requirements import Operator, Requirement
from residency.core.storage import ClaimView, StorageClass, with_classes
from residency.core.surroundings import ALL_CLAIMS, Surroundings
from residency.core.templates import judge_workload
from residency.core.workload import TEMPLATE_PATHS, PodView

Json = dict[str, Any]
LIMIT = 1024
# tests/e2e/test_enforcement.py reads these.
SAID_BY_POLICIES_ALONE = {
    Code.CLASSIFICATION_IN_USE,
    Code.EXCLUDED_NAMESPACE,
    Code.DECLASSIFICATION,
    Code.NODE_FACTS,
    Code.BINDING,
    Code.ANNOTATION_CHANGED,
    Code.ENFORCEMENT,
    Code.PROTECTED,
    Code.VOLUME_RELEASED,
}
KINDS = tuple(TEMPLATE_PATHS)


def resolved(**specs: Json) -> Catalogue:
    """Resolve; a name is written with ``_`` for ``-``."""
    parsed = {
        ClassificationName(name.replace("_", "-")): DataClassificationSpec.model_validate(spec)
        for name, spec in specs.items()
    }
    outcomes = resolve(parsed)
    assert not any(isinstance(outcome, Unresolved) for outcome in outcomes.values()), outcomes
    return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, Unresolved)}


DEPV = {
    "title": "Departementaal Vertrouwelijk",
    "references": [{"title": "Rijksbreed Cloudbeleid 2026", "clause": "4.6"}],
    "nodes": {
        "anyOf": [
            {"countrySets": ["eea-ch"], "deploymentModels": ["government", "on-premises"]},
            {"countries": ["NL"], "providers": ["odc-noord"]},
        ],
        "tolerations": [{"key": "residency.dev/sovereign", "operator": "Exists", "effect": "NoSchedule"}],
    },
}
CATALOGUE = resolved(
    nl_depv=DEPV,
    us_only={"title": "American", "nodes": {"anyOf": [{"countries": ["US"]}]}},
    plain={"title": "Plain", "nodes": {"anyOf": [{"minSEAL": 1}]}},
)
COUNTRY, MODEL = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value


def expression(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def affinity(*terms: Json) -> Json:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def term(*expressions: Json) -> Json:
    return {"matchExpressions": list(expressions)}


def template(spec: Json, annotation: str | None = None) -> Json:
    return {"metadata": {} if annotation is None else {"annotations": {CLASSIFICATION: annotation}}, "spec": spec}


def workload(kind: str, made_from: Json, name: str = "app", **annotations: str) -> Json:
    """A workload around a pod template; annotations are its own, written with ``_`` for what a name cannot have."""
    whole: Any = made_from
    for step in reversed(TEMPLATE_PATHS[kind]):
        whole = {step: whole}
    metadata = {**(made_from["metadata"] if kind == "Pod" else {}), "name": name}
    if annotations:
        metadata["annotations"] = annotations
    return {**whole, "metadata": metadata}


def of_pod(spec: Json, label: str | None = "nl-depv", annotation: str | None = None) -> Denied:
    pod = template(spec, annotation)
    verdict = judge_pod(PodView.from_template(pod), asks("payments", label, annotation), CATALOGUE)
    assert isinstance(verdict, Denied), verdict
    return verdict


def of_workload(kind: str, thing: Json, label: str | None = "nl-depv") -> Denied:
    verdict = judge_workload(kind, thing, "payments", label, CATALOGUE)
    assert isinstance(verdict, Denied), verdict
    return verdict


DEPV_WORDS = (
    "namespace payments is nl-depv (Departementaal Vertrouwelijk), which allows country in eea-ch (31 countries) or "
    "country NL. Fix: remove it, or ask for what is allowed. Why: Rijksbreed Cloudbeleid 2026, 4.6. RES-101; "
    "more: kubectl describe dcl nl-depv"
)
MANY_ZONES = [term(expression("zone", "In", f"z{number}")) for number in range(9)]
IN_US = affinity(term(expression(COUNTRY, "In", "US")))

POD_DENIALS = (
    (
        "a nodeSelector that contradicts",
        of_pod({"nodeSelector": {COUNTRY: "US"}}),
        f"Not allowed to run there: spec.nodeSelector asks country=US, but {DEPV_WORDS}",
    ),
    (
        "an affinity that contradicts",
        of_pod(affinity(term(expression(COUNTRY, "In", "US", "CN")))),
        f"Not allowed to run there: spec.affinity.nodeAffinity asks country In US or CN, but {DEPV_WORDS}",
    ),
    (
        "a long list that contradicts",
        of_pod(affinity(term(expression(COUNTRY, "In", "US", "CN", "RU", "IR")))),
        f"Not allowed to run there: spec.affinity.nodeAffinity asks country In US, CN and 2 more, but {DEPV_WORDS}",
    ),
    (
        "unlabelled nodes alone",
        of_pod(affinity(term(expression(COUNTRY, "DoesNotExist")))),
        f"Not allowed to run there: spec.affinity.nodeAffinity asks country DoesNotExist, but {DEPV_WORDS}",
    ),
    (
        "the expression that is the trouble, not the first on the key",
        of_pod(affinity(term(expression(COUNTRY, "Exists"), expression(COUNTRY, "In", "US")))),
        f"Not allowed to run there: spec.affinity.nodeAffinity asks country In US, but {DEPV_WORDS}",
    ),
    (
        "empty terms before one that contradicts",
        of_pod(affinity({}, term(expression(COUNTRY, "In", "US")))),
        f"Not allowed to run there: spec.affinity.nodeAffinity asks country In US, but {DEPV_WORDS}",
    ),
    (
        "another key than the first",
        of_pod({"nodeSelector": {MODEL: "public", COUNTRY: "DE"}}),
        "Not allowed to run there: spec.nodeSelector asks deployment-model=public, but namespace payments is nl-depv "
        "(Departementaal Vertrouwelijk), which allows deployment-model government or on-premises. Fix: remove it, or "
        "ask for what is allowed. Why: Rijksbreed Cloudbeleid 2026, 4.6. RES-101; more: kubectl describe dcl nl-depv",
    ),
    (
        "the pod's own annotation",
        of_pod({"nodeSelector": {COUNTRY: "NL"}}, label="plain", annotation="us-only"),
        "Not allowed to run there: spec.nodeSelector asks country=NL, but the annotation residency.dev/classification "
        "is us-only (American), which allows country US. Fix: remove it, or ask for what is allowed. RES-101; "
        "more: kubectl describe dcl us-only",
    ),
    (
        "two classifications that contradict each other",
        of_pod({}, annotation="us-only"),
        "Not allowed to run anywhere: spec together with namespace payments, which is nl-depv (Departementaal "
        "Vertrouwelijk), and the annotation residency.dev/classification us-only leaves no node that satisfies all of "
        "them. Fix: change the affinity or the annotation, or use another namespace. Why: Rijksbreed Cloudbeleid 2026, "
        "4.6. RES-101; more: kubectl describe dcl nl-depv",
    ),
    (
        "only empty terms",
        of_pod(affinity({}, {})),
        "Not allowed to run anywhere: spec.affinity.nodeAffinity has only empty nodeSelectorTerms, which match no "
        "node. Fix: remove them. RES-101; more: kubectl describe dcl nl-depv",
    ),
    (
        "a node name",
        of_pod({"nodeName": "node-1"}),
        "Not allowed to choose the node itself: spec.nodeName is node-1, which passes by the scheduler, but namespace "
        "payments is nl-depv (Departementaal Vertrouwelijk). Fix: remove nodeName; to aim at one node use a "
        "nodeSelector on kubernetes.io/hostname. Why: Rijksbreed Cloudbeleid 2026, 4.6. RES-102; "
        "more: kubectl describe dcl nl-depv",
    ),
    (
        "an unknown label",
        of_pod({}, label="nl-dpv"),
        "Unknown classification: namespace payments says nl-dpv, but no DataClassification of that name is in force, "
        "so nothing may run. Fix: use one that is (kubectl get dcl), or create it and wait until it is Ready. RES-103",
    ),
    (
        "an unknown annotation",
        of_pod({}, annotation="nl-dpv"),
        "Unknown classification: the annotation residency.dev/classification says nl-dpv, but no DataClassification "
        "of that name is in force, so nothing may run. Fix: use one that is (kubectl get dcl), or create it and wait "
        "until it is Ready. RES-103",
    ),
    (
        "an annotation that is no name",
        of_pod({}, annotation="a line\nand \x1b[31manother"),
        "Unknown classification: the annotation residency.dev/classification says (not a name), but no "
        "DataClassification of that name is in force, so nothing may run. Fix: use one that is (kubectl get dcl), or "
        "create it and wait until it is Ready. RES-103",
    ),
    (
        "too many terms",
        of_pod(affinity(*MANY_ZONES)),
        "Too many alternatives: spec.affinity.nodeAffinity crossed with the alternatives of namespace payments, which "
        "is nl-depv (Departementaal Vertrouwelijk), gives 18 nodeSelectorTerms; at most 16 are allowed. Fix: write "
        "fewer nodeSelectorTerms. RES-104; more: kubectl describe dcl nl-depv",
    ),
)


@pytest.mark.parametrize(("denied", "words"), [d[1:] for d in POD_DENIALS], ids=[d[0] for d in POD_DENIALS])
def test_a_refused_pod_is_told_what_where_why_and_what_would_be_right(denied: Denied, words: str) -> None:
    assert denied.message == words
    assert denied.code in words


def test_a_pod_changed_after_it_was_placed_is_told_who_may_have_done_it() -> None:
    denied = guard_pod(PodView({}, None), asks("payments", "nl-depv", None), CATALOGUE)
    assert denied is not None
    assert denied.message == (
        "Not placed: spec may run outside what namespace payments allows, which is nl-depv (Departementaal "
        "Vertrouwelijk). It was changed after Residency placed it (by another admission webhook), or created before "
        "and only released now. Fix: create it again; if it is refused again, see reinvocationPolicy in Residency's "
        "chart. Why: Rijksbreed Cloudbeleid 2026, 4.6. RES-105; more: kubectl describe dcl nl-depv"
    )


WORKLOAD_DENIALS = (
    (
        "a template that contradicts",
        of_workload("Deployment", workload("Deployment", template(IN_US))),
        f"Not allowed to run there: spec.template.spec.affinity.nodeAffinity asks country In US, but {DEPV_WORDS}",
    ),
    (
        "a CronJob's template",
        of_workload("CronJob", workload("CronJob", template(IN_US))),
        "Not allowed to run there: spec.jobTemplate.spec.template.spec.affinity.nodeAffinity asks country In US, but "
        f"{DEPV_WORDS}",
    ),
    (
        "an annotation in the wrong place",
        of_workload("StatefulSet", workload("StatefulSet", template({}), **{CLASSIFICATION: "nl-depv"})),
        "Annotation in the wrong place: metadata.annotations of StatefulSet app says residency.dev/classification: "
        "nl-depv, but pods take it from their template, which says nothing. Fix: move that line to "
        "spec.template.metadata.annotations. RES-106",
    ),
    (
        "an annotation that says something else than the template",
        of_workload("Job", workload("Job", template({}, "plain"), **{CLASSIFICATION: "nl-depv"})),
        "Annotation in the wrong place: metadata.annotations of Job app says residency.dev/classification: nl-depv, "
        "but pods take it from their template, which says plain. Fix: move that line to "
        "spec.template.metadata.annotations. RES-106",
    ),
    (
        "an annotation in the wrong place that is no name",
        of_workload("Job", workload("Job", template({}, "b\nc"), **{CLASSIFICATION: "a" * 5000})),
        "Annotation in the wrong place: metadata.annotations of Job app says residency.dev/classification: (not a "
        "name), but pods take it from their template, which says (not a name). Fix: move that line to "
        "spec.template.metadata.annotations. RES-106",
    ),
    (
        "a DaemonSet with an affinity of its own",
        of_workload("DaemonSet", workload("DaemonSet", template(affinity(term(expression("zone", "In", "a")))))),
        "Not placed: spec.template.spec.affinity.nodeAffinity is the DaemonSet's own, so Residency leaves it as it "
        "is, but it reaches beyond what namespace payments allows, which is nl-depv (Departementaal Vertrouwelijk). "
        f"Fix: in each nodeSelectorTerm require {COUNTRY} In AT, BE and 29 more; {MODEL} In government and "
        "on-premises; or remove the node affinity and Residency writes it. Why: Rijksbreed Cloudbeleid 2026, 4.6. "
        "RES-107; more: kubectl describe dcl nl-depv",
    ),
    (
        "a DaemonSet with tolerations of its own",
        of_workload(
            "DaemonSet", workload("DaemonSet", template({"tolerations": [{"key": "a", "operator": "Exists"}]}))
        ),
        "Not placed: spec.template.spec.tolerations is the DaemonSet's own, so Residency leaves it as it is, but it "
        "lacks residency.dev/sovereign:NoSchedule, which the nodes of namespace payments, which is nl-depv "
        "(Departementaal Vertrouwelijk), ask for. Fix: add it; or remove the tolerations and Residency writes them. "
        "RES-107; more: kubectl describe dcl nl-depv",
    ),
)


@pytest.mark.parametrize(("denied", "words"), [d[1:] for d in WORKLOAD_DENIALS], ids=[d[0] for d in WORKLOAD_DENIALS])
def test_a_refused_workload_is_told_what_where_why_and_what_would_be_right(denied: Denied, words: str) -> None:
    assert denied.message == words
    assert denied.code in words


STORED = {
    **DEPV,
    "nodes": {"tolerations": [{"key": "a"}]},
    "storage": {"classSelector": {"matchLabels": {COUNTRY: "NL"}}, "inlineDrivers": ["secrets.csi.example.com"]},
}
IN_STORES = {
    name: with_classes(c, [StorageClass("nl-disk", {COUNTRY: "NL"}), StorageClass("us-disk")])
    for name, c in resolved(stored=STORED).items()
}
STORED_WORDS = "namespace payments is stored (Departementaal Vertrouwelijk), which allows"
STORED_WHY = "Why: Rijksbreed Cloudbeleid 2026, 4.6."
NO_SUCH = {"apiGroup": "example.com", "kind": "Bucket", "name": "us-bucket"}


def of_claim(**spec: Any) -> Denied:
    denied = judge_claim(ClaimView.from_claim({"spec": spec}), asks("payments", "stored", None), IN_STORES)
    assert denied is not None
    return denied


def of_volume(default: str | None = None, **source: Any) -> Denied:
    pod = template({"volumes": [{"name": "data", **source}]})
    around = Surroundings(default, {"payments": ("old",), "crowded": (ALL_CLAIMS,)})
    verdict = judge_pod(PodView.from_template(pod), asks("payments", "stored", None), IN_STORES, "spec", around)
    assert isinstance(verdict, Denied)
    return verdict


def in_crowd(claim: str) -> Denied:
    pod = PodView.from_template(template({"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": claim}}]}))
    around = Surroundings(None, {"crowded": (ALL_CLAIMS,)})
    verdict = judge_pod(pod, asks("crowded", "stored", None), IN_STORES, "spec", around)
    assert isinstance(verdict, Denied)
    return verdict


def ephemeral(**spec: Any) -> Json:
    return {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


STORAGE_DENIALS = (
    (
        of_claim(storageClassName="us-disk"),
        f"Not allowed to store there: the claim asks StorageClass us-disk, but {STORED_WORDS} StorageClass nl-disk. "
        f"Fix: set storageClassName to one that is allowed. {STORED_WHY} RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_claim(),
        "Not allowed to store there: the claim names no StorageClass and the cluster has no default, but "
        f"{STORED_WORDS} StorageClass nl-disk. Fix: set storageClassName to one that is allowed. {STORED_WHY} "
        "RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_claim(storageClassName=""),
        f'Not allowed to store there: the claim asks StorageClass "", but {STORED_WORDS} StorageClass nl-disk. '
        f"Fix: set storageClassName to one that is allowed. {STORED_WHY} RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_claim(storageClassName="nl-disk", volumeName="pv-1"),
        f"Not allowed to store there: the claim names volume pv-1 itself, but {STORED_WORDS} only volumes that are "
        f"made for their claim. Fix: leave volumeName out. {STORED_WHY} RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_claim(storageClassName="nl-disk", dataSourceRef=NO_SUCH | {"namespace": "far"}),
        "Not allowed to store there: the claim is filled from Bucket us-bucket of namespace far, but "
        f"{STORED_WORDS} only claims and snapshots of the same namespace. Fix: use one of those as data source, or "
        f"none. {STORED_WHY} RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_volume("us-disk", **ephemeral()),
        "Not allowed to store there: spec.volumes[data].ephemeral names no StorageClass and the cluster's default is "
        f"us-disk, but {STORED_WORDS} StorageClass nl-disk. Fix: set storageClassName to one that is allowed. "
        f"{STORED_WHY} RES-114; more: kubectl describe dcl stored",
    ),
    (
        of_volume(nfs={"server": "192.0.2.1"}),
        f"Not allowed to mount that: spec.volumes[data] is nfs, but {STORED_WORDS} claims, what is on the node and "
        "inline CSI of secrets.csi.example.com. Fix: use a claim, as persistentVolumeClaim or ephemeral. "
        f"{STORED_WHY} RES-115; more: kubectl describe dcl stored",
    ),
    (
        of_volume(csi={"driver": "us.csi.example.com"}),
        f"Not allowed to mount that: spec.volumes[data] is csi of driver us.csi.example.com, but {STORED_WORDS} "
        "claims, what is on the node and inline CSI of secrets.csi.example.com. Fix: use a claim, as "
        f"persistentVolumeClaim or ephemeral. {STORED_WHY} RES-115; more: kubectl describe dcl stored",
    ),
    (
        of_volume(persistentVolumeClaim={"claimName": "old"}),
        "Not allowed to mount that: spec.volumes[data] mounts claim old, which is older and not allowed, but "
        f"{STORED_WORDS} StorageClass nl-disk. Fix: move its data to a new claim of a class that is allowed. "
        f"{STORED_WHY} RES-115; more: kubectl describe dcl stored",
    ),
    (
        in_crowd("any"),
        "Not allowed to mount that: spec.volumes[a] mounts claim any, and so many claims there are older and not "
        "allowed that none is, but namespace crowded is stored (Departementaal Vertrouwelijk), which allows "
        "StorageClass nl-disk. Fix: move its data to a new claim of a class that is allowed. "
        f"{STORED_WHY} RES-115; more: kubectl describe dcl stored",
    ),
)


@pytest.mark.parametrize(("denied", "words"), STORAGE_DENIALS, ids=[d.message[:70] for d, _ in STORAGE_DENIALS])
def test_refused_storage_is_told_what_where_why_and_what_would_be_right(denied: Denied, words: str) -> None:
    assert denied.message == words
    assert denied.code in words


def test_a_name_that_is_none_is_not_repeated_and_a_long_one_is_cut() -> None:
    hostile = NO_SUCH | {"kind": "Bucket\n", "name": "b" * 253}
    said = of_claim(storageClassName="nl-disk", dataSourceRef=hostile).message
    assert f"is filled from (not a name) {'b' * 79}…, but" in said


def test_where_no_storageclass_is_allowed_that_is_said() -> None:
    none = {name: with_classes(c, []) for name, c in IN_STORES.items()}
    denied = judge_claim(ClaimView("us-disk"), asks("payments", "stored", None), none)
    assert denied is not None
    assert "which allows only StorageClasses with labels that none has here. Fix:" in denied.message


def test_every_code_that_the_judge_can_say_has_its_words_here() -> None:
    said = {denied.code for _, denied, _ in (*POD_DENIALS, *WORKLOAD_DENIALS)} | {Code.NOT_PLACED}
    said |= {denied.code for denied, _ in STORAGE_DENIALS}
    assert said == set(Code) - SAID_BY_POLICIES_ALONE


# The longest that the schema of classifications and the API server's own validation let through.
NAME = "n" * 63
OTHER = "o" * 63
WIDE = "\N{CJK UNIFIED IDEOGRAPH-570B}"  # three bytes
KEY = ".".join(["k" * 47, "l" * 63, "m" * 48, "node-restriction.kubernetes.io"]) + "/" + "r" * 61
VALUES = [f"{number:063}" for number in range(64)]
LONGEST_SPEC = {
    "title": WIDE * 120,
    "references": [{"title": WIDE * 118 + f"{n:02}", "clause": WIDE * 40} for n in range(8)],
    "nodes": {
        "anyOf": [{"matchExpressions": [{"key": KEY, "operator": "NotIn", "values": VALUES}]}],
        "tolerations": [{"key": "t" * 63, "value": f"v{n:062}", "effect": "PreferNoSchedule"} for n in range(8)],
    },
    "storage": {"classSelector": {"matchLabels": {"disk": "yes"}}, "inlineDrivers": [f"{n:063}" for n in range(8)]},
}
LONG_CLASSES = [StorageClass(f"{n:0253}", {"disk": "yes"}) for n in range(9)]
IN_OTHERS = expression(KEY, "In", *(f"x{number:062}" for number in range(64)))
OTHER_SPEC = {**LONGEST_SPEC, "nodes": {"anyOf": [{"matchExpressions": [IN_OTHERS]}]}}
LONGEST = {n: with_classes(c, LONG_CLASSES) for n, c in resolved(**{NAME: LONGEST_SPEC, OTHER: OTHER_SPEC}).items()}
LONG_SOURCE = {"apiGroup": "a" * 253, "kind": "k" * 253, "name": "s" * 253, "namespace": "n" * 63}
LONG_CLAIM = {"storageClassName": "c" * 253}
LONG_VOLUMES: dict[str, Json] = {
    "class": {"ephemeral": {"volumeClaimTemplate": {"spec": LONG_CLAIM}}},
    "default": {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    "chosen": {
        "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "0" * 253, "volumeName": "v" * 253}}}
    },
    "source": {
        "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "0" * 253, "dataSourceRef": LONG_SOURCE}}}
    },
    "type": {"t" * 80: {}},
    "driver": {"csi": {"driver": "d" * 63}},
    "claim": {"persistentVolumeClaim": {"claimName": "c" * 253}},
}
LONG_AROUND = Surroundings("d" * 253, {"s" * 63: ("c" * 253,)})
LONG_TERM = term(expression(KEY, "In", *VALUES, *(f"v{number}" for number in range(10_000))))
MANY_LONG_TERMS = [term(expression("z" * 63, "In", f"{number:063}")) for number in range(99)]


def longest_denials() -> Iterator[tuple[str, Denied]]:
    specs = {
        "affinity": affinity(term(expression(KEY, "In", *VALUES))),
        "long affinity": affinity(LONG_TERM),
        "selector": {"nodeSelector": {KEY: VALUES[0]}},
        "absent": affinity(term(expression(KEY, "DoesNotExist"))),
        "annotated": {},
        "unknown": {},
        "no name": {},
        "empty": affinity({}),
        "node name": {"nodeName": "n" * 253},
        "many": affinity(*MANY_LONG_TERMS),
        "outside": affinity(term(expression("z" * 63, "Exists"))),
        "tolerations": {"tolerations": [{"key": "z" * 63, "operator": "Exists"}]},
    }
    specs |= {f"volume {case}": {"volumes": [{"name": "v" * 63, **source}]} for case, source in LONG_VOLUMES.items()}
    annotations = {"annotated": OTHER, "unknown": "u" * 63, "no name": "\n" * 10_000}
    for kind, label, (case, spec) in product(KINDS, (NAME, OTHER), specs.items()):
        made = workload(kind, template(spec, annotations.get(case)), name="w" * 253)
        verdict = judge_workload(kind, made, "s" * 63, label, LONGEST, surroundings=LONG_AROUND)
        if isinstance(verdict, Denied):
            yield f"{kind} {case}", verdict
    for kind in KINDS[1:]:
        misplaced = workload(kind, template({}, OTHER), name="w" * 253, **{CLASSIFICATION: NAME})
        verdict = judge_workload(kind, misplaced, "s" * 63, NAME, LONGEST)
        assert isinstance(verdict, Denied)
        yield f"{kind} misplaced", verdict
    guarded = guard_pod(PodView({}, None), asks("s" * 63, NAME, None), LONGEST)
    assert guarded is not None
    yield "not placed", guarded


LONGEST_DENIALS = tuple(longest_denials())


def test_the_longest_that_is_legal_makes_one_line_of_less_than_1_kb() -> None:
    for case, denied in LONGEST_DENIALS:
        assert len(denied.message.encode()) < LIMIT, case
        assert len(denied.message.splitlines()) == 1, case
        assert denied.code in denied.message, case


def test_the_longest_that_is_legal_comes_to_every_denial_of_the_judge() -> None:
    assert {denied.code for _, denied in LONGEST_DENIALS} == set(Code) - SAID_BY_POLICIES_ALONE
    assert max(len(denied.message.encode()) for _, denied in LONGEST_DENIALS) > LIMIT * 0.95


def test_what_is_cut_is_cut_between_characters_with_an_ellipsis() -> None:
    assert messages.one_line("ab  cd\n e", 9) == "ab cd e"
    assert messages.one_line("abcdef", 6) == "abcdef"
    assert messages.one_line("abcdefg", 6) == "abc…"
    assert messages.one_line(WIDE * 4, 10) == WIDE * 2 + "…"
    assert messages.one_line("ab cdefg", 6) == "ab…"


@given(st.text(), st.integers(3, 40))
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, length: int) -> None:
    line = messages.one_line(text, length)
    assert len(line.encode()) <= length
    assert len(line.splitlines()) <= 1


@given(st.text())
def test_only_what_can_be_a_name_is_repeated(text: str) -> None:
    shown = messages.said(text)
    assert shown == messages.NOT_A_NAME or (shown == text and 1 <= len(text) <= 63 and text.isascii())
    assert messages.said("nl-depv") == "nl-depv"
    assert messages.said("nl-depv\n") == messages.NOT_A_NAME


def test_lists_are_elided_after_two() -> None:
    assert messages.listing(["NL"]) == "NL"
    assert messages.listing(["NL", "DE"]) == "NL or DE"
    assert messages.listing(["NL", "DE"], "and") == "NL and DE"
    assert messages.listing(["NL", "DE", "BE"]) == "NL, DE and 1 more"


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (Requirement(COUNTRY, Operator.IN, ("NL",)), "country NL"),
        (Requirement(COUNTRY, Operator.NOT_IN, ("US", "CN")), "country other than US or CN"),
        (Requirement(COUNTRY, Operator.EXISTS), "any country"),
        (Requirement(COUNTRY, Operator.DOES_NOT_EXIST), "no country"),
        (Requirement("rack", Operator.GT, ("3",)), "rack above 3"),
        (Requirement("rack", Operator.LT, ("3",)), "rack below 3"),
    ],
)
def test_a_requirement_is_told_in_words(requirement: Requirement, words: str) -> None:
    assert messages.describe(requirement) == words


def test_tolerations_are_written_as_kubectl_writes_taints() -> None:
    assert messages.tolerates([{"key": "a"}, {"key": "b", "value": "c", "effect": "NoSchedule"}]) == "a; b=c:NoSchedule"


def test_a_daemonset_placed_by_residency_is_not_told_that_its_affinity_is_its_own() -> None:
    made = workload("DaemonSet", template(IN_US), **{PLACED_TERMS: f"{COUNTRY} In US"})
    verdict = judge_workload("DaemonSet", made, "payments", "nl-depv", CATALOGUE)
    assert not isinstance(verdict, Denied)


@pytest.mark.parametrize(
    "template",
    [
        messages.DECLASSIFICATION,
        messages.ENFORCEMENT_LOWERED,
        messages.NO_MODE,
        messages.NODE_FACTS,
        messages.BINDING,
        messages.BINDING_METADATA,
        messages.ANNOTATION_CHANGED,
        messages.PROTECTED,
        messages.VOLUME_RELEASED,
        messages.STORAGE_FACTS,
    ],
)
def test_what_only_policies_say_is_one_line_of_less_than_1_kb_too(template: str) -> None:
    longest = LONGEST[ClassificationName(NAME)]
    said = template.format(
        name="n" * messages.KEY_LENGTH,
        old=NAME,
        new=OTHER,
        before="Enforce",
        after="Audit",
        said="a" * 63,
        title=messages.titled(longest.name, longest.title),
        why=longest.why,
        subject=messages.namespace_subject("s" * 63),
        user="u" * messages.KEY_LENGTH,
        keys="k" * messages.KEY_LENGTH,
        schedulers="s" * 160,
        operation="create",
        kind="ValidatingAdmissionPolicyBinding",
        # The longest names that a namespace and a ServiceAccount can have are longer than what is shown of them.
        controller="c" * messages.KEY_LENGTH,
        claim="c" * messages.KEY_LENGTH,
        storage_class=messages.storage_class("c" * 253),
        deed="set " + "k" * messages.KEY_LENGTH + " and others of",
    )
    assert len(said.encode()) < LIMIT
    assert len(said.splitlines()) == 1
