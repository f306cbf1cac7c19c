"""What runs, judged: the node that a pod is on, by that node's facts, against each classification asked of the pod.

Each claim to a classification is judged by itself, in every mode alike: a pod of a namespace that is ``eu`` with an
annotation that says ``nl`` may comply with the one and not with the other.

How a pod that is bound is judged, the first line that fits:

=====================================================  ============================================================
the claim names a classification that is not in force  Unknown
nothing is demanded of nodes                           as where the facts allow it
the node is not there, or virtual                      NotLocated: its labels do not say where the containers are
its facts satisfy an alternative                       Compliant; Unpinned where the guard would refuse such a pod;
                                                       Unknown where its region's name says another country
an alternative fails by missing facts alone            Unknown: it cannot be told
otherwise                                              Misplaced: every alternative is contradicted by a fact
=====================================================  ============================================================

A pod that is not bound is Unplaceable where no node that allows it is one that its own terms accept, else Waiting: by
labels alone, since taints, readiness and room come and go. A pod nobody classified is an Intruder on a node with
Residency's taint, whether or not it tolerates it and whoever owns it: owners and annotations are what a pod says of
itself. What has business on every node belongs in an excluded namespace, and those are not audited at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from residency.api.countries import ISO_3166_1
from residency.api.names import (
    NO_CLASSIFICATION,
    NOT_IN_FORCE,
    REGION,
    SOVEREIGN,
    VIRTUAL,
    VIRTUAL_LABEL,
    VIRTUAL_TAINT,
    Fact,
    Mode,
    Outcome,
)
from residency.core import messages
from residency.core.judge import Ask, Catalogue, effective, guard_pod
from residency.core.placement import Alternative, Classification, Placement
from residency.core.requirements import Operator, Requirement, accepts
from residency.core.workload import PodView, Taint, Term


@dataclass(frozen=True, slots=True)
class NodeView:
    """What of a node decides who may run there."""

    name: str
    labels: Mapping[str, str]
    virtual: bool = False
    """Whether it only stands for machines elsewhere."""
    sovereign: bool = False
    """Whether it is kept for classified pods."""
    usable: bool = True
    """Whether it is Ready and not cordoned."""
    repels: tuple[Taint, ...] = ()
    """The taints that keep pods off it."""

    @classmethod
    def of(
        cls,
        name: str,
        labels: Mapping[str, str],
        taints: Iterable[str] = (),
        *,
        usable: bool = True,
        repels: Iterable[Taint] = (),
    ) -> "NodeView":
        """Read its labels and the keys of its taints."""
        keys = frozenset(taints)
        virtual = labels.get(VIRTUAL_LABEL) == VIRTUAL or VIRTUAL_TAINT in keys
        return cls(name, labels, virtual, SOVEREIGN in keys, usable, tuple(repels))


@dataclass(frozen=True, slots=True)
class Judged:
    """One claim on a pod, in which mode it is, and what came of it."""

    classification: str
    """A classification in force, or one of the two words for none."""
    mode: Mode | None
    outcome: Outcome
    why: str = ""


INTRUDER = Judged(NO_CLASSIFICATION, None, Outcome.INTRUDER, messages.INTRUDER)


def judge_running(
    pod: PodView, nodes: Mapping[str, NodeView], asked: Sequence[Ask], catalogue: Catalogue
) -> tuple[Judged, ...]:
    """Judge a pod that has not ended, in a cluster of these nodes; nothing is said of an unclassified one at home."""
    if not pod.node_name:
        return tuple(judge_waiting(ask, catalogue, somewhere=_somewhere(pod, nodes, ask, catalogue)) for ask in asked)
    return judge_bound(pod, nodes.get(pod.node_name), asked, catalogue)


def judge_bound(pod: PodView, node: NodeView | None, asked: Sequence[Ask], catalogue: Catalogue) -> tuple[Judged, ...]:
    """Judge a pod by the node that it is bound to; None: there is no such node."""
    if not asked:
        return (INTRUDER,) if node is not None and node.sovereign else ()
    return tuple(_judge(pod, node, ask, catalogue) for ask in asked)


def judge_waiting(ask: Ask, catalogue: Catalogue, *, somewhere: bool) -> Judged:
    """Judge a pod that is not bound, knowing whether there is a node that it may run on."""
    if ask.name not in catalogue:
        return _not_in_force(ask, catalogue)
    if somewhere:
        return Judged(ask.name, effective(ask, catalogue), Outcome.WAITING)
    why = messages.UNPLACEABLE.format(name=ask.name)
    return Judged(ask.name, effective(ask, catalogue), Outcome.UNPLACEABLE, why)


def may_take(node: NodeView, pod: PodView, classification: Classification) -> bool:
    """Whether a pod that is not bound may be bound to the node, by labels alone."""
    return satisfies(node, classification.placement) and selects(pod, node)


def satisfies(node: NodeView, placement: Placement) -> bool:
    """Whether what runs on the node complies, wherever else it could run."""
    if not all(placement.alternatives):
        return True
    labels = undoubted(believed(node.labels))
    return not node.virtual and not all(_failing(alternative, labels) for alternative in placement.alternatives)


def selects(pod: PodView, node: NodeView) -> bool:
    """Whether a pod's nodeSelector and required node affinity accept a node, as Kubernetes evaluates them."""
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.terms is None or any(matches(term, node) for term in pod.terms)


