"""Judging workloads that make pods: their templates, and DaemonSets, whose template is written into.

Templates other than a DaemonSet's are judged so that a developer hears of a contradiction at once, and never
rewritten: their pods are. A DaemonSet's controller makes a pod for every node that the template allows, so there
the template itself is placed, as long as what would be rewritten is not the author's own.
"""

from collections.abc import Sequence
from dataclasses import replace

from residency.api.names import PLACED_TERMS, PLACED_TOLERATIONS, Code, Mode
from residency.core import messages
from residency.core.judge import (
    Ask,
    Catalogue,
    Denied,
    Place,
    Untouched,
    Verdict,
    asks,
    class_fields,
    cross_all,
    in_mode,
    judge_placement,
    judge_storage,
    missing_tolerations,
)
from residency.core.placement import Classification
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.workload import (
    TEMPLATE_PATHS,
    Json,
    PodToleration,
    PodView,
    Term,
    annotation,
    claim_templates,
    template_of,
)


def judge_workload(
    kind: str,
    workload: Json,
    namespace: str,
    label: str | None,
    catalogue: Catalogue,
    enforcement: str | None = None,
    mode: Mode = Mode.ENFORCE,
    surroundings: Surroundings = NOTHING_KNOWN,
) -> Verdict:
    """Judge a workload of any built-in kind but Pod as somebody applies it, by the classifications of one mode.

    ``label`` and ``enforcement`` are the namespace's. ``Place`` is only ever said of a DaemonSet, and means: write this
    into its template.
    """
    template = template_of(kind, workload)
    if template is None:
        return Untouched()
    path = ".".join(TEMPLATE_PATHS[kind])
    outer = asks(namespace, label, outer_annotation(kind, workload), enforcement)[-1:]
    if in_mode(mode, outer, catalogue):
        misplaced = _misplaced_annotation(kind, workload, template, path)
        if misplaced:
            return misplaced
    pod = PodView.from_template(template)
    asked = in_mode(mode, asks(namespace, label, pod.classification, enforcement), catalogue)
    if kind == "DaemonSet":
        verdict = _judge_daemonset(workload, pod, asked, catalogue)
    else:
        verdict = judge_placement(pod, asked, catalogue, f"{path}.spec")
    if isinstance(verdict, Denied):
        return verdict
    claims = claim_templates(kind, workload)
    refused = judge_storage(pod, asked, catalogue, f"{path}.spec", surroundings, claims)
    return refused or (verdict if kind == "DaemonSet" else Untouched())


def outer_annotation(kind: str, workload: Json) -> str | None:
    """The classification annotation where it has no effect: on the workload (or a CronJob's jobTemplate)."""
    own = annotation(workload)
    if own is None and kind == "CronJob":
        return annotation((workload.get("spec") or {}).get("jobTemplate") or {})
    return own


def _misplaced_annotation(kind: str, workload: Json, template: Json, path: str) -> Denied | None:
    outer, inner = outer_annotation(kind, workload), annotation(template)
    if outer is None or outer == inner:
        return None
    message = messages.MISPLACED_ANNOTATION.format(
        kind=kind,
        workload=(workload.get("metadata") or {}).get("name", ""),
        name=messages.said(outer),
        found="nothing" if inner is None else messages.said(inner),
        path=path,
    )
    return Denied(Code.MISPLACED_ANNOTATION, message)


def _judge_daemonset(daemonset: Json, pod: PodView, asked: Sequence[Ask], catalogue: Catalogue) -> Verdict:
    annotations = (daemonset.get("metadata") or {}).get("annotations") or {}
    own_terms = pod.terms is not None and canonical_terms(pod.terms) != annotations.get(PLACED_TERMS)
    # An operator that writes its template anew takes out what was placed, and leaves the note of it.
    written = annotations.get(PLACED_TOLERATIONS, "")
    own_tolerations = bool(pod.tolerations) and canonical_tolerations(pod.tolerations) != written
    plain = replace(pod, terms=pod.terms if own_terms else None, tolerations=pod.tolerations if own_tolerations else ())
    path = "spec.template.spec"
    verdict = judge_placement(plain, asked, catalogue, path)
    if isinstance(verdict, Denied) or not asked:
        return verdict
    classes = [catalogue[ask.name] for ask in asked]
    for ask, classification in zip(asked, classes, strict=True):
        if own_terms and cross_all(plain, [classification]) != plain.terms:
            return _own_affinity(ask, classification, path)
    for ask, classification in zip(asked, classes, strict=True):
        if own_tolerations and missing_tolerations(plain.tolerations, [classification.placement]):
            return _own_tolerations(ask, classification, path)
    return _as_written(pod, verdict, plain)


def _own_affinity(ask: Ask, classification: Classification, path: str) -> Denied:
    requires = messages.requires(classification.placement.alternatives[0])
    fields = class_fields(classification, ask.subject)
    return Denied(Code.DAEMONSET_AFFINITY, messages.DAEMONSET_AFFINITY.format(path=path, requires=requires, **fields))


def _own_tolerations(ask: Ask, classification: Classification, path: str) -> Denied:
    requires = messages.tolerates(t.to_dict() for t in classification.placement.tolerations)
    fields = class_fields(classification, ask.subject)
    return Denied(
        Code.DAEMONSET_AFFINITY, messages.DAEMONSET_TOLERATIONS.format(path=path, requires=requires, **fields)
    )


def _as_written(pod: PodView, verdict: Untouched | Place, plain: PodView) -> Verdict:
    """Compare what the template should say with what it says."""
    wanted = verdict if isinstance(verdict, Place) else Place(plain.terms, ())
    written = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in wanted.tolerations)
    if wanted.terms == pod.terms and (*plain.tolerations, *written) == pod.tolerations:
        return Untouched()
    return wanted


def canonical_terms(terms: Sequence[Term]) -> str:
    """Terms as one line of text, written the same here and in CEL; never parsed, only compared."""
    return " | ".join(
        " & ".join(f"{r.key} {r.operator} {','.join(r.values)}" for r in (*term.expressions, *term.fields))
        for term in terms
    )


def canonical_tolerations(tolerations: Sequence[PodToleration]) -> str:
    """Tolerations as one line of text, written the same here and in CEL; never parsed, only compared."""
    return " | ".join(f"{t.key} {t.operator} {t.value} {t.effect}" for t in tolerations)
