"""Who writes Events and Reports, where the API server does not do as it is told; e2e has the rest."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from residency.api.names import ClassificationName, EvictionResult
from residency.audit.findings import Finding
from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import Resource
from residency.controller import events
from residency.controller.events import BURST_EACH, MOST_EVICTED, EventWriter
from residency.controller.evicting import Considered
from residency.controller.reports import BURST, LOOK_AGAIN, MOST_REFUSED, RETRY, ReportWriter
from residency.controller.reports import BURST_EACH as REPORTS_EACH
from residency.core.judge import NamespaceLabels
from residency.reporting.metrics import Metrics
from unit.test_events import WEB, World

Object = dict[str, Any]


class Server:
    """An API server as far as the writers ask it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.calls: list[tuple[str, str]] = []
        self.failing: Exception | None = None
        self.openreports = True
        self.refusing: set[str] = set()
        """Namespaces that take no reports."""

    def _called(self, verb: str, resource: Resource) -> None:
        self.calls.append((verb, resource.plural))
        if self.failing is not None:
            raise self.failing
        if resource.plural == "reports" and not self.openreports:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")

    async def get(self, resource: Resource, name: str, *, namespace: str = "", metadata_only: bool = False) -> Object:
        assert metadata_only
        self._called("get", resource)
        owners = {
            "pods": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6", "uid": "of-replicas"},
            "replicasets": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "of-web"},
        }
        above = [owners[resource.plural] | {"controller": True}] if resource.plural in owners else []
        return {"metadata": {"name": name, "namespace": namespace, "uid": f"of-{name}", "ownerReferences": above}}

    async def create(self, resource: Resource, body: Object, *, namespace: str = "") -> Object:
        self._called("create", resource)
        key = resource.plural, namespace, body["metadata"]["name"]
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", "already exists")
        self.objects[key] = dict(body)
        return body

    async def merge(self, resource: Resource, name: str, patch: Object, *, namespace: str = "") -> Object:
        self._called("patch", resource)
        found = self.objects.get((resource.plural, namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", "not found")
        found.update(patch)
        return found

    async def find(self, resource: Resource, *, fields: str, metadata_only: bool) -> list[Object]:
        assert (fields, metadata_only) == ("metadata.name=residency", True)
        self._called("list", resource)
        return [found for (plural, _, _), found in self.objects.items() if plural == resource.plural]

    async def apply(self, resource: Resource, body: Object, *, namespace: str = "") -> Object:
        self._called("apply", resource)
        if namespace in self.refusing:
            raise ApiError(403, "Forbidden", "exceeded quota: no-reports")
        self.objects[resource.plural, namespace, body["metadata"]["name"]] = body
        return body

    async def delete(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        self._called("delete", resource)
        self.objects.pop((resource.plural, namespace, name), None)

    def told(self) -> Mapping[tuple[str, str], Object]:
        """The Events, by the kind that they are about and their reason."""
        of = {key: body for key, body in self.objects.items() if key[0] == "events"}
        return {(body["regarding"]["kind"], body["reason"]): body for body in of.values()}


class Telling:
    """An EventWriter at work on a world."""

    def __init__(self, server: Server) -> None:
        self.server, self.world, self.metrics = server, World(), Metrics()
        self.writer = EventWriter(cast(Client, server), self.metrics, "me", lambda: self.world.time)
        self.world.pods(*WEB)

    async def settle(self) -> None:
        """Do what the audit does every second, and let everything be written."""
        self.writer.changed(self.world.picture.tally.take_changed(), self.world.picture)
        await asyncio.sleep(0.05)

    def count(self, result: str) -> float:
        """How many Events came to this."""
        shown = self.metrics.exposition().decode().splitlines()
        lines = [line for line in shown if line.startswith("residency_events_total{") and f'result="{result}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def telling(work: Callable[[Telling], Awaitable[None]]) -> None:
    """Let it work with a writer that runs."""

    async def run() -> None:
        it = Telling(Server())
        task = asyncio.create_task(it.writer.run())
        try:
            await work(it)
        finally:
            assert not task.done()
            task.cancel()

    asyncio.run(run())


def test_why_a_pod_was_evicted_is_told_of_the_pod_and_what_was_not_evicted_is_not_told_of() -> None:
    async def work(it: Telling) -> None:
        for name, result in ((WEB[0], EvictionResult.EVICTED), (WEB[1], EvictionResult.WOULD_EVICT)):
            nl = ClassificationName("nl")
            it.writer.corrected(Considered(nl, ("ns", name), "of-pod", result, "", dry_run=False, node="n"))
        await it.settle()
        ((about, body),) = it.server.told().items()
        assert about == ("Pod", "Evicted")
        assert (body["regarding"]["name"], body["regarding"]["uid"], body["type"]) == (WEB[0], "of-pod", "Normal")
        assert body["note"].startswith("Evicted from node n, where nl does not allow it.")

    telling(work)


def test_an_eviction_that_cannot_be_told_of_is_counted_and_ends_nothing() -> None:
    async def work(it: Telling) -> None:
        it.server.failing = Unreachable("nobody there")
        looked_at = Considered(ClassificationName("nl"), ("ns", "p"), "u", EvictionResult.EVICTED, "", dry_run=False)
        for _ in range(MOST_EVICTED + 3):
            it.writer.corrected(looked_at)
        await it.settle()
        assert it.count("failed") >= 1
        assert it.metrics.events_dropped._value.get() == 3

    telling(work)


def test_owners_are_asked_for_once() -> None:
    async def work(it: Telling) -> None:
        for country in ("US", "", "DE"):
            it.world.node("n", country)
            await it.settle()
        assert it.server.calls.count(("get", "replicasets")) == 1
        assert it.server.told()["Deployment", "Misplaced"]["related"]["name"] == WEB[0]

    telling(work)


def test_events_that_could_not_be_written_are_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAUSE", 0.01)

    async def work(it: Telling) -> None:
        it.server.failing = Unreachable("nobody there")
        it.world.node("n", "US")
        await it.settle()
        assert it.server.told() == {}
        assert it.count("failed") > 0
        it.server.failing = None
        await it.settle()
        assert it.server.told().keys() == {("Deployment", "Misplaced"), ("Node", "Misplaced")}

    telling(work)


def test_events_that_are_refused_are_not_tried_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "PAUSE", 0.01)

    async def work(it: Telling) -> None:
        it.server.failing = ApiError(403, "Forbidden", "you may not")
        it.world.node("n", "US")
        for _ in range(3):
            await it.settle()
        assert it.count("failed") == 2

    with caplog.at_level(logging.WARNING):
        telling(work)
    assert [record.message for record in caplog.records] == ["events cannot be written"]


def test_of_what_is_going_nothing_is_said_and_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async def work(it: Telling) -> None:
        it.server.failing = ApiError(403, "Forbidden", "unable to create new content because it is being terminated")
        it.world.node("n", "US")
        await it.settle()
        assert it.count("failed") == 0

    telling(work)
    assert caplog.records == []


def test_an_event_that_the_api_server_has_forgotten_is_written_anew() -> None:
    async def work(it: Telling) -> None:
        it.world.node("n", "US")
        await it.settle()
        it.server.objects.clear()
        it.world.time += events.PAUSE + 3600
        await it.settle()
        assert it.server.told().keys() == {("Deployment", "Misplaced"), ("Node", "Misplaced")}
        assert all("series" not in body for body in it.server.told().values())

    telling(work)


def test_an_object_that_comes_and_goes_is_told_of_only_so_often_and_in_the_end_rightly() -> None:
    async def work(it: Telling) -> None:
        for _ in range(BURST_EACH):
            for country in ("US", "NL"):
                it.world.node("n", country)
                await it.settle()
        written = it.count("written") + it.count("repeated")
        assert written == 2 * BURST_EACH
        assert it.count("limited") > 0
        it.world.time += 3600
        await it.settle()
        assert it.count("written") + it.count("repeated") == written + 2
        last = max(it.server.told().values(), key=lambda body: (body.get("series") or {}).get("lastObservedTime", ""))
        assert last["reason"] == "ComplianceRestored"

    telling(work)


class Reporting:
    """A ReportWriter at work on a world."""

    def __init__(self, server: Server, namespaces: int = 1) -> None:
        self.server, self.world = server, World()
        self.findings: list[Finding] | None = []
        self.writer = ReportWriter(cast(Client, server), Metrics(), self._found, lambda: self.world.time)
        for number in range(namespaces):
            self.world.picture.put_namespace(f"ns-{number}", NamespaceLabels("nl"))
            self.world.pods("web", namespace=f"ns-{number}")

    def _found(self) -> list[Finding] | None:
        return self.findings

    def look(self, after: float = 0.0, *, changed: bool = True) -> int:
        """Look after some seconds; how often the API server was asked for something."""
        self.world.time += after
        before = len(self.server.calls)
        self.writer.changed([("ns", "web")] if changed else [], self.world.picture)
        asyncio.run(self.writer.look())
        return len(self.server.calls) - before


def test_where_there_is_no_openreports_it_is_looked_for_now_and_then_and_nothing_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = Reporting(Server())
    it.server.openreports = False
    with caplog.at_level(logging.WARNING):
        assert it.look() == 1
        assert [it.look(1) for _ in range(3)] == [0, 0, 0]
        assert it.look(LOOK_AGAIN) == 1
    assert caplog.records == []
    it.server.openreports = True
    it.look(LOOK_AGAIN)
    assert it.server.objects.keys() == {("reports", "ns-0", "residency")}


def test_a_report_that_says_the_same_is_not_written_again() -> None:
    it = Reporting(Server())
    it.look()
    assert [it.look(60), it.look(60, changed=False)] == [0, 0]
    it.world.pods("further", namespace="ns-0")
    assert it.look(60, changed=False) == 1


def test_nothing_is_written_or_deleted_while_it_is_not_known_what_there_is_to_report() -> None:
    it = Reporting(Server())
    it.look()
    it.findings = None
    it.world.pods("further", namespace="ns-0")
    assert it.look(60) == 0
    it.findings = []
    assert it.look(60, changed=False) == 1


def test_a_failure_is_made_up_for() -> None:
    it = Reporting(Server(), namespaces=2)
    it.look()
    it.world.pods("further", namespace="ns-1")
    it.server.failing = Unreachable("nobody there")
    assert it.look(60) == 1
    it.server.failing = None
    assert it.look(1) == 0
    assert it.look(RETRY) == 1
    assert it.server.objects["reports", "ns-1", "residency"]["summary"]["pass"] == 2


def test_a_namespace_that_refuses_its_report_keeps_no_other_from_theirs() -> None:
    it = Reporting(Server(), namespaces=3)
    it.server.refusing = {"ns-0"}
    assert it.look() == 4, "one look for what is there, and three reports"
    assert {namespace for _, namespace, _ in it.server.objects} == {"ns-1", "ns-2"}
    assert it.look(60) == 0
    it.server.refusing = set()
    assert it.look(LOOK_AGAIN) == 1
    assert {namespace for _, namespace, _ in it.server.objects} == {"ns-0", "ns-1", "ns-2"}


def test_where_many_namespaces_refuse_their_reports_all_rest_and_then_the_next_are_tried() -> None:
    names = {f"ns-{number}" for number in range(MOST_REFUSED + 2)}
    it = Reporting(Server(), namespaces=len(names))
    it.server.refusing = set(sorted(names)[:MOST_REFUSED])
    it.look()
    assert it.server.objects == {}
    it.server.refusing = names - {sorted(names)[-1]}
    assert [it.look(60), it.look(LOOK_AGAIN)] == [0, MOST_REFUSED + 2]
    assert {namespace for _, namespace, _ in it.server.objects} == {sorted(names)[-1]}


def test_where_openreports_is_taken_away_it_is_looked_for_again() -> None:
    it = Reporting(Server())
    it.look()
    it.server.openreports = False
    it.server.objects.clear()
    it.world.pods("further", namespace="ns-0")
    it.look(60)
    # Perhaps it was only the namespace that was not found; but it was not.
    assert [it.look(RETRY), it.look(RETRY)] == [1, 0]
    assert it.server.calls[-1] == ("list", "reports")
    it.server.openreports = True
    it.look(LOOK_AGAIN)
    assert it.server.objects["reports", "ns-0", "residency"]["summary"]["pass"] == 2


def test_reports_from_before_go_with_their_namespaces_classification_and_those_of_others_stay() -> None:
    it = Reporting(Server())
    for namespace, labels in (("old", {"app.kubernetes.io/managed-by": "residency"}), ("theirs", {})):
        metadata = {"name": "residency", "namespace": namespace, "labels": labels}
        it.server.objects["reports", namespace, "residency"] = {"metadata": metadata}
    it.look()
    assert {namespace for _, namespace, _ in it.server.objects} == {"ns-0", "theirs"}


def test_reports_are_written_only_so_fast_and_all_in_the_end() -> None:
    it = Reporting(Server(), namespaces=2 * BURST)
    it.look()
    assert len(it.server.objects) == BURST
    it.look(1, changed=False)
    assert BURST < len(it.server.objects) < 2 * BURST
    it.look(60, changed=False)
    assert len(it.server.objects) == 2 * BURST


def test_one_report_is_written_only_so_often_and_in_the_end_says_what_is_so() -> None:
    it = Reporting(Server())
    it.look()
    writes = 0
    for number in range(20):
        it.world.pods(f"further-{number}", namespace="ns-0")
        writes += it.look(0.1)
    assert writes == REPORTS_EACH - 1
    it.look(60, changed=False)
    assert it.server.objects["reports", "ns-0", "residency"]["summary"]["pass"] == 21
