"""Judging workloads by kind: where templates stand, misplaced annotations, and DaemonSets, which are written into."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from random_cases import Cases
from residency.api.names import (
    CLASSIFICATION,
    PLACED_TERMS,
    PLACED_TOLERATIONS,
    SOVEREIGN,
    ClassificationName,
    Code,
    Fact,
)
from residency.core.catalogue import allowances
from residency.core.judge import Catalogue, Denied, Place, Untouched, Verdict, asks, judge_pod
from residency.core.placement import Classification, Placement, Toleration
from residency.core.requirements import Operator, Requirement
from residency.core.templates import canonical_terms, canonical_tolerations, judge_workload
from residency.core.workload import TEMPLATE_PATHS, PodToleration, PodView, Term, template_of
from workload_strategies import NAMES, workloads

Json = dict[str, Any]
COUNTRY = Fact.COUNTRY.value
KINDS = tuple(kind for kind in TEMPLATE_PATHS if kind != "Pod")


def classification(name: str, *countries: str, tolerations: tuple[Toleration, ...] = ()) -> Classification:
    placement = Placement(((Requirement(COUNTRY, Operator.IN, countries),),), tolerations)
    return Classification(ClassificationName(name), name.upper(), placement, "", tuple(allowances(placement)))


TAINT = Toleration(SOVEREIGN, "Exists")
CATALOGUE: Catalogue = {
    ClassificationName("nl"): classification("nl", "NL", tolerations=(TAINT,)),
    ClassificationName("near"): classification("near", "NL", "DE"),
    ClassificationName("us"): classification("us", "US"),
}
IN_NL, IN_DE, IN_US = (Term((Requirement(COUNTRY, Operator.IN, (country,)),)) for country in ("NL", "DE", "US"))
NEAR = Term((Requirement(COUNTRY, Operator.IN, ("NL", "DE")),))
ZONE = Term((Requirement("zone", Operator.IN, ("a",)),))
TOLERATES = PodToleration(SOVEREIGN, "Exists")
OTHER = PodToleration("dedicated", "Exists")


def made(
    kind: str,
    *terms: Term,
    tolerations: tuple[PodToleration, ...] = (),
    annotation: str | None = None,
    own: str | None = None,
    **spec: Any,
) -> Json:
    """A workload: ``annotation`` stands on its template, ``own`` on itself."""
    if terms:
        required = {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [t.to_dict() for t in terms]}
        }
        spec["affinity"] = {"nodeAffinity": required}
    if tolerations:
        spec["tolerations"] = [{"key": t.key, "operator": t.operator} for t in tolerations]
    whole: Any = {"metadata": {"annotations": {CLASSIFICATION: annotation}} if annotation else {}, "spec": spec}
    for step in reversed(TEMPLATE_PATHS[kind]):
        whole = {step: whole}
    return {**whole, "metadata": {"name": "app", "annotations": {CLASSIFICATION: own} if own else {}}}


def judge(kind: str, workload: Json, label: str | None = "nl") -> Verdict:
    return judge_workload(kind, workload, "payments", label, CATALOGUE)


def code(verdict: Verdict) -> Code | None:
    return verdict.code if isinstance(verdict, Denied) else None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "DaemonSet"])
def test_templates_are_judged_and_never_rewritten(kind: str) -> None:
    assert judge(kind, made(kind)) == Untouched()
    assert judge(kind, made(kind, ZONE)) == Untouched()
    assert judge(kind, made(kind, IN_NL)) == Untouched()
    assert judge(kind, made(kind), label=None) == Untouched()
    assert code(judge(kind, made(kind, IN_US))) is Code.CONTRADICTION
    assert code(judge(kind, made(kind, nodeName="node-1"))) is Code.NODE_NAME
    assert code(judge(kind, made(kind), label="unknown")) is Code.UNKNOWN_CLASSIFICATION
    assert code(judge(kind, made(kind, annotation="us"))) is Code.CONTRADICTION


@pytest.mark.parametrize("kind", KINDS)
def test_a_denial_says_where_the_pod_spec_stands(kind: str) -> None:
    verdict = judge(kind, made(kind, IN_US))
    assert isinstance(verdict, Denied)
    assert f": {'.'.join(TEMPLATE_PATHS[kind])}.spec.affinity.nodeAffinity asks country In US" in verdict.message


@pytest.mark.parametrize("kind", KINDS)
def test_an_annotation_belongs_on_the_template(kind: str) -> None:
    assert code(judge(kind, made(kind, own="near"))) is Code.MISPLACED_ANNOTATION
    assert code(judge(kind, made(kind, own="near"), label=None)) is Code.MISPLACED_ANNOTATION
    assert code(judge(kind, made(kind, own="near", annotation="nl"))) is Code.MISPLACED_ANNOTATION
    both = judge(kind, made(kind, IN_NL, tolerations=(TOLERATES,), own="near", annotation="near"), label="nl")
    assert both == Untouched()


def test_an_annotation_on_the_job_template_of_a_cronjob_is_misplaced() -> None:
    cronjob = made("CronJob")
    cronjob["spec"]["jobTemplate"]["metadata"] = {"annotations": {CLASSIFICATION: "near"}}
    verdict = judge("CronJob", cronjob)
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.MISPLACED_ANNOTATION
    assert "move that line to spec.jobTemplate.spec.template.metadata.annotations" in verdict.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_without_a_template_asks_for_nothing(kind: str) -> None:
    empty: list[Json] = [{}, {"spec": None}, {"spec": {}}]
    for workload in (*empty, {"metadata": {"annotations": {CLASSIFICATION: "nl"}}}):
        assert judge(kind, workload) == Untouched()


def test_a_daemonset_that_says_nothing_is_placed_in_its_template() -> None:
    assert judge("DaemonSet", made("DaemonSet")) == Place((IN_NL,), (TAINT,))
    assert judge("DaemonSet", made("DaemonSet", annotation="nl"), label=None) == Place((IN_NL,), (TAINT,))
    assert judge("DaemonSet", made("DaemonSet"), label=None) == Untouched()


def test_a_daemonset_with_a_fitting_affinity_of_its_own_gets_tolerations_alone() -> None:
    assert judge("DaemonSet", made("DaemonSet", IN_NL)) == Place((IN_NL,), (TAINT,))
    assert judge("DaemonSet", made("DaemonSet", IN_NL), label="near") == Untouched()


def test_a_node_selector_is_no_affinity_of_its_own() -> None:
    selecting = made("DaemonSet", nodeSelector={"zone": "a"})
    assert judge("DaemonSet", selecting) == Place((IN_NL,), (TAINT,))
    assert judge("DaemonSet", made("DaemonSet", nodeSelector={COUNTRY: "DE"}), label="near") == Untouched()


@pytest.mark.parametrize("terms", [(ZONE,), (IN_NL, ZONE), (IN_NL, IN_US), (IN_DE, IN_NL)])
def test_a_daemonset_whose_own_affinity_reaches_further_is_told_what_to_require(terms: tuple[Term, ...]) -> None:
    """Lists are atomic: what Residency wrote into the author's list would be taken out at the next apply."""
    verdict = judge("DaemonSet", made("DaemonSet", *terms, tolerations=(TOLERATES,)))
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.DAEMONSET_AFFINITY
    assert f"in each nodeSelectorTerm require {COUNTRY} In NL" in verdict.message


