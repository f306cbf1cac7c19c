"""The judge: may this workload be what it is, does it need placement, or is it refused, and why.

The same rules are compiled into CEL by ``residency.policy``; ``tests/e2e/test_one_judge.py`` holds the two together.

How terms are crossed (``cross``), with ``nodeSelector`` counting for every term:

=============================  ==================================================================
a term                         becomes
=============================  ==================================================================
empty                          itself: it matches no node, adding to it would make it match some
implies an alternative         itself
otherwise                      one term for each alternative it can be met together with, with
                               the requirements it lacks added; none where there is no such
=============================  ==================================================================

A pod without required node affinity is as one term that says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from residency.api.names import ClassificationName, Code, Mode
from residency.core import messages
from residency.core.placement import MAX_TERMS, Alternative, Classification, Placement, Toleration
from residency.core.requirements import Operator, Requirement, accepts, implies, satisfiable
from residency.core.storage import ClaimView, Trouble, claim_trouble, volume_trouble
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.workload import PodToleration, PodView, Term

Catalogue = Mapping[ClassificationName, Classification]


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody's claim to a classification: the namespace's label or the pod's annotation.

    ``ceiling`` is how far it may go at the most, whatever the classification says.
    """

    subject: str
    name: ClassificationName
    ceiling: Mode = Mode.ENFORCE
    namespace: str = ""
    """Where it is a namespace's."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """Nothing is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is to be written so that nothing is missing: all terms (None: none needed), and tolerations to add."""

    terms: tuple[Term, ...] | None
    tolerations: tuple[Toleration, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """Refused, and why."""

    code: Code
    message: str


Verdict = Untouched | Place | Denied


def asked_keys(catalogue: Catalogue) -> frozenset[str]:
    """The labels of nodes that some classification asks for."""
    return frozenset(r.key for classification in catalogue.values() for r in classification.placement.requirements)


class NamespaceLabels(NamedTuple):
    """What a namespace's labels say to Residency."""

    classification: str | None = None
    enforcement: str | None = None


MODES = (Mode.AUDIT, Mode.WARN, Mode.ENFORCE)
"""From the lowest to the highest."""


def asks(namespace: str, label: str | None, annotation: str | None, enforcement: str | None = None) -> tuple[Ask, ...]:
    """Which classifications a pod is under: its namespace's first, then its own where that differs.

    ``label`` and ``enforcement`` are the namespace's labels. The latter lowers what the namespace is classified as and
    nothing else: somebody may have had the right to lower that one, and an annotation was written to be kept to.
    """
    subject = messages.namespace_subject(namespace)
    of_namespace = () if label is None else (Ask(subject, ClassificationName(label), ceiling(enforcement), namespace),)
    own = annotation is not None and annotation != label
    of_pod = (
        (Ask(messages.ANNOTATION_SUBJECT, ClassificationName(annotation)),) if own and annotation is not None else ()
    )
    return of_namespace + of_pod


def ceiling(enforcement: str | None) -> Mode:
    """How far a namespace with this label goes at the most; what is no mode lowers nothing."""
    return Mode(enforcement) if enforcement in list(Mode) else Mode.ENFORCE


def in_mode(mode: Mode, asked: Iterable[Ask], catalogue: Catalogue) -> tuple[Ask, ...]:
    """Those that are to be enforced, warned of or audited: the lower of what the claim and its classification say."""
    return tuple(ask for ask in asked if effective(ask, catalogue) is mode)


def effective(ask: Ask, catalogue: Catalogue) -> Mode:
    """How far a claim goes; one to a classification that is not in force as far as it can."""
    known = catalogue.get(ask.name)
    return min(ask.ceiling, Mode.ENFORCE if known is None else known.mode, key=MODES.index)


def judge_pod(
    pod: PodView,
    asked: Sequence[Ask],
    catalogue: Catalogue,
    path: str = "spec",
    surroundings: Surroundings = NOTHING_KNOWN,
) -> Verdict:
    """Judge a pod, or a template, before anything was written into it: where it runs, then where its data is.

    ``path`` is where its pod spec stands in the object that people wrote.
    """
    verdict = judge_placement(pod, asked, catalogue, path)
    if isinstance(verdict, Denied):
        return verdict
    return judge_storage(pod, asked, catalogue, path, surroundings) or verdict


def judge_placement(pod: PodView, asked: Sequence[Ask], catalogue: Catalogue, path: str) -> Verdict:
    """Judge where a pod runs."""
    if not asked:
        return Untouched()
    refused = _refused_at_once(pod, asked, catalogue, path)
    if refused:
        return refused
    classes = [catalogue[ask.name] for ask in asked]
    terms = cross_all(pod, classes)
    if terms is not None and not any(not term.empty for term in terms):
        return _contradiction(pod, asked, classes, path)
    # However many terms an author has: where nothing is to be added to them, they stay as they are.
    if terms is not None and terms != pod.terms and len(terms) > MAX_TERMS:
        return _too_many(asked, classes, path, len(terms))
    tolerations = missing_tolerations(pod.tolerations, (c.placement for c in classes))
    if terms == pod.terms and not tolerations:
        return Untouched()
    return Place(terms, tolerations)


