"""When the controller acts on what planners decide, on what it reads before, and what it makes of the answers."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from residency.api.classification import EvictionStatus
from residency.api.names import CLASSIFICATION, ClassificationName, EvictionResult, Fact, Mode
from residency.audit.eviction import Order
from residency.audit.shapes import PodShapes
from residency.audit.tally import PodKey
from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import (
    ACCESS_REVIEWS,
    CLAIMS,
    CLASSIFICATIONS,
    NAMESPACES,
    NODES,
    PODS,
    VOLUMES,
    Resource,
)
from residency.controller import reconcile
from residency.controller.auditing import Audit
from residency.controller.catalogue import plan
from residency.controller.evicting import ASK_AGAIN, Considered, Evictor, Orders
from residency.controller.reconcile import Reconciler
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from residency.policy.compile import CompiledPolicies, Settings
from residency.reporting.eviction import LOWER_MODE, NOT_IN_FORCE
from residency.reporting.metrics import Metrics

Object = dict[str, Any]

NL = ClassificationName("nl")
COUNTRY = Fact.COUNTRY.value
DUTCH = Requirement(COUNTRY, Operator.IN, ("NL",))
CATALOGUE = {NL: restore(NL, "Dutch", (), Placement(((DUTCH,),)))}
ORDER = Order(600)


class Api:
    """Answers as an API server that holds a few objects; notes what was evicted."""

    def __init__(self) -> None:
        self.allowed = True
        self.asked = 0
        self.evicted: list[tuple[str, str, str, bool]] = []
        self.refusal: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while a node is read."""
        self.objects: dict[tuple[str, str], Object] = {
            (NODES.plural, "here"): {"metadata": {"name": "here", "labels": {COUNTRY: "US"}}},
            (NAMESPACES.plural, "ns"): {"metadata": {"labels": {CLASSIFICATION: "nl"}}},
            (CLAIMS.plural, "data"): {"spec": {"volumeName": "pv"}},
            (VOLUMES.plural, "pv"): {"spec": {}},
        }

    def add(self, name: str, spec: Object | None = None, uid: str = "u") -> None:
        stem = name.rpartition("-")[0]
        self.objects[PODS.plural, name] = {
            "metadata": {
                "name": name,
                "uid": uid,
                "creationTimestamp": "2026-11-23T12:00:00Z",
                "labels": {"pod-template-hash": stem},
                "ownerReferences": [{"kind": "ReplicaSet", "name": stem, "uid": stem, "controller": True}],
            },
            "spec": {"nodeName": "here", **(spec or {})},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }

    def set_ready(self, name: str, *, ready: bool) -> None:
        (condition,) = self.objects[PODS.plural, name]["status"]["conditions"]
        condition["status"] = str(ready)

    async def find_as(self, item: type[Any], resource: Resource, *, namespace: str, labels: str) -> list[Any]:
        assert (resource, namespace) == (PODS, "ns")
        key, _, value = labels.partition("=")
        pods = [found for (plural, _), found in self.objects.items() if plural == PODS.plural]
        return [msgspec.convert(pod, item) for pod in pods if pod["metadata"]["labels"].get(key) == value]

    async def get(self, resource: Resource, name: str, *, namespace: str = "", metadata_only: bool = False) -> Object:
        assert namespace == ("ns" if resource in (PODS, CLAIMS) else "")
        assert metadata_only is (resource is NAMESPACES)
        if resource is NODES:
            self.meanwhile()
        if (resource.plural, name) not in self.objects:
            raise ApiError(404, "NotFound", name)
        return self.objects[resource.plural, name]

    async def create(self, resource: Resource, body: Object) -> Object:
        assert resource is ACCESS_REVIEWS
        assert body["spec"]["resourceAttributes"] == {"verb": "create", "resource": "pods", "subresource": "eviction"}
        self.asked += 1
        return {"status": {"allowed": self.allowed}}

    async def evict(self, name: str, *, namespace: str, uid: str, dry_run: bool = False) -> None:
        self.evicted.append((namespace, name, uid, dry_run))
        if self.refusal is not None:
            raise self.refusal


