"""What a watch costs beside its events: turns of the event loop, over TLS as with a real API server."""

import asyncio
import selectors
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from controlplane.certificates import Authority
from residency.cluster.client import Client
from residency.cluster.connection import Connection
from residency.cluster.resources import PODS

PIECES: Final = 40
APART: Final = 0.005
GATHER: Final = 0.6


class Counting(selectors.DefaultSelector):
    """Counts how often something was ready."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(timeout)
        self.turns += bool(ready)
        return ready


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(PIECES):
        await response.write(b"%d\n" % number)
        await asyncio.sleep(APART)
    return response


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """To a server in a thread of its own, so that its turns are not counted."""
    authority = Authority()
    authority.serving("trickling").write(tmp_path, "serving")
    configuration = Configuration()
    configuration.ca_cert_data = authority.certificate.decode()
    ready, loop, done = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/pods", trickle)
        runner = web.AppRunner(app)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "serving.crt", tmp_path / "serving.key")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        configuration.host = f"https://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await done.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield Connection(configuration, in_cluster=False)
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


def test_what_arrives_while_events_are_gathered_costs_no_turn_of_the_loop(connection: Connection) -> None:
    selector = Counting()

    async def follow() -> tuple[bytes, int]:
        client = Client(connection)
        stream = await client.watch(PODS, {}, silence=5, gather=GATHER)
        read = await stream.read()
        before = selector.turns
        read += await stream.read()
        turns = selector.turns - before
        while more := await stream.read():
            read += more
        stream.close()
        await client.close()
        return read, turns

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        read, turns = runner.run(follow())
    assert read == b"".join(b"%d\n" % number for number in range(PIECES))
    assert turns < PIECES / 4
