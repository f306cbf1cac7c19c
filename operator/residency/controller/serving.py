"""Probes and metrics over HTTP, from before the election until the very end."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from residency.reporting.metrics import CONTENT_TYPE, Metrics

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Health(Protocol):
    """What probes want to know: the reason against it, or nothing."""

    def dead(self) -> str:
        """Say why the process should be restarted."""

    def unready(self) -> str:
        """Say why it is not working."""


class Server:
    """``/livez``, ``/readyz`` and ``/metrics``."""

    def __init__(self, host: str, port: int, health: Health, metrics: Metrics) -> None:
        self._address = (host, port)
        app = web.Application()
        app.router.add_get("/livez", _probe(health.dead))
        app.router.add_get("/readyz", _probe(health.unready))
        app.router.add_get("/metrics", _exposing(metrics))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handle_signals=False)

    async def start(self) -> int:
        """Listen, and return the port; an OSError says why that is not possible."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


def _probe(reason: Callable[[], str]) -> _Handler:
    async def handle(_: web.Request) -> web.Response:
        against = reason()
        return web.Response(text=f"{against or 'ok'}\n", status=503 if against else 200)

    return handle


def _exposing(metrics: Metrics) -> _Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    return handle