def test_a_daemonset_whose_own_affinity_contradicts_is_refused_as_a_pod_would_be() -> None:
    assert code(judge("DaemonSet", made("DaemonSet", IN_US))) is Code.CONTRADICTION


def test_a_daemonset_with_tolerations_of_its_own_is_told_what_to_add() -> None:
    verdict = judge("DaemonSet", made("DaemonSet", tolerations=(OTHER,)))
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.DAEMONSET_AFFINITY
    assert f"lacks {SOVEREIGN}" in verdict.message
    enough = made("DaemonSet", tolerations=(OTHER, TOLERATES))
    assert judge("DaemonSet", enough) == Place((IN_NL,), ())


def test_the_first_classification_that_the_affinity_passes_over_is_named() -> None:
    verdict = judge("DaemonSet", made("DaemonSet", IN_DE, annotation="us"), label="near")
    assert code(verdict) is Code.CONTRADICTION
    verdict = judge("DaemonSet", made("DaemonSet", NEAR, tolerations=(TOLERATES,), annotation="nl"), label="near")
    assert isinstance(verdict, Denied)
    assert "the annotation residency.dev/classification allows, which is nl (NL)" in verdict.message


def placed(workload: Json, verdict: Verdict) -> Json:
    """The DaemonSet as the policy stores it: lists written, and what was written noted."""
    assert isinstance(verdict, Place)
    view = PodView.from_template(workload["spec"]["template"])
    notes = dict(workload["metadata"].get("annotations") or {})
    written = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in verdict.tolerations)
    if verdict.terms != view.terms or PLACED_TERMS in notes:
        notes.pop(PLACED_TERMS, None)
        if verdict.terms is not None:
            notes[PLACED_TERMS] = canonical_terms(verdict.terms)
    own = view.tolerations if canonical_tolerations(view.tolerations) != notes.get(PLACED_TOLERATIONS, "") else ()
    tolerations = own + written
    notes.pop(PLACED_TOLERATIONS, None)
    if written:
        notes[PLACED_TOLERATIONS] = canonical_tolerations(tolerations)
    stored = made("DaemonSet", *(verdict.terms or ()), tolerations=tolerations)
    stored["metadata"]["annotations"] = notes
    return stored


