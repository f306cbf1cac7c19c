"""The elector, against a Lease in memory and a clock that is set by hand."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import Resource
from residency.controller.lease import Elector, LeaseLost, Observation, Timing

Object = dict[str, Any]
FAST = Timing(duration=3, deadline=2, retry=0.001)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class LeaseServer:
    """One Lease with optimistic locking, and failures on demand."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.failure: Exception | None = None
        self.before_write: Callable[[], None] = lambda: None

    async def get(self, *_: object, **__: object) -> Object:
        self._fail()
        if self.lease is None:
            raise ApiError(404, "NotFound", "no such lease")
        return self.lease

    async def create(self, _: Resource, body: Object, **__: object) -> Object:
        self._fail()
        self.before_write()
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "there is one")
        return self._store(body, 1)

    async def replace(self, _: Resource, body: Object, **__: object) -> Object:
        self._fail()
        self.before_write()
        assert self.lease is not None
        version = self.lease["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "changed meanwhile")
        return self._store(body, version + 1)

    def taken_by(self, holder: str) -> None:
        assert self.lease is not None
        self._store(self.lease | {"spec": self.lease["spec"] | {"holderIdentity": holder}}, self.version + 1)

    def renewed(self) -> None:
        assert self.lease is not None
        renewed = self.lease["spec"] | {"renewTime": f"renewal {self.version}"}
        self._store(self.lease | {"spec": renewed}, self.version + 1)

    @property
    def version(self) -> int:
        return int(self.lease["metadata"]["resourceVersion"]) if self.lease else 0

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""

    def _store(self, body: Object, version: int) -> Object:
        self.lease = body | {"metadata": body["metadata"] | {"resourceVersion": version}}
        return self.lease

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def elector(server: LeaseServer, clock: Clock, identity: str = "one") -> Elector:
    return Elector(server, namespace="own", name="lease", identity=identity, timing=FAST, clock=clock)


async def test_the_first_candidate_leads(server: LeaseServer, clock: Clock) -> None:
    await elector(server, clock).acquire()
    assert server.holder == "one"


async def test_who_takes_the_lease_knows_until_when_it_was_led_before(server: LeaseServer, clock: Clock) -> None:
    first, second = elector(server, clock), elector(server, clock, "two")
    await first.acquire()
    assert first.found == ""
    await first.release()
    server.renewed()
    await second.acquire()
    held = asyncio.create_task(second.hold())
    await asyncio.sleep(0.02)
    held.cancel()
    assert second.found == "renewal 2", "its own renewals are nobody else's"


async def test_another_waits_while_the_lease_changes(server: LeaseServer, clock: Clock) -> None:
    first, second = elector(server, clock), elector(server, clock, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    for _ in range(10):
        clock.now += 2
        server.renewed()
        await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()


async def test_another_takes_over_when_the_lease_stands_still(server: LeaseServer, clock: Clock) -> None:
    await elector(server, clock).acquire()
    waiting = asyncio.create_task(elector(server, clock, "two").acquire())
    await asyncio.sleep(0.01)
    clock.now += FAST.duration
    await asyncio.sleep(0.01)
    assert not waiting.done(), "the duration has to be exceeded, not reached"
    clock.now += 0.1
    await asyncio.wait_for(waiting, 1)
    assert server.holder == "two"
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 2


async def test_of_two_that_take_over_at_once_one_wins(server: LeaseServer, clock: Clock) -> None:
    def other_is_faster() -> None:
        server.before_write = lambda: None
        server.lease = {"metadata": {"resourceVersion": 9}, "spec": {"holderIdentity": "two"}}

    server.before_write = other_is_faster
    waiting = asyncio.create_task(elector(server, clock).acquire())
    await asyncio.sleep(0.02)
    assert server.holder == "two"
    assert not waiting.done()
    waiting.cancel()


async def test_whatever_fails_while_standing_for_election_is_tried_again(server: LeaseServer, clock: Clock) -> None:
    waiting = asyncio.create_task(elector(server, clock).acquire())
    for failure in (Unreachable("down"), ApiError(500, "", "bad"), ApiError(403, "Forbidden", "no"), KeyError("bug")):
        server.failure = failure
        await asyncio.sleep(0.01)
        assert not waiting.done()
    server.failure = None
    await asyncio.wait_for(waiting, 1)


async def test_a_leader_that_cannot_renew_in_time_has_lost(server: LeaseServer, clock: Clock) -> None:
    leader = elector(server, clock)
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    server.failure = Unreachable("down")
    await asyncio.sleep(0.02)
    assert not holding.done(), "there is time until the deadline"
    clock.now += FAST.deadline
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(holding, 1)


async def test_an_answer_that_was_long_under_way_does_not_prolong_the_leadership(
    server: LeaseServer, clock: Clock
) -> None:
    leader = elector(server, clock)
    server.before_write = lambda: setattr(clock, "now", clock.now + FAST.deadline * 0.9)
    await leader.acquire()
    server.failure = Unreachable("down")
    clock.now += FAST.deadline * 0.1
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(leader.hold(), 1)


async def test_a_leader_whose_request_hangs_has_lost(server: LeaseServer) -> None:
    leader = Elector(
        server, namespace="own", name="lease", identity="one", timing=Timing(duration=1, deadline=0.1, retry=0.01)
    )
    await leader.acquire()

    async def hang(*_: Any, **__: Any) -> Object:
        await asyncio.Event().wait()
        raise AssertionError

    server.get = hang  # type: ignore[method-assign]  # the one request that never ends
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(leader.hold(), 1)


@pytest.mark.parametrize("usurper", ["two", ""])
async def test_a_leader_that_finds_another_name_or_none_has_lost(
    server: LeaseServer, clock: Clock, usurper: str
) -> None:
    leader = elector(server, clock)
    await leader.acquire()
    server.taken_by(usurper)
    with pytest.raises(LeaseLost, match="is now held by"):
        await asyncio.wait_for(leader.hold(), 1)
    assert server.holder == usurper


async def test_a_released_lease_is_taken_at_once(server: LeaseServer, clock: Clock) -> None:
    first = elector(server, clock)
    await first.acquire()
    await first.release()
    assert server.holder == ""
    await asyncio.wait_for(elector(server, clock, "two").acquire(), 1)


async def test_a_lease_that_another_holds_is_not_released(server: LeaseServer, clock: Clock) -> None:
    first = elector(server, clock)
    await first.acquire()
    server.taken_by("two")
    await first.release()
    assert server.holder == "two"


async def test_a_deleted_lease_is_made_again_by_its_leader(server: LeaseServer, clock: Clock) -> None:
    leader = elector(server, clock)
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    server.lease = None
    await asyncio.sleep(0.02)
    assert server.holder == "one"
    holding.cancel()


def test_the_times_in_the_lease_are_never_trusted() -> None:
    clock = Clock()
    seen = Observation(clock)
    seen.see({"holderIdentity": "two", "renewTime": "1970-01-01T00:00:00.000000Z", "leaseDurationSeconds": 5})
    assert not seen.free_for("one", 5)
    clock.now += 5.1
    assert seen.free_for("one", 5)


@pytest.mark.parametrize("duration", [2, 15, 60])
def test_a_leader_gives_up_well_before_another_takes_over(duration: int) -> None:
    timing = Timing.within(duration)
    assert timing.retry < timing.deadline < timing.duration
    assert timing.deadline + timing.retry < timing.duration
