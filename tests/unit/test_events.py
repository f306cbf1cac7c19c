"""Which Events are planned: bounded whatever happens, told once, recalled while it lasts, and told when it is over."""

import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import SOVEREIGN, ClassificationName, EventReason, Fact, Mode, Outcome
from residency.audit.picture import Picture
from residency.audit.remedies import OF_PODS
from residency.audit.shapes import PodShapes
from residency.controller.events import event
from residency.controller.owners import Ref
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from residency.reporting.events import LATER, MOST_QUEUED, MOST_TOLD, QUIET, RECALL, Planner
from residency.reporting.notices import MOST_EXAMPLES, NOTE_LENGTH, REASONS, Notice, Topic, kin

NL = ClassificationName("nl")
DUTCH = Requirement(Fact.COUNTRY.value, Operator.IN, ("NL",))
GERMAN = Requirement(Fact.COUNTRY.value, Operator.IN, ("DE",))
STATE = Requirement(Fact.DEPLOYMENT_MODEL.value, Operator.IN, ("government",))
PINNED = (Term((DUTCH,)),)
NODE = Topic("", "n")


class World:
    """A picture, a planner, and a clock that is set by hand."""

    def __init__(self, *requirements: Requirement, mode: Mode = Mode.ENFORCE) -> None:
        self.time = 1000.0
        self.picture, self.shapes, self.planner = Picture(), PodShapes(), Planner(lambda: self.time)
        self.picture.set_catalogue({NL: restore(NL, "Dutch", (), Placement((requirements or (DUTCH,),)), mode=mode)})
        self.picture.put_namespace("ns", NamespaceLabels("nl"))
        self.node("n", "NL")

    def node(self, name: str, country: str, *taints: str, **further: str) -> None:
        labels = {Fact.COUNTRY.value: country} if country else {}
        self.picture.put_node(NodeView.of(name, labels | further, taints))

    def pods(
        self, *names: str, node: str = "n", namespace: str = "ns", terms: tuple[Term, ...] | None = PINNED
    ) -> None:
        view = PodView({}, terms, node_name=node)
        for name in names:
            self.picture.put_pod((namespace, name), node, self.shapes.of(view))

    def gone(self, *names: str) -> None:
        for name in names:
            self.picture.remove_pod(("ns", name))

    def notice(self) -> int:
        """What the audit does every second; how many pods were left out."""
        dropped = self.planner.note(self.picture.tally.take_changed(), self.picture)
        self.planner.look_after(self.picture)
        return dropped

    def told(self) -> dict[Topic, list[Notice]]:
        """All that is told now."""
        self.notice()
        told: dict[Topic, list[Notice]] = {}
        while (taken := self.planner.take(self.picture)) is not None:
            if taken[1]:
                told.setdefault(taken[0], []).extend(taken[1])
        return told

    def reasons(self) -> dict[Topic, list[EventReason]]:
        return {topic: [notice.reason for notice in some] for topic, some in self.told().items()}


WEB = ("web-6d4cf56db6-bcd24", "web-6d4cf56db6-xz789")
OF_WEB = Topic("ns", "web-6d4cf56db6")


@pytest.mark.parametrize(
    ("pod", "begins"),
    [
        ("web-6d4cf56db6-bcd24", "web-6d4cf56db6"),
        ("db-0", "db"),
        ("db-12", "db"),
        ("agent-zzzzz", "agent"),
        ("nightly-29384756-4b6c8", "nightly-29384756"),
        ("web", "web"),
        ("web-admin", "web-admin"),
        ("web-bcdfgh", "web-bcdfgh"),
        ("-5", "-5"),
        ("a-٣", "a-٣"),
    ],
)
def test_pods_belong_together_where_an_owner_made_up_the_end_of_their_names(pod: str, begins: str) -> None:
    assert kin(pod) == begins