def matches(term: Term, node: NodeView) -> bool:
    """Whether one term of a required node affinity accepts a node."""
    if term.empty:
        return False
    named = all(_matches_name(field, node.name) for field in term.fields)
    return named and all(accepts(r, node.labels.get(r.key)) for r in term.expressions)


def believed(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels without facts that contradict each other: neither can be relied on then."""
    country, subdivision = labels.get(Fact.COUNTRY), labels.get(Fact.SUBDIVISION)
    if country is None or subdivision is None or agree(country, subdivision):
        return labels
    return _without_place(labels)


def undoubted(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels without a country that the name of the node's region speaks against.

    That name is evidence and no more: a provider chose it, and a kubelet may write it. So it can make what would be
    compliant unknown, and nothing else.
    """
    country, region = labels.get(Fact.COUNTRY), country_of_region(labels.get(REGION, ""))
    if country is None or region is None or _same(region, country) or _same(country, region):
        return labels
    return _without_place(labels)


@lru_cache(maxsize=1024)
def country_of_region(region: str) -> str | None:
    """The country that a region's name begins with, as in ``nl-groningen`` or ``DE``; None where it does not."""
    code = region.partition("-")[0].upper()
    code = _ALIASES.get(code, code)
    return code if code in ISO_3166_1 and code not in _CONTINENTS else None


# What regions are called by although ISO 3166-1 has it otherwise.
_ALIASES: Mapping[str, str] = {"UK": "GB"}
# Country codes that providers write for Africa, Asia, Latin and North America, the Middle East and South America.
_CONTINENTS = frozenset({"AF", "AS", "LA", "ME", "NA", "SA"})


def _without_place(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {key: value for key, value in labels.items() if key not in (Fact.COUNTRY, Fact.SUBDIVISION)}


def agree(country: str, subdivision: str) -> bool:
    """Whether a subdivision is in a country.

    It begins with its country. Some places have a country code of their own besides, such as NL-BQ1 and BQ.
    """
    return _same(subdivision.partition("-")[0], country)


def _same(parent: str, country: str) -> bool:
    return parent == country or country in _TERRITORIES.get(parent, ())


# ISO 3166-2 lists these both as countries and as subdivisions of another.
_TERRITORIES: Mapping[str, frozenset[str]] = {
    "CN": frozenset({"HK", "MO", "TW"}),
    "FI": frozenset({"AX"}),
    "FR": frozenset({"BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT"}),
    "NL": frozenset({"AW", "BQ", "CW", "SX"}),
    "NO": frozenset({"SJ"}),
    "US": frozenset({"AS", "GU", "MP", "PR", "UM", "VI"}),
}


def _judge(pod: PodView, node: NodeView | None, ask: Ask, catalogue: Catalogue) -> Judged:
    classification = catalogue.get(ask.name)
    if classification is None:
        return _not_in_force(ask, catalogue)
    outcome, why = _located(node, classification)
    if outcome is Outcome.COMPLIANT and guard_pod(replace(pod, node_name="", volumes=()), [ask], catalogue) is not None:
        outcome, why = Outcome.UNPINNED, messages.UNPINNED.format(name=ask.name)
    return Judged(ask.name, effective(ask, catalogue), outcome, why)


def _not_in_force(ask: Ask, catalogue: Catalogue) -> Judged:
    why = messages.NAMES_NOTHING.format(name=messages.said(ask.name))
    return Judged(NOT_IN_FORCE, effective(ask, catalogue), Outcome.UNKNOWN, why)


def _located(node: NodeView | None, classification: Classification) -> tuple[Outcome, str]:
    """Compliant by its place alone, or what else, and why."""
    alternatives = classification.placement.alternatives
    if not all(alternatives):
        return Outcome.COMPLIANT, ""
    if node is None or node.virtual:
        return Outcome.NOT_LOCATED, messages.NO_SUCH_NODE if node is None else messages.VIRTUAL_NODE
    labels = believed(node.labels)
    failing = [_failing(alternative, labels) for alternative in alternatives]
    if not all(failing):
        return _unless_doubted(labels, alternatives)
    contradicted = [[r for r in some if r.key in labels] for some in failing]
    if all(contradicted):
        return Outcome.MISPLACED, _says(messages.WRONG_FACT, contradicted[0][0].key, node, classification)
    if labels is not node.labels:
        return Outcome.UNKNOWN, _contradictory(node)
    missing = failing[contradicted.index([])]
    return Outcome.UNKNOWN, _says(messages.FACT_MISSING, missing[0].key, node, classification)


def _unless_doubted(labels: Mapping[str, str], alternatives: Sequence[Alternative]) -> tuple[Outcome, str]:
    sure = undoubted(labels)
    if sure is labels or not all(_failing(alternative, sure) for alternative in alternatives):
        return Outcome.COMPLIANT, ""
    country, region = labels[Fact.COUNTRY], messages.one_line(labels[REGION], messages.KEY_LENGTH)
    return Outcome.UNKNOWN, messages.REGION_CONTRADICTS.format(country=country, region=region)


def _failing(alternative: Alternative, labels: Mapping[str, str]) -> list[Requirement]:
    return [requirement for requirement in alternative if not accepts(requirement, labels.get(requirement.key))]


def _says(template: str, key: str, node: NodeView, classification: Classification) -> str:
    return template.format(
        key=messages.short(key),
        value=node.labels.get(key, ""),
        name=classification.name,
        allows=dict(classification.allows)[key],
    )


def _contradictory(node: NodeView) -> str:
    country, subdivision = node.labels[Fact.COUNTRY], node.labels[Fact.SUBDIVISION]
    return messages.FACTS_CONTRADICT.format(country=country, subdivision=subdivision)


def _somewhere(pod: PodView, nodes: Mapping[str, NodeView], ask: Ask, catalogue: Catalogue) -> bool:
    classification = catalogue.get(ask.name)
    return classification is not None and any(may_take(node, pod, classification) for node in nodes.values())


def _matches_name(field: Requirement, name: str) -> bool:
    """A node's name is the only field that there is; a field takes one value."""
    if len(field.values) != 1 or field.operator not in (Operator.IN, Operator.NOT_IN):
        return False
    same = field.key == "metadata.name" and field.values[0] == name
    return same if field.operator is Operator.IN else not same
