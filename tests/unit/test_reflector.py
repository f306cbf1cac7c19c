"""The reflector, against an HTTP server that lists and watches as told."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from residency.cluster.client import Client
from residency.cluster.connection import connect
from residency.cluster.reflector import Cause, Gap, Key, Metadata, Pace, Reflector
from residency.cluster.resources import PODS

Object = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUICK = Pace(first_pause=0.01, longest_pause=0.05, silence=5.0)


class Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class Pod(msgspec.Struct):
    metadata: Metadata
    spec: Spec


# What the server says


def pod(name: str, version: int, *, uid: str = "", node: str = "", padding: int = 0) -> Object:
    metadata = {"namespace": "n", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"nodeName": node, "volumes": [{"x": "y" * padding}]}, "status": {"z": [1]}}


def event(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


def failure(code: int, reason: str = "", message: str = "") -> bytes:
    return event("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": message})


def page(version: int, *items: Object, then: str = "") -> Answer:
    return _json({"metadata": {"resourceVersion": str(version), "continue": then}, "items": list(items)})


def refusal(code: int, reason: str = "", **headers: str) -> Answer:
    return _json({"kind": "Status", "code": code, "reason": reason, "message": "no"}, code, headers)


def _json(body: Object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


def watch(*chunks: bytes, then: str = "end", after: float = 0.0) -> Answer:
    """A watch that sends this, and then ends, is cut, or hangs."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        await asyncio.sleep(after)
        if then == "hang":
            await asyncio.sleep(60)
        if then == "cut":
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(0.01)
        return response

    return answer


class ApiServer:
    """Answers in turn, then lets watches hang; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if not self.answers:
            assert "watch" in request.query, "a list that the test did not expect"
            return await watch(then="hang")(request)
        with contextlib.suppress(ConnectionError):
            return await self.answers.pop(0)(request)
        return web.Response()

    @property
    def watched_from(self) -> list[str]:
        return [request.query["resourceVersion"] for request in self.asked if "watch" in request.query]

    @property
    def lists(self) -> list[web.Request]:
        return [request for request in self.asked if "watch" not in request.query]


@dataclass
class Seen:
    """Keeps a picture of its own from what it is told, and what it was told."""

    picture: dict[Key, Pod] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def put(self, key: Key, item: Pod, before: Pod | None) -> None:
        assert self.picture.get(key) is before
        self.picture[key] = item
        self.told.append(f"+{key[1]}" if before is None else f"~{key[1]}")

    def removed(self, key: Key, item: Pod) -> None:
        assert self.picture.pop(key) is item
        self.told.append(f"-{key[1]}")


@dataclass
class Run:
    """A reflector that runs, the server that it follows, and what it has handed over."""

    server: ApiServer
    client: Client
    seen: Seen = field(default_factory=Seen)
    pace: Pace = QUICK

    @contextlib.asynccontextmanager
    async def following(self, *answers: Answer, **options: Any) -> AsyncIterator[Reflector[Pod]]:
        """Run until the answers are used up and what came after them has begun."""
        self.server.answers = list(answers)
        reflector = Reflector(
            self.client, PODS, Pod, self.seen, **{"pace": self.pace, "missed": self.seen.gaps.append, **options}
        )
        task = asyncio.create_task(reflector.run())
        try:
            async with asyncio.timeout(10):
                while self.server.answers or len(self.server.asked) <= len(answers) or reflector.problem:
                    if task.done():
                        task.result()
                    await asyncio.sleep(0.002)
            yield reflector
            assert reflector.objects == self.seen.picture
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def versions(self) -> dict[str, str]:
        return {name: item.metadata.resource_version for (_, name), item in self.seen.picture.items()}


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    api = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    client = Client(await connect())
    yield Run(api, client)
    await client.close()
    await runner.cleanup()


def note_ceilings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let chance always give the middle, and note from between what it was asked to choose."""
    ceilings: list[float] = []

    def middle(low: float, high: float) -> float:
        ceilings.append(high)
        return (low + high) / 2

    monkeypatch.setattr("random.uniform", middle)
    return ceilings


# Lists


