"""Follows all objects of a kind: lists them, then watches, and never keeps what is gone.

How it stays true to a fresh list, with what it relies on:

* Lists are consistent reads (no ``resourceVersion``), never the any-version reads of an API server's cache: those may
  be older than what was seen already and would bring objects back that are gone. Current API servers answer consistent
  reads from their cache too, so this is not dearer. Pages are decoded one by one, straight into the wanted struct.
* A list that expires half-way is begun again, in larger pages; the token that would go on with a newer state is not
  used, because such a list is of no one moment and no watch continues it.
* What a list no longer has is handed over as removed, so deletions that no watch has shown arrive too. For that the
  list keeps a set of references to the keys that it has yet to meet, beside the page in hand: 8 MB for 150,000 pods.
* A watch goes on from the last ``resourceVersion`` seen, bookmarks included. Versions are compared for equality only:
  that one is older than another could not be told before 1.35, and need not be, as one watch is in order, lists are
  consistent, and the watch goes on from there.
* A streaming list (``sendInitialEvents``) is not used: pages bound our memory as well, and work with every version.

One event costs what its decoding costs; nothing is awaited between an event and its delivery.
"""

import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from residency.cluster.client import Client, Page, Stream
from residency.cluster.errors import ApiError, Silent, Unreachable
from residency.cluster.resources import Resource

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty where there is none) and name."""


class Metadata(msgspec.Struct, rename="camel"):
    """What is needed of every object; to be inherited from by whoever needs more, and not frozen."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Followed(Protocol):
    """An object of which as much was decoded as its struct declares."""

    @property
    def metadata(self) -> Metadata:
        """Its name and version, perhaps more."""


ItemT = TypeVar("ItemT", bound=Followed)
TakenT = TypeVar("TakenT", contravariant=True)


class Cause(StrEnum):
    """Why the watch was lost, or why everything is listed."""

    START = "start"
    ENDED = "ended"
    """The API server ended the watch, as it does every few minutes."""
    CUT = "cut"
    """The connection broke."""
    SILENT = "silent"
    """Nothing came for long: the connection was dead, or nothing happened. A list tells."""
    UNREACHABLE = "unreachable"
    """There was no answer to a list, or to a watch."""
    REFUSED = "refused"
    """A list or a watch was answered with an error."""
    THROTTLED = "throttled"
    """A list or a watch was answered with 429."""
    EXPIRED = "expired"
    """The API server no longer knew the version to go on from (410)."""
    FAILED = "failed"
    """The watch carried an error, other than 410."""
    GARBAGE = "garbage"
    """Something arrived that could not be read."""
    CHECK = "check"
    """Enough time had passed to look whether anything was missed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nothing was seen."""

    seconds: float
    cause: Cause
    """Why it began."""
    relisted: bool
    """Whether its history is lost: what came and went within it was never seen. Otherwise it was seen late."""


class Sink(Protocol[TakenT]):
    """Is told what exists, at once and in order; what it raises ends the reflector."""

    def put(self, key: Key, item: TakenT, before: TakenT | None) -> None:
        """Take an object that is new or changed; ``before`` is the same object as it was."""

    def removed(self, key: Key, item: TakenT) -> None:
        """Take that an object is gone; ``item`` is how it was last seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Sizes and times; the defaults are for a real API server."""

    page: int = 500
    largest_page: int = 4000
    watch_seconds: tuple[float, float] = (240.0, 300.0)
    """How long a watch may last, drawn anew each time so that not all clients come back at once."""
    grace: float = 15.0
    """Seconds after which a watch that should have ended by itself is ended from here."""
    silence: float = 120.0
    """Seconds without a byte after which a watch is given up. Bookmarks come every minute, but none where nothing
    happens: the API server sends none of the version from which the watch began."""
    gather: float = 0.03
    """Seconds for which events that follow another closely are gathered; one that comes alone is not delayed."""
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_asked_pause: float = 120.0
    """The most that a Retry-After is obeyed for."""
    check_seconds: float = 6 * 3600.0
    """After how long everything is listed although nothing seems to be missing."""