class Site:
    """An evictor whose clock is set by hand, and an audit whose reflectors never ran."""

    def __init__(self, order: Order = ORDER) -> None:
        self.time, self.order, self.api, self.metrics = 1000.0, order, Api(), Metrics()
        client = cast(Client, self.api)
        self.audit = Audit(client, (), clock=lambda: self.time)
        self.evictor = Evictor(
            client, self.audit, self.metrics, clock=lambda: self.time, wall=lambda: 1.8e9 + self.time
        )
        self.heard: list[Considered] = []
        self.evictor.heard_by.append(self.heard.append)
        self.audit.judge_by(CATALOGUE)
        for reflector in self.audit.watched.values():
            reflector.synced.set()
        picture = self.picture
        picture.put_namespace("ns", NamespaceLabels("nl"))
        picture.put_node(NodeView.of("here", {COUNTRY: "US"}))
        picture.put_node(NodeView.of("there", {COUNTRY: "NL"}))
        self.shapes = PodShapes()
        for name in ("web-1-a", "api-1-a"):
            self.pod(name)
            self.api.add(name)
        self.audit._notify()

    @property
    def picture(self) -> Any:
        assert self.audit.complete is not None
        return self.audit.complete

    def pod(self, name: str, namespace: str = "ns") -> None:
        view = PodView({}, (Term((DUTCH,)),), node_name="here")
        self.picture.put_pod((namespace, name), "here", self.shapes.of(view))

    def go(self) -> None:
        self.evictor.go(Orders({NL: self.order}, CATALOGUE), [NL])

    def pass_by(self, seconds: float) -> None:
        """Let some seconds pass, in which it looks every second."""
        for _ in range(round(seconds)):
            self.time += 1
            self.audit._notify()
            asyncio.run(self.evictor._round())

    def status(self) -> EvictionStatus:
        return EvictionStatus.parse(self.evictor.tell(NL, self.order, None))

    def counted(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        samples = [sample for family in families for sample in family.samples]
        return {s.labels["result"]: s.value for s in samples if s.name == "residency_evictions_total"}


@pytest.fixture
def site() -> Site:
    made = Site()
    made.go()
    return made


def test_it_evicts_the_very_pod_that_it_has_read(site: Site) -> None:
    site.pass_by(3)
    assert sorted(site.api.evicted) == [("ns", "api-1-a", "u", False), ("ns", "web-1-a", "u", False)]
    assert site.counted() == {"evicted": 2}
    assert {(one.pod, one.result, one.dry_run) for one in site.heard} == {
        (("ns", name), EvictionResult.EVICTED, False) for name in ("api-1-a", "web-1-a")
    }


def test_without_orders_it_does_nothing() -> None:
    site = Site()
    site.pass_by(30)
    site.go()
    site.evictor.pause()
    site.pass_by(30)
    site.evictor.go(Orders({}, CATALOGUE), [NL])
    site.pass_by(30)
    assert site.api.evicted == []
    assert site.api.asked == 0


def test_on_a_picture_that_is_not_watched_it_does_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = site.audit.watched["nodes"]
    monkeypatch.setattr(type(nodes), "blind_for", 0.1)
    site.pass_by(30)
    assert site.api.evicted == []
    monkeypatch.setattr(type(nodes), "blind_for", None)
    nodes.synced.clear()
    site.pass_by(30)
    assert site.api.evicted == []
    nodes.synced.set()
    site.pass_by(3)
    assert len(site.api.evicted) == 2


def test_what_stops_while_it_reads_stops_the_eviction(site: Site) -> None:
    site.api.meanwhile = site.evictor.pause
    site.pass_by(1)
    assert site.api.evicted == []
    site.api.meanwhile = lambda: site.evictor.go(Orders({NL: ORDER}, CATALOGUE), [NL])
    site.go()
    site.pass_by(1)
    assert site.api.evicted == [], "other orders are not those that it was judged by"
    site.api.meanwhile = site.audit._begin
    site.pass_by(1)
    assert site.api.evicted == [], "the audit has begun again from nothing"


def test_a_picture_that_began_anew_is_taken_in_as_a_whole(site: Site) -> None:
    site.audit._begin()
    site.audit.judge_by(CATALOGUE)
    for reflector in site.audit.watched.values():
        reflector.synced.set()
    site.picture.put_namespace("ns", NamespaceLabels("nl"))
    site.picture.put_node(NodeView.of("here", {COUNTRY: "US"}))
    site.picture.put_node(NodeView.of("there", {COUNTRY: "NL"}))
    site.pod("web-1-a")
    site.pass_by(3)
    assert site.api.evicted == [("ns", "web-1-a", "u", False)]


def test_what_it_reads_counts_and_not_what_the_picture_says(site: Site) -> None:
    labels = site.api.objects[NODES.plural, "here"]["metadata"]["labels"]
    labels[COUNTRY] = "NL"
    site.pass_by(3)
    assert site.api.evicted == []
    assert site.counted() == {"changed": 2}
    labels[COUNTRY] = "US"
    del site.api.objects[NAMESPACES.plural, "ns"]["metadata"]["labels"][CLASSIFICATION]
    site.pass_by(12)
    assert site.api.evicted == []


def test_pods_in_a_lower_mode_and_those_put_right_are_not_even_looked_at(site: Site) -> None:
    site.picture.put_namespace("ns", NamespaceLabels("nl", str(Mode.WARN)))
    site.pass_by(30)
    assert site.counted() == {}
    site.picture.put_namespace("ns", NamespaceLabels("nl"))
    site.picture.put_node(NodeView.of("here", {COUNTRY: "NL"}))
    site.pass_by(30)
    assert site.counted() == {}
    assert site.status().state == "Idle"


def test_a_volume_that_is_not_there_keeps_its_pod(site: Site) -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    site.api.add("web-1-a", {"volumes": volumes})
    site.api.add("api-1-a", {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "lost"}}]})
    site.pass_by(3)
    assert [name for _, name, *_ in site.api.evicted] == ["web-1-a"]
    assert site.counted() == {"evicted": 1, "nowhere-to-go": 1}
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["here"]}]}]
    site.api.objects[VOLUMES.plural, "pv"]["spec"] = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}
    site.pod("local-1-a")
    site.api.add("local-1-a", {"volumes": volumes})
    site.pass_by(3)
    assert site.counted()["nowhere-to-go"] == 2


