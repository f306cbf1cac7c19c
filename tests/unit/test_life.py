"""The life of findings: whatever changes, they are what a fresh look brings together, and each keeps its beginning."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import (
    NO_CLASSIFICATION,
    NOT_IN_FORCE,
    REGION,
    SOVEREIGN,
    ClassificationName,
    EvictionResult,
    Fact,
    Mode,
    Outcome,
)
from residency.audit import life as module
from residency.audit.causes import AT_THE_BEGINNING, MEANWHILE, NOT_SEEN
from residency.audit.findings import MOST_EXAMPLES, Finding, State, Subject
from residency.audit.gaps import SHORTEST, Blindness, Gaps
from residency.audit.life import FindingKey, Findings, Sight, key_of
from residency.audit.picture import Picture
from residency.audit.remedies import REMEDIES
from residency.audit.shapes import PodShapes
from residency.audit.tally import PodKey, Tally
from residency.core.audit import Judged, NodeView
from residency.core.catalogue import restore
from residency.core.judge import MODES, NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from residency.reporting.volumes import OF_VOLUMES

NL = ClassificationName("nl")
COUNTRY = Fact.COUNTRY.value
FINE = (Outcome.COMPLIANT, Outcome.WAITING)


# Against a fresh look


@dataclass
class Model:
    """Findings worked out anew from everything, at every look."""

    judged: dict[PodKey, tuple[Judged, ...]] = field(default_factory=dict)
    lives: dict[FindingKey, tuple[float, float | None]] = field(default_factory=dict)

    def deviating(self, subject: Subject) -> dict[FindingKey, dict[str, Judged]]:
        found: dict[FindingKey, dict[str, Judged]] = {}
        for (namespace, name), some in self.judged.items():
            for one in some:
                if one.outcome not in FINE:
                    key = FindingKey(namespace, subject, one.classification, one.outcome)
                    found.setdefault(key, {})[name] = one
        return found

    def look(self, subject: Subject, now: float) -> None:
        deviating = self.deviating(subject)
        for key in deviating:
            if key not in self.lives or self.lives[key][1] is not None:
                self.lives[key] = (now, None)
        for key, (first, resolved) in self.lives.items():
            if key not in deviating and resolved is None:
                self.lives[key] = (first, now)


class Both:
    def __init__(self, subject: Subject) -> None:
        self.subject, self.tally, self.findings, self.model = subject, Tally(), Findings(), Model()
        self.now = 1000.0

    def judge(self, pod: PodKey, judged: tuple[Judged, ...]) -> None:
        before = self.model.judged.pop(pod, ())
        self.tally.remove(pod, before)
        self.tally.add(pod, judged)
        if judged:
            self.model.judged[pod] = judged

    def look(self, *, whole: bool) -> None:
        """Look at what has changed; or begin again with another picture of the same."""
        self.now += 1
        if whole:
            self.tally = Tally()
            for pod, judged in self.model.judged.items():
                self.tally.add(pod, judged)
        before = {key: self._shown(key) for key in self.model.lives}
        self.model.look(self.subject, self.now)
        told = self.findings.look(self.sight, self.now, self.tally.take_changed() if not whole else None)
        changed = {key for key in self.model.lives if before.get(key) != self._shown(key)}
        assert told == changed, "what is told is what has changed, all of it and nothing else"

    @property
    def sight(self) -> Sight:
        return Sight(self.subject, self.tally, {}, lambda key: f"node-of-{key[1]}")

    def _shown(self, key: FindingKey) -> object:
        finding = self.findings.get(key)
        return finding and replace(finding, last_seen=0.0)

    def check(self) -> None:
        deviating = self.model.deviating(self.subject)
        found = {key_of(finding): finding for finding in self.findings}
        assert found.keys() == self.model.lives.keys()
        for key, (first, resolved) in self.model.lives.items():
            finding, members = found[key], deviating.get(key, {})
            assert (finding.first_seen, finding.resolved, finding.count) == (first, resolved, len(members))
            shown = {example.name: (example.node, example.why) for example in finding.examples}
            assert len(shown) == min(MOST_EXAMPLES, len(members))
            assert all(shown[name] == (f"node-of-{name}", members[name].why) for name in shown)
            if members:
                assert finding.mode == max((one.mode for one in members.values()), key=_height)


def _height(mode: Mode | None) -> int:
    return -1 if mode is None else MODES.index(mode)


_PODS = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([f"p-{n}" for n in range(9)]))
_JUDGED = st.lists(
    st.builds(
        Judged,
        st.sampled_from(["nl", "eu", NOT_IN_FORCE, NO_CLASSIFICATION]),
        st.none() | st.sampled_from(list(Mode)),
        st.sampled_from(list(Outcome)),
        st.sampled_from(["why", "why else"]),
    ),
    max_size=2,
    unique_by=lambda judged: judged.classification,
).map(tuple)
_STEPS = st.lists(st.tuples(st.lists(st.tuples(_PODS, _JUDGED), max_size=10), st.booleans()), max_size=6)


@settings(max_examples=120)
@given(st.sampled_from([Subject.PODS, Subject.VOLUMES]), _STEPS)
def test_after_whatever_changed_findings_are_what_a_fresh_look_brings_together(
    subject: Subject, steps: list[tuple[list[tuple[PodKey, tuple[Judged, ...]]], bool]]
) -> None:
    both = Both(subject)
    for changes, whole in steps:
        for pod, judged in changes:
            both.judge(pod, judged)
        both.look(whole=whole)
        both.check()


@settings(max_examples=40)
@given(_STEPS)
def test_of_what_is_resolved_and_forgotten_nothing_is_left(
    steps: list[tuple[list[tuple[PodKey, tuple[Judged, ...]]], bool]],
) -> None:
    both = Both(Subject.PODS)
    for changes, whole in steps:
        for pod, judged in changes:
            both.judge(pod, judged)
        both.look(whole=whole)
    for key in both.model.lives:
        both.findings.forget(key)
    assert {key_of(f) for f in both.findings} == set(both.model.deviating(Subject.PODS)), "what is open is kept"
    for pod in list(both.model.judged):
        both.judge(pod, ())
    both.look(whole=False)
    for key in both.model.lives:
        both.findings.forget(key)
    assert len(both.findings) == 0
    assert both.findings._there == {}


def test_a_pod_costs_the_findings_of_its_own_namespace_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(Subject.PODS)
    wrong = (Judged("nl", Mode.ENFORCE, Outcome.MISPLACED, "why"),)
    for number in range(500):
        both.judge((f"ns-{number % 50}", f"p-{number}"), wrong)
    both.look(whole=False)
    joins: list[PodKey] = []
    original = module._Life.join

    def counting(self: Any, key: PodKey, *rest: Any) -> None:
        joins.append(key)
        original(self, key, *rest)

    monkeypatch.setattr(module._Life, "join", counting)
    monkeypatch.setattr(Tally, "all_deviating", lambda _: pytest.fail("not everything is looked at"))
    both.judge(("ns-7", "p-new"), wrong)
    both.look(whole=False)
    assert joins == [("ns-7", "p-new")]


def test_findings_are_bounded_by_namespaces_and_not_by_pods() -> None:
    both = Both(Subject.PODS)
    for number in range(2000):
        both.judge(("a", f"p-{number}"), (Judged("nl", Mode.ENFORCE, Outcome.MISPLACED, "why"),))
    both.look(whole=False)
    (finding,) = both.findings
    assert (finding.count, len(finding.examples)) == (2000, MOST_EXAMPLES)


# Causes and ends


class Cluster:
    """A picture of a Dutch namespace, and what was found in it."""

    def __init__(self) -> None:
        self.picture, self.shapes, self.findings = Picture(), PodShapes(), Findings()
        self.now = 1000.0
        self.classify("NL")
        self.picture.put_namespace("ns", NamespaceLabels("nl"))
        self.node("NL")
        self.look(whole=True)

    def classify(self, *countries: str, references: tuple[str, ...] = ()) -> None:
        requirement = Requirement(COUNTRY, Operator.IN, countries)
        known = {NL: restore(NL, "Dutch", references, Placement(((requirement,),)))} if countries else {}
        self.picture.set_catalogue(known)

    def node(self, country: str | None = None, *taints: str, name: str = "n-1", **more: str) -> None:
        labels = {COUNTRY: country} if country else {}
        labels |= {REGION if key == "region" else Fact[key.upper()].value: value for key, value in more.items()}
        self.picture.put_node(NodeView.of(name, labels, taints))

    def pod(self, name: str = "p", node: str = "n-1", namespace: str = "ns", *, pinned: bool = True) -> None:
        terms = (Term((Requirement(COUNTRY, Operator.IN, ("NL",)),)),) if pinned else None
        view = PodView({}, terms, node_name=node)
        self.picture.put_pod((namespace, name), node, self.shapes.of(view))

    def look(self, *, whole: bool = False) -> None:
        self.now += 1
        sight = Sight(Subject.PODS, self.picture.tally, self.picture.catalogue, self.picture.node_of)
        changed = self.picture.tally.take_changed()
        self.findings.look(sight, self.now, None if whole else changed)

    @property
    def only(self) -> Finding:
        """The one that is not resolved."""
        (finding,) = (f for f in self.findings if f.state is not State.RESOLVED)
        return finding

    def ends(self) -> str:
        self.look()
        assert all(f.state is State.RESOLVED for f in self.findings)
        return max(self.findings, key=lambda finding: finding.resolved or 0.0).resolution


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def relabel(cluster: Cluster) -> None:
    cluster.node("US")


def unlabel(cluster: Cluster) -> None:
    cluster.node()


def contradict(cluster: Cluster) -> None:
    cluster.node("NL", subdivision="DE-BE")


def contradict_region(cluster: Cluster) -> None:
    cluster.node("NL", region="us-east-1")


def remove_node(cluster: Cluster) -> None:
    cluster.picture.remove_node("n-1")


def tighten(cluster: Cluster) -> None:
    cluster.classify("DE")


@pytest.mark.parametrize(
    ("change", "outcome", "cause"),
    [
        (relabel, Outcome.MISPLACED, "node n-1 was relabelled: country from NL to US"),
        (unlabel, Outcome.UNKNOWN, "node n-1 was relabelled: country NL taken away"),
        (contradict, Outcome.UNKNOWN, "node n-1 was relabelled: subdivision set to DE-BE"),
        (
            contradict_region,
            Outcome.UNKNOWN,
            "node n-1 was relabelled: topology.kubernetes.io/region set to us-east-1",
        ),
        (remove_node, Outcome.NOT_LOCATED, "node n-1 was deleted"),
        (tighten, Outcome.MISPLACED, "classification nl was changed"),
        (lambda c: c.classify(), Outcome.UNKNOWN, "the classification that it names left force"),
    ],
)
def test_the_cause_is_the_change_that_made_it_so(
    cluster: Cluster, change: Callable[[Cluster], None], outcome: Outcome, cause: str
) -> None:
    cluster.pod()
    cluster.look()
    assert not len(cluster.findings)
    change(cluster)
    cluster.look()
    found = cluster.only
    assert (found.outcome, found.cause, found.remedy) == (outcome, cause, REMEDIES[Subject.PODS][outcome])
    assert (found.count, found.examples[0].name, found.first_seen) == (1, "p", cluster.now)


def test_a_classification_that_was_tightened_says_so_and_one_that_was_loosened_too(cluster: Cluster) -> None:
    cluster.classify("NL", "US")
    cluster.node("US")
    cluster.pod()
    cluster.look()
    assert not len(cluster.findings)
    cluster.classify("NL")
    cluster.look()
    assert cluster.only.cause == "classification nl was tightened"
    cluster.classify("NL", "US")
    assert cluster.ends() == "classification nl was loosened"


def test_a_full_namespace_that_is_classified_says_so(cluster: Cluster) -> None:
    cluster.node("US", name="n-2")
    cluster.pod(node="n-2", namespace="full")
    cluster.look()
    cluster.picture.put_namespace("full", NamespaceLabels("nl"))
    cluster.look()
    assert cluster.only.cause == "namespace full was classified nl"
    cluster.picture.put_namespace("full", NamespaceLabels("gone"))
    cluster.look()
    assert (cluster.only.classification, cluster.only.cause) == (NOT_IN_FORCE, "namespace full went from nl to gone")
    cluster.picture.put_namespace("full", NamespaceLabels())
    assert cluster.ends() == "namespace full was declassified, from gone"


def test_what_got_past_the_guard_says_how_it_may_have_come_there(cluster: Cluster) -> None:
    cluster.node("US", name="n-2")
    cluster.pod("by-hand", "n-2")
    cluster.look()
    expected = "pod by-hand was bound to node n-2 by hand, or was created before the policies were in force"
    assert cluster.only.cause == expected
    assert [(e.name, e.node) for e in cluster.only.examples] == [("by-hand", "n-2")]


def test_an_intruder_says_where_it_was_bound(cluster: Cluster) -> None:
    cluster.node("NL", SOVEREIGN, name="n-2")
    cluster.pod("thief", "n-2", "elsewhere")
    cluster.look()
    assert (cluster.only.outcome, cluster.only.cause) == (Outcome.INTRUDER, "pod thief was bound to node n-2")


def test_the_first_cause_stays_until_it_is_resolved_and_the_next_life_has_its_own(cluster: Cluster) -> None:
    cluster.pod("p-1")
    cluster.look()
    cluster.node("US")
    cluster.look()
    first = cluster.only
    cluster.node("FR")
    cluster.pod("p-2")
    cluster.look()
    assert (cluster.only.cause, cluster.only.first_seen, cluster.only.count) == (first.cause, first.first_seen, 2)
    cluster.node("NL")
    assert cluster.ends() == "node n-1 was relabelled: country from FR to NL"
    cluster.node("BE")
    cluster.look()
    assert cluster.only.cause == "node n-1 was relabelled: country from NL to BE"
    assert (cluster.only.first_seen, cluster.only.resolution) == (cluster.now, "")


def test_what_waits_is_caused_by_the_node_that_it_lost_and_ended_by_the_next(cluster: Cluster) -> None:
    cluster.pod(node="")
    cluster.look()
    cluster.node("US")
    cluster.look()
    assert (cluster.only.outcome, cluster.only.cause) == (
        Outcome.UNPLACEABLE,
        "node n-1 was relabelled: country from NL to US",
    )
    cluster.node("NL", name="n-2")
    assert cluster.ends() == "node n-2 appeared"


def test_a_finding_ends_with_the_last_that_it_stands_for(cluster: Cluster) -> None:
    cluster.node("US")
    for name in ("p-1", "p-2"):
        cluster.pod(name)
    cluster.look()
    cluster.picture.remove_pod(("ns", "p-1"))
    cluster.look()
    assert cluster.only.count == 1
    cluster.picture.remove_pod(("ns", "p-2"))
    assert cluster.ends() == "pod p-2 has ended or was deleted"
    (finding,) = cluster.findings
    assert (finding.count, finding.examples, finding.resolved) == (0, (), cluster.now)


def test_what_is_there_at_the_first_look_began_before(cluster: Cluster) -> None:
    cluster.node("US")
    cluster.pod()
    cluster.look(whole=True)
    assert cluster.only.cause == AT_THE_BEGINNING


def test_a_tally_that_is_told_of_no_changes_still_makes_findings() -> None:
    both = Both(Subject.VOLUMES)
    both.judge(("a", "claim"), (Judged("nl", Mode.ENFORCE, Outcome.UNKNOWN, "why"),))
    both.look(whole=False)
    (finding,) = both.findings
    assert (finding.cause, finding.name) == (NOT_SEEN, "nl-unknown-volumes")


def test_a_finding_cites_what_the_classification_cites(cluster: Cluster) -> None:
    cluster.classify("DE", references=("Rijksbreed Cloudbeleid 2026, 4.6",))
    cluster.pod()
    cluster.look()
    assert cluster.only.reference == "Rijksbreed Cloudbeleid 2026, 4.6"


# From before


def misplaced(cluster: Cluster) -> Finding:
    cluster.node("US")
    cluster.pod()
    cluster.look()
    return cluster.only


def test_after_a_restart_a_finding_goes_on_with_its_beginning_its_cause_and_what_was_said(cluster: Cluster) -> None:
    before = replace(misplaced(cluster), acknowledged="we know")
    cluster.findings = Findings()
    cluster.findings.adopt(before)
    cluster.look(whole=True)
    after = cluster.only
    assert (after.first_seen, after.cause, after.acknowledged) == (before.first_seen, before.cause, "we know")
    assert after.state is State.ACKNOWLEDGED
    assert after.last_seen == cluster.now


def test_after_a_restart_what_is_no_longer_so_is_resolved(cluster: Cluster) -> None:
    before = misplaced(cluster)
    cluster.findings = Findings()
    cluster.findings.adopt(before)
    cluster.node("NL")
    cluster.look(whole=True)
    (finding,) = cluster.findings
    assert (finding.state, finding.resolved, finding.resolution) == (State.RESOLVED, cluster.now, MEANWHILE)
    assert finding.first_seen == before.first_seen


def test_what_is_stored_is_gone_on_with_also_where_it_is_read_late(cluster: Cluster) -> None:
    before = misplaced(cluster)
    cluster.findings = Findings()
    cluster.look(whole=True)
    cluster.findings.adopt(before)
    cluster.look(whole=True)
    assert (cluster.only.first_seen, cluster.only.cause) == (before.first_seen, before.cause)
    # What was resolved then and is so again has begun anew.
    cluster.findings = Findings()
    cluster.look(whole=True)
    cluster.findings.adopt(replace(before, resolved=before.first_seen + 1))
    assert cluster.only.cause == AT_THE_BEGINNING


def test_a_finding_says_what_came_of_evicting_what_it_stands_for(cluster: Cluster) -> None:
    cluster.node("US")
    for name in ("p-1", "p-2", "p-3"):
        cluster.pod(name)
    cluster.look()
    key = FindingKey("ns", Subject.PODS, "nl", Outcome.MISPLACED)
    said = [
        ("p-1", EvictionResult.BLOCKED_BY_BUDGET),
        ("p-2", EvictionResult.BLOCKED_BY_BUDGET),
        ("p-3", EvictionResult.EVICTED),
        ("p-2", EvictionResult.CHANGED),
    ]
    assert [cluster.findings.corrected(key, *one) for one in said] == [True] * 4
    assert not cluster.findings.corrected(key, "p-1", EvictionResult.BLOCKED_BY_BUDGET)
    cluster.picture.remove_pod(("ns", "p-3"))
    cluster.look()
    evicted = {EvictionResult.EVICTED: 1}
    both = evicted | {EvictionResult.BLOCKED_BY_BUDGET: 1}
    assert dict(cluster.only.evictions) == both
    assert [example.eviction for example in cluster.only.examples] == [EvictionResult.BLOCKED_BY_BUDGET, None]
    cluster.look(whole=True)
    assert dict(cluster.only.evictions) == both, "who looks anew evicts no other pods"
    before = cluster.only
    assert cluster.findings.uncorrected(NL) == {key}
    assert dict(cluster.only.evictions) == evicted
    cluster.findings = Findings()
    cluster.findings.adopt(before)
    cluster.look(whole=True)
    assert dict(cluster.only.evictions) == evicted, "a new leader knows how many, and looks itself"
    for name in ("p-1", "p-2"):
        cluster.picture.remove_pod(("ns", name))
    cluster.look()
    cluster.pod("p-4")
    cluster.look()
    assert cluster.only.evictions == (), "it begins anew"


def test_what_came_of_a_pod_of_which_there_is_no_finding_is_nothing_to_tell(cluster: Cluster) -> None:
    key = FindingKey("ns", Subject.PODS, "nl", Outcome.MISPLACED)
    assert not cluster.findings.corrected(key, "p", EvictionResult.EVICTED)


def test_an_acknowledgement_ends_when_its_time_has_come(cluster: Cluster) -> None:
    key = key_of(misplaced(cluster))
    assert key is not None
    cluster.findings.acknowledge(key, "until Friday", 2000.0)
    assert cluster.findings.expired(1999.0) == set()
    assert cluster.only.state is State.ACKNOWLEDGED
    assert cluster.findings.expired(2000.0) == {key}
    assert (cluster.only.state, cluster.only.acknowledged) == (State.OPEN, None)
    assert cluster.findings.expired(2001.0) == set()


# Names


_WORDS = st.sampled_from(["a", "volumes", "misplaced", "intruder", "unknown", "classification"])
_NAMES = st.lists(_WORDS, min_size=1, max_size=3).map("-".join) | st.sampled_from([NO_CLASSIFICATION, NOT_IN_FORCE])
_FINDINGS = st.builds(
    lambda name, subject, outcome: Finding("ns", name, subject, outcome, None, 0, (), 0.0, 0.0),
    _NAMES,
    st.sampled_from([Subject.PODS, Subject.VOLUMES]),
    st.sampled_from([outcome for outcome in Outcome if outcome not in FINE]),
)


@given(_FINDINGS, _FINDINGS)
def test_no_two_findings_are_called_the_same(one: Finding, other: Finding) -> None:
    assert (one.name == other.name) is (key_of(one) == key_of(other))


def test_every_outcome_that_deviates_has_a_remedy() -> None:
    assert set(REMEDIES[Subject.PODS]) == set(Outcome) - set(FINE)
    assert set(REMEDIES[Subject.VOLUMES]) == set(OF_VOLUMES) - set(FINE)


# Gaps


def test_a_moment_without_sight_is_nothing_to_speak_of() -> None:
    gaps = Gaps("own", 100.0)
    assert gaps.look(100.0 + SHORTEST - 1, Blindness.DOWN) == []
    assert gaps.look(100.0 + SHORTEST, None) == []
    assert Gaps("own", 100.0).look(100.0 + SHORTEST - 1, None) == []
    assert not gaps.counts


def test_a_time_without_sight_is_a_finding_from_its_beginning_to_its_end() -> None:
    gaps = Gaps("own", 100.0)
    (begun,) = gaps.look(160.0, Blindness.DOWN)
    assert (begun.namespace, begun.subject, begun.first_seen, begun.state) == (
        "own",
        Subject.OBSERVATION,
        100.0,
        State.OPEN,
    )
    assert begun.cause.startswith("from 1970-01-01T00:01:40Z on no controller was looking")
    assert begun.name == "observation-19700101t000140z"
    assert gaps.look(170.0, Blindness.DOWN) == [], "told once"
    (ended,) = gaps.look(180.0, None)
    assert (ended.name, ended.resolved, ended.first_seen) == (begun.name, 180.0, 100.0)
    assert ended.resolution.startswith("until 1970-01-01T00:03:00Z, 80 s in all")
    assert gaps.counts == {Blindness.DOWN: 1}
    assert gaps.look(181.0, None) == []


def test_what_was_not_seen_before_the_first_look_is_a_gap_however_quickly_that_came() -> None:
    gaps = Gaps("own", 100.0)
    (gap,) = gaps.look(110.0, None)
    assert (gap.first_seen, gap.resolved) == (100.0, 110.0)
    assert gaps.counts == {Blindness.DOWN: 1}
    # Later a stalled clock is none: what was watched meanwhile was not missed.
    assert gaps.look(200.0, None) == []


def test_where_nobody_ever_looked_there_is_no_gap() -> None:
    gaps = Gaps("own")
    assert gaps.look(1000.0, Blindness.DOWN) == []
    assert gaps.look(1001.0, None) == []
    (gap,) = gaps.look(2000.0, Blindness.BLIND, 60.0)
    assert gap.first_seen == 1001.0


def test_a_gap_from_before_ends_with_the_first_sight() -> None:
    (begun,) = Gaps("own", 100.0).look(160.0, Blindness.BLIND)
    gaps = Gaps("own", 200.0)
    gaps.adopt(begun)
    assert gaps.look(300.0, Blindness.DOWN) == [], "it is the same gap still"
    (ended,) = gaps.look(310.0, None)
    assert (ended.first_seen, ended.resolved, ended.cause) == (100.0, 310.0, begun.cause)