def guard_pod(
    pod: PodView,
    asked: Sequence[Ask],
    catalogue: Catalogue,
    path: str = "spec",
    surroundings: Surroundings = NOTHING_KNOWN,
) -> Denied | None:
    """Judge a pod as it is about to be stored: None where neither it nor its data can be outside what is asked."""
    verdict = judge_placement(pod, asked, catalogue, path)
    match verdict:
        case Denied():
            return verdict
        case Place(terms=terms) if terms != pod.terms:
            classification, subject = catalogue[asked[0].name], asked[0].subject
            return Denied(
                Code.NOT_PLACED,
                messages.NOT_PLACED.format(path=path, **class_fields(classification, subject)),
            )
    return judge_storage(pod, asked, catalogue, path, surroundings)


def judge_storage(
    pod: PodView,
    asked: Sequence[Ask],
    catalogue: Catalogue,
    path: str,
    surroundings: Surroundings,
    claims: Sequence[tuple[str, ClaimView]] = (),
) -> Denied | None:
    """Judge the volumes of a pod whose classifications are all known, and the claims that its owner makes for it."""
    default = surroundings.default_class
    for ask in asked:
        storage = catalogue[ask.name].storage
        if storage is None:
            continue
        foreign = surroundings.foreign_claims.get(ask.namespace, ()) if ask.namespace else ()
        troubles = chain(
            (volume_trouble(volume, storage, path, foreign, default) for volume in pod.volumes),
            (
                claim_trouble(claim, storage, f"spec.volumeClaimTemplates[{messages.shown(name)}]", default)
                for name, claim in claims
            ),
        )
        trouble = next((found for found in troubles if found is not None), None)
        if trouble is not None:
            return _stored_elsewhere(trouble, ask, catalogue)
    return None


def judge_claim(claim: ClaimView, asked: Sequence[Ask], catalogue: Catalogue) -> Denied | None:
    """Judge a claim that is being made, after the API server has given it the default class where there is one."""
    for ask in asked:
        if ask.name not in catalogue:
            return unknown(ask)
        storage = catalogue[ask.name].storage
        trouble = None if storage is None else claim_trouble(claim, storage, messages.CLAIM_PATH)
        if trouble is not None:
            return _stored_elsewhere(trouble, ask, catalogue)
    return None


def _stored_elsewhere(trouble: Trouble, ask: Ask, catalogue: Catalogue) -> Denied:
    template = messages.VOLUME if trouble.code is Code.VOLUME else messages.STORAGE_CLAIM
    fields = class_fields(catalogue[ask.name], ask.subject)
    message = template.format(asks=trouble.asks, allows=trouble.allows, fix=trouble.fix, **fields)
    return Denied(trouble.code, message)


def cross_all(pod: PodView, classes: Iterable[Classification]) -> tuple[Term, ...] | None:
    """Cross a pod's terms with every classification's alternatives; None where it has no affinity and needs none."""
    terms = pod.terms
    for classification in classes:
        terms = cross(terms, pod.node_selector, classification.placement.alternatives)
    return terms


def cross(
    terms: tuple[Term, ...] | None, node_selector: Mapping[str, str], alternatives: tuple[Alternative, ...]
) -> tuple[Term, ...] | None:
    """Cross terms with alternatives by the table above."""
    if terms is None:
        nothing = Term()
        return (
            None if _satisfied(nothing, node_selector, alternatives) else _expand(nothing, node_selector, alternatives)
        )
    crossed = (
        (term,)
        if term.empty or _satisfied(term, node_selector, alternatives)
        else _expand(term, node_selector, alternatives)
        for term in terms
    )
    return tuple(chain.from_iterable(crossed))


def _satisfied(term: Term, node_selector: Mapping[str, str], alternatives: tuple[Alternative, ...]) -> bool:
    return any(not _missing(term, node_selector, alternative) for alternative in alternatives)


def _expand(term: Term, node_selector: Mapping[str, str], alternatives: tuple[Alternative, ...]) -> tuple[Term, ...]:
    return tuple(
        replace(term, expressions=term.expressions + _missing(term, node_selector, alternative))
        for alternative in alternatives
        if _dead_key(term, node_selector, alternative) is None
    )


def _missing(term: Term, node_selector: Mapping[str, str], alternative: Alternative) -> tuple[Requirement, ...]:
    """Which requirements neither the node selector nor a single expression of the term implies."""
    return tuple(
        asked
        for asked in alternative
        if not (asked.key in node_selector and accepts(asked, node_selector[asked.key]))
        and not any(implies(mine, asked) for mine in term.expressions)
    )


