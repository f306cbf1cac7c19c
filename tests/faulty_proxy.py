"""A proxy in front of a real API server that cuts, delays, damages and hides what passes through it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web
from kubernetes.aio.client.rest import RESTClientObject

from residency.cluster.connection import Connection

PASSED_ON: Final = ("Accept", "Content-Type")
STALL_SECONDS: Final = 60.0
REFUSALS: Final = 0.2
"""The part of the requests that something happens to; a list is many."""


class Fault(StrEnum):
    """What can happen."""

    # To a request
    ERROR = "answered with 500"
    THROTTLE = "answered with 429"
    DROP = "connection closed without an answer"
    LATE = "answered late"
    EXPIRE_PAGE = "a further page answered with 410"
    EXPIRE_WATCH = "a watch answered with 410"
    # To a watch that runs
    CUT = "cut in the middle of an event"
    END = "ended cleanly"
    EXPIRED_EVENT = "an event of 410"
    ERROR_EVENT = "an event of 500"
    GARBAGE = "an event damaged"
    DELAY = "events held back"
    STALL = "silent for ever"
    SWALLOW = "a deletion hidden, then a relist forced"


TO_ALL: Final = (Fault.ERROR, Fault.THROTTLE, Fault.DROP, Fault.LATE)
TO_PAGES: Final = (*TO_ALL, Fault.EXPIRE_PAGE)
TO_WATCHES: Final = (*TO_ALL, Fault.EXPIRE_WATCH)
TO_STREAMS: Final = tuple(fault for fault in Fault if fault not in (*TO_PAGES, *TO_WATCHES))


class FaultyProxy:
    """Passes reads on to an API server, as whoever the connection is, and lets each fault happen in turn.

    >>> async with FaultyProxy(await connect(), random.Random(1)) as proxy:
    ...     client = Client(connection, proxy.address)
    """

    def __init__(self, connection: Connection, chance: random.Random, pause: tuple[float, float] = (0.1, 0.6)) -> None:
        """Let the next fault of a watch happen after a ``pause`` between these."""
        self._connection = connection
        self._chance = chance
        self._pause = pause
        self._to_lists, self._to_pages = self._deck(TO_ALL), self._deck(TO_PAGES)
        self._to_watches, self._to_streams = self._deck(TO_WATCHES), self._deck(TO_STREAMS)
        self._owed: set[str] = set()
        """Of what a deletion was hidden, so that only a list can still show it."""
        self.happened: Counter[Fault] = Counter()
        self.calm = False
        """Set to pass everything on; what was hidden still forces its relist."""

    async def __aenter__(self) -> Self:
        ssl = RESTClientObject(self._connection.configuration).ssl_context
        connector = aiohttp.TCPConnector(ssl=ssl, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**24)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    @property
    def address(self) -> str:
        """Where it listens, without TLS."""
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def _deck(self, faults: Sequence[Fault]) -> Iterator[Fault]:
        """Deal all faults in a random order, again and again, so that none is left out."""
        while True:
            yield from self._chance.sample(faults, len(faults))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = "watch" in request.query
        what = f"{request.path}?{request.query.get('labelSelector', '')}"
        if (refusal := await self._refused(request, what, watch)) is not None:
            return refusal
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        url = f"{self._connection.host}{request.path_qs}"
        try:
            async with self._session.get(url, headers=headers) as answer:
                if watch and answer.status == 200:
                    return await self._stream(request, answer, what)
                body = await answer.read()
        except (aiohttp.ClientError, OSError):
            return _status(502, "BadGateway")
        if not watch and answer.status == 200 and "continue" not in request.query:
            self._owed.discard(what)
        return web.Response(body=body, status=answer.status, content_type="application/json")

    # Requests

    async def _refused(self, request: web.Request, what: str, watch: bool) -> web.Response | None:
        if watch and what in self._owed:
            return _status(410, "Expired")
        if self.calm or self._chance.random() > REFUSALS:
            return None
        to_list = self._to_pages if "continue" in request.query else self._to_lists
        fault = next(self._to_watches if watch else to_list)
        self.happened[fault] += 1
        match fault:
            case Fault.ERROR:
                return _status(500, "InternalError")
            case Fault.THROTTLE:
                return _status(429, "TooManyRequests", {"Retry-After": "1"})
            case Fault.DROP:
                _close(request)
                return _status(500, "InternalError")
            case Fault.LATE:
                await asyncio.sleep(self._chance.uniform(0.1, 1))
                return None
        return _status(410, "Expired")

    # Watches

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse, what: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await self._pass_on(request, response, answer, what)
        except (aiohttp.ClientError, OSError):
            _close(request)  # the API server is gone in the middle of it
        return response

    async def _pass_on(
        self, request: web.Request, response: web.StreamResponse, answer: aiohttp.ClientResponse, what: str
    ) -> None:
        clock = asyncio.get_running_loop().time
        due, fault = clock() + self._chance.uniform(*self._pause), next(self._to_streams)
        reading = asyncio.ensure_future(answer.content.readline())
        try:
            while True:
                # What has been hidden must come to light even if nothing else happens.
                patience = self._chance.uniform(0.05, 0.5) if what in self._owed else None
                await asyncio.wait([reading], timeout=patience)
                if what in self._owed and (not reading.done() or self._chance.random() < 0.2):
                    await response.write(_event(410, "Expired"))
                    return
                if not (line := reading.result()):
                    return
                reading = asyncio.ensure_future(answer.content.readline())
                if self.calm or clock() < due or not _suits(fault, line):
                    await response.write(line)
                    continue
                self.happened[fault] += 1
                if fault is Fault.SWALLOW:
                    self._owed.add(what)
                elif not await self._spoil(fault, request, response, line):
                    return
                due, fault = clock() + self._chance.uniform(*self._pause), next(self._to_streams)
        finally:
            reading.cancel()

    async def _spoil(self, fault: Fault, request: web.Request, response: web.StreamResponse, line: bytes) -> bool:
        """Let it happen to this line; whether the watch goes on."""
        match fault:
            case Fault.CUT:
                await response.write(line[: self._chance.randrange(1, len(line))])
                await asyncio.sleep(0.01)
                _close(request)
            case Fault.EXPIRED_EVENT:
                await response.write(_event(410, "Expired"))
            case Fault.ERROR_EVENT:
                await response.write(_event(500, "InternalError"))
            case Fault.GARBAGE:
                middle = self._chance.randrange(1, len(line) - 1)
                await response.write(line[:middle] + b"\x00" + line[middle:])
            case Fault.STALL:
                await asyncio.sleep(STALL_SECONDS)
            case Fault.DELAY:
                await asyncio.sleep(self._chance.uniform(0.1, 1))
                await response.write(line)
        return fault in (Fault.GARBAGE, Fault.DELAY)


def _suits(fault: Fault, line: bytes) -> bool:
    return fault is not Fault.SWALLOW or line.startswith(b'{"type":"DELETED"')


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _body(code: int, reason: str) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"}


def _status(code: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(_body(code, reason), status=code, headers=headers)


def _event(code: int, reason: str) -> bytes:
    return json.dumps({"type": "ERROR", "object": _body(code, reason)}).encode() + b"\n"