def test_a_placed_daemonset_is_left_alone_when_applied_again() -> None:
    stored = placed(made("DaemonSet"), judge("DaemonSet", made("DaemonSet")))
    assert stored["metadata"]["annotations"] == {
        PLACED_TERMS: f"{COUNTRY} In NL",
        PLACED_TOLERATIONS: f"{SOVEREIGN} Exists  ",
    }
    assert judge("DaemonSet", stored) == Untouched()


def test_what_residency_wrote_follows_the_classification() -> None:
    stored = placed(made("DaemonSet"), judge("DaemonSet", made("DaemonSet")))
    assert judge("DaemonSet", stored, label="near") == Place((NEAR,), ())
    assert judge("DaemonSet", stored, label="us") == Place((IN_US,), ())


def test_what_residency_wrote_goes_when_nothing_is_wanted() -> None:
    free = Classification(ClassificationName("free"), "FREE", Placement(((),)), "", ())
    stored = placed(made("DaemonSet"), judge("DaemonSet", made("DaemonSet")))
    verdict = judge_workload("DaemonSet", stored, "payments", "free", {ClassificationName("free"): free})
    assert verdict == Place(None, ())


def test_what_the_author_changed_is_the_authors() -> None:
    stored = placed(made("DaemonSet"), judge("DaemonSet", made("DaemonSet")))
    stored["spec"]["template"]["spec"]["affinity"] = made("DaemonSet", IN_NL, ZONE)["spec"]["template"]["spec"][
        "affinity"
    ]
    assert code(judge("DaemonSet", stored)) is Code.DAEMONSET_AFFINITY


def test_a_note_alone_opens_no_way_round() -> None:
    """Whoever writes the note says that the terms are Residency's to replace, and they are replaced."""
    forged = made("DaemonSet", IN_US)
    forged["metadata"]["annotations"] = {PLACED_TERMS: canonical_terms([IN_US])}
    assert judge("DaemonSet", forged) == Place((IN_NL,), (TAINT,))


def test_terms_and_tolerations_have_one_line_of_text_each() -> None:
    fields = replace(ZONE, fields=(Requirement("metadata.name", Operator.IN, ("n",)),))
    assert canonical_terms([fields, Term(), NEAR]) == (f"zone In a & metadata.name In n |  | {COUNTRY} In NL,DE")
    both = [PodToleration("a", "Equal", "b", "NoSchedule"), PodToleration("", "Exists")]
    assert canonical_tolerations(both) == "a Equal b NoSchedule |  Exists  "


def _generated() -> Catalogue:
    cases = Cases()
    return {
        ClassificationName(name): Classification(
            ClassificationName(name), name.upper(), placement, "", tuple(allowances(placement))
        )
        for name, placement in ((name, cases.placement()) for name in NAMES)
    }


GENERATED = _generated()


@settings(max_examples=50)
@given(workloads(), st.none() | st.sampled_from(NAMES))
def test_a_template_is_refused_when_its_pods_would_be_and_not_otherwise(workload: Json, label: str | None) -> None:
    kind = workload["kind"]
    verdict = judge_workload(kind, workload, "payments", label, GENERATED)
    template = template_of(kind, workload)
    assert template is not None
    pod = PodView.from_template(template)
    of_pod = judge_pod(pod, asks("payments", label, pod.classification), GENERATED)
    if kind != "DaemonSet" and code(verdict) is not Code.MISPLACED_ANNOTATION:
        assert isinstance(verdict, Denied) == isinstance(of_pod, Denied)
        assert code(verdict) == code(of_pod)
    if kind == "DaemonSet" and isinstance(verdict, Place):
        tolerations = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in verdict.tolerations)
        stored = replace(pod, terms=verdict.terms, tolerations=pod.tolerations + tolerations)
        assert judge_pod(stored, asks("payments", label, pod.classification), GENERATED) == Untouched()