def _dead_key(term: Term, node_selector: Mapping[str, str], alternative: Alternative) -> str | None:
    """The first key of the alternative of which no value passes all that is said about it; None: the term lives.

    Keys that the alternative does not speak of are not Residency's concern, whatever the term says about them.
    """
    for asked in alternative:
        if not _key_lives(term, node_selector, alternative, asked.key):
            return asked.key
    return None


def _key_lives(term: Term, node_selector: Mapping[str, str], alternative: Alternative, key: str) -> bool:
    together = [r for r in (*alternative, *term.expressions) if r.key == key]
    if key in node_selector:
        together.append(Requirement(key, Operator.IN, (node_selector[key],)))
    # An alternative by itself can be met: it is in normal form.
    return len(together) == 1 or satisfiable(together)


def missing_tolerations(
    tolerations: Sequence[PodToleration], placements: Iterable[Placement]
) -> tuple[Toleration, ...]:
    """Which tolerations of the placements a pod does not have yet."""
    needed = dict.fromkeys(toleration for placement in placements for toleration in placement.tolerations)
    return tuple(need for need in needed if not any(covers(has, need) for has in tolerations))


def covers(has: PodToleration, need: Toleration) -> bool:
    """Whether a pod's toleration tolerates, for ever, all that the needed one does."""
    key = has.key == need.key or (not has.key and has.operator == "Exists")
    value = has.operator == "Exists" or (has.operator == need.operator and has.value == need.value)
    return key and value and has.effect in ("", need.effect) and has.seconds is None


def _refused_at_once(pod: PodView, asked: Sequence[Ask], catalogue: Catalogue, path: str) -> Denied | None:
    for ask in asked:
        if ask.name not in catalogue:
            return unknown(ask)
    if pod.node_name:
        fields = class_fields(catalogue[asked[0].name], asked[0].subject)
        return Denied(Code.NODE_NAME, messages.NODE_NAME.format(path=path, node=pod.node_name, **fields))
    return None


def unknown(ask: Ask) -> Denied:
    """Refuse what names a classification that is not in force."""
    return Denied(
        Code.UNKNOWN_CLASSIFICATION,
        messages.UNKNOWN_CLASSIFICATION.format(subject=ask.subject, name=messages.said(ask.name)),
    )


def class_fields(classification: Classification, subject: str) -> dict[str, str]:
    """The fields of a message that say who asks for what, and why."""
    return {
        "subject": subject,
        "name": classification.name,
        "title": messages.titled(classification.name, classification.title),
        "why": classification.why,
    }


def _too_many(asked: Sequence[Ask], classes: Sequence[Classification], path: str, count: int) -> Denied:
    fields = class_fields(classes[0], asked[0].subject)
    message = messages.TOO_MANY_TERMS.format(path=path, count=count, most=MAX_TERMS, **fields)
    return Denied(Code.TOO_MANY_TERMS, message)


def _contradiction(pod: PodView, asked: Sequence[Ask], classes: Sequence[Classification], path: str) -> Denied:
    """Say which of the classifications no term can be met with, and what stands against it."""
    first = next((term for term in pod.terms or (Term(),) if pod.terms is None or not term.empty), None)
    if first is None:
        return Denied(Code.CONTRADICTION, messages.ONLY_EMPTY_TERMS.format(path=path, name=classes[0].name))
    for ask, classification in zip(asked, classes, strict=True):
        terms = cross(pod.terms, pod.node_selector, classification.placement.alternatives)
        if terms is not None and all(term.empty for term in terms):
            return _conflict(pod, first, ask, classification, path)
    fields = class_fields(classes[0], asked[0].subject)
    message = messages.CONFLICTING_CLASSIFICATIONS.format(path=path, other=asked[-1].name, **fields)
    return Denied(Code.CONTRADICTION, message)


def _conflict(pod: PodView, term: Term, ask: Ask, classification: Classification, path: str) -> Denied:
    alternative = classification.placement.alternatives[0]
    key = _dead_key(term, pod.node_selector, alternative)
    if key is None:
        raise AssertionError("the first term lives with the first alternative, so there is no contradiction")
    value = pod.node_selector.get(key)
    if value is not None and not all(accepts(r, value) for r in alternative if r.key == key):
        stands = messages.asks_selector(path, key, value)
    else:
        stands = messages.asks_affinity(path, _opposed(pod, term, alternative, key))
    fields = class_fields(classification, ask.subject) | {"allows": dict(classification.allows)[key]}
    return Denied(Code.CONTRADICTION, messages.CONTRADICTION.format(asks=stands, **fields))


def _opposed(pod: PodView, term: Term, alternative: Alternative, key: str) -> Requirement:
    """What of a term to name as the trouble with a key: the first that is trouble alone, or else the first."""
    said = [expression for expression in term.expressions if expression.key == key]
    alone = (e for e in said if not _key_lives(Term((e,)), pod.node_selector, alternative, key))
    return next(alone, said[0])