async def test_a_list_is_read_page_by_page_and_watched_from_its_version(run: Run) -> None:
    answers = page(7, pod("a", 1), pod("b", 2), then="more"), page(7, pod("c", 3))
    async with run.following(*answers, labels="x=y", fields="f=g") as reflector:
        assert run.versions() == {"a": "1", "b": "2", "c": "3"}
        assert reflector.synced.is_set()
        assert reflector.blind_for is None
        assert reflector.counts.lists == {Cause.START: 1}
        assert reflector.objects["n", "a"] == Pod(Metadata("a", "n", "uid-a", "1"), Spec(""))
    first, second, watching = run.server.asked
    assert (first.query.get("continue"), second.query["continue"]) == (None, "more")
    assert {request.query["labelSelector"] for request in run.server.asked} == {"x=y"}
    assert {request.query["fieldSelector"] for request in run.server.asked} == {"f=g"}
    assert (first.query["limit"], first.query.get("resourceVersion")) == ("500", None)
    assert watching.query["resourceVersion"] == "7"
    assert watching.query["allowWatchBookmarks"] == "true"
    assert 240 <= int(watching.query["timeoutSeconds"]) <= 300
    assert run.seen.gaps == []


async def test_an_empty_list_is_a_complete_picture(run: Run) -> None:
    async with run.following(_json({"metadata": {"resourceVersion": "7"}, "items": None})) as reflector:
        assert reflector.synced.is_set()
        assert reflector.objects == {}


async def test_a_list_that_expires_half_way_is_begun_again_in_larger_pages(run: Run) -> None:
    expired = page(7, pod("gone", 1), pod("a", 2), then="more"), refusal(410, "Expired")
    async with run.following(*expired, page(9, pod("a", 2), pod("b", 8))) as reflector:
        assert run.versions() == {"a": "2", "b": "8"}
        assert reflector.counts.lists == {Cause.EXPIRED: 1}
    assert [request.query["limit"] for request in run.server.lists] == ["500", "500", "1000"]
    assert "continue" not in run.server.lists[-1].query
    assert run.server.watched_from == ["9"]
    assert run.seen.told == ["+gone", "+a", "+b", "-gone"]


async def test_nothing_is_complete_before_the_last_page(run: Run) -> None:
    complete: list[bool] = []
    reflectors: list[Reflector[Pod]] = []

    async def last(request: web.Request) -> web.StreamResponse:
        complete.append(reflectors[0].synced.is_set())
        return await page(7)(request)

    run.server.answers = [page(7, pod("a", 1), then="more"), last]
    reflector = Reflector(run.client, PODS, Pod, run.seen, pace=QUICK)
    reflectors.append(reflector)
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(reflector.synced.wait(), 5)
    task.cancel()
    assert complete == [False]


@pytest.mark.parametrize("garbage", [b"<html>", b'{"metadata": {}, "items": [{"metadata": {"name": 7}}]}', b""])
async def test_a_list_that_cannot_be_read_is_asked_for_again(run: Run, garbage: bytes) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=garbage)

    async with run.following(answer, page(7, pod("a", 1))) as reflector:
        assert run.versions() == {"a": "1"}
        assert reflector.counts.lost == {Cause.GARBAGE: 1}


async def test_a_list_without_a_version_is_not_taken_for_complete(run: Run) -> None:
    async with run.following(_json({"metadata": {}, "items": []}), page(7)) as reflector:
        assert reflector.counts.lost == {Cause.GARBAGE: 1}
        assert reflector.counts.lists == {Cause.START: 1}


# Watches


async def test_events_change_the_picture(run: Run) -> None:
    events = (
        event("ADDED", pod("b", 8)),
        event("MODIFIED", pod("a", 9, node="node-1")),
        event("DELETED", pod("b", 10)),
        event("ADDED", pod("c", 11)),
    )
    async with run.following(page(7, pod("a", 1)), watch(b"".join(events))) as reflector:
        assert run.versions() == {"a": "9", "c": "11"}
        assert reflector.objects["n", "a"].spec.node_name == "node-1"
        assert (reflector.counts.puts, reflector.counts.removals) == (4, 1)
    assert run.seen.told == ["+a", "+b", "~a", "-b", "+c"]
    assert run.server.watched_from == ["7", "11"]


