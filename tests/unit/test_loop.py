"""When passes happen."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from residency.cluster.errors import Unreachable
from residency.controller import loop as module
from residency.controller.loop import MOST_INTERRUPTIONS, STUCK, Loop, Progress
from residency.controller.reconcile import Pass
from residency.reporting.metrics import Metrics

Outcome = Pass | Exception


class Passes:
    """Does nothing, as told, and counts."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.count = 0
        self.during: Callable[[], None] = lambda: None
        self.interrupted: list[bool] = []

    async def reconcile(self, interrupted: Callable[[], bool]) -> Pass:
        self.count += 1
        self.during()
        self.interrupted.append(interrupted())
        outcome = self.outcomes.pop(0) if self.outcomes else Pass()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.01)
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.02)


@asynccontextmanager
async def running(passes: Passes, resync: float = 60) -> AsyncIterator[Loop]:
    loop = Loop(passes.reconcile, Metrics(), Progress(), resync)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.005)
    try:
        yield loop
    finally:
        task.cancel()


async def test_many_changes_are_one_pass() -> None:
    passes = Passes()
    async with running(passes) as loop:
        for _ in range(100):
            loop.wake()
        await asyncio.sleep(0.1)
    assert passes.count == 2


async def test_without_changes_there_is_a_pass_from_time_to_time() -> None:
    passes = Passes()
    async with running(passes, resync=0.02):
        await asyncio.sleep(0.2)
    assert passes.count > 2


async def test_a_change_during_a_pass_makes_another() -> None:
    passes = Passes()
    async with running(passes) as loop:
        passes.during = lambda: loop.wake() if passes.count == 2 else None
        loop.wake()
        await asyncio.sleep(0.1)
    assert passes.count == 3


@pytest.mark.parametrize("outcome", [Unreachable("down"), ValueError("a bug"), Pass(failed={"pods": "forbidden"})])
async def test_whatever_fails_is_tried_again_and_said(outcome: Outcome) -> None:
    passes = Passes(outcome)
    async with running(passes) as loop:
        assert loop.progress.problem
        await asyncio.sleep(0.2)
        assert passes.count == 2
        assert loop.progress.problem == ""


async def test_what_fails_is_not_tried_again_at_once_whatever_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 10.0)
    passes = Passes(*[Unreachable("down")] * 50)
    async with running(passes) as loop:
        for _ in range(20):
            loop.wake()
            await asyncio.sleep(0.005)
    assert passes.count == 1


async def test_a_pass_may_be_interrupted_by_news_but_not_for_ever() -> None:
    passes = Passes(*[Pass(interrupted=True)] * MOST_INTERRUPTIONS)
    async with running(passes) as loop:
        passes.during = loop.wake
        loop.wake()
        await asyncio.sleep(0.3)
    assert passes.interrupted[: MOST_INTERRUPTIONS + 1] == [False] + [True] * (MOST_INTERRUPTIONS - 1) + [False]


def test_a_pass_that_takes_too_long_is_stuck() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    assert not progress.stuck
    progress.started = 0.0
    now[0] = STUCK
    assert not progress.stuck
    now[0] += 1
    assert progress.stuck
