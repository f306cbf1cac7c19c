"""What runs, judged: by example, and against where Kubernetes itself would let it run."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brute_force
from random_cases import JUDGED, Cases, distinct, whole_world
from residency.api.names import (
    NO_CLASSIFICATION,
    NOT_IN_FORCE,
    REGION,
    SOVEREIGN,
    ClassificationName,
    Fact,
    Mode,
    Outcome,
)
from residency.core.audit import Judged, NodeView, believed, country_of_region, judge_running, satisfies, selects
from residency.core.catalogue import restore
from residency.core.judge import Ask, Catalogue, asks
from residency.core.placement import ANYWHERE, Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from workload_strategies import VALUES, placements, pod_specs

COUNTRY, MODEL, SUBDIVISION = Fact.COUNTRY.value, Fact.DEPLOYMENT_MODEL.value, Fact.SUBDIVISION.value
DUTCH = Requirement(COUNTRY, Operator.IN, ("NL",))
EUROPEAN = Requirement(COUNTRY, Operator.IN, ("NL", "DE"))
STATE = Requirement(MODEL, Operator.IN, ("government",))
OPEN = Requirement(MODEL, Operator.EXISTS)


def catalogue(mode: Mode = Mode.ENFORCE, **placed: Placement) -> Catalogue:
    return {
        ClassificationName(name): restore(ClassificationName(name), name, (), placement, mode=mode)
        for name, placement in placed.items()
    }


# The Dutch state in Europe, or anything in the Netherlands that says what it is.
CATALOGUE = catalogue(nl=Placement(((EUROPEAN, STATE), (DUTCH, OPEN))), eu=Placement(((EUROPEAN,),)), any=ANYWHERE)
NODE = "node-1"


def labelled(**labels: str) -> dict[str, str]:
    return {Fact[key.upper()].value: value for key, value in labels.items()}


def pod(*terms: Term, node: str = NODE, selector: Mapping[str, str] | None = None) -> PodView:
    return PodView(selector or {}, terms or None, node_name=node)


PLACED = pod(Term((EUROPEAN, STATE)), Term((DUTCH, OPEN)))


def judge(
    labels: Mapping[str, str] | None,
    of: PodView = PLACED,
    label: str | None = "nl",
    annotation: str | None = None,
    known: Catalogue = CATALOGUE,
    taints: tuple[str, ...] = (),
) -> tuple[Judged, ...]:
    nodes = {} if labels is None else {NODE: NodeView.of(NODE, labels, taints)}
    return judge_running(of, nodes, asks("payments", label, annotation), known)


def outcome(labels: Mapping[str, str] | None, of: PodView = PLACED, label: str | None = "nl") -> Outcome:
    (judged,) = judge(labels, of, label)
    return judged.outcome


# By example


def test_a_pod_on_a_node_that_satisfies_an_alternative_is_compliant() -> None:
    assert outcome(labelled(country="NL", deployment_model="public")) is Outcome.COMPLIANT
    assert outcome(labelled(country="DE", deployment_model="government")) is Outcome.COMPLIANT


def test_a_pod_is_misplaced_where_a_fact_stands_against_every_alternative() -> None:
    assert outcome(labelled(country="US", deployment_model="government")) is Outcome.MISPLACED
    assert outcome(labelled(country="DE", deployment_model="public")) is Outcome.MISPLACED
    # Whatever model it is, it does not stand where either alternative allows.
    assert outcome(labelled(country="US")) is Outcome.MISPLACED


def test_a_pod_is_unknown_where_missing_facts_alone_stand_against_an_alternative() -> None:
    assert outcome({}) is Outcome.UNKNOWN
    assert outcome(labelled(country="DE")) is Outcome.UNKNOWN
    assert outcome(labelled(deployment_model="public")) is Outcome.UNKNOWN


def test_a_pod_that_nothing_keeps_where_it_may_be_is_unpinned() -> None:
    fine = labelled(country="NL", deployment_model="government")
    assert outcome(fine, pod()) is Outcome.UNPINNED
    assert outcome(fine, pod(Term((DUTCH,)))) is Outcome.UNPINNED
    assert outcome(fine, pod(Term((DUTCH, STATE)), Term((EUROPEAN,)))) is Outcome.UNPINNED
    assert outcome(fine, pod(selector={COUNTRY: "NL", MODEL: "public"})) is Outcome.COMPLIANT
    assert outcome(labelled(country="US", deployment_model="public"), pod()) is Outcome.MISPLACED


def test_a_pod_whose_node_is_gone_or_virtual_is_not_located() -> None:
    fine = labelled(country="NL", deployment_model="government")
    assert outcome(None) is Outcome.NOT_LOCATED
    assert outcome(fine | {"type": "virtual-kubelet"}) is Outcome.NOT_LOCATED
    (tainted,) = judge(fine, taints=("virtual-kubelet.io/provider",))
    assert tainted.outcome is Outcome.NOT_LOCATED


@pytest.mark.parametrize(
    ("region", "country"),
    [
        ("nl-groningen", "NL"),
        ("DE", "DE"),
        ("us-gov-west-1", "US"),
        ("uk-london-1", "GB"),
        *(
            (region, None)
            for region in (
                *("eu-west-1", "europe-west4", "westeurope", "ap-south-1", "region-1", "gra11", ""),
                *("sa-east-1", "me-south-1", "af-south-1", "na-siliconvalley", "la-south-2", "as-east"),
            )
        ),
    ],
)
def test_a_region_speaks_of_a_country_only_where_its_name_begins_with_one(region: str, country: str | None) -> None:
    assert country_of_region(region) == country


def test_a_region_that_speaks_against_the_country_makes_unknown_what_would_be_compliant_and_nothing_else() -> None:
    fine = labelled(country="NL", deployment_model="government")
    for region, expected in (("nl-groningen", Outcome.COMPLIANT), ("eu-west-1", Outcome.COMPLIANT)):
        assert outcome(fine | {REGION: region}) is expected
    (judged,) = judge(fine | {REGION: "us-east-1"})
    assert (judged.outcome, judged.why) == (
        Outcome.UNKNOWN,
        "its node says country NL, but its region is called us-east-1",
    )
    assert outcome(fine | {REGION: "us-east-1"}, pod()) is Outcome.UNKNOWN
    wrong = labelled(country="US", deployment_model="public")
    assert outcome(wrong | {REGION: "nl-groningen"}) is Outcome.MISPLACED
    assert outcome(labelled(deployment_model="government") | {REGION: "nl-groningen"}) is Outcome.UNKNOWN
    # Aruba is called both; the United States are not.
    known = catalogue(aruba=Placement(((Requirement(COUNTRY, Operator.IN, ("AW", "US")),),)))
    for country, expected in (("AW", Outcome.UNPINNED), ("US", Outcome.UNKNOWN)):
        (judged,) = judge(labelled(country=country) | {REGION: "nl-aruba"}, pod(), "aruba", known=known)
        assert judged.outcome is expected


def test_a_region_matters_only_to_what_asks_for_the_country() -> None:
    known = catalogue(state=Placement(((STATE,),)))
    state = pod(Term((STATE,)))
    fine = labelled(country="NL", deployment_model="government") | {REGION: "us-east-1"}
    (judged,) = judge(fine, state, "state", known=known)
    assert judged.outcome is Outcome.COMPLIANT


def test_a_node_whose_region_speaks_against_its_country_is_not_eligible() -> None:
    eu = CATALOGUE[ClassificationName("eu")].placement
    german = labelled(country="DE")
    assert satisfies(NodeView.of(NODE, german | {REGION: "de-frankfurt"}), eu)
    assert not satisfies(NodeView.of(NODE, german | {REGION: "us-east-1"}), eu)


def test_where_nothing_is_demanded_every_place_will_do() -> None:
    assert outcome(None, label="any") is Outcome.COMPLIANT
    assert outcome({"type": "virtual-kubelet"}, label="any") is Outcome.COMPLIANT


def test_what_names_no_classification_in_force_is_unknown_wherever_it_is() -> None:
    fine = labelled(country="NL", deployment_model="government")
    for of in (PLACED, pod(node="")):
        (judged,) = judge(fine, of, "gone")
        assert (judged.classification, judged.outcome) == (NOT_IN_FORCE, Outcome.UNKNOWN)


def test_each_claim_is_judged_by_itself() -> None:
    found = judge(labelled(country="DE", deployment_model="public"), label="eu", annotation="nl")
    assert [(j.classification, j.outcome) for j in found] == [("eu", Outcome.COMPLIANT), ("nl", Outcome.MISPLACED)]


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_is_judged_alike(mode: Mode) -> None:
    known = catalogue(mode, nl=CATALOGUE[ClassificationName("nl")].placement)
    (judged,) = judge(labelled(country="US"), known=known)
    assert (judged.outcome, judged.mode) == (Outcome.MISPLACED, mode)


def test_a_namespace_lowers_the_mode_of_its_own_claim_alone() -> None:
    node = NodeView.of(NODE, labelled(country="US"))
    found = judge_running(PLACED, {NODE: node}, asks("payments", "nl", "eu", "Audit"), CATALOGUE)
    assert [(j.classification, j.mode) for j in found] == [("nl", Mode.AUDIT), ("eu", Mode.ENFORCE)]


def test_an_unclassified_pod_is_an_intruder_only_where_the_sovereign_taint_is() -> None:
    (judged,) = judge({}, pod(), None, taints=(SOVEREIGN,))
    assert (judged.classification, judged.mode, judged.outcome) == (NO_CLASSIFICATION, None, Outcome.INTRUDER)
    assert judge({}, pod(), None) == ()
    assert judge(None, pod(), None) == ()
    assert judge({}, pod(node=""), None, taints=(SOVEREIGN,)) == ()
    assert outcome(labelled(country="US")) is Outcome.MISPLACED


def test_a_pod_that_waits_is_unplaceable_where_no_node_is_both_allowed_and_asked_for() -> None:
    dutch, german = (NodeView.of(c, labelled(country=c, deployment_model="government")) for c in ("NL", "DE"))
    nodes = {node.name: node for node in (dutch, german)}
    of = pod(Term((Requirement(COUNTRY, Operator.IN, ("DE",)),)), node="")
    claim = asks("payments", "nl", None)
    assert judge_running(of, nodes, claim, CATALOGUE)[0].outcome is Outcome.WAITING
    assert judge_running(of, {dutch.name: dutch}, claim, CATALOGUE)[0].outcome is Outcome.UNPLACEABLE
    named = pod(Term((), (Requirement("metadata.name", Operator.IN, ("DE",)),)), node="")
    assert judge_running(named, nodes, claim, CATALOGUE)[0].outcome is Outcome.WAITING
    assert judge_running(named, {dutch.name: dutch}, claim, CATALOGUE)[0].outcome is Outcome.UNPLACEABLE


@pytest.mark.parametrize(
    ("country", "subdivision", "trusted"),
    [
        ("NL", "NL-NH", True),
        ("DE", "NL-NH", False),
        ("BQ", "NL-BQ1", True),
        ("PR", "US-PR", True),
        ("NL", "BQ-BO", False),
    ],
)
def test_facts_that_contradict_each_other_are_not_believed(country: str, subdivision: str, trusted: bool) -> None:
    labels = labelled(country=country, subdivision=subdivision, provider="odc")
    believes = believed(labels)
    assert believes == (labels if trusted else labelled(provider="odc"))


def test_a_pod_is_unknown_on_a_node_whose_facts_contradict_each_other() -> None:
    (judged,) = judge(labelled(country="NL", subdivision="DE-BE", deployment_model="government"))
    assert judged.outcome is Outcome.UNKNOWN
    assert "contradict" in judged.why


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (labelled(country="US"), "its node has country US, where nl allows country NL or DE or country NL"),
        (labelled(country="DE"), "its node has no deployment-model, where nl allows deployment-model government"),
        (None, "there is no such node"),
    ],
)
def test_the_reason_names_the_fact_and_what_would_be_right(labels: Mapping[str, str] | None, says: str) -> None:
    (judged,) = judge(labels)
    assert judged.why.startswith(says)


# Against Kubernetes


def _ask(name: str) -> Ask:
    return asks("ns", name, None)[0]


def test_compliance_is_where_kubernetes_would_place_what_is_placed_and_pods_cannot_leave() -> None:
    """Held against Kubernetes' own evaluation on every node of a world, for thousands of placements and pods."""
    world, cases, seen = whole_world(), Cases(7), Counter[Outcome]()

    def case() -> tuple[tuple[tuple[str, str], ...], tuple[Term, ...] | None, Placement]:
        return cases.selector(), cases.terms(), cases.one_of(cases.placements())

    made = distinct(case, JUDGED // 10)
    for selector, terms, placement in made:
        known = catalogue(c=placement)
        of = PodView(dict(selector), terms, node_name=NODE)
        allowed, reach = world.alternatives(placement.alternatives), world.pod(dict(selector), terms)
        for position, node in enumerate(world.nodes):
            if node.name != NODE or cases.one_of(range(8)):
                continue
            view = NodeView.of(NODE, node.labels)
            (judged,) = judge_running(of, {NODE: view}, [_ask("c")], known)
            seen[judged.outcome] += 1
            here = bool(allowed >> position & 1)
            assert (judged.outcome in (Outcome.COMPLIANT, Outcome.UNPINNED)) is here is satisfies(view, placement)
            assert selects(of, view) is bool(reach >> position & 1)
            if judged.outcome is Outcome.COMPLIANT:
                assert not reach & ~allowed, "a compliant pod could run elsewhere"
    assert min(seen[o] for o in (Outcome.COMPLIANT, Outcome.UNPINNED, Outcome.MISPLACED, Outcome.UNKNOWN)) > 1000


_LABELS = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in VALUES.items()})