async def test_events_may_arrive_in_any_pieces(run: Run) -> None:
    data = event("ADDED", pod("a", 8)) + event("ADDED", pod("b", 9)) + b"\n" + event("ADDED", pod("c", 10))
    for size in (1, 7, 100, len(data)):
        run.seen, run.server.asked = Seen(), []
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        async with run.following(page(7), watch(*pieces)):
            assert run.versions() == {"a": "8", "b": "9", "c": "10"}


async def test_an_event_may_be_very_long(run: Run) -> None:
    events = event("ADDED", pod("a", 8, padding=9_000_000)), event("ADDED", pod("b", 9))
    async with run.following(page(7), watch(*events)):
        assert run.versions() == {"a": "8", "b": "9"}


async def test_a_watch_goes_on_from_the_last_bookmark(run: Run) -> None:
    async with run.following(page(7), watch(event("ADDED", pod("a", 8)), bookmark(20))) as reflector:
        assert reflector.counts.bookmarks == 1
    assert run.server.watched_from == ["7", "20"]
    assert len(run.server.lists) == 1


async def test_a_watch_that_ends_by_itself_is_begun_again_at_once(run: Run) -> None:
    run.pace = Pace(first_pause=30)
    async with run.following(page(7), watch(event("ADDED", pod("a", 8))), watch(bookmark(9))) as reflector:
        assert reflector.counts.lost == {Cause.ENDED: 2}
    assert [(gap.cause, gap.relisted) for gap in run.seen.gaps] == [(Cause.ENDED, False)] * 2


