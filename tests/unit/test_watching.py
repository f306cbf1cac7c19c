"""What the watches do when kopf fails; what they tell is tested on a real control plane."""

import asyncio
import threading
from typing import Any

import kopf
import pytest

from residency.controller import watching
from residency.controller.watching import Watcher


async def test_a_failure_of_kopf_begins_the_watches_again_and_stopping_ends_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []
    again = threading.Event()

    def run(*, stop_flag: threading.Event, **_: Any) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("a watch got an error")
        again.set()
        stop_flag.wait(5)

    monkeypatch.setattr(watching, "PAUSE", 0.01)
    monkeypatch.setattr(kopf, "run", run)
    watcher = Watcher(lambda: None, lambda *_: False)
    watcher.start()
    assert await asyncio.to_thread(again.wait, 5)
    assert not watcher.ended.done()
    await watcher.stop(5)
    assert watcher.ended.done()
    assert watcher.ended.exception() is None
    assert len(runs) == 3
    assert [record.message for record in caplog.records] == ["the watches failed, and begin again"] * 2


async def test_watches_that_end_by_themselves_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf, "run", lambda **_: None)
    watcher = Watcher(lambda: None, lambda *_: False)
    watcher.start()
    await asyncio.wait_for(watcher.ended, 5)