@dataclass
class Counts:
    """What has happened so far, for metrics."""

    puts: int = 0
    removals: int = 0
    bookmarks: int = 0
    lists: Counter[Cause] = field(default_factory=Counter)
    """Complete lists, by why they were needed."""
    lost: Counter[Cause] = field(default_factory=Counter)
    """Lists and watches that ended, by why."""
    gaps: Counter[Cause] = field(default_factory=Counter)
    gap_seconds: dict[Cause, float] = field(default_factory=dict)


class _Named(msgspec.Struct):
    metadata: Metadata


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str


class _Bookmarked(msgspec.Struct):
    metadata: _Version


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class _Added(msgspec.Struct, Generic[ItemT], tag_field="type", tag="ADDED"):
    object: ItemT


class _Modified(msgspec.Struct, Generic[ItemT], tag_field="type", tag="MODIFIED"):
    object: ItemT


class _Deleted(msgspec.Struct, tag_field="type", tag="DELETED"):
    object: _Named


class _Bookmark(msgspec.Struct, tag_field="type", tag="BOOKMARK"):
    object: _Bookmarked


class _Error(msgspec.Struct, tag_field="type", tag="ERROR"):
    object: _Status


class _Lost(Exception):
    """The list or the watch is over."""

    def __init__(self, cause: Cause, text: str, *, relist: bool = False, pause: float = 0.0) -> None:
        super().__init__(text)
        self.cause = cause
        self.relist = relist
        self.pause = pause


SHORTEST_WATCH: Final = 1.0
"""Seconds that an empty watch has to last to be taken for one that works."""
LONGEST_LINE: Final = 64 * 2**20
"""Bytes of one event; etcd takes objects of 1.5 MB unless told otherwise."""


