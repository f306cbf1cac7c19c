"""Objects of a real API server that are changed at random, and that API server restarted meanwhile."""

import asyncio
import contextlib
import os
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio.client.rest import RESTClientObject

from controlplane import ControlPlane
from faulty_proxy import FaultyProxy
from residency.cluster.connection import Connection
from residency.cluster.reflector import Pace

EVENTS: Final = int(os.environ.get("RESIDENCY_REFLECTOR_EVENTS", "6000"))
SECONDS: Final = float(os.environ.get("RESIDENCY_REFLECTOR_SECONDS", "35"))
"""The changes go on until there were so many, or for so long, whichever comes first."""
SEED: Final = int(os.environ.get("RESIDENCY_REFLECTOR_SEED", "20261123"))
SETTLE_SECONDS: Final = 60.0
WRITERS: Final = 4
# No check from time to time: it would repair what this is to find.
PACE: Final = Pace(
    page=50, first_pause=0.1, longest_pause=1.0, silence=3.0, watch_seconds=(3.0, 6.0), check_seconds=1e9
)


class Churn(ABC):
    """Changes objects at random, through no proxy; which ones, says whoever inherits."""

    def __init__(self, connection: Connection, chance: random.Random) -> None:
        self._host = connection.host
        ssl = RESTClientObject(connection.configuration).ssl_context
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ssl))
        self.chance = chance
        self.done: Counter[str] = Counter()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @abstractmethod
    async def change(self) -> None:
        """Make one change, or a few that belong together."""

    async def until_enough(self, cluster: ControlPlane, restarts: int) -> float:
        """Change things until so much was changed, restarting the API server meanwhile; return the seconds it took."""
        started = time.monotonic()
        writing = asyncio.create_task(self._write_all(started + SECONDS))
        for number in range(restarts):
            part = (number + 1) / (restarts + 1)
            while self.done.total() < part * EVENTS and time.monotonic() - started < part * SECONDS:
                await asyncio.sleep(0.1)
            await restart_api_server(cluster, kill=number % 2 == 0)
        await writing
        return time.monotonic() - started

    async def _write_all(self, deadline: float) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._write(deadline))

    async def _write(self, deadline: float) -> None:
        while self.done.total() < EVENTS and time.monotonic() < deadline:
            try:
                await self.change()
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.2)  # the API server is being restarted

    async def send(self, method: str, path: str, body: Any = None) -> None:
        """Send a request; that something is there already, or is not, is no error."""
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content}
        async with self._session.request(method, self._host + path, data=data, headers=headers) as answer:
            await answer.read()
            if answer.status < 300:
                self.done[method] += 1
            else:
                assert answer.status in (404, 409, 429, 500, 503), await answer.text()

    def told(self, proxy: FaultyProxy, seconds: float) -> str:
        """What happened, for whoever reads the output of a test."""
        faults = ", ".join(f"{number} x {fault}" for fault, number in sorted(proxy.happened.items()))
        return f"\n{self.done.total()} changes in {seconds:.0f} s {dict(self.done)}\nfaults: {faults}"


async def restart_api_server(cluster: ControlPlane, kill: bool) -> None:
    """Stop it in one way or the other, leave it away for a moment, and start it."""
    stop = cluster.kill_component if kill else cluster.stop_component
    await asyncio.to_thread(stop, "kube-apiserver")
    await asyncio.sleep(1)
    await asyncio.to_thread(cluster.start_component, "kube-apiserver")


async def cancelled(task: "asyncio.Task[None]") -> None:
    """End what goes on for ever, and raise what ended it before."""
    assert not task.done(), task.exception()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
