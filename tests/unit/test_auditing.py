"""When statuses are told something new of the audit, and what they and the metrics say."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from residency.api.classification import DataClassificationStatus
from residency.api.names import SOVEREIGN, ClassificationName, Condition, Fact, Mode, Outcome, Reason
from residency.audit.picture import Eligible
from residency.audit.shapes import PodShapes
from residency.cluster.client import Client
from residency.cluster.reflector import Cause
from residency.controller import auditing
from residency.controller.auditing import BLIND, CALM, LAG, PATIENCE, REST, Audit
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import VolumeView
from residency.core.workload import PodView, Term
from residency.reporting.audit import AuditCollector, Audited, say
from residency.reporting.metrics import Metrics
from residency.reporting.status import Judgement, Standing
from residency.reporting.volumes import AuditedVolumes, VolumeCollector

NL = ClassificationName("nl")
DUTCH = Requirement(Fact.COUNTRY.value, Operator.IN, ("NL",))
CATALOGUE = {NL: restore(NL, "Dutch", (), Placement(((DUTCH,),)), mode=Mode.WARN)}
PINNED = PodView({}, (Term((DUTCH,)),), node_name="n")
NOW = "2026-11-23T12:00:00Z"


class Observed:
    """An audit whose reflectors never ran, and a clock that is set by hand."""

    def __init__(self, *, complete: bool = True) -> None:
        self.time = 1000.0
        self.audit = Audit(cast(Client, None), ("kube-system",), clock=lambda: self.time)
        self.shapes = PodShapes()
        if complete:
            self.complete()

    def complete(self) -> None:
        self.audit.judge_by(CATALOGUE)
        for reflector in self.audit.watched.values():
            reflector.synced.set()
        self.picture.put_namespace("ns", NamespaceLabels("nl"))
        self.audit._volumes.put_namespace("ns", NamespaceLabels("nl"))
        self.node("NL")

    @property
    def picture(self) -> Any:
        return self.audit.complete or self.audit._picture

    def node(self, country: str, *taints: str, usable: bool = True) -> None:
        self.picture.put_node(NodeView.of("n", {Fact.COUNTRY.value: country}, taints, usable=usable))

    def pods(self, first: int, last: int, view: PodView = PINNED, namespace: str = "ns") -> None:
        for number in range(first, last):
            self.picture.put_pod((namespace, f"p-{number}"), view.node_name, self.shapes.of(view))

    def volume(self, country: str = "", name: str = "pv") -> None:
        labels = ((Fact.COUNTRY.value, country),) if country else ()
        self.audit._volumes.put_volume(VolumeView(name, ("ns", f"of-{name}"), labels=labels))

    def counts(self) -> dict[str, int]:
        told = self.audit.tell()
        assert told is not None
        return {str(outcome): count for outcome, count in told[NL].counts.items()}

    def exposed(self) -> dict[str, float]:
        metrics = Metrics()
        metrics.add(AuditCollector(self.audit))
        metrics.add(VolumeCollector(self.audit))
        families = text_string_to_metric_families(metrics.exposition().decode())
        return {
            "|".join((sample.name, *sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def observed() -> Observed:
    return Observed()


# What is told, and when


def test_what_was_told_is_told_again_until_some_seconds_have_passed(observed: Observed) -> None:
    observed.pods(0, 2)
    assert observed.counts() == {"Compliant": 2}
    observed.pods(2, 4)
    observed.time += REST - 0.1
    assert observed.counts() == {"Compliant": 2}
    observed.time += 0.2
    assert observed.counts() == {"Compliant": 4}


def test_a_new_classification_is_told_of_at_once(observed: Observed) -> None:
    observed.audit.tell()
    other = ClassificationName("other")
    observed.audit.judge_by(CATALOGUE | {other: restore(other, "Other", (), Placement(((DUTCH,),)))})
    assert set(observed.audit.tell() or ()) == {NL, other}


def news(observed: Observed, change: Callable[[], None], wait: float) -> bool:
    observed.audit.tell()
    change()
    observed.time += wait
    return observed.audit._has_news()


def test_what_deviates_is_news_after_a_rest(observed: Observed) -> None:
    observed.pods(0, 2)
    assert not news(observed, lambda: None, 2 * CALM)
    for change in (
        lambda: observed.node("US"),
        lambda: observed.node("NL"),
        lambda: observed.node("NL", usable=False),
    ):
        assert not news(observed, change, REST - 1)
        observed.time += 2
        assert observed.audit._has_news()


def test_volumes_that_deviate_are_news_after_a_rest_and_others_now_and_then(observed: Observed) -> None:
    assert news(observed, lambda: observed.volume("US"), REST + 1)
    assert news(observed, lambda: observed.volume("NL"), REST + 1)
    assert not news(observed, lambda: observed.volume("NL", "other"), REST + 1)
    assert news(observed, lambda: observed.volume("NL", "third"), CALM + 1)


def test_how_many_comply_is_news_only_now_and_then(observed: Observed) -> None:
    observed.pods(0, 2)
    assert not news(observed, lambda: observed.pods(2, 3), REST + 1)
    assert news(observed, lambda: observed.pods(3, 4), CALM + 1)


def test_the_first_pod_and_the_first_picture_are_news(observed: Observed) -> None:
    assert observed.audit._has_news()
    assert news(observed, lambda: observed.pods(0, 1), REST + 1)


def test_an_audit_that_cannot_see_has_no_news_and_tells_nothing() -> None:
    observed = Observed(complete=False)
    assert not observed.audit._has_news()
    assert observed.audit.tell() is None
    observed.complete()
    assert observed.counts() == {}


def test_an_audit_that_lost_a_watch_for_long_says_nothing_more(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = observed.audit.watched["pods"]
    for blind, synced in ((None, True), (BLIND - 1, True), (BLIND + 1, False)):
        monkeypatch.setattr(type(pods), "blind_for", blind)
        assert observed.audit.synced is synced
        assert observed.audit._has_news() is (blind != BLIND - 1), "what changes is whether anything can be said"
        assert (observed.audit.tell() is None) is not synced
        assert not observed.audit._has_news()
    monkeypatch.setattr(type(pods), "blind_for", None)
    assert observed.audit._has_news()


def test_it_is_too_early_to_complain_only_at_the_beginning() -> None:
    observed, begins = Observed(complete=False), []
    for passed in (0.0, PATIENCE - 1, PATIENCE + 1):
        observed.time = 1000.0 + passed
        begins.append(observed.audit.beginning)
    assert begins == [True, True, False]
    assert not Observed().audit.beginning


async def test_a_failure_begins_the_audit_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "REST", 600.0)
    observed = Observed()
    observed.pods(0, 1)
    first, again = observed.audit.watched, asyncio.Event()

    async def failing() -> None:
        raise RuntimeError("a bug")

    async def running() -> None:
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(first["pods"], "run", failing)
    for kind in first.keys() - {"pods"}:
        monkeypatch.setattr(first[kind], "run", running)
    task = asyncio.create_task(observed.audit.run(lambda: None))
    await asyncio.wait_for(again.wait(), 5)
    async with asyncio.timeout(5):
        # At once, and not after the rest: until then the old picture would pass for the truth.
        while observed.audit.watched is first:
            await asyncio.sleep(0.01)
    assert observed.audit.restarts >= 1
    assert observed.audit.complete is None
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# What a status says


def audited(usable: int = 2, by_facts: int = 2, **counts: int) -> Audited:
    return Audited(
        {Outcome(name): count for name, count in counts.items()}, Eligible(by_facts, usable), ("ns/p (why)",)
    )


@pytest.mark.parametrize(
    ("counts", "status", "words"),
    [
        ({}, "True", "No pod runs under this."),
        ({"Compliant": 3}, "True", "Of 3 pods that run, all are where they may be, and kept there."),
        (
            {"Compliant": 1, "Misplaced": 2},
            "False",
            "Of 3 pods that run, 2 on nodes that are not allowed. For example: ",
        ),
        ({"Unpinned": 1}, "False", "Of 1 pod that run, 1 on allowed nodes that nothing keeps them on. For example: "),
        ({"Misplaced": 1, "Unknown": 2}, "False", "1 on nodes that are not allowed; 2 on nodes of which too little"),
        (
            {"Compliant": 1, "Unknown": 1},
            "Unknown",
            "1 on nodes of which too little is known. For example: ns/p (why).",
        ),
        ({"NotLocated": 1}, "Unknown", "1 on nodes that are not there or virtual"),
        ({"Waiting": 1, "Unplaceable": 2}, "True", "No pod runs under this. 3 pods wait for a node; for 2 of them"),
    ],
)
def test_compliant_is_said_of_pods_that_run(counts: dict[str, int], status: str, words: str) -> None:
    says = audited(**counts).judgements()[Condition.COMPLIANT]
    assert says.status == status
    assert words in says.message


FINE, WRONG, DIM = {"Compliant": 1}, {"Misplaced": 1}, {"Unknown": 1}


@pytest.mark.parametrize(
    ("pods", "volumes", "status", "reason", "begins", "goes_on"),
    [
        (FINE, FINE, "True", "AllCompliant", "Of 1 pod", "Of 1 volume with its data, all are where they may be."),
        ({}, {"Compliant": 2}, "True", "AllCompliant", "No pod runs under this. Of 2 volumes with its data, all", ""),
        (FINE, WRONG, "False", "VolumesDeviate", "Of 1 volume with its data, 1 where they may not be.", "Of 1 pod"),
        (FINE, DIM, "Unknown", "VolumesUnknown", "Of 1 volume with its data, 1 of which too little", "Of 1 pod"),
        (FINE, {"NotLocated": 1}, "Unknown", "VolumesUnknown", "Of 1 volume with its data, 1 that nothing says", ""),
        (DIM, WRONG, "False", "VolumesDeviate", "Of 1 volume", "Of 1 pod that run, 1 on nodes of which too little"),
        (WRONG, DIM, "False", "PodsDeviate", "Of 1 pod", "Of 1 volume with its data, 1 of which too little"),
        (WRONG, WRONG, "False", "PodsDeviate", "Of 1 pod", "For example: ns/pv (of claim c: why)."),
        (WRONG, FINE, "False", "PodsDeviate", "Of 1 pod", "Of 1 volume with its data, all are where they may be."),
        (FINE, WRONG | DIM, "False", "VolumesDeviate", "Of 2 volumes with its data, 1 where they may not be; 1 of", ""),
        (FINE, {"Waiting": 3}, "True", "AllCompliant", "Of 1 pod that run, all are where they may be, and kept", ""),
    ],
)
def test_compliant_is_said_of_pods_and_volumes_the_worse_first(
    pods: dict[str, int], volumes: dict[str, int], status: str, reason: str, begins: str, goes_on: str
) -> None:
    stored = AuditedVolumes({Outcome(name): count for name, count in volumes.items()}, ("ns/pv (of claim c: why)",))
    says = replace(audited(**pods), volumes=stored).judgements()[Condition.COMPLIANT]
    assert (says.status, says.reason) == (status, reason)
    assert says.message.startswith(begins)
    assert goes_on in says.message
    assert "3 volumes" not in says.message, "what waits is not there"


@pytest.mark.parametrize(
    ("usable", "by_facts", "status", "words"),
    [
        (1, 1, "True", "1 node satisfies this and can take pods."),
        (2, 5, "True", "2 nodes satisfy this and can take pods."),
        (0, 2, "False", "2 nodes satisfy this, but none is Ready and not cordoned."),
        (0, 0, "False", "No node satisfies this by its facts; set those of some, or allow more."),
    ],
)
def test_satisfiable_needs_a_node_that_can_take_pods(usable: int, by_facts: int, status: str, words: str) -> None:
    says = audited(usable, by_facts).judgements()[Condition.SATISFIABLE]
    assert (says.status, says.message) == (status, words)


def standing(counts: dict[str, Any], further: Any) -> dict[str, Any]:
    fine = Judgement("True", Reason.IN_FORCE, "Seen.")
    made = Standing(1, "abc", None, ready=fine, enforced=fine, audited=counts, further=further)
    assert made.settled, "nothing that the audit finds makes the loop look again soon"
    return made.to_json({}, NOW)


def test_what_the_audit_says_is_what_the_custom_resource_allows(observed: Observed) -> None:
    observed.pods(0, 3)
    observed.node("US")
    observed.volume("US")
    status = standing(*say(NL, observed.audit.tell(), {}, beginning=False))
    read = DataClassificationStatus.parse(status)
    assert read.pods is not None
    assert read.volumes is not None
    assert (read.volumes.misplaced, read.volumes.compliant) == (1, 0)
    assert (read.pods.misplaced, read.pods.compliant, read.eligible_nodes) == (3, 0, 0)
    assert {str(c.type): c.status for c in read.conditions} == {
        **dict.fromkeys(("Ready", "Enforced"), "True"),
        **dict.fromkeys(("Satisfiable", "Compliant"), "False"),
    }
    compliant = next(c.message for c in read.conditions if c.type is Condition.COMPLIANT)
    assert "ns/p-0 (its node has country US, where nl allows country NL)" in compliant
    assert "ns/pv (of claim of-pv: its own label says country US, where nl allows country NL)" in compliant


def test_while_the_audit_begins_a_status_stays_as_it_was() -> None:
    before = {"pods": {"compliant": 3}, "volumes": {"unknown": 1}, "eligibleNodes": 2, "other": 1}
    kept = {field: said for field, said in before.items() if field != "other"}
    assert say(NL, None, before, beginning=True) == (kept, {})


def test_an_audit_that_does_not_see_makes_both_conditions_unknown() -> None:
    kept, further = say(NL, None, {"eligibleNodes": 2}, beginning=False)
    assert kept == {"eligibleNodes": 2}
    assert {c: (j.status, j.reason) for c, j in further.items()} == dict.fromkeys(
        (Condition.SATISFIABLE, Condition.COMPLIANT), ("Unknown", Reason.NOT_OBSERVED)
    )


def test_of_what_is_not_in_force_nothing_is_counted(observed: Observed) -> None:
    counts, further = say(ClassificationName("new"), observed.audit.tell(), {"eligibleNodes": 2}, beginning=False)
    assert counts == {}
    assert {j.reason for j in further.values()} == {Reason.NOT_READY}


# What the metrics say


def test_nothing_is_counted_before_everything_was_seen() -> None:
    observed = Observed(complete=False)
    shown = observed.exposed()
    assert shown["residency_audit_synced"] == 0
    assert not any(name.startswith(("residency_pods|", "residency_eligible_nodes")) for name in shown)
    # Whether that is because of the classifications or of a watch.
    observed.audit.judge_by(CATALOGUE)
    for kind in observed.audit.watched.keys() - {"storageclasses"}:
        observed.audit.watched[kind].synced.set()
    counted = ("residency_pods|", "residency_eligible_nodes", "residency_volumes")
    assert not any(name.startswith(counted) for name in observed.exposed())
    assert observed.audit.volumes is None


def test_every_outcome_of_a_classification_is_shown_and_whatever_else_there_is(observed: Observed) -> None:
    observed.pods(0, 2)
    observed.node("US", SOVEREIGN)
    observed.pods(0, 3, PodView({}, None, node_name="n"), "other")
    observed.picture.put_namespace("lost", NamespaceLabels("gone"))
    observed.pods(0, 1, PINNED, "lost")
    shown = observed.exposed()
    assert shown["residency_audit_synced"] == 1
    assert shown["residency_eligible_nodes|nl"] == 0
    counted = {name: count for name, count in shown.items() if name.startswith("residency_pods|")}
    zeros = {f"residency_pods|nl|Warn|{outcome}": 0.0 for outcome in Outcome if outcome is not Outcome.INTRUDER}
    assert counted == {
        **zeros,
        "residency_pods|nl|Warn|Misplaced": 2.0,
        "residency_pods|(none)||Intruder": 3.0,
        "residency_pods|(unknown)|Enforce|Unknown": 1.0,
    }


def test_every_outcome_of_volumes_is_shown_and_whatever_else_there_is(observed: Observed) -> None:
    observed.volume("US")
    observed.audit._volumes.put_namespace("lost", NamespaceLabels("gone", "Audit"))
    observed.audit._volumes.put_volume(VolumeView("other", ("lost", "c")))
    shown = observed.exposed()
    counted = {name: count for name, count in shown.items() if name.startswith("residency_volumes|")}
    outcomes = ("Compliant", "Misplaced", "Waiting", "Unknown", "NotLocated")
    assert counted == {
        **{f"residency_volumes|nl|Warn|{outcome}": 0.0 for outcome in outcomes},
        "residency_volumes|nl|Warn|Misplaced": 1.0,
        "residency_volumes|(unknown)|Audit|Unknown": 1.0,
    }


def test_after_a_failure_volumes_are_judged_by_the_same_classifications() -> None:
    observed = Observed()
    first = observed.audit._volumes
    observed.audit._begin()
    assert observed.audit._volumes is not first
    assert observed.audit._volumes.catalogue == CATALOGUE


def test_what_the_reflectors_did_is_shown(observed: Observed) -> None:
    pods = observed.audit.watched["pods"]
    pods.last_contact = 5.0
    pods.counts.lists[Cause.START] += 2
    pods.counts.lost[Cause.CUT] += 3
    shown = observed.exposed()
    assert shown["residency_audit_lists_total|start|pods"] == 2
    assert shown["residency_audit_watches_lost_total|cut|pods"] == 3
    assert shown["residency_audit_restarts_total"] == 0
    assert "residency_audit_last_contact_timestamp_seconds|pods" in shown
    assert "residency_audit_last_contact_timestamp_seconds|nodes" not in shown


class Noting:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[frozenset[tuple[str, str]]] = []

    def changed(self, pods: Any, picture: Any) -> None:  # noqa: ARG002 (the audit's)
        self.heard.append(frozenset(pods))


def test_listeners_hear_which_pods_began_and_ceased_to_deviate_and_of_no_other() -> None:
    observed, noting = Observed(), Noting()
    observed.audit.listeners.append(noting)
    observed.pods(0, 2)
    observed.audit._notify()
    observed.node("US")
    observed.audit._notify()
    observed.audit._notify()
    observed.node("NL")
    observed.audit._notify()
    both = {("ns", "p-0"), ("ns", "p-1")}
    assert [set(pods) for pods in noting.heard] == [set(), both, set(), both]


def test_listeners_wait_for_a_watch_that_was_lost_a_moment_ago_and_no_longer(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod on a node of which the other watch has yet to tell is on no unknown node."""
    noting = Noting()
    observed.audit.listeners.append(noting)
    observed.node("US")
    observed.pods(0, 1)
    pods = observed.audit.watched["pods"]
    for blind, heard in ((0.1, 0), (LAG - 1, 0), (LAG + 1, 1), (None, 2)):
        monkeypatch.setattr(type(pods), "blind_for", blind)
        observed.audit._notify()
        assert len(noting.heard) == heard
    assert noting.heard[0] == {("ns", "p-0")}


def test_listeners_hear_nothing_of_a_picture_that_is_not_complete() -> None:
    observed, noting = Observed(complete=False), Noting()
    observed.audit.listeners.append(noting)
    observed.audit._notify()
    assert noting.heard == []
