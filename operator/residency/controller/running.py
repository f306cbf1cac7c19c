"""The life of a controller process: listen, stand for election, lead, and go gracefully."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from residency.cluster.client import Client
from residency.cluster.connection import connect
from residency.controller.auditing import Audit
from residency.controller.canary import Canary
from residency.controller.events import EventWriter
from residency.controller.evicting import Evictor
from residency.controller.findings import Keeper, Keeping
from residency.controller.lease import Elector, LeaseLost, Timing
from residency.controller.loop import Loop, Progress
from residency.controller.reconcile import Reconciler
from residency.controller.reports import ReportWriter
from residency.controller.serving import Server
from residency.controller.watching import Watcher
from residency.policy.compile import Settings
from residency.reporting.audit import AuditCollector
from residency.reporting.bounds import SERIES
from residency.reporting.findings import FindingsCollector
from residency.reporting.metrics import Metrics
from residency.reporting.spread import SpreadCollector
from residency.reporting.volumes import VolumeCollector

log = logging.getLogger(__name__)

LEASE = "residency-controller"
PATIENCE = 3.0
"""Seconds for each thing that is to end gracefully; the kubelet allows thirty for all."""


class CannotListen(Exception):
    """The HTTP address cannot be had; the text says why."""


class Exit(IntEnum):
    """How the process ended."""

    STOPPED = 0
    LOST = 1
    """The lease or the watches are gone; whoever restarts it does what is right."""
    USAGE = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides."""

    settings: Settings
    http_host: str
    http_port: int
    identity: str
    resync_seconds: float
    lease_seconds: int
    api_servers: Sequence[str] = ()
    findings: Keeping = field(default_factory=Keeping)
    series: int = SERIES
    """How many series there may be of the metrics that grow with the catalogue or the cluster."""
    namespace_detail: bool = False
    """Whether metrics show every namespace."""
    reports: bool = True
    """Whether to write reports for OpenReports, where that is installed."""


class Controller:
    """One process; at most one of all of them leads."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._metrics = Metrics(options.series)
        self._progress = Progress()
        self._leading = False
        self._server = Server(options.http_host, options.http_port, self, self._metrics)

    # What probes ask

    def dead(self) -> str:
        """Say why this process should be restarted; an answer at all shows that the event loop runs."""
        return "a reconciliation has been under way for too long" if self._progress.stuck else ""

    def unready(self) -> str:
        """Say why it is not working; standing by is working."""
        return self._progress.problem if self._leading else ""

    # Its life

    async def run(self) -> Exit:
        """Live until SIGTERM or SIGINT, or until it must not go on."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        client = Client(await connect())
        try:
            port = await self._listen()
            log.info("listening", extra={"port": port, "identity": self._options.identity})
            return await self._until_stopped(client, stop)
        finally:
            await self._server.stop()
            await client.close()

    async def _listen(self) -> int:
        try:
            return await self._server.start()
        except OSError as error:
            raise CannotListen(error.strerror or str(error)) from error

    async def _until_stopped(self, client: Client, stop: asyncio.Event) -> Exit:
        options = self._options
        elector = Elector(
            client,
            namespace=options.settings.own_namespace,
            name=LEASE,
            identity=options.identity,
            timing=Timing.within(options.lease_seconds),
        )
        try:
            await _first(stop.wait(), elector.acquire())
            if not stop.is_set():
                await self._lead(client, elector, stop)
        except LeaseLost as error:
            log.error("stopping: %s", error)
            return Exit.LOST
        finally:
            self._leading = False
            self._metrics.leader.set(0)
            # Only after the work has ended, so that never two work at once.
            await elector.release()
        if not stop.is_set():
            log.error("stopping: the watches have ended by themselves")
            return Exit.LOST
        log.info("stopped")
        return Exit.STOPPED

    async def _lead(self, client: Client, elector: Elector, stop: asyncio.Event) -> None:
        self._leading = True
        self._metrics.leader.set(1)
        settings = self._options.settings
        canary = Canary(client, settings.canary_namespace, self._options.api_servers)
        audit = Audit(client, (*settings.excluded, settings.canary_namespace))
        keeper = Keeper(client, audit, settings.own_namespace, self._options.findings, led_until=elector.found)
        self._show(audit, keeper)
        events = EventWriter(client, self._metrics, self._options.identity)
        reports = ReportWriter(client, self._metrics, keeper.known)
        audit.listeners += [keeper, events, *([reports] if self._options.reports else [])]
        evictor = Evictor(client, audit, self._metrics)
        evictor.heard_by += [keeper.corrected, events.corrected]
        evictor.forgotten_by.append(keeper.uncorrected)
        reconciler = Reconciler(client, settings, canary, self._metrics, audit, evictor)
        loop = Loop(reconciler.reconcile, self._metrics, self._progress, self._options.resync_seconds)
        watcher = Watcher(loop.wake, reconciler.policies.knows)
        telling = keeper.run(), events.run(), reports.run()
        try:
            works = loop.run(), audit.run(loop.wake), evictor.run(loop.wake), *telling, _watch(watcher)
            await _first(stop.wait(), elector.hold(), *works)
        finally:
            await canary.close()

    def _show(self, audit: Audit, keeper: Keeper) -> None:
        series = self._options.series
        self._metrics.add(AuditCollector(audit, series=series))
        self._metrics.add(SpreadCollector(audit, series=series, namespaces=self._options.namespace_detail))
        self._metrics.add(VolumeCollector(audit, series=series))
        self._metrics.add(FindingsCollector(keeper, series=series))


async def _watch(watcher: Watcher) -> None:
    watcher.start()
    try:
        await asyncio.shield(watcher.ended)
    finally:
        await watcher.stop(PATIENCE)


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these ends, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=2 * PATIENCE)
    for task in done:
        task.result()


def run(options: Options) -> int:
    """Run a controller in this process."""
    main: Coroutine[Any, Any, Exit] = Controller(options).run()
    with contextlib.suppress(KeyboardInterrupt):
        return int(asyncio.run(main))
    return int(Exit.STOPPED)
