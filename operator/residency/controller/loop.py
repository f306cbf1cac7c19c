"""When to reconcile: soon after a change, again after a failure, and from time to time in any case."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from residency.cluster.errors import ApiError, Unreachable
from residency.controller.reconcile import SOON, Pass
from residency.reporting.metrics import Metrics

log = logging.getLogger(__name__)

SETTLE: Final = 0.05
"""Seconds in which further changes are gathered into the same pass."""
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
MOST_INTERRUPTIONS: Final = 5
STUCK: Final = 300.0
"""A pass that takes longer than this will never end."""


@dataclass
class Progress:
    """How the loop is getting on, for probes."""

    clock: Callable[[], float] = time.monotonic
    started: float | None = None
    """When the pass that is under way began."""
    problem: str = "nothing has been reconciled yet"
    """Why the last pass failed; empty when it did not."""

    @property
    def stuck(self) -> bool:
        """Whether the pass under way has taken too long."""
        return self.started is not None and self.clock() - self.started > STUCK


@dataclass
class Loop:
    """Runs one pass after the other, never two at once."""

    reconcile: Callable[[Callable[[], bool]], Awaitable[Pass]]
    metrics: Metrics
    progress: Progress
    resync: float
    _dirty: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0
    _interruptions: int = 0

    def wake(self) -> None:
        """Say that something has changed; only from within the event loop."""
        self._dirty.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            self._dirty.clear()
            pause = await self._once()
            if self._failures:
                # Whatever changes, what has just failed is not tried again at once.
                await asyncio.sleep(min(pause, SHORTEST_PAUSE))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._dirty.wait(), pause)
            await asyncio.sleep(SETTLE)

    async def _once(self) -> float:
        """Do one pass and return how long to rest after it, unless woken."""
        self.progress.started = self.progress.clock()
        with self.metrics.reconcile_duration.time():
            done = await self._guarded()
        self.progress.started = None
        self._interruptions = self._interruptions + 1 if done.interrupted else 0
        if done.interrupted:
            return self.resync
        self.progress.problem = "; ".join(f"{step}: {why}" for step, why in done.failed.items())
        if done.failed:
            self._failures += 1
            return float(min(SHORTEST_PAUSE * 2**self._failures, LONGEST_PAUSE))
        self._failures = 0
        self.metrics.last_success.set_to_current_time()
        return min(SOON, self.resync) if done.unwell else self.resync

    def _interrupted(self) -> bool:
        """Whether there is news for which a pass may be ended; somebody who never rests does not keep us from ours."""
        return self._dirty.is_set() and self._interruptions < MOST_INTERRUPTIONS

    async def _guarded(self) -> Pass:
        try:
            return await self.reconcile(self._interrupted)
        except (ApiError, Unreachable) as error:
            log.warning("nothing could be read", extra={"error": str(error)})
            problem = str(error)
        except Exception as error:  # bad input or a bug: the policies in force stay, and the next pass may do better
            log.exception("reconciling failed unexpectedly")
            problem = f"{type(error).__name__}: {error}"
        self.metrics.reconcile_errors.labels(step="read").inc()
        return Pass(failed={"read": problem})
