"""The judge: by example, and against where Kubernetes itself would let the pod run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brute_force import World, matches_pod
from random_cases import (
    CONJOINED,
    COUNTRY,
    CROSSED,
    IMPLIED,
    JUDGED,
    MODEL,
    NAMES,
    NORMALISED,
    PAIRS,
    SETS,
    ZONE,
    Cases,
    distinct,
    whole_world,
)
from residency.api.names import CLASSIFICATION, SOVEREIGN, ClassificationName, Code, Mode
from residency.core.catalogue import allowances
from residency.core.judge import (
    Ask,
    Catalogue,
    Denied,
    Place,
    Untouched,
    Verdict,
    asks,
    covers,
    cross,
    guard_pod,
    in_mode,
    judge_pod,
)
from residency.core.placement import MAX_TERMS, Alternative, Classification, Placement, Toleration
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodToleration, PodView, Term
from workload_strategies import RACK, placements, pod_specs

NL, DE, US = "NL", "DE", "US"


def read(*texts: str) -> Alternative:
    """``country In NL DE`` and the like, as requirements."""
    keys = {"country": COUNTRY, "rack": RACK, "model": MODEL, "zone": ZONE}
    parts = (text.split() for text in texts)
    return tuple(Requirement(keys[key], Operator(operator), tuple(values)) for key, operator, *values in parts)


def term(*texts: str, node: str = "") -> Term:
    fields = (Requirement("metadata.name", Operator.IN, (node,)),) if node else ()
    return Term(read(*texts), fields)


def pod(*terms: Term, tolerations: Sequence[PodToleration] = (), **selector: str) -> PodView:
    keys = {"country": COUNTRY, "rack": RACK, "model": MODEL, "zone": ZONE}
    return PodView({keys[k]: v for k, v in selector.items()}, terms or None, tuple(tolerations))


def classification(name: str, placement: Placement) -> Classification:
    return Classification(ClassificationName(name), name.upper(), placement, "", tuple(allowances(placement)))


def catalogue(**placements: Placement) -> Catalogue:
    return {ClassificationName(name): classification(name, placement) for name, placement in placements.items()}


def allowing(*alternatives: Alternative) -> Placement:
    return Placement(alternatives)


DUTCH = catalogue(
    dutch=allowing(read("country In NL")),
    near=allowing(read("country In NL DE")),
    american=allowing(read("country In US")),
    official=allowing(read("model In government")),
    either=allowing(read("country In NL", "model In government"), read("country In DE", "rack Exists", "rack NotIn a")),
    free=allowing(()),
    tolerant=Placement(((),), (Toleration(SOVEREIGN, "Exists"),)),
)


def judge(pod: PodView, name: str, annotation: str | None = None) -> Verdict:
    return judge_pod(pod, asks("payments", name, annotation), DUTCH)


EXAMPLES = (
    ("nothing said", pod(), "dutch", [term("country In NL")]),
    ("affinity to something else", pod(term("zone In a")), "dutch", [term("zone In a", "country In NL")]),
    ("a wider list", pod(term("country In NL US")), "dutch", [term("country In NL US", "country In NL")]),
    ("the label must be there", pod(term("country Exists")), "dutch", [term("country Exists", "country In NL")]),
    ("a NotIn", pod(term("country NotIn US")), "dutch", [term("country NotIn US", "country In NL")]),
    (
        "OR-ed terms",
        pod(term("zone In a"), term("zone In b")),
        "dutch",
        [term("zone In a", "country In NL"), term("zone In b", "country In NL")],
    ),
    (
        "one term that satisfies it already",
        pod(term("country In NL"), term("zone In b")),
        "near",
        [term("country In NL"), term("zone In b", "country In NL DE")],
    ),
    (
        "one term that goes elsewhere",
        pod(term("country In US"), term("country In NL", "zone In a")),
        "dutch",
        [term("country In NL", "zone In a")],
    ),
    ("an empty term", pod(term(), term("zone In a")), "dutch", [term(), term("zone In a", "country In NL")]),
    (
        "fields alone",
        pod(term(node="node-1")),
        "dutch",
        [Term(read("country In NL"), term(node="node-1").fields)],
    ),
    ("alternatives", pod(), "either", list(map(Term, DUTCH[ClassificationName("either")].placement.alternatives))),
    (
        "one alternative left",
        pod(term("country In DE")),
        "either",
        [term("country In DE", "rack Exists", "rack NotIn a")],
    ),
    (
        "node selector for one alternative",
        pod(country="NL"),
        "either",
        [term("model In government")],
    ),
    ("a bound that is enough for Exists", pod(term("country In DE", "rack Gt 3")), "either", None),
    ("no demand", pod(term("zone In a")), "free", None),
    ("In [NL] satisfies In [NL, DE]", pod(term("country In NL")), "near", None),
    ("a nodeSelector counts", pod(country="NL"), "near", None),
    ("a nodeSelector counts for every term", pod(term("zone In a"), term("zone In b"), country="DE"), "near", None),
    (
        "fields beside what satisfies",
        pod(Term(read("country In NL"), term(node="n").fields)),
        "dutch",
        None,
    ),
)


@pytest.mark.parametrize(("pod", "name", "placed"), [e[1:] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_a_pod_is_placed_by_adding_only_what_it_lacks(pod: PodView, name: str, placed: list[Term] | None) -> None:
    expected = Untouched() if placed is None else Place(tuple(placed), ())
    assert judge(pod, name) == expected


def test_what_is_satisfied_is_the_very_same_object() -> None:
    satisfied = (term("country In NL"), term())
    crossed = cross(satisfied, {}, (read("country In NL DE"),))
    assert crossed is not None
    assert all(after is before for after, before in zip(crossed, satisfied, strict=True))


CONTRADICTIONS = (
    ("another country", pod(term("country In US")), "dutch"),
    ("another country by nodeSelector", pod(country="US"), "dutch"),
    ("a nodeSelector against every term", pod(term("zone In a"), country="US"), "dutch"),
    ("only unlabelled nodes", pod(term("country DoesNotExist")), "dutch"),
    ("the one country excluded", pod(term("country NotIn NL")), "dutch"),
    ("a bound on what is no number", pod(term("country Gt 1")), "dutch"),
    ("no term left", pod(term("country In US"), term("country In DE")), "dutch"),
    ("no term left but an empty one", pod(term("country In US"), term()), "dutch"),
    ("empty terms alone", pod(term(), term()), "dutch"),
    ("empty terms alone, whatever is asked", pod(term()), "free"),
    ("no alternative", pod(term("country In US")), "either"),
    ("one alternative each excluded by another key", pod(term("rack In a"), model="public"), "either"),
)


@pytest.mark.parametrize(("pod", "name"), [e[1:] for e in CONTRADICTIONS], ids=[e[0] for e in CONTRADICTIONS])
def test_a_pod_that_could_run_nowhere_is_refused(pod: PodView, name: str) -> None:
    verdict = judge(pod, name)
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.CONTRADICTION
    assert guard_pod(pod, asks("payments", name, None), DUTCH) == verdict


def test_a_pod_whose_annotation_contradicts_its_namespace_is_refused() -> None:
    verdict = judge(pod(), "dutch", "american")
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.CONTRADICTION
    assert "the annotation residency.dev/classification american leaves no node" in verdict.message


def test_namespace_and_annotation_both_hold() -> None:
    assert judge(pod(), "near", "official") == Place((term("country In NL DE", "model In government"),), ())


def test_an_annotation_that_repeats_the_label_asks_nothing_more() -> None:
    assert judge(pod(), "near", "near") == judge(pod(), "near")
    assert asks("payments", "near", "near") == (
        Ask("namespace payments", ClassificationName("near"), namespace="payments"),
    )


def test_without_label_and_annotation_nothing_is_asked() -> None:
    assert asks("payments", None, None) == ()
    assert judge_pod(replace(pod(country="US"), node_name="n"), (), DUTCH) == Untouched()


@pytest.mark.parametrize(("label", "annotation"), [("nowhere", None), ("dutch", "nowhere"), ("", None), ("dutch", "")])
def test_an_unknown_classification_lets_nothing_run(label: str, annotation: str | None) -> None:
    verdict = judge(pod(country="NL"), label, annotation)
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.UNKNOWN_CLASSIFICATION


def test_a_pod_that_chooses_its_node_is_refused_also_where_it_asks_for_what_is_allowed() -> None:
    verdict = judge(replace(pod(country="NL"), node_name="node-1"), "dutch")
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.NODE_NAME


def many(count: int) -> PodView:
    return pod(*(term(f"zone In z{number}") for number in range(count)))


def test_at_most_16_terms_are_written() -> None:
    placed = judge(many(8), "either")
    assert isinstance(placed, Place)
    assert placed.terms is not None
    assert len(placed.terms) == MAX_TERMS
    verdict = judge(many(9), "either")
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.TOO_MANY_TERMS
    assert "gives 18 nodeSelectorTerms; at most 16" in verdict.message


def test_more_terms_than_are_written_stay_as_they_are_where_all_satisfy_what_is_asked() -> None:
    crowded = [term("country In NL")] * 17
    assert judge(pod(*crowded), "dutch") == Untouched()
    assert judge(pod(*crowded), "near") == Untouched()
    verdict = judge(pod(*crowded[:16], term("zone In a")), "dutch")
    assert isinstance(verdict, Denied)
    assert verdict.code is Code.TOO_MANY_TERMS


def test_tolerations_are_added_once() -> None:
    sovereign = Toleration(SOVEREIGN, "Exists")
    assert judge(pod(country="NL"), "tolerant") == Place(None, (sovereign,))
    has = PodToleration(SOVEREIGN, "Exists")
    assert judge(pod(country="NL", tolerations=[has]), "tolerant") == Untouched()
    assert judge(pod(tolerations=[PodToleration("", "Exists")]), "tolerant") == Untouched()


def test_two_classifications_that_need_the_same_toleration_add_it_once() -> None:
    both = catalogue(
        one=Placement(((),), (Toleration("a", "Exists"), Toleration("b"))),
        two=Placement(((),), (Toleration("c"), Toleration("a", "Exists"))),
    )
    verdict = judge_pod(pod(), asks("payments", "one", "two"), both)
    assert verdict == Place(None, (Toleration("a", "Exists"), Toleration("b"), Toleration("c")))


NEEDED = Toleration("a", "Equal", "b", "NoSchedule")


@pytest.mark.parametrize(
    ("has", "need", "covered"),
    [
        (PodToleration("a", "Equal", "b", "NoSchedule"), NEEDED, True),
        (PodToleration("a", "Equal", "b"), NEEDED, True),
        (PodToleration("a", "Exists"), NEEDED, True),
        (PodToleration("", "Exists"), NEEDED, True),
        (PodToleration("a", "Equal", "c"), NEEDED, False),
        (PodToleration("a", "Equal", "b", "NoExecute"), NEEDED, False),
        (PodToleration("c", "Exists"), NEEDED, False),
        (PodToleration("a", "Exists", "", "NoExecute", 60), Toleration("a", "Exists", "", "NoExecute"), False),
        (PodToleration("a", "Equal", ""), Toleration("a", "Exists"), False),
        (PodToleration("a", "Exists", "", "NoSchedule"), Toleration("a", "Exists"), False),
    ],
)
def test_a_toleration_covers_what_it_tolerates_for_ever(has: PodToleration, need: Toleration, covered: bool) -> None:
    assert covers(has, need) is covered


def test_the_guard_refuses_a_pod_that_was_changed_after_it_was_placed() -> None:
    asked = asks("payments", "dutch", None)
    assert guard_pod(pod(term("country In NL", "zone In a")), asked, DUTCH) is None
    refused = guard_pod(pod(term("zone In a")), asked, DUTCH)
    assert refused is not None
    assert refused.code is Code.NOT_PLACED


def test_the_guard_lets_tolerations_be() -> None:
    """Without one a pod runs on fewer nodes, never on others."""
    assert guard_pod(pod(), asks("payments", "tolerant", None), DUTCH) is None


def test_views_read_nulls_and_missing_fields_as_nothing() -> None:
    specs: list[dict[str, Any]] = [{}, {"affinity": {"nodeAffinity": {}}}]
    for spec in (*specs, {"nodeSelector": None, "affinity": None, "tolerations": None}):
        assert PodView.from_template({"metadata": {"annotations": None}, "spec": spec}) == PodView({}, None)
    assert PodView.from_template({"metadata": {"annotations": {CLASSIFICATION: ""}}}).classification == ""


@pytest.fixture(scope="module")
def world() -> World:
    return whole_world()


def test_a_world_says_of_all_nodes_what_kubernetes_says_of_each(world: World) -> None:
    cases = Cases()
    for selector, terms in distinct(lambda: (cases.selector(), cases.terms()), 30):
        one_by_one = [matches_pod(dict(selector), terms, node) for node in world.nodes]
        assert world.pod(dict(selector), terms) == sum(1 << n for n, match in enumerate(one_by_one) if match)


def allowed(world: World, asked: Iterable[Placement]) -> int:
    """The nodes that meet an alternative of every placement."""
    nodes = world.everywhere
    for placement in asked:
        nodes &= world.alternatives(placement.alternatives)
    return nodes


def check_only_added(before: tuple[Term, ...], after: tuple[Term, ...]) -> None:
    """Every term begins as the author wrote it, with the same fields; empty ones stay, in number and kind."""
    starts = {(t.expressions, t.fields) for t in before}
    for t in after:
        assert any((t.expressions[:n], t.fields) in starts for n in range(len(t.expressions) + 1))
    assert after.count(Term()) == before.count(Term())


def test_crossed_terms_match_where_the_pod_and_every_classification_would_and_nowhere_else(world: World) -> None:
    cases = Cases()
    evaluated = untouched = 0
    for selector, before, asked in distinct(lambda: (cases.selector(), cases.terms(), cases.placements()), CROSSED):
        chosen = dict(selector)
        after = before
        for placement in asked:
            after = cross(after, chosen, placement.alternatives)
        # A pod that says nothing and of which nothing is wanted stays without affinity; nothing else does.
        assert world.pod(chosen, after) == world.pod(chosen, before) & allowed(world, asked), (before, asked)
        if before is not None and after is not None:
            check_only_added(before, after)
        for placement in asked:
            assert cross(after, chosen, placement.alternatives) == after, (before, asked)
        evaluated += 1
        untouched += after == before
    assert evaluated == CROSSED
    assert CROSSED / 50 < untouched < CROSSED / 2


def check_contradiction(world: World, pod: PodView, asked: tuple[Placement, ...], contradicted: bool) -> None:
    """A contradiction is said if and only if no node could match, as far as labels go that the placement speaks of.

    A term that satisfies what is asked is the author's own affair, also where it matches nothing by itself.
    """
    keys = {r.key for placement in asked for alternative in placement.alternatives for r in alternative}
    selected = world.selector({k: v for k, v in pod.node_selector.items() if k in keys})
    if pod.terms is None:
        spoken = [selected]
    else:
        spoken = [
            world.alternative(r for r in t.expressions if r.key in keys) & selected for t in pod.terms if not t.empty
        ]
    possible = any(nodes & allowed(world, asked) for nodes in spoken)
    assert not (contradicted and possible)
    assert contradicted or possible or any(nodes == 0 for nodes in spoken)


def check_verdict(world: World, pod: PodView, asked: tuple[Placement, ...], verdict: Verdict, known: Catalogue) -> None:
    given = tuple(Ask("somebody", name) for name in known)
    guard = guard_pod(pod, given, known)
    may = world.pod(pod.node_selector, pod.terms)
    match verdict:
        case Untouched():
            assert may & ~allowed(world, asked) == 0
            assert guard is None
        case Denied(code=code):
            assert guard == verdict
            assert code is not Code.CONTRADICTION or may & allowed(world, asked) == 0
        case Place(terms=terms, tolerations=tolerations):
            assert world.pod(pod.node_selector, terms) == may & allowed(world, asked)
            assert (guard is None) is (terms == pod.terms)
            written = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in tolerations)
            placed = replace(pod, terms=terms, tolerations=pod.tolerations + written)
            assert judge_pod(placed, given, known) == Untouched()
            assert guard_pod(placed, given, known) is None


def test_more_than_100_000_cases_are_evaluated_against_kubernetes_own_semantics() -> None:
    """Each bulk test asserts that it evaluated its number, all different."""
    assert PAIRS + SETS + NORMALISED + IMPLIED + CONJOINED + CROSSED + JUDGED > 100_000


def test_a_verdict_is_what_kubernetes_would_make_of_the_pod(world: World) -> None:
    cases = Cases()
    verdicts: Counter[str] = Counter()
    for selector, terms, asked in distinct(lambda: (cases.selector(), cases.terms(), cases.placements()), JUDGED):
        pod = PodView(dict(selector), terms, cases.tolerations())
        known = catalogue(**{f"class-{number}": placement for number, placement in enumerate(asked)})
        verdict = judge_pod(pod, tuple(Ask("somebody", name) for name in known), known)
        contradicted = isinstance(verdict, Denied) and verdict.code is Code.CONTRADICTION
        check_contradiction(world, pod, asked, contradicted)
        check_verdict(world, pod, asked, verdict, known)
        verdicts[verdict.code if isinstance(verdict, Denied) else type(verdict).__name__] += 1
    assert verdicts.total() == JUDGED
    for kind in ("Untouched", "Place", Code.CONTRADICTION):
        assert verdicts[kind] > JUDGED / 50, verdicts


KUBERNETES_EYES = World(
    {
        COUNTRY: (None, "NL", "DE", "CH", "US", "z"),
        MODEL: (None, "government", "private-external", "public"),
        RACK: (None, "1", "2", "10", "007", "a", "z", "5", "4611686018427387904"),
    },
    NAMES,
)


@settings(max_examples=50)
@given(pod_specs(), st.lists(placements(), min_size=1, max_size=2))
def test_nothing_is_placed_elsewhere_also_with_odd_labels_and_bounds(
    spec: dict[str, Any], asked: list[Placement]
) -> None:
    view = replace(PodView.from_template({"metadata": {}, "spec": spec}), node_name="")
    known = catalogue(**{f"class-{number}": placement for number, placement in enumerate(asked)})
    verdict = judge_pod(view, tuple(Ask("somebody", name) for name in known), known)
    if isinstance(verdict, Denied):
        return
    terms = verdict.terms if isinstance(verdict, Place) else view.terms
    may = KUBERNETES_EYES.pod(view.node_selector, terms)
    assert may & ~KUBERNETES_EYES.pod(view.node_selector, view.terms) == 0
    for placement in asked:
        assert may & ~KUBERNETES_EYES.alternatives(placement.alternatives) == 0


MODES_OF = {ClassificationName(mode.lower()): replace(DUTCH[ClassificationName("dutch")], mode=mode) for mode in Mode}


@pytest.mark.parametrize("enforcement", [None, "Enforce", "Warn", "Audit", "warn", ""])
@pytest.mark.parametrize("own", list(Mode))
def test_the_lower_of_namespace_and_classification_holds(own: Mode, enforcement: str | None) -> None:
    order = [Mode.AUDIT, Mode.WARN, Mode.ENFORCE]
    said = Mode(enforcement) if enforcement in ("Warn", "Audit") else Mode.ENFORCE
    asked = asks("payments", own.lower(), None, enforcement)
    lower = min(own, said, key=order.index)
    assert [mode for mode in Mode if in_mode(mode, asked, MODES_OF)] == [lower]


def test_a_lowered_namespace_lowers_no_annotation_but_one_of_the_same_name() -> None:
    asked = asks("payments", "enforce", "warn", "Audit")
    assert [[ask.name for ask in in_mode(mode, asked, MODES_OF)] for mode in Mode] == [[], ["warn"], ["enforce"]]
    assert in_mode(Mode.AUDIT, asks("payments", "enforce", "enforce", "Audit"), MODES_OF)


def test_what_is_not_in_force_goes_as_far_as_the_namespace_lets_it() -> None:
    assert in_mode(Mode.ENFORCE, asks("payments", "unheard-of", None), MODES_OF)
    assert in_mode(Mode.AUDIT, asks("payments", "unheard-of", None, "Audit"), MODES_OF)


def test_every_claim_is_in_exactly_one_mode() -> None:
    for label, annotation, enforcement in product(MODES_OF, MODES_OF, [None, *Mode]):
        asked = asks("payments", label, annotation, enforcement)
        assert sorted(chain.from_iterable(in_mode(mode, asked, MODES_OF) for mode in Mode), key=str) == sorted(
            asked, key=str
        )