@pytest.mark.parametrize(
    ("refusal", "result"),
    [
        (ApiError(429, "TooManyRequests", "budget", causes=("DisruptionBudget",)), "blocked-by-budget"),
        (ApiError(429, "TooManyRequests", "busy"), "failed"),
        (ApiError(404, "NotFound", "gone"), "changed"),
        (ApiError(409, "Conflict", "another uid"), "changed"),
        (ApiError(500, "InternalError", "more than one budget"), "failed"),
        (Unreachable("no answer"), "failed"),
    ],
)
def test_what_the_api_server_answers_is_told_and_tried_again_later(site: Site, refusal: Exception, result: str) -> None:
    site.api.refusal = refusal
    site.pass_by(4)
    assert set(site.counted()) == {result}
    assert len(site.api.evicted) <= 2
    site.api.refusal = None
    site.pass_by(60)
    assert site.counted()["evicted"] >= 2


@pytest.mark.parametrize("answer", [Unreachable("no answer"), ApiError(504, "Timeout", "too late")])
def test_an_eviction_that_was_not_answered_counts_against_the_rate(answer: Exception) -> None:
    site = Site(Order(2))
    site.go()
    site.api.refusal = answer
    site.pass_by(31)
    assert len(site.api.evicted) == 1
    site.api.refusal = None
    site.pass_by(28)
    assert len(site.api.evicted) == 1
    site.pass_by(4)
    assert len(site.api.evicted) == 2


def test_the_next_of_a_workload_waits_for_another_in_the_place_of_the_last(site: Site) -> None:
    site.pod("web-1-b")
    site.api.add("web-1-b")
    site.pass_by(3)
    (first,) = [name for _, name, *_ in site.api.evicted if name.startswith("web")]
    site.picture.remove_pod(("ns", first))
    at_home = PodView({}, (Term((DUTCH,)),), node_name="there")
    for other in (("ns", "other-1-a"), ("elsewhere", "web-1-c")):
        site.picture.put_pod(other, "there", site.shapes.of(at_home))
    site.pass_by(100)
    assert site.status().state == "Halted"
    assert len([name for _, name, *_ in site.api.evicted if name.startswith("web")]) == 1
    site.picture.put_pod(("ns", "web-1-c"), "there", site.shapes.of(at_home))
    site.pass_by(3)
    assert {name for _, name, *_ in site.api.evicted} == {"web-1-a", "web-1-b", "api-1-a"}


