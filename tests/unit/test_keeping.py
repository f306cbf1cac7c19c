"""What is written of findings, when, and what is not: against a store that is as exact as an API server is."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from residency.api.names import MANAGED_BY, ClassificationName, EvictionResult, Fact, Mode, Outcome
from residency.audit.findings import Example, Finding, State, Subject
from residency.audit.picture import Picture
from residency.audit.shapes import PodShapes
from residency.audit.volumes import VolumePicture
from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.controller import findings as module
from residency.controller.auditing import BLIND, REST
from residency.controller.evicting import Considered
from residency.controller.findings import CALM, DAY, FRESH, MOST_GAPS, Keeper, Keeping, Queue, Stored
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import VolumeView
from residency.core.workload import PodView, Term
from residency.reporting.findings import FindingsCollector, acknowledgement, from_status, to_status
from residency.reporting.metrics import Metrics

NL = ClassificationName("nl")
COUNTRY = Fact.COUNTRY.value
DUTCH = Requirement(COUNTRY, Operator.IN, ("NL",))
Object = dict[str, Any]


class Objects:
    """ResidencyFindings, and what was asked of them."""

    def __init__(self) -> None:
        self.keeper: Keeper | None = None
        self.there: dict[tuple[str, str], Object] = {}
        self.asked: list[str] = []
        self.refusal: Exception | None = None

    def _ask(self, what: str, key: tuple[str, str]) -> None:
        self.asked.append(f"{what} {key[0]}/{key[1]}")
        if self.refusal is not None:
            raise self.refusal

    async def create(self, _: object, body: Object, *, namespace: str) -> Object:
        key = namespace, body["metadata"]["name"]
        self._ask("create", key)
        if key in self.there:
            raise ApiError(409, "AlreadyExists", "it is there")
        self.there[key] = body | {"status": {}}
        return self._told(key)

    async def find(self, _: object, *, namespace: str, fields: str) -> list[Object]:
        key = namespace, fields.removeprefix("metadata.name=")
        self._ask("read", key)
        return [self._told(key)]

    async def merge(self, _: object, name: str, patch: Object, *, namespace: str, subresource: str) -> Object:
        key = namespace, name
        self._ask("tell", key)
        assert (list(patch), subresource) == (["status"], "status"), "all else is written by people"
        if key not in self.there:
            raise ApiError(404, "NotFound", "it is not there")
        status = self.there[key]["status"] | patch["status"]
        self.there[key]["status"] = {name: value for name, value in status.items() if value is not None}
        return self._told(key)

    async def delete(self, _: object, name: str, *, namespace: str) -> None:
        self._ask("delete", (namespace, name))
        self.remove((namespace, name))

    def say(self, key: tuple[str, str], comment: str | None, **more: str) -> None:
        spec = {} if comment is None else {"acknowledgement": {"comment": comment, **more}}
        self.there[key]["spec"] = spec
        self._told(key)

    def remove(self, key: tuple[str, str]) -> None:
        self.there.pop(key)
        assert self.keeper
        self.keeper.removed(key, cast(Stored, None))

    def _told(self, key: tuple[str, str]) -> Object:
        copy: Object = json.loads(json.dumps(self.there[key]))
        assert self.keeper
        self.keeper.put(key, msgspec.convert(copy, Stored), None)
        return copy


class Cluster:
    """Nodes that can be moved, pods on them, and a keeper with a clock that is set by hand."""

    restarts = 0
    missed = 0.0

    def __init__(self, **keeping: float) -> None:
        self.volumes: VolumePicture | None = VolumePicture()
        self.time = 1_000_000.0
        self.objects, self.shapes = Objects(), PodShapes()
        self.watched: dict[str, Any] = {"pods": self}
        self.blind_for: float | None = None
        self.complete: Picture | None = self.picture()
        self.keeping = Keeping(**cast(Any, keeping))
        self.begin()

    def begin(self, led_until: str = "") -> None:
        """A controller starts."""
        self.keeper = self.objects.keeper = Keeper(
            cast(Client, self.objects), self, "own", self.keeping, led_until=led_until, clock=lambda: self.time
        )
        for key in self.objects.there:
            self.objects._told(key)

    async def adopt(self) -> None:
        """It has read what is stored."""
        reflector = type("Synced", (), {"synced": asyncio.Event(), "problem": ""})()
        reflector.synced.set()
        await self.keeper._begin(reflector)

    def picture(self) -> Picture:
        picture = Picture()
        picture.set_catalogue({NL: restore(NL, "Dutch", (), Placement(((DUTCH,),)))})
        return picture

    def namespace(self, name: str, country: str = "NL", pods: int = 1) -> None:
        """A classified namespace with a node of its own."""
        assert self.complete
        self.complete.put_namespace(name, NamespaceLabels("nl"))
        self.move(name, country)
        self.pods(name, pods)

    def pods(self, namespace: str, count: int) -> None:
        assert self.complete
        view = PodView({}, (Term((DUTCH,)),), node_name=f"of-{namespace}")
        for number in range(count):
            self.complete.put_pod((namespace, f"p-{number}"), view.node_name, self.shapes.of(view))

    def move(self, namespace: str, country: str) -> None:
        assert self.complete
        self.complete.put_node(NodeView.of(f"of-{namespace}", {COUNTRY: country}))

    def take_missed(self) -> float:
        """As the audit says it."""
        missed, self.missed = self.missed, 0.0
        return missed

    async def look(self, seconds: float = 1.0) -> list[str]:
        """Look, after some time, write what is due, and say what was written."""
        self.time += seconds
        if self.complete is not None:
            self.keeper.changed(self.complete.tally.take_changed(), self.complete)
        self.keeper.look()
        self.objects.asked.clear()
        while (due := self.keeper._queue.take(self.time)) is not None:
            await self.keeper._write(due[0])
        return list(self.objects.asked)

    def status(self, namespace: str = "ns", name: str = "nl-misplaced") -> Object:
        return cast(Object, self.objects.there[namespace, name]["status"])

    def metrics(self) -> dict[str, float]:
        metrics = Metrics()
        metrics.add(FindingsCollector(self.keeper))
        families = text_string_to_metric_families(metrics.exposition().decode())
        return {
            "|".join((sample.name, *sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith(("residency_findings", "residency_audit_gaps_total"))
        }


@pytest.fixture
async def cluster() -> Cluster:
    cluster = Cluster()
    await cluster.adopt()
    return cluster


async def test_a_finding_is_written_once_and_then_left_alone(cluster: Cluster) -> None:
    cluster.namespace("ns")
    assert await cluster.look() == []
    cluster.move("ns", "US")
    assert await cluster.look() == ["create ns/nl-misplaced", "tell ns/nl-misplaced"]
    status = cluster.status()
    assert (status["state"], status["count"], status["mode"]) == ("Open", 1, "Enforce")
    assert status["cause"] == "node of-ns was relabelled: country from NL to US"
    assert status["examples"][0]["node"] == "of-ns"
    assert cluster.objects.there["ns", "nl-misplaced"]["metadata"]["labels"] == {MANAGED_BY: "residency"}
    for _ in range(10):
        assert await cluster.look(5.0) == []


async def test_news_is_not_kept_waiting_by_what_is_only_still_so(cluster: Cluster) -> None:
    for number in range(50):
        cluster.namespace(f"ns-{number:02}", "US")
    await cluster.look()
    await cluster.look(FRESH + 60)
    cluster.keeper.sweep()
    cluster.namespace("zz", "US")
    written = await cluster.look(0.0)
    assert len(written) == 52
    assert written[:2] == ["create zz/nl-misplaced", "tell zz/nl-misplaced"]


async def test_more_of_the_same_is_written_only_now_and_then(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    written = []
    for count in range(2, 92):
        cluster.pods("ns", count)
        written += await cluster.look()
    assert len(written) == 90 // (CALM + 1)
    assert 60 <= cluster.status()["count"] < 91
    cluster.move("ns", "NL")
    assert await cluster.look() == ["tell ns/nl-misplaced"]
    assert (cluster.status()["state"], cluster.status()["count"]) == ("Resolved", 0)


async def test_what_came_of_evicting_is_written_and_forgotten_with_its_order(cluster: Cluster) -> None:
    cluster.namespace("ns", "US", pods=2)
    await cluster.look()
    for name, result in (("p-0", EvictionResult.NO_CONTROLLER), ("p-1", EvictionResult.EVICTED)):
        cluster.keeper.corrected(Considered(NL, ("ns", name), "u", result, "why", False))
    assert await cluster.look(CALM + 1) == ["tell ns/nl-misplaced"]
    assert cluster.status()["evictions"] == [{"result": "evicted", "count": 1}, {"result": "no-controller", "count": 1}]
    assert [one.get("eviction") for one in cluster.status()["examples"]] == ["no-controller", None]
    cluster.keeper.uncorrected(NL)
    await cluster.look(CALM + 1)
    assert cluster.status()["evictions"] == [{"result": "evicted", "count": 1}]


async def test_what_stays_is_said_to_be_so_every_hour(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    first = cluster.status()["lastSeen"]
    for seconds, written in ((FRESH - 60, []), (120.0, ["tell ns/nl-misplaced"])):
        await cluster.look(seconds)
        cluster.keeper.sweep()
        assert await cluster.look(0.0) == written
    assert cluster.status()["lastSeen"] > first == cluster.status()["firstSeen"]


async def test_what_people_say_is_heard_and_shown_until_they_take_it_back(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.objects.say(("ns", "nl-misplaced"), "known, CHG-1")
    assert await cluster.look() == ["tell ns/nl-misplaced"]
    assert (cluster.status()["state"], cluster.status()["acknowledged"]) == ("Acknowledged", "known, CHG-1")
    assert cluster.metrics()["residency_findings|nl|Misplaced|Acknowledged|Pods"] == 1
    cluster.objects.say(("ns", "nl-misplaced"), None)
    await cluster.look()
    assert cluster.status()["state"] == "Open"
    assert "acknowledged" not in cluster.status()


async def test_an_acknowledgement_holds_until_the_end_of_its_day(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.objects.say(("ns", "nl-misplaced"), "known", until="1970-01-12")
    await cluster.look()
    assert cluster.status()["state"] == "Acknowledged"
    cluster.time = 12 * DAY - 1
    cluster.keeper.sweep()
    await cluster.look(0.0)
    assert cluster.status()["state"] == "Acknowledged"
    cluster.time = 12 * DAY
    cluster.keeper.sweep()
    await cluster.look(0.0)
    assert cluster.status()["state"] == "Open"
    cluster.objects.say(("ns", "nl-misplaced"), "still", until="1970-01-12")
    await cluster.look()
    assert cluster.status()["state"] == "Open", "what is over when it is said does not hold"


async def test_a_new_controller_goes_on_where_the_last_one_ended(cluster: Cluster) -> None:
    for name in ("ns", "other"):
        cluster.namespace(name)
    await cluster.look()
    for name in ("ns", "other"):
        cluster.move(name, "US")
    await cluster.look()
    cluster.objects.say(("ns", "nl-misplaced"), "known")
    await cluster.look()
    before = cluster.status()
    cluster.begin()
    cluster.complete, picture = None, cluster.complete
    await cluster.adopt()
    assert await cluster.look(60.0) == [], "nobody knows yet whether it still is so"
    cluster.complete = picture
    cluster.move("other", "NL")
    assert "tell other/nl-misplaced" in await cluster.look()
    after = cluster.status()
    assert {**after, "lastSeen": ""} == {**before, "lastSeen": ""}
    resolved = cluster.status("other")
    assert (resolved["state"], resolved["resolution"]) == ("Resolved", "it ended while the audit was not looking")


async def test_what_was_said_while_no_controller_listened_is_heard_and_nothing_else_is_written(
    cluster: Cluster,
) -> None:
    for name in ("ns", "other"):
        cluster.namespace(name, "US")
    await cluster.look()
    cluster.objects.there["ns", "nl-misplaced"]["spec"] = {"acknowledgement": {"comment": "known"}}
    cluster.begin()
    await cluster.adopt()
    assert await cluster.look() == ["tell ns/nl-misplaced"]
    assert cluster.status()["acknowledged"] == "known"
    assert await cluster.look(CALM + 1) == []


async def test_what_was_resolved_long_ago_is_deleted(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.move("ns", "NL")
    await cluster.look()
    for days, written in ((6.9, []), (0.2, ["delete ns/nl-misplaced"])):
        await cluster.look(days * DAY)
        cluster.keeper.sweep()
        assert await cluster.look(0.0) == written
    assert cluster.keeper.current == ()
    assert await cluster.look() == []


async def test_what_somebody_deletes_comes_back_while_it_is_so_and_not_afterwards(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.objects.remove(("ns", "nl-misplaced"))
    assert await cluster.look(2.0) == ["create ns/nl-misplaced", "tell ns/nl-misplaced"]
    cluster.move("ns", "NL")
    await cluster.look()
    cluster.objects.remove(("ns", "nl-misplaced"))
    assert await cluster.look(2.0) == []
    assert cluster.keeper.current == ()


async def test_of_more_than_are_stored_the_rest_is_counted_and_stored_when_there_is_room() -> None:
    cluster = Cluster(most=3)
    await cluster.adopt()
    for number in range(5):
        cluster.namespace(f"ns-{number}", "US")
    await cluster.look()
    assert len(cluster.objects.there) == 3
    shown = cluster.metrics()
    assert shown["residency_findings_not_stored"] == 2
    assert shown["residency_findings|nl|Misplaced|Open|Pods"] == 5
    stored = [namespace for namespace, _ in cluster.objects.there]
    cluster.move(stored[0], "NL")
    for _ in range(3):
        await cluster.look()
        cluster.keeper.sweep()
    assert len(cluster.objects.there) == 3
    assert all(one["status"]["state"] == "Open" for one in cluster.objects.there.values()), "what is over makes room"
    assert cluster.metrics()["residency_findings_not_stored"] == 1


async def test_what_waits_for_room_is_not_looked_at_with_every_change(cluster: Cluster) -> None:
    cluster = Cluster(most=3)
    await cluster.adopt()
    for number in range(5):
        cluster.namespace(f"ns-{number}", "US")
    await cluster.look()
    waiting = next(iter(cluster.keeper._unstored))
    for count in range(2, 10):
        cluster.pods(waiting[0], count)
        cluster.keeper.changed(cast(Picture, cluster.complete).tally.take_changed(), cast(Picture, cluster.complete))
    assert len(cluster.keeper._queue) == 0
    assert waiting in cluster.keeper._unstored
    cluster.move(waiting[0], "NL")
    await cluster.look()
    assert waiting not in cluster.keeper._unstored


async def test_what_ended_before_it_was_written_is_not_written(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    cluster.keeper.changed((), cast(Picture, cluster.complete))
    cluster.move("ns", "NL")
    assert await cluster.look() == []
    assert cluster.keeper.current == ()


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError(403, "Forbidden", "unable to create new content in namespace ns because it is being terminated"),
        ApiError(404, "NotFound", 'namespaces "ns" not found'),
    ],
)
async def test_a_namespace_that_is_going_is_no_error(
    cluster: Cluster, refusal: ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.namespace("ns", "US")
    cluster.objects.refusal = refusal
    assert await cluster.look() == ["create ns/nl-misplaced"]
    assert await cluster.look() == []
    assert not caplog.records
    cluster.move("ns", "NL")
    cluster.objects.refusal = None
    assert await cluster.look(CALM) == []
    assert cluster.keeper.current == ()


async def test_what_fails_is_told_and_tried_again_less_and_less_often(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.0)
    cluster.namespace("ns", "US")
    cluster.objects.refusal = Unreachable("no answer")
    tried = [second for second in range(100) if await cluster.look()]
    assert len(tried) == 6
    assert {record.message for record in caplog.records} == {"finding not written"}
    cluster.objects.refusal = None
    await cluster.look(300.0)
    assert cluster.status()["state"] == "Open"


async def test_an_object_that_is_there_already_is_taken_over(cluster: Cluster) -> None:
    cluster.objects.there["ns", "nl-misplaced"] = {
        "metadata": {"name": "nl-misplaced", "namespace": "ns"},
        "status": {},
    }
    cluster.namespace("ns", "US")
    await cluster.look()
    assert cluster.status()["state"] == "Open"


async def test_a_finding_that_is_read_late_keeps_its_beginning_and_what_was_said(cluster: Cluster) -> None:
    """The list of them fails for long, and nothing else does."""
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.objects.say(("ns", "nl-misplaced"), "we know")
    await cluster.look()
    before = dict(cluster.status())
    late = Cluster()
    late.time = cluster.time + DAY
    late.objects.there = {key: dict(item) for key, item in cluster.objects.there.items()}
    late.keeper._ready = True
    late.namespace("ns", "US")
    await late.look()
    after = late.status()
    assert {name: after[name] for name in ("firstSeen", "cause", "state")} == {
        name: before[name] for name in ("firstSeen", "cause", "state")
    }
    assert after["state"] == "Acknowledged"


async def test_what_cannot_be_read_is_kept_until_it_is_known_what_there_is(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.objects.say(("ns", "nl-misplaced"), "we know")
    await cluster.look()
    # As a version may have written it that came after this one.
    cluster.objects.there["ns", "nl-misplaced"]["status"]["mode"] = "Unheard-of"
    volumes, cluster.volumes = cluster.volumes, None
    cluster.begin()
    await cluster.adopt()
    assert await cluster.look() == ["tell ns/nl-misplaced"]
    assert cluster.status()["state"] == "Acknowledged"
    cluster.objects.there["ns", "nl-lost"] = json.loads(json.dumps(cluster.objects.there["ns", "nl-misplaced"]))
    cluster.objects.there["ns", "nl-lost"]["metadata"]["name"] = "nl-lost"
    cluster.begin()
    await cluster.adopt()
    assert await cluster.look() == []
    cluster.volumes = volumes
    assert await cluster.look() == ["delete ns/nl-lost"]


def test_what_another_version_said_of_evictions_is_passed_over() -> None:
    finding = Finding(
        "ns",
        "nl",
        Subject.PODS,
        Outcome.MISPLACED,
        None,
        1,
        (Example("p", "n", "why"),),
        1.0,
        1.0,
        evictions=((EvictionResult.MIRROR, 1),),
    )
    status = to_status(finding)
    status["evictions"].append({"result": "teleported", "count": 2})
    status["examples"][0]["eviction"] = "teleported"
    assert from_status("ns", status) == finding


async def test_somebody_may_speak_before_there_is_a_finding(cluster: Cluster) -> None:
    metadata = {"name": "nl-misplaced", "namespace": "ns"}
    cluster.objects.there["ns", "nl-misplaced"] = {"metadata": metadata, "status": {}}
    cluster.objects.say(("ns", "nl-misplaced"), "it will be so")
    cluster.namespace("ns", "US")
    await cluster.look()
    assert cluster.status()["state"] == "Acknowledged"


async def test_an_acknowledged_gap_is_so_until_its_day_ends(cluster: Cluster) -> None:
    await cluster.look()
    cluster.blind_for = 0.0
    await cluster.look(BLIND)
    ((key, _),) = cluster.objects.there.items()
    cluster.objects.say(key, "the network was being mended", until="1970-01-12")
    await cluster.look()
    assert cluster.objects.there[key]["status"]["state"] == "Acknowledged"
    cluster.time = 12 * DAY
    cluster.keeper.sweep()
    await cluster.look(0.0)
    assert cluster.objects.there[key]["status"]["state"] == "Open"


async def test_what_was_begun_and_never_finished_is_deleted_and_what_others_made_is_not() -> None:
    cluster = Cluster()
    for name, labels in (("begun", {MANAGED_BY: "residency"}), ("theirs", {})):
        cluster.objects.there["ns", name] = {"metadata": {"name": name, "namespace": "ns", "labels": labels}}
    cluster.begin()
    await cluster.adopt()
    assert await cluster.look() == ["delete ns/begun"]


async def test_beginnings_and_ends_are_written_before_what_is_only_more(cluster: Cluster) -> None:
    cluster.namespace("a", "US")
    await cluster.look()
    cluster.pods("a", 3)
    await cluster.look()
    cluster.namespace("b", "US")
    assert await cluster.look(CALM) == ["create b/nl-misplaced", "tell b/nl-misplaced", "tell a/nl-misplaced"]


async def test_news_of_a_whole_node_is_written_at_once_and_more_at_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST", 3)
    monkeypatch.setattr(module, "WRITES", 1)
    cluster = Cluster()
    await cluster.adopt()
    for number in range(5):
        cluster.namespace(f"ns-{number}", "US")
    assert cluster.complete
    cluster.keeper.changed(cluster.complete.tally.take_changed(), cluster.complete)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cluster.keeper._writing(), 0.5)
    assert len(cluster.objects.there) == 3


async def test_what_is_only_more_does_not_keep_news_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MORE", 20)
    cluster = Cluster()
    await cluster.adopt()
    for number in range(9):
        cluster.namespace(f"ns-{number}", "US")
    await cluster.look()
    for number in range(9):
        cluster.pods(f"ns-{number}", 3)
    await cluster.look()
    cluster.time += CALM
    writing = asyncio.create_task(cluster.keeper._writing())
    await asyncio.sleep(0)
    cluster.namespace("new", "US")
    assert cluster.complete
    cluster.keeper.changed(cluster.complete.tally.take_changed(), cluster.complete)
    await asyncio.sleep(0.2)
    writing.cancel()
    told = [what for what in cluster.objects.asked if what.startswith("tell")]
    assert told[1] == "tell new/nl-misplaced"
    assert len(told) < 9


# Gaps


def observations(cluster: Cluster) -> Iterator[Object]:
    return (one["status"] for (namespace, _), one in cluster.objects.there.items() if namespace == "own")


async def test_the_time_between_two_controllers_is_a_finding_once_the_second_sees() -> None:
    cluster = Cluster()
    cluster.begin("1970-01-12T13:45:00.000000Z")
    await cluster.adopt()
    cluster.complete, picture = None, cluster.complete
    await cluster.look()
    (status,) = observations(cluster)
    assert (status["state"], status["subject"], status["firstSeen"]) == ("Open", "Observation", "1970-01-12T13:45:00Z")
    cluster.complete = picture
    await cluster.look()
    (status,) = observations(cluster)
    assert (status["state"], status["resolved"]) == ("Resolved", "1970-01-12T13:46:42Z")
    assert cluster.metrics()["residency_audit_gaps_total|down"] == 1
    assert cluster.metrics()["residency_findings|(none)||Resolved|Observation"] == 1


async def test_a_watch_that_is_lost_for_long_is_a_gap_and_one_for_a_moment_is_not(cluster: Cluster) -> None:
    await cluster.look()
    for seconds in range(int(BLIND) - 1):
        cluster.blind_for = float(seconds)
        await cluster.look()
    cluster.blind_for = None
    await cluster.look()
    assert not list(observations(cluster))
    cluster.blind_for = 0.0
    await cluster.look(BLIND)
    (status,) = observations(cluster)
    assert "the API server could not be watched" in status["cause"]
    assert status["state"] == "Open"
    cluster.blind_for = None
    await cluster.look()
    (status,) = observations(cluster)
    assert status["state"] == "Resolved"


async def test_a_watch_that_was_dead_and_seemed_to_live_is_a_gap(cluster: Cluster) -> None:
    await cluster.look()
    cluster.missed = BLIND - 1
    await cluster.look()
    assert not list(observations(cluster))
    cluster.missed = 120.0
    await cluster.look()
    (status,) = observations(cluster)
    assert status["state"] == "Resolved"
    assert "120 s in all" in status["resolution"]
    assert cluster.metrics()["residency_audit_gaps_total|blind"] == 1


async def test_a_dead_watch_that_is_not_followed_by_another_at_once_is_one_gap_from_its_last_byte(
    cluster: Cluster,
) -> None:
    await cluster.look()
    cluster.blind_for = 121.0
    await cluster.look()
    (status,) = observations(cluster)
    assert status["state"] == "Open"
    cluster.blind_for, cluster.missed = None, 125.0
    await cluster.look(4.0)
    (status,) = observations(cluster)
    assert status["state"] == "Resolved"
    assert status["resolution"].endswith("125 s in all; from then on everything is seen again")
    assert cluster.metrics()["residency_audit_gaps_total|blind"] == 1


async def test_an_audit_that_begins_again_is_a_gap(cluster: Cluster) -> None:
    await cluster.look()
    cluster.complete = None
    await cluster.look(10.0)
    cluster.complete = cluster.picture()
    await cluster.look(1.0)
    (status,) = observations(cluster)
    assert "began again from nothing" in status["cause"]
    assert cluster.metrics()["residency_audit_gaps_total|restarted"] == 1


async def test_only_so_many_gaps_are_kept(cluster: Cluster) -> None:
    for _ in range(MOST_GAPS + 5):
        await cluster.look()
        cluster.blind_for = 0.0
        await cluster.look(BLIND)
        cluster.blind_for = None
    await cluster.look()
    await cluster.look()
    assert len(list(observations(cluster))) == MOST_GAPS


# Nothing here may harm the audit


async def test_a_failure_is_logged_and_looked_at_as_a_whole_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.namespace("ns", "US")
    with monkeypatch.context() as broken:
        broken.setattr(cluster.keeper._findings, "look", lambda *_: 1 / 0)
        await cluster.look()
    assert "could not be worked out" in caplog.text
    await cluster.look(REST)
    assert cluster.status()["count"] == 1


async def test_what_becomes_of_volumes_while_it_rests_is_found_afterwards(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = cast(VolumePicture, cluster.volumes)
    volumes.set_catalogue(cast(Picture, cluster.complete).catalogue)
    volumes.put_namespace("ns", NamespaceLabels("nl"))
    cluster.namespace("ns", "US")
    await cluster.look()
    with monkeypatch.context() as broken:
        broken.setattr(cluster.keeper._findings, "look", lambda *_: 1 / 0)
        cluster.pods("ns", 2)
        await cluster.look()
    volumes.put_volume(VolumeView("pv", ("ns", "data"), labels=((COUNTRY, "US"),)))
    await cluster.look()
    await cluster.look(REST)
    assert cluster.status(name="nl-misplaced-volumes")["count"] == 1


async def test_another_picture_is_looked_at_as_a_whole(cluster: Cluster) -> None:
    cluster.namespace("ns", "US")
    await cluster.look()
    cluster.complete = cluster.picture()
    cluster.namespace("ns", "US")
    cluster.complete.tally.take_changed()
    assert await cluster.look() == []
    assert cluster.status()["state"] == "Open"
    cluster.complete = cluster.picture()
    await cluster.look()
    assert cluster.status()["state"] == "Resolved"


# Reading and writing


def test_a_finding_is_read_as_it_was_written() -> None:
    finding = Finding(
        "ns",
        "nl",
        Subject.PODS,
        Outcome.MISPLACED,
        Mode.WARN,
        3,
        (Example("p", "n", "why", EvictionResult.MIRROR), Example("q", "", "why")),
        1000.0,
        2000.0,
        cause="c",
        remedy="r",
        reference="f",
        acknowledged="a",
        evictions=((EvictionResult.EVICTED, 2), (EvictionResult.MIRROR, 1)),
    )
    assert from_status("ns", to_status(finding)) == finding
    gap = Finding("own", "(none)", Subject.OBSERVATION, None, None, 0, (), 1.0, 2.0, 2.0, resolution="over")
    assert from_status("own", to_status(gap)) == gap
    assert gap.state is State.RESOLVED


@pytest.mark.parametrize("status", [{}, {"subject": "Pods"}, {**dict.fromkeys(("firstSeen", "lastSeen"), "x")}])
def test_what_is_no_finding_is_not_read(status: Object) -> None:
    assert from_status("ns", status) is None


def test_texts_fit_what_the_custom_resource_allows() -> None:
    example = Example(f"pvc/{'a' * 253}", "", "ü" * 5000)
    status = to_status(Finding("ns", "nl", Subject.VOLUMES, Outcome.UNKNOWN, None, 1, (example,), 1.0, 1.0))
    assert len(status["examples"][0]["name"]) <= 253
    assert len(status["examples"][0]["why"].encode()) <= 1024


def test_an_acknowledgement_without_a_date_holds_for_ever() -> None:
    assert acknowledgement({"acknowledgement": {"comment": "x"}}) == ("x", None)
    assert acknowledgement({"acknowledgement": {"comment": "x", "until": "1970-01-01"}}) == ("x", DAY)
    assert acknowledgement({"acknowledgement": {"comment": "x", "until": "9999-12-31"}}) == ("x", None)
    assert acknowledgement({"acknowledgement": {"comment": "x", "until": "0000-01-01"}}) == (None, None)
    assert acknowledgement(None) == acknowledgement({}) == (None, None)


def test_a_queue_does_each_thing_once_and_first_what_is_due_first() -> None:
    queue = Queue()
    queue.add(("a", "late"), 20.0)
    queue.add(("a", "early"), 10.0)
    queue.add(("a", "late"), 5.0)
    queue.add(("a", "late"), 30.0)
    assert queue.take(4.0) is None
    assert [queue.take(25.0), queue.take(25.0)] == [(("a", "late"), 5.0), (("a", "early"), 10.0)]
    assert queue.take(100.0) is None