@given(pod_specs(), placements(), _LABELS)
def test_misplaced_is_what_no_further_fact_could_make_right(
    spec: dict[str, object], placement: Placement, labels: dict[str, str]
) -> None:
    of = PodView.from_template({"spec": {**spec, "nodeName": NODE}})
    known = catalogue(c=placement)

    def outcome_with(more: Mapping[str, str]) -> Outcome:
        return judge_running(of, {NODE: NodeView.of(NODE, {**labels, **more})}, [_ask("c")], known)[0].outcome

    here = outcome_with({})
    fits = brute_force_fits(placement, labels)
    if here in (Outcome.COMPLIANT, Outcome.UNPINNED):
        assert fits
    elif here is Outcome.MISPLACED:
        assert not fits
        # No fact that could be added makes it right.
        missing = [(key, value) for key, values in VALUES.items() if key not in labels for value in values]
        for some in combinations(missing, min(2, len(missing))):
            assert outcome_with(dict(some)) is Outcome.MISPLACED
    else:
        assert here is Outcome.UNKNOWN
        assert not fits


def brute_force_fits(placement: Placement, labels: Mapping[str, str]) -> bool:
    return any(brute_force.matches_alternative(alternative, labels) for alternative in placement.alternatives)


@given(placements(), _LABELS, st.data())
def test_taking_labels_away_never_makes_a_pod_compliant(
    placement: Placement, labels: dict[str, str], data: st.DataObject
) -> None:
    known = catalogue(c=placement)
    fewer = {key: value for key, value in labels.items() if data.draw(st.booleans())}

    def fine(facts: Mapping[str, str]) -> bool:
        view = NodeView.of(NODE, facts)
        (judged,) = judge_running(pod(), {NODE: view}, [_ask("c")], known)
        return judged.outcome in (Outcome.COMPLIANT, Outcome.UNPINNED)

    assert fine(labels) or not fine(fewer)