def test_of_pods_on_a_relabelled_node_the_node_and_the_workload_are_told() -> None:
    world = World()
    world.pods(*WEB)
    assert world.told() == {}
    world.node("n", "US")
    told = world.told()
    assert told.keys() == {NODE, OF_WEB}
    ((of_node,), (of_pods,)) = told[NODE], told[OF_WEB]
    assert (of_node.reason, of_node.type) == (of_pods.reason, of_pods.type) == (EventReason.MISPLACED, "Warning")
    why = "its node has country US, where nl allows country NL"
    remedy = OF_PODS[Outcome.MISPLACED]
    assert of_node.note == f"2 pods of nl here that may not be; for example ns/{WEB[0]}: {why}. Fix: {remedy}"
    assert of_pods.note == f"2 pods of nl on nodes that are not allowed; {WEB[0]} on node n: {why}. Fix: {remedy}"
    assert of_pods.examples == (("ns", WEB[0]), ("ns", WEB[1]))


def test_a_lower_mode_is_said() -> None:
    world = World(mode=Mode.AUDIT)
    world.node("n", "US")
    world.pods("web")
    assert all(" of nl (mode Audit) " in notice.note for (notice,) in world.told().values())


def test_when_it_is_put_right_that_is_told_once() -> None:
    world = World()
    world.pods(*WEB)
    world.node("n", "US")
    world.told()
    world.node("n", "NL")
    told = world.told()
    assert {topic: [n.reason for n in some] for topic, some in told.items()} == {
        NODE: [EventReason.COMPLIANCE_RESTORED],
        OF_WEB: [EventReason.COMPLIANCE_RESTORED],
    }
    assert told[NODE][0].note == "No pod on this node deviates from nl any more."
    assert told[OF_WEB][0].note == "No pod of this deviates from nl any more."
    assert told[NODE][0].type == "Normal"
    world.time += 10 * RECALL
    assert world.told() == {}


def test_it_is_over_too_where_the_pods_are_gone() -> None:
    world = World()
    world.node("n", "US")
    world.pods(*WEB)
    world.told()
    world.gone(*WEB)
    assert world.reasons() == {NODE: [EventReason.COMPLIANCE_RESTORED], OF_WEB: [EventReason.COMPLIANCE_RESTORED]}


def test_a_deployment_is_not_put_right_while_its_newer_pods_deviate() -> None:
    world = World()
    world.node("n", "US")
    world.pods(*WEB)
    world.told()
    world.gone(*WEB)
    world.pods("web-79c8f4bd5f-bcd24")
    assert world.reasons() == {Topic("ns", "web-79c8f4bd5f"): [EventReason.MISPLACED]}
    world.gone("web-79c8f4bd5f-bcd24")
    assert world.reasons()[Topic("ns", "web-79c8f4bd5f")] == [EventReason.COMPLIANCE_RESTORED]


def test_a_stateful_set_is_put_right_whatever_becomes_of_others_whose_names_begin_alike() -> None:
    world = World()
    world.node("n", "US")
    world.pods("my-db-0", "my-cache-0")
    world.told()
    world.gone("my-db-0")
    assert world.reasons() == {Topic("ns", "my-db"): [EventReason.COMPLIANCE_RESTORED]}


def test_other_workloads_whose_names_begin_alike_keep_nobody_from_being_put_right() -> None:
    world = World()
    world.node("n", "US")
    world.pods("db-0", "db-cache-0", "db-admin-bcd24")
    world.told()
    world.gone("db-0")
    assert world.reasons() == {Topic("ns", "db"): [EventReason.COMPLIANCE_RESTORED]}


def test_what_was_told_is_not_told_again_while_pods_come_and_go() -> None:
    world = World()
    world.node("n", "US")
    world.pods("db-0")
    world.told()
    for number in range(1, 20):
        world.pods(f"db-{number}")
        world.gone(f"db-{number - 1}")
        world.time += QUIET / 30
        assert world.told() == {}
    world.time += QUIET
    world.pods("db-20")
    assert world.reasons() == {NODE: [EventReason.MISPLACED], Topic("ns", "db"): [EventReason.MISPLACED]}