def test_the_next_of_a_workload_waits_until_the_others_are_ready(site: Site) -> None:
    """There is no PodDisruptionBudget, and what replaces the first never becomes Ready."""
    site.pod("web-1-b")
    site.api.add("web-1-b", uid="v")
    site.pass_by(3)
    (first,) = [name for _, name, *_ in site.api.evicted if name.startswith("web")]
    site.picture.remove_pod(("ns", first))
    del site.api.objects[PODS.plural, first]
    at_home = PodView({}, (Term((DUTCH,)),), node_name="there")
    site.picture.put_pod(("ns", "web-1-c"), "there", site.shapes.of(at_home))
    site.api.add("web-1-c", {"nodeName": "there"}, uid="w")
    site.api.set_ready("web-1-c", ready=False)
    site.pass_by(120)
    assert len([name for _, name, *_ in site.api.evicted if name.startswith("web")]) == 1
    assert site.counted()["others-not-ready"] >= 3
    assert "web-1-c, of the same owner, is not Ready" in site.status().message
    site.api.set_ready("web-1-c", ready=True)
    site.pass_by(200)
    assert {name for _, name, *_ in site.api.evicted} == {"web-1-a", "web-1-b", "api-1-a"}


def test_a_pod_that_somebody_else_deletes_is_waited_for(site: Site) -> None:
    site.api.add("web-1-b", uid="v")
    site.api.objects[PODS.plural, "web-1-b"]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    site.pass_by(4)
    assert [name for _, name, *_ in site.api.evicted] == ["api-1-a"]
    del site.api.objects[PODS.plural, "web-1-b"]
    site.pass_by(6)
    assert [name for _, name, *_ in site.api.evicted] == ["api-1-a", "web-1-a"]


def test_a_dry_run_asks_for_no_more_than_an_answer() -> None:
    site = Site(Order(600, dry_run=True))
    site.go()
    site.pass_by(30)
    assert sorted(site.api.evicted) == [("ns", "api-1-a", "u", True), ("ns", "web-1-a", "u", True)]
    assert site.counted() == {"would-evict": 2}
    assert site.status().dry_run


def test_without_the_right_it_does_not_try_and_asks_now_and_then(site: Site) -> None:
    site.api.allowed = False
    site.pass_by(ASK_AGAIN - 1)
    assert (site.api.asked, site.api.evicted) == (1, [])
    assert site.status().state == "NotPermitted"
    site.api.allowed = True
    site.pass_by(5)
    assert len(site.api.evicted) == 2


def test_a_right_that_was_taken_away_is_asked_for_again_at_once(site: Site) -> None:
    site.api.refusal = ApiError(403, "Forbidden", "may not")
    site.pass_by(1)
    site.api.allowed = False
    site.pass_by(30)
    assert len(site.api.evicted) == 1
    assert site.status().state == "NotPermitted"


def test_nothing_is_remembered_of_a_classification_that_asks_for_it_no_more(site: Site) -> None:
    site.pass_by(2)
    site.evictor.go(Orders({}, CATALOGUE), [])
    assert site.evictor._planners == {}
    evicted = list(site.api.evicted)
    site.pass_by(60)
    assert site.api.evicted == evicted


@pytest.mark.parametrize(("withheld", "state"), [(LOWER_MODE, "LowerMode"), (NOT_IN_FORCE, "Suspended")])
def test_a_status_says_why_nothing_is_evicted(site: Site, withheld: Any, state: str) -> None:
    assert EvictionStatus.parse(site.evictor.tell(NL, ORDER, withheld)).state == state