class Reflector(Generic[ItemT]):
    """Keeps a picture of all objects of a resource equal to what the API server has."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        item: type[ItemT],
        sink: Sink[ItemT],
        *,
        labels: str = "",
        fields: str = "",
        pace: Pace | None = None,
        missed: Callable[[Gap], None] = lambda _: None,
    ) -> None:
        """Decode the objects as ``item``, a msgspec struct with a `Metadata`; what it does not declare is skipped.

        ``missed`` is told of every time in which nothing was seen, once that is over; all that came of it has been
        handed over by then, or follows.
        """
        self._client = client
        self._resource = resource
        self._sink = sink
        self._missed = missed
        self._pace = pace or Pace()
        self._query = {"labelSelector": labels, "fieldSelector": fields}
        self._page: msgspec.json.Decoder[Page[ItemT]] = msgspec.json.Decoder(Page[item])  # type: ignore[valid-type]  # known when it runs
        self._event: msgspec.json.Decoder[_Added[ItemT] | _Modified[ItemT] | _Deleted | _Bookmark | _Error] = (
            msgspec.json.Decoder(_Added[item] | _Modified[item] | _Deleted | _Bookmark | _Error)  # type: ignore[valid-type]  # as above
        )
        self._objects: dict[Key, ItemT] = {}
        self._version = ""
        """Where the next watch goes on; empty when everything has to be listed."""
        self._why = Cause.START
        """Why everything has to be listed."""
        self._limit = self._pace.page
        self._check_after = 0.0
        self._fruitless = 0
        """Attempts in a row that brought nothing, before the one under way."""
        self._fruitful = False
        """Whether the watch under way has brought anything."""
        self._lost: tuple[float, Cause] | None = None
        """Since when there has been no watch, and why."""
        self._relisted = False
        """Whether everything was listed since then."""
        self._silence: tuple[float | None, int] | None = None
        """When something came last before a silence, and how many changes there had been; None: there was none."""
        self.synced = asyncio.Event()
        """Set as soon as the picture has been complete once."""
        self.counts = Counts()
        self.last_contact: float | None = None
        """When something last came from the API server, as the monotonic clock has it."""
        self.problem = "nothing has been listed yet"
        """Why there is no watch; empty when there is one."""

    @property
    def objects(self) -> Mapping[Key, ItemT]:
        """The picture: complete from ``synced`` on, and as old as ``blind_for`` says."""
        return self._objects

    @property
    def blind_for(self) -> float | None:
        """For how many seconds there has been no watch; None while there is one, and before the first."""
        return None if self._lost is None else time.monotonic() - self._lost[0]

    async def run(self) -> None:
        """List, watch and begin again, for ever."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except _Lost as lost:
                await self._rest(lost)

    async def _rest(self, lost: _Lost) -> None:
        """Note what was lost, and wait as long as is wise."""
        self.counts.lost[lost.cause] += 1
        self.problem = str(lost)
        if self._lost is None and self.synced.is_set():
            self._lost = (time.monotonic(), lost.cause)
        elif self._lost is not None and self._lost[1] is Cause.SILENT:
            self._lost = (self._lost[0], lost.cause)  # no mere silence any more
        if lost.relist:
            self._version, self._why = "", lost.cause
        if lost.cause is Cause.SILENT and self._silence is None:
            self._silence = self.last_contact, self._changes
        if self._fruitful:
            self._fruitful, self._fruitless = False, 0
            if lost.cause is Cause.ENDED:
                return
        if lost.cause is Cause.CHECK:
            return
        ceiling = min(self._pace.first_pause * 2.0 ** min(self._fruitless, 20), self._pace.longest_pause)
        pause = min(lost.pause, self._pace.longest_asked_pause) + random.uniform(0, ceiling)
        self._fruitless += 1
        told = {"resource": self._resource.plural, "cause": str(lost.cause), "error": str(lost)}
        log.info("not watching", extra=told | {"pause": round(pause, 3)})
        await asyncio.sleep(pause)

    # Listing

    async def _list(self) -> None:
        """Read everything, hand over what has changed, and then what is gone."""
        missing = set(self._objects)
        query = {**self._query, "limit": str(self._limit)}
        version = ""
        while True:
            page = await self._read_page(query)
            version = version or page.metadata.resource_version
            for item in page.items or ():
                missing.discard(self._put(item))
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        if version in ("", "0"):
            raise _Lost(Cause.GARBAGE, f"the list of {self._resource.plural} has no resourceVersion to go on from")
        for key in missing:
            self._remove(key)
        self._version = version
        self._limit = self._pace.page
        self._check_after = time.monotonic() + self._pace.check_seconds * random.uniform(0.9, 1.1)
        self._relisted = True
        self.counts.lists[self._why] += 1
        self.synced.set()
        if self._silence is not None:
            (heard, known), self._silence = self._silence, None
            self._broke_silence(heard, missed=self._changes > known)

    @property
    def _changes(self) -> int:
        return self.counts.puts + self.counts.removals

    def _broke_silence(self, heard: float | None, *, missed: bool) -> None:
        """Know what the silence was: without a watch since something was heard last, or nothing to be heard."""
        if missed and heard is not None:
            self._lost = (heard, Cause.SILENT if self._lost is None else self._lost[1])
        elif self._lost is not None and self._lost[1] is Cause.SILENT:
            self._lost, self._relisted = None, False

    async def _read_page(self, query: Mapping[str, str]) -> Page[ItemT]:
        try:
            data = await self._client.read(self._resource, query)
        except (ApiError, Unreachable) as error:
            lost = _lost(error)
            if lost.cause is Cause.EXPIRED:
                # It took longer than the API server remembers: fewer and larger pages are quicker.
                self._limit = min(self._limit * 2, self._pace.largest_page)
            raise lost from error
        self.last_contact = time.monotonic()
        try:
            return self._page.decode(data)
        except msgspec.DecodeError as error:
            raise _Lost(Cause.GARBAGE, f"the list of {self._resource.plural} cannot be read: {error}") from error

    # Watching

    async def _watch(self) -> None:
        """Follow one watch; always ends in `_Lost`."""
        now = time.monotonic()
        if now >= self._check_after:
            raise _Lost(Cause.CHECK, "time to look whether anything was missed", relist=True)
        seconds = max(1.0, min(random.uniform(*self._pace.watch_seconds), self._check_after - now))
        stream = await self._open(seconds)
        try:
            self._opened()
            async with asyncio.timeout(seconds + self._pace.grace) as deadline:
                await self._follow(stream)
        except Silent as error:
            raise _Lost(Cause.SILENT, str(error), relist=True) from error
        except Unreachable as error:
            raise _Lost(Cause.CUT, str(error)) from error
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the sink's own
            raise _Lost(Cause.SILENT, "the watch did not end in time", relist=True) from error
        finally:
            stream.close()
        # Ended at once and empty, it is no better than one that failed.
        self._fruitful |= time.monotonic() - now >= SHORTEST_WATCH
        raise _Lost(Cause.ENDED, "the API server has ended the watch")

    async def _open(self, seconds: float) -> Stream:
        query = {
            **self._query,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(seconds)),
        }
        try:
            return await self._client.watch(self._resource, query, silence=self._pace.silence, gather=self._pace.gather)
        except (ApiError, Unreachable) as error:
            raise _lost(error) from error

    def _opened(self) -> None:
        """Note that the API server goes on from where we are."""
        self.problem = ""
        self.last_contact = time.monotonic()
        if self._lost is not None:
            since, cause = self._lost
            gap = Gap(self.last_contact - since, cause, self._relisted)
            self._lost = None
            self.counts.gaps[cause] += 1
            self.counts.gap_seconds[cause] = self.counts.gap_seconds.get(cause, 0.0) + gap.seconds
            self._missed(gap)
        self._relisted = False

    async def _follow(self, stream: Stream) -> None:
        """Hand over what arrives until there is no more; a line may come in any number of parts."""
        parts: list[bytes] = []
        held = 0
        while chunk := await stream.read():
            self.last_contact = time.monotonic()
            first, *lines = chunk.split(b"\n")
            parts.append(first)
            held += len(first)
            if not lines:
                if held > LONGEST_LINE:
                    raise self._unreadable(f"an event of more than {LONGEST_LINE} bytes")
                continue
            self._take(b"".join(parts))
            last = lines.pop()
            for line in lines:
                self._take(line)
            parts, held = [last], len(last)

    def _take(self, line: bytes) -> None:
        if not line:
            return
        try:
            event = self._event.decode(line)
        except msgspec.DecodeError as error:
            raise self._unreadable(str(error)) from error
        match event:
            case _Added() | _Modified():
                version = event.object.metadata.resource_version
                self._put(event.object)
            case _Deleted():
                metadata = event.object.metadata
                version = metadata.resource_version
                self._remove((metadata.namespace, metadata.name))
            case _Bookmark():
                version = event.object.metadata.resource_version
                self.counts.bookmarks += 1
            case _Error():
                raise self._failed(event.object)
        self._version = version or self._version
        self._fruitful = True

    @property
    def _in_vain(self) -> bool:
        """Whether going on from here has failed before."""
        return self._fruitless > 0 and not self._fruitful

    def _unreadable(self, what: str) -> _Lost:
        # Damaged on its way, it comes again whole; read in vain twice, a list may help.
        return _Lost(Cause.GARBAGE, f"the watch sent what cannot be read: {what}", relist=self._in_vain)

    def _failed(self, status: _Status) -> _Lost:
        text = f"the watch failed: {' '.join(status.message.split())[:300]} ({status.code} {status.reason})"
        if status.code == HTTPStatus.GONE or status.reason in ("Expired", "Gone"):
            return _Lost(Cause.EXPIRED, text, relist=True)
        return _Lost(Cause.FAILED, text, relist=self._in_vain)

    # The picture

    def _put(self, item: ItemT) -> Key:
        metadata = item.metadata
        key = (metadata.namespace, metadata.name)
        before = self._objects.get(key)
        if before is not None and before.metadata.uid != metadata.uid:
            self._remove(key)
            before = None
        if before is None:
            # A hundred thousand pods live in a thousand namespaces.
            metadata.namespace = sys.intern(metadata.namespace)
            key = (metadata.namespace, metadata.name)
        else:
            old = before.metadata
            if old.resource_version == metadata.resource_version and old.resource_version:
                return key
            # The key in the dictionary is of the old strings: keep those, and only those.
            metadata.namespace, metadata.name, metadata.uid = old.namespace, old.name, old.uid
        self._objects[key] = item
        self.counts.puts += 1
        self._sink.put(key, item, before)
        return key

    def _remove(self, key: Key) -> None:
        item = self._objects.pop(key, None)
        if item is not None:
            self.counts.removals += 1
            self._sink.removed(key, item)


def _lost(error: ApiError | Unreachable) -> _Lost:
    """Say what an answer to a list or a watch, or none, means."""
    if isinstance(error, Unreachable):
        return _Lost(Cause.UNREACHABLE, str(error))
    if error.expired:
        return _Lost(Cause.EXPIRED, str(error), relist=True)
    throttled = error.status == HTTPStatus.TOO_MANY_REQUESTS
    return _Lost(Cause.THROTTLED if throttled else Cause.REFUSED, str(error), pause=error.retry_after)