def test_what_lasts_is_recalled_with_the_same_words() -> None:
    world = World()
    world.node("n", "US")
    world.pods(*WEB)
    first = world.told()
    world.time += RECALL - 1
    assert world.told() == {}
    world.time += 1
    assert world.told() == first
    assert world.told() == {}


def test_another_outcome_is_told_at_once() -> None:
    world = World()
    world.node("n", "US")
    world.pods(*WEB)
    world.told()
    world.node("n", "")
    assert world.reasons() == {NODE: [EventReason.PLACE_UNKNOWN], OF_WEB: [EventReason.PLACE_UNKNOWN]}


def test_a_pod_that_is_only_not_kept_where_it_is_is_not_the_nodes_matter() -> None:
    world = World()
    world.pods("web", terms=None)
    assert world.reasons() == {Topic("ns", "web"): [EventReason.UNPINNED]}


def test_a_pod_of_no_classification_in_force_is_not_the_nodes_matter() -> None:
    world = World()
    world.picture.put_namespace("ns", NamespaceLabels("de"))
    world.pods("web")
    ((topic, (notice,)),) = world.told().items()
    assert topic == Topic("ns", "web")
    assert notice.note.startswith("1 pod under no classification that is in force: it names de, but ")


def test_an_intruder_is_told_of_and_so_is_its_going() -> None:
    world = World()
    world.node("n", "NL", SOVEREIGN)
    world.pods("spy", namespace="other")
    told = world.told()
    assert told[NODE][0].note.startswith(
        "1 pod here, on a node that is kept for classified pods; for example other/spy"
    )
    assert told[Topic("other", "spy")][0].reason is EventReason.INTRUDER
    world.picture.remove_pod(("other", "spy"))
    assert world.told()[NODE][0].note == "No pod on this node deviates any more."


def test_a_pod_that_waits_in_vain_is_told_what_is_asked_and_how_many_nodes_have_it() -> None:
    world = World(DUTCH, STATE)
    world.node("m", "NL")
    world.node("d", "DE", **{STATE.key: "government"})
    world.pods("web", node="")
    ((topic, (notice,)),) = world.told().items()
    assert (topic, notice.reason, notice.waiting) == (Topic("ns", "web"), EventReason.UNPLACEABLE, True)
    assert notice.note == (
        "1 pod of nl without a node to go to: nl asks country NL (2 nodes) and deployment-model government (1 node); "
        f"of 3 nodes none has all of that. Fix: {OF_PODS[Outcome.UNPLACEABLE]}"
    )


def test_a_pod_whose_own_terms_leave_no_node_is_told_so() -> None:
    world = World()
    world.node("d", "DE")
    world.pods("web", node="", terms=(Term((Requirement(Fact.COUNTRY.value, Operator.IN, ("DE",)),)),))
    ((_, (notice,)),) = world.told().items()
    assert (
        "nl asks country NL (1 node); of 2 nodes 1 has all of that (1 Ready and not cordoned), but the pod's own "
        "nodeSelector and node affinity accept 1 other. Fix: "
    ) in notice.note


def test_a_pod_that_found_a_node_after_all_is_told_so() -> None:
    world = World()
    world.node("n", "US")
    world.pods("web", node="")
    world.told()
    world.node("n", "NL")
    assert world.reasons() == {Topic("ns", "web"): [EventReason.COMPLIANCE_RESTORED]}


def test_what_could_not_be_told_is_told_again() -> None:
    world = World()
    world.node("n", "US")
    world.pods("web")
    first = world.told()
    world.planner.again(NODE, first[NODE])
    assert world.told() == {NODE: first[NODE]}


def test_that_it_is_over_is_told_again_where_it_could_not_be_told_and_what_was_told_is_not() -> None:
    world = World()
    world.pods("web")
    world.node("n", "US")
    world.told()
    world.node("n", "NL")
    (over,) = world.told()[NODE]
    assert over.over
    world.planner.again(NODE, [over])
    assert world.told() == {NODE: [over]}
    assert world.told() == {}
    world.planner.again(OF_WEB, [])
    assert world.told() == {}