def test_a_status_is_news_once_it_says_what_is_not_so_any_more(site: Site) -> None:
    assert site.evictor._has_news(), "nothing was told yet"
    site.evictor.tell(NL, ORDER, None)
    assert not site.evictor._has_news()
    site.pass_by(2)
    assert site.evictor._has_news()
    site.evictor.tell(NL, ORDER, None)
    assert not site.evictor._has_news()


async def test_a_failure_of_its_own_ends_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residency.controller.evicting.REST", 0.0)
    monkeypatch.setattr("residency.controller.evicting.LOOK", 0.01)
    rounds: list[PodKey | None] = []

    async def failing() -> bool:
        rounds.append(None)
        raise RuntimeError("a bug")

    monkeypatch.setattr(site.evictor, "_round", failing)
    task = asyncio.create_task(site.evictor.run(lambda: None))
    async with asyncio.timeout(5):
        while len(rounds) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_pass_that_comes_to_nothing_leaves_it_without_orders(site: Site) -> None:
    """What it was given by the pass before may not be so any more."""

    class Away:
        async def find(self, resource: Resource) -> list[Object]:
            raise Unreachable(resource.plural)

    settings = Settings("residency-system", "residency-canary")
    client = cast(Client, Away())
    reconciler = Reconciler(client, settings, cast(Any, None), site.metrics, site.audit, site.evictor)
    with pytest.raises(Unreachable):
        await reconciler.reconcile()
    assert site.evictor._orders is None


async def test_nobody_is_judged_again_and_again_by_policies_that_the_api_server_does_not_take(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs would be found misplaced, and not so any more, with every pass."""
    spec = {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}}
    head = {"apiVersion": "residency.dev/v1alpha1", "kind": "DataClassification"}
    raw = head | {"metadata": {"name": "nl", "uid": "u", "generation": 1}, "spec": spec}
    judged: list[set[str]] = []
    refusing = True

    class There:
        async def find(self, resource: Resource, **_: Any) -> list[Object]:
            return [raw] if resource is CLASSIFICATIONS else []

        async def find_as(self, *_: Any, **__: Any) -> list[Any]:
            return []

    async def roll_out(wanted: Any, _: Any) -> Any:
        if refusing and wanted.catalogue:
            raise ApiError(422, "Invalid", "too much")
        return SimpleNamespace(holds=True)

    async def ends(*_: Any) -> None:
        raise Unreachable("far enough")

    settings = Settings("residency-system", "residency-canary")
    client = cast(Client, There())
    reconciler = Reconciler(client, settings, cast(Any, None), site.metrics, site.audit, site.evictor)
    monkeypatch.setattr(site.audit, "judge_by", lambda catalogue: judged.append(set(catalogue)))
    monkeypatch.setattr(reconciler, "_keep_finalizers", lambda _: asyncio.sleep(0))
    monkeypatch.setattr(reconciler, "_roll_out", roll_out)
    monkeypatch.setattr(reconciler, "_waiting", ends)
    for _ in range(3):
        with pytest.raises(Unreachable):
            await reconciler.reconcile()
    assert judged == [{"nl"}, set(), set(), set()], "once, until it was refused"
    judged.clear()
    refusing = False
    for _ in range(2):
        with pytest.raises(Unreachable):
            await reconciler.reconcile()
    assert judged == [{"nl"}] * 3, "as soon as it is taken, and then at once"


def found(*, holds: bool = True, **spec: Any) -> Any:
    raw = {
        "apiVersion": "residency.dev/v1alpha1",
        "kind": "DataClassification",
        "metadata": {"name": "nl", "generation": 3} | ({"deletionTimestamp": "now"} if spec.pop("deleted", 0) else {}),
        "spec": {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}, "runningPods": "Evict", **spec},
    }
    planned = plan([raw], lambda _: CompiledPolicies("r", ()))
    proof = cast(Any, SimpleNamespace(holds=holds))
    findings = reconcile._Findings(planned, proof, {}, None, None, False, lambda *_: {})
    return findings.withheld(planned.entries[0])


def test_nothing_may_be_evicted_but_for_what_is_in_force_and_enforced() -> None:
    assert found() is None
    assert found(mode="Warn") == found(mode="Audit") == LOWER_MODE
    assert found(holds=False) == found(deleted=1) == found(includes=["nobody"]) == NOT_IN_FORCE