async def test_watches_that_end_at_once_and_empty_are_begun_again_ever_more_slowly(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings = note_ceilings(monkeypatch)
    async with run.following(page(7), *[watch()] * 5):
        pass
    assert [high for high in ceilings if high < 1] == pytest.approx([0.01, 0.02, 0.04, 0.05, 0.05])


async def test_an_event_makes_pauses_short_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ceilings = note_ceilings(monkeypatch)
    cut = watch(bookmark(9), then="cut")
    async with run.following(refusal(500), refusal(500), page(7), refusal(500), cut, refusal(500)):
        pass
    assert [high for high in ceilings if high < 1] == pytest.approx([0.01, 0.02, 0.04, 0.01, 0.02])


async def test_a_watch_cut_in_the_middle_of_a_line_goes_on_from_the_last_whole_one(run: Run) -> None:
    cut = watch(event("ADDED", pod("a", 8)), event("ADDED", pod("b", 9))[:40], then="cut")
    async with run.following(page(7), cut, watch(event("ADDED", pod("b", 9)))) as reflector:
        assert run.versions() == {"a": "8", "b": "9"}
        assert reflector.counts.lost[Cause.CUT] == 1
    assert run.server.watched_from == ["7", "8", "9"]
    assert run.seen.gaps[0].cause == Cause.CUT
    assert not run.seen.gaps[0].relisted


@pytest.mark.parametrize(
    "garbage",
    [b"<html>\n", b'{"type":"ADDED","object":{"metadata"\n', b'{"type":"NEW","object":{}}\n', b'{"type":"ADDED"}\n'],
)
async def test_a_line_that_cannot_be_read_is_asked_for_again(run: Run, garbage: bytes) -> None:
    broken = watch(event("ADDED", pod("a", 8)), garbage, event("ADDED", pod("c", 10)))
    whole = watch(event("ADDED", pod("b", 9)), event("ADDED", pod("c", 10)))
    async with run.following(page(7), broken, whole) as reflector:
        assert run.versions() == {"a": "8", "b": "9", "c": "10"}
        assert reflector.counts.lost[Cause.GARBAGE] == 1
    assert run.server.watched_from == ["7", "8", "10"]


async def test_a_line_that_stays_unreadable_ends_in_a_list(run: Run) -> None:
    answers = page(7), watch(b"garbage\n"), watch(b"garbage\n"), page(9, pod("a", 8))
    async with run.following(*answers) as reflector:
        assert reflector.counts.lists == {Cause.START: 1, Cause.GARBAGE: 1}
    assert run.server.watched_from == ["7", "7", "9"]


async def test_a_connection_silent_while_something_happened_is_a_gap_from_its_last_byte(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, silence=0.3)
    silent = watch(bookmark(8), then="hang")
    async with run.following(page(7), silent, page(9, pod("a", 9))) as reflector:
        assert reflector.counts.lost == {Cause.SILENT: 1}
        assert reflector.counts.lists == {Cause.START: 1, Cause.SILENT: 1}
    assert run.server.watched_from == ["7", "9"]
    (gap,) = run.seen.gaps
    assert (gap.cause, gap.relisted) == (Cause.SILENT, True)
    assert 0.3 <= gap.seconds < 2


async def test_where_nothing_happened_silence_is_no_gap(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, silence=0.3)
    async with run.following(page(7, pod("a", 6)), watch(then="hang"), page(9, pod("a", 6))) as reflector:
        assert reflector.counts.lists == {Cause.START: 1, Cause.SILENT: 1}
        assert reflector.blind_for is None
    assert run.server.watched_from == ["7", "9"]
    assert run.seen.gaps == []


async def test_silence_followed_by_an_outage_is_a_gap(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, silence=0.3)
    async with run.following(page(7), watch(then="hang"), refusal(503), page(7)):
        pass
    (gap,) = run.seen.gaps
    assert (gap.cause, gap.relisted) == (Cause.REFUSED, True)


async def test_a_silence_is_a_gap_from_its_last_byte_also_where_the_list_fails_half_way(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, silence=0.3)
    half = page(9, pod("a", 9), then="more"), refusal(503)
    async with run.following(page(7), watch(bookmark(8), then="hang"), *half, page(9, pod("a", 9))):
        pass
    (gap,) = run.seen.gaps
    assert gap.relisted
    assert 0.3 <= gap.seconds < 2


async def test_a_watch_that_does_not_end_in_time_is_ended(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, watch_seconds=(1.0, 1.0), grace=0.1)
    started = time.monotonic()
    async with run.following(page(7), watch(bookmark(8), then="hang"), page(8)) as reflector:
        assert reflector.counts.lost == {Cause.SILENT: 1}
    assert time.monotonic() - started >= 1.1
    assert run.server.asked[1].query["timeoutSeconds"] == "1"


# Relists


EXPIRED = [
    watch(event("ADDED", pod("b", 8)), failure(410, "Expired", "too old resource version: 8 (20)")),
    watch(event("ADDED", pod("b", 8)), failure(0, "Expired")),
]


@pytest.mark.parametrize("expired", EXPIRED)
async def test_a_deletion_hidden_by_a_relist_arrives(run: Run, expired: Answer) -> None:
    relist = page(30, pod("b", 8), pod("c", 25), then="more"), page(30, pod("d", 3))
    async with run.following(page(7, pod("a", 1), pod("d", 3)), expired, *relist) as reflector:
        assert run.versions() == {"b": "8", "c": "25", "d": "3"}
        assert reflector.counts.lists == {Cause.START: 1, Cause.EXPIRED: 1}
    # What has not changed is not told again.
    assert run.seen.told == ["+a", "+d", "+b", "+c", "-a"]
    assert run.server.watched_from == ["7", "30"]
    assert [(gap.cause, gap.relisted) for gap in run.seen.gaps] == [(Cause.EXPIRED, True)]


async def test_a_watch_refused_as_too_old_ends_in_a_list(run: Run) -> None:
    async with run.following(page(7, pod("a", 1)), refusal(410, "Expired"), page(30, pod("b", 8))) as reflector:
        assert run.versions() == {"b": "8"}
        assert reflector.counts.lost == {Cause.EXPIRED: 1}


async def test_a_relist_that_fails_half_way_removes_nothing(run: Run) -> None:
    answers = page(7, pod("a", 1)), refusal(410), page(30, pod("b", 8), then="more"), refusal(500)
    held: list[list[str]] = []

    async def retry(request: web.Request) -> web.StreamResponse:
        held.append(sorted(run.versions()))
        return await page(31, pod("b", 8))(request)

    async with run.following(*answers, retry):
        assert held == [["a", "b"]]
        assert run.versions() == {"b": "8"}
    (gap,) = run.seen.gaps
    assert (gap.cause, gap.relisted) == (Cause.EXPIRED, True)


async def test_another_object_under_the_same_name_is_another(run: Run) -> None:
    again = watch(event("MODIFIED", pod("a", 8, uid="second")))
    async with run.following(page(7, pod("a", 1, uid="first")), again):
        assert run.seen.picture["n", "a"].metadata.uid == "second"
    assert run.seen.told == ["+a", "-a", "+a"]


async def test_another_object_under_the_same_name_is_another_in_a_list_too(run: Run) -> None:
    answers = page(7, pod("a", 1, uid="first")), refusal(410), page(9, pod("a", 8, uid="second"))
    async with run.following(*answers):
        assert run.seen.picture["n", "a"].metadata.uid == "second"
    assert run.seen.told == ["+a", "-a", "+a"]


async def test_an_error_in_a_watch_is_no_reason_for_a_list_unless_it_comes_again(run: Run) -> None:
    failed = watch(failure(500, "InternalError", "etcd event received with PrevKv=nil"))
    async with run.following(page(7), failed, watch(bookmark(8)), failed, failed, page(9)) as reflector:
        assert reflector.counts.lost[Cause.FAILED] == 3
        assert reflector.counts.lists == {Cause.START: 1, Cause.FAILED: 1}
    assert run.server.watched_from == ["7", "7", "8", "8", "9"]


async def test_from_time_to_time_everything_is_listed(run: Run) -> None:
    run.pace = Pace(first_pause=0.01, check_seconds=1.0)
    ends = watch(bookmark(8), after=1.2)
    async with run.following(page(7, pod("ghost", 1)), ends, page(9)) as reflector:
        assert reflector.counts.lists == {Cause.START: 1, Cause.CHECK: 1}
        assert run.versions() == {}
    assert int(run.server.asked[1].query["timeoutSeconds"]) == 1
    assert [gap.relisted for gap in run.seen.gaps] == [True]


# Refusals


async def test_whatever_the_server_answers_it_is_asked_again(run: Run) -> None:
    answers = refusal(500), refusal(403), page(7), refusal(503), refusal(404), watch(event("ADDED", pod("a", 8)))
    async with run.following(*answers) as reflector:
        assert run.versions() == {"a": "8"}
        assert reflector.counts.lost[Cause.REFUSED] == 4
        assert reflector.counts.lists == {Cause.START: 1}


@pytest.mark.parametrize("at", ["list", "watch"])
async def test_a_server_that_asks_for_a_pause_gets_it(run: Run, at: str) -> None:
    refused = refusal(429, "TooManyRequests", **{"Retry-After": "1"})
    answers = (refused, page(7)) if at == "list" else (page(7), refused)
    started = time.monotonic()
    async with run.following(*answers) as reflector:
        assert reflector.counts.lost == {Cause.THROTTLED: 1}
    assert 1.0 <= time.monotonic() - started < 3


async def test_while_there_is_no_watch_it_says_since_when_and_why(run: Run) -> None:
    async with run.following(page(7)) as reflector:
        run.server.answers = [refusal(500)] * 1000
        for request in run.server.asked[1:]:
            assert request.transport is not None
            request.transport.close()
        await asyncio.sleep(0.3)
        blind = reflector.blind_for
        assert blind is not None
        assert 0.2 < blind < 2
        assert "500" in reflector.problem
        assert reflector.synced.is_set()
        run.server.answers = []
        await asyncio.sleep(0.3)
        assert (reflector.blind_for, reflector.problem) == (None, "")
        assert time.monotonic() - (reflector.last_contact or 0) < 1
    (gap,) = run.seen.gaps
    assert (gap.cause, gap.relisted) == (Cause.CUT, False)
    assert reflector.counts.gaps == {Cause.CUT: 1}
    assert reflector.counts.gap_seconds == {Cause.CUT: gap.seconds}


async def test_a_reader_that_is_slow_misses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put = run.seen.put

    def slow(key: Key, item: Pod, before: Pod | None) -> None:
        time.sleep(0.001)
        put(key, item, before)

    monkeypatch.setattr(run.seen, "put", slow)
    events = [event("ADDED", pod(f"p{number}", 8 + number, padding=20_000)) for number in range(500)]
    async with run.following(page(7), watch(*events)):
        assert len(run.seen.picture) == 500


async def test_what_the_sink_raises_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise TimeoutError("a bug in the sink")

    run.server.answers = [page(7), watch(event("ADDED", pod("a", 8)), then="hang")]
    monkeypatch.setattr(run.seen, "put", broken)
    with pytest.raises(TimeoutError, match="a bug in the sink"):
        await asyncio.wait_for(Reflector(run.client, PODS, Pod, run.seen, pace=QUICK).run(), 5)