def test_what_may_not_be_told_yet_is_told_later() -> None:
    world = World()
    world.pods("web")
    world.node("n", "US")
    told = world.told()
    world.planner.postpone(NODE, told[NODE][0])
    assert world.told() == {}
    world.time += LATER
    assert world.told() == {NODE: told[NODE]}
    assert world.told() == {}


def test_that_it_is_over_is_told_later_too_unless_it_is_not() -> None:
    world = World()
    world.pods("web")
    world.node("n", "US")
    world.told()
    world.node("n", "NL")
    over = world.told()[NODE]
    world.planner.postpone(NODE, over[0])
    assert world.told() == {}
    world.time += LATER
    assert world.told() == {NODE: over}
    world.node("n", "US")
    world.told()
    world.planner.postpone(NODE, over[0])
    world.time += LATER
    assert world.told() == {}


def test_a_node_that_comes_and_goes_is_told_each_time_what_is_so() -> None:
    world = World()
    world.pods("web")
    for _ in range(5):
        world.node("n", "US")
        assert world.reasons()[NODE] == [EventReason.MISPLACED]
        world.node("n", "NL")
        assert world.reasons()[NODE] == [EventReason.COMPLIANCE_RESTORED]


def test_a_pod_that_is_made_again_on_another_node_is_told_of_there() -> None:
    world = World()
    world.node("n", "US")
    world.node("m", "US")
    world.pods("db-0")
    world.told()
    world.pods("db-0", node="m")
    assert world.reasons() == {NODE: [EventReason.COMPLIANCE_RESTORED], Topic("", "m"): [EventReason.MISPLACED]}


def test_what_changes_back_before_it_is_told_is_not_told() -> None:
    world = World()
    world.pods("web")
    world.node("n", "US")
    world.notice()
    world.node("n", "NL")
    assert world.told() == {}


def test_a_burst_is_bounded_and_what_is_left_out_is_counted() -> None:
    """20,000 pods that are misplaced at once, of 5,000 workloads, on 3,000 nodes."""
    world = World()
    pods = [(f"ns-{n % 50}", f"w{n % 5_000}-{n // 5_000}", f"n-{n % 3_000}") for n in range(20_000)]
    for number in range(50):
        world.picture.put_namespace(f"ns-{number}", NamespaceLabels("nl"))
    for number in range(3_000):
        world.node(f"n-{number}", "NL")
    for namespace, name, node in pods:
        world.pods(name, node=node, namespace=namespace)
    assert world.told() == {}
    world.picture.set_catalogue({NL: restore(NL, "", (), Placement(((GERMAN,),)))})
    left_out = world.notice()
    assert 20_000 - MOST_QUEUED <= left_out < 20_000
    assert MOST_QUEUED <= world.planner.waiting <= MOST_QUEUED + 1
    assert MOST_QUEUED <= len(world.told()) <= MOST_QUEUED + 1
    # And should the same go on for ever.
    for _ in range(3):
        assert world.planner.note([(namespace, name) for namespace, name, _ in pods], world.picture) > 0
        world.told()
    assert world.planner.remembered == MOST_TOLD


def test_what_is_remembered_of_a_topic_does_not_grow_with_its_pods() -> None:
    def remembered(pods: int) -> int:
        world = World()
        world.node("n", "US")
        world.pods(*(f"db-{number}" for number in range(pods)))
        world.told()
        said = [said for matters in world.planner._told.values() for said in matters.values()]
        return sum(sys.getsizeof(one.examples) + sys.getsizeof(one.note) for one in said)

    assert remembered(2_000) - remembered(MOST_EXAMPLES) < 20


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("node"), st.sampled_from(["n", "m"]), st.sampled_from(["NL", "US", ""])),
            st.tuples(st.just("pod"), st.sampled_from(["db-0", "db-1", "web"]), st.sampled_from(["", "n", "m"])),
            st.tuples(st.just("gone"), st.sampled_from(["db-0", "db-1", "web"]), st.just("")),
            st.tuples(st.just("tell"), st.just(""), st.just("")),
        ),
        max_size=25,
    )
)
def test_in_the_end_everything_that_is_the_matter_was_told_last_and_nothing_else(
    steps: list[tuple[str, str, str]],
) -> None:
    world = World()
    last: dict[Topic, set[EventReason]] = {}

    def tell() -> None:
        for topic, notices in world.told().items():
            for notice in notices:
                if notice.reason is EventReason.COMPLIANCE_RESTORED:
                    assert last.pop(topic)
                else:
                    last.setdefault(topic, set()).add(notice.reason)

    for step, name, value in steps:
        if step == "node":
            world.node(name, value)
        elif step == "pod":
            world.pods(name, node=value)
        elif step == "gone":
            world.gone(name)
        else:
            tell()
    tell()
    matters = wrong(world.picture)
    assert last.keys() == matters.keys()
    assert all(reasons <= last[topic] for topic, reasons in matters.items())


def wrong(picture: Picture) -> dict[Topic, set[EventReason]]:
    """What is the matter, looked up pod by pod."""
    found: dict[Topic, set[EventReason]] = {}
    for _, key, judged in picture.tally.all_deviating():
        seen = picture.look(key)
        assert seen is not None
        found.setdefault(Topic("ns", kin(key[1])), set()).add(REASONS[judged.outcome])
        if seen.node and judged.outcome is not Outcome.UNPINNED:
            found.setdefault(Topic("", seen.node), set()).add(REASONS[judged.outcome])
    return found


# As the API server takes them

WORKLOAD = Ref("apps/v1", "Deployment", "ns", "web", "u-1")
POD = Ref("v1", "Pod", "ns", "web-1", "u-2")
NOW = datetime(2026, 11, 24, 2, 0, 0, 5, UTC)


def made(note: str = "a note", regarding: Ref = WORKLOAD, related: Ref | None = POD) -> dict[str, object]:
    notice = Notice((Outcome.MISPLACED, "nl"), EventReason.MISPLACED, note)
    return event(notice, regarding, related, "who" * 100, NOW)


def test_an_event_has_all_that_the_api_server_demands() -> None:
    body = made()
    name = str(body["metadata"]["name"])  # type: ignore[index]
    assert name.startswith("web.")
    assert body | {"metadata": None} == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": None,
        "eventTime": "2026-11-24T02:00:00.000005Z",
        "type": "Warning",
        "reason": "Misplaced",
        "action": "Audit",
        "note": "a note",
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ns", "name": "web", "uid": "u-1"},
        "related": {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "web-1", "uid": "u-2"},
        "reportingController": "residency.dev/controller",
        "reportingInstance": ("who" * 100)[:128],
    }


def test_the_same_of_the_same_is_one_event_and_anything_else_another() -> None:
    assert made()["metadata"] == made(related=None)["metadata"]
    names = [str(made(*some)["metadata"]) for some in (("a", WORKLOAD), ("b", WORKLOAD), ("a", POD))]
    assert len(set(names)) == 3


def test_events_of_nodes_are_in_the_namespace_that_people_look_in() -> None:
    node = Ref("v1", "Node", "", "n" * 229 + "." + "n" * 20, "u-3")
    body = made(regarding=node, related=None)
    assert body["metadata"]["namespace"] == "default"  # type: ignore[index]
    assert ".." not in body["metadata"]["name"]  # type: ignore[index]
    assert len(body["metadata"]["name"]) <= 253  # type: ignore[index]
    assert "namespace" not in body["regarding"]  # type: ignore[operator]


def test_a_note_is_never_longer_than_the_api_server_takes() -> None:
    world = World(*(Requirement(f"example.com/{'x' * 60}{n}", Operator.IN, ("ü" * 60,)) for n in range(20)))
    world.pods("web", node="")
    ((_, (notice,)),) = world.told().items()
    assert len(notice.note.encode()) <= NOTE_LENGTH
