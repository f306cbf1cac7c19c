"""Keeps findings as objects: what the audit finds is written, what people say to it is read, and both outlive us.

Whatever goes wrong here is logged and tried again; neither the audit nor what is enforced depends on it. Few writes a
second are made, those first that tell of a beginning, an end or an acknowledgement.
"""

import asyncio
import contextlib
import heapq
import logging
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from residency.api.names import FINDING, MANAGED_BY, ClassificationName, Outcome
from residency.audit.findings import Finding, State, Subject
from residency.audit.gaps import SHORTEST, Blindness, Gaps
from residency.audit.life import FindingKey, Findings, Sight, key_of
from residency.audit.picture import Picture
from residency.audit.tally import PodKey, Tally
from residency.audit.volumes import VolumePicture
from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.reflector import Key, Metadata, Reflector
from residency.cluster.resources import FINDINGS
from residency.controller.auditing import BLIND, REST
from residency.controller.evicting import Considered
from residency.controller.together import until_failure
from residency.reporting.findings import acknowledgement, from_status, read, to_status
from residency.reporting.limits import Bucket
from residency.reporting.status import Json, change

log = logging.getLogger(__name__)

WRITES: Final = 20
"""Findings with news that are written in a second, in the long run."""
BURST: Final = 120
"""Findings with news that are written at once: as many as the pods of one node can make in as many namespaces."""
MORE: Final = 5
"""Others that are written in a second: what they count is exact in the metrics, and can wait here."""
CALM: Final = 30.0
"""Seconds between two writes of one finding where only its count or its examples have changed."""
LOOK: Final = 1.0
"""Seconds between looks whether the audit sees."""
SWEEP: Final = 60.0
"""Seconds between looks what has become old."""
FRESH: Final = 3600.0
"""Seconds after which ``lastSeen`` is written anew."""
PATIENCE: Final = 30.0
"""Seconds to wait for what is stored before going on without."""
LONGEST_PAUSE: Final = 300.0
MOST_GAPS: Final = 50
"""Gaps that are kept."""
DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much is kept."""

    days: float = 7.0
    """How long a finding that is resolved is kept."""
    most: int = 1000
    """How many objects there are at the most."""


class Audited(Protocol):
    """What is asked of the audit."""

    @property
    def complete(self) -> Picture | None:
        """The picture, once everything has been seen."""

    @property
    def volumes(self) -> VolumePicture | None:
        """The volumes, then too."""

    @property
    def watched(self) -> Mapping[str, Any]:
        """The reflectors."""

    def take_missed(self) -> float:
        """For how many seconds at the most something was not seen that is seen again, since this was last asked."""


class _Labels(msgspec.Struct):
    managed_by: str | None = msgspec.field(default=None, name=MANAGED_BY)


class _Metadata(Metadata):
    labels: _Labels | None = None


class Stored(msgspec.Struct):
    """A ResidencyFinding."""

    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None

    @property
    def ours(self) -> bool:
        """Whether the controller made it."""
        return self.metadata.labels is not None and self.metadata.labels.managed_by == "residency"


AT_ONCE: Final = 0.0
"""When news is due."""


class Queue:
    """What is to be done and not before when, each thing once."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: Key, due: float) -> None:
        """Do it then, or earlier where that was said already."""
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._added += 1
            heapq.heappush(self._heap, (due, self._added, key))

    def take(self, now: float) -> tuple[Key, float] | None:
        """The first that is due, and when it was; of those that are due at once the one that was added first."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                return key, due
        return None


class Keeper:
    """Feeds the findings from the audit and keeps their objects equal to them."""

    def __init__(
        self,
        client: Client,
        audit: Audited,
        namespace: str,
        keeping: Keeping = Keeping(),
        *,
        led_until: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``namespace`` is Residency's own; ``led_until`` is when somebody led before, as a Lease says it."""
        self._client = client
        self._audit = audit
        self._keeping = keeping
        self._clock = clock
        self._findings = Findings()
        self._gaps = Gaps(namespace, _time(led_until))
        self._observed: dict[Key, Finding] = {}
        """Gaps, by namespace and name of their objects."""
        self._about: dict[Key, FindingKey] = {}
        """What the other objects are about."""
        self._stored: dict[Key, Stored] = {}
        self._unstored: dict[Key, None] = {}
        """Findings for which there was no room."""
        self._unread: set[Key] = set()
        """Objects from before that tell of nothing that could be read."""
        self._failures: dict[Key, int] = {}
        self._queue = Queue()
        self._news = Bucket(BURST, WRITES, time.monotonic)
        self._wake = asyncio.Event()
        self._ready = False
        self._seen: dict[Subject, Callable[[], Tally | None]] = {}
        """The tallies that were looked at as a whole."""
        self._looked: set[Subject] = set()
        """What was looked at since what is stored is known: until then nobody knows whether that still is so."""
        self._rest_until = 0.0
        self._was_complete = False

    # What others read

    @property
    def current(self) -> tuple[Finding, ...]:
        """All findings, the resolved ones that are kept among them."""
        return (*self._findings, *self._observed.values())

    def known(self) -> tuple[Finding, ...] | None:
        """The same; None until everything has been looked at that is to be known from before."""
        return self.current if self._looked_at_all else None

    @property
    def _looked_at_all(self) -> bool:
        return {Subject.PODS, Subject.VOLUMES} <= self._looked

    @property
    def not_stored(self) -> int:
        """How many that are not resolved have no object."""
        return sum(
            finding.state is not State.RESOLVED and (finding.namespace, finding.name) not in self._stored
            for finding in self.current
        )

    @property
    def gaps_seen(self) -> Mapping[Blindness, int]:
        """How often nobody looked, by why."""
        return self._gaps.counts

    # What the audit tells

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in which pods deviate otherwise, and see which volumes do."""
        self.look_at(Sight(Subject.PODS, picture.tally, picture.catalogue, picture.node_of), pods)
        volumes = self._audit.volumes
        if volumes is not None:
            sight = Sight(Subject.VOLUMES, volumes.tally, volumes.catalogue, volumes.volume_of, volumes.claim_of)
            self.look_at(sight, volumes.tally.take_changed())

    def look_at(self, sight: Sight, changed: Collection[PodKey]) -> None:
        """Take in which objects of one subject deviate otherwise; everything, where the tally is another one."""
        now, subject = self._now(), sight.subject
        whole = self._last(subject) is not sight.tally
        if not self._ready or now < self._rest_until or not (whole or changed):
            return
        try:
            self._mark(self._findings.look(sight, now, None if whole else changed))
            self._seen[subject] = weakref.ref(sight.tally)
            self._looked.add(subject)
        except Exception:  # the audit must not fail because of what is made of it
            log.exception("findings could not be worked out, and are looked at as a whole again")
            # The other subject's changes are not looked at meanwhile either.
            self._seen.clear()
            self._rest_until = now + REST

    def corrected(self, looked_at: Considered) -> None:
        """Take in what came of looking at a misplaced pod whether to evict it."""
        namespace, name = looked_at.pod
        about = FindingKey(namespace, Subject.PODS, looked_at.classification, Outcome.MISPLACED)
        if self._ready and self._findings.corrected(about, name, looked_at.result):
            self._mark({about})

    def uncorrected(self, classification: ClassificationName) -> None:
        """Take that what came of looking at its pods is forgotten: it asks for something else now."""
        self._mark(self._findings.uncorrected(classification))

    def _last(self, subject: Subject) -> Tally | None:
        """The tally that was looked at, while there is one."""
        seen = self._seen.get(subject)
        return None if seen is None else seen()

    def look(self) -> None:
        """Note whether the audit sees."""
        audit = self._audit
        complete = audit.complete is not None
        why, patience = None, SHORTEST
        blind = [one.blind_for for one in audit.watched.values() if one.blind_for is not None]
        if not complete:
            why = Blindness.RESTARTED if self._was_complete else Blindness.DOWN
        elif blind:
            why, patience = Blindness.BLIND, BLIND
        self._was_complete |= complete
        if why is None:
            self._findings.seen(self._now())
        # A connection that was dead is known for it only once it is over.
        missed = audit.take_missed()
        news = self._gaps.missed(self._now(), missed) if complete and missed >= BLIND else []
        for finding in [*news, *self._gaps.look(self._now(), why, patience, max(blind, default=0.0))]:
            said = self._observed.get((finding.namespace, finding.name))
            finding = replace(finding, acknowledged=None if said is None else said.acknowledged)
            log.warning("observation gap", extra={"cause": finding.cause, "end": finding.resolution})
            self._observe(finding)
            self._soon((finding.namespace, finding.name))

    # What the API server tells

    def put(self, key: Key, item: Stored, before: Stored | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in an object, and what people say in it."""
        self._stored[key] = item
        if self._ready:
            self._hear(key, item.spec)

    def removed(self, key: Key, item: Stored) -> None:  # noqa: ARG002 (the reflector's)
        """Take that an object is gone: with the namespace, or by somebody to whom it comes back."""
        self._stored.pop(key, None)
        if not self._ready:
            return
        finding = self._wanted(key)
        if finding is not None and finding.resolved is not None:
            self._forget(key)
        self._hear(key, None)
        self._queue.add(key, self._clock() + LOOK)
        for waiting in list(self._unstored)[:1]:
            self._soon(waiting)

    def _hear(self, key: Key, spec: Mapping[str, Any] | None) -> None:
        comment, until = acknowledgement(spec)
        if until is not None and until <= self._clock():
            comment = until = None
        finding = self._wanted(key)
        if finding is None:
            return
        about = self._about.get(key)
        if about is not None:
            self._findings.acknowledge(about, comment, until)
        else:
            self._observed[key] = replace(finding, acknowledged=comment)
        if finding.acknowledged != comment:
            self._soon(key)

    # Its life

    async def run(self) -> None:
        """Keep them for ever."""
        while True:
            self._ready = False
            # What changes until it is ready is not looked at.
            self._seen.clear()
            self._stored.clear()
            reflector = Reflector(self._client, FINDINGS, Stored, self)
            try:
                await until_failure(
                    reflector.run(), self._begin(reflector), self._observing(), self._writing(), self._sweeping()
                )
            except Exception:
                log.exception("keeping findings failed, and begins again")
            await asyncio.sleep(REST)

    async def _begin(self, reflector: Reflector[Stored]) -> None:
        """Go on with what is stored, as soon as that is known; without, where it takes too long."""
        try:
            await asyncio.wait_for(reflector.synced.wait(), PATIENCE)
        except TimeoutError:
            log.warning("findings are not stored", extra={"error": reflector.problem})
            self._ready = True
            await reflector.synced.wait()
        self._unread.clear()
        for key, item in sorted(self._stored.items()):
            self._adopt(key, item)
            # What people said while nobody listened is to be seen too.
            self._soon(key)
        self._ready = True
        self._looked.clear()
        self._seen.clear()

    def _adopt(self, key: Key, item: Stored) -> None:
        finding = from_status(key[0], item.status or {})
        if finding is None or finding.name != key[1]:
            # Begun and never finished, or of another version.
            self._unread.add(key)
            return
        comment, until = acknowledgement(item.spec)
        held = until is None or until > self._clock()
        finding = replace(finding, acknowledged=comment if held else None)
        about = key_of(finding)
        if about is not None:
            self._about[key] = about
            self._findings.adopt(finding, until if held else None)
        elif key not in self._observed:
            self._observe(finding)
            self._gaps.adopt(finding)

    async def _observing(self) -> None:
        while True:
            if self._ready:
                self.look()
            await asyncio.sleep(LOOK)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.sweep()

    def sweep(self) -> None:
        """Find what has become old: acknowledgements, times, and what was resolved long ago."""
        now = self._now()
        self._mark(self._findings.expired(now))
        for key in self._observed.keys() & self._stored.keys():
            self._hear(key, self._stored[key].spec)
        for finding in self.current:
            key = finding.namespace, finding.name
            if finding.resolved is not None and finding.resolved <= now - self._keeping.days * DAY:
                self._forget(key)
                self._some_time(key)
            elif finding.resolved is None and key in self._stored and self._stale(self._stored[key], now):
                self._some_time(key)
        # One at least: to ask for room is what makes some.
        for key in list(self._unstored)[: max(1, self._keeping.most - len(self._stored))]:
            self._soon(key)

    def _stale(self, stored: Stored, now: float) -> bool:
        last = _time((stored.status or {}).get("lastSeen", ""))
        return last is None or last <= now - FRESH

    # Writing

    async def _writing(self) -> None:
        while True:
            next_ = self._queue.take(self._clock())
            if next_ is None:
                await self._until_news(LOOK)
                continue
            key, due = next_
            if not await self._write(key):
                await asyncio.sleep(0)  # of many there may be nothing to write
                continue
            if due == AT_ONCE:
                self._news.take()
                await asyncio.sleep(self._news.wait)
            else:
                await self._until_news(1 / MORE)

    async def _until_news(self, most: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), most)

    async def _write(self, key: Key) -> bool:
        """Make one object what it should be; return whether anything was sent."""
        try:
            sent = await self._bring(key)
        except ApiError as error:
            if not self._expected(key, error):
                self._failed(key, error)
            return True
        except Unreachable as error:
            self._failed(key, error)
            await asyncio.sleep(REST)
            return True
        self._failures.pop(key, None)
        return sent

    async def _bring(self, key: Key) -> bool:
        finding, stored = self._wanted(key), self._stored.get(key)
        if finding is not None and finding.outcome is not None and finding.subject not in self._looked:
            self._queue.add(key, self._clock() + LOOK)
            return False
        if finding is None:
            if stored is None or not stored.ours:
                return False
            if key in self._unread and not self._looked_at_all:
                # It may yet be about something that is found, and what people say in it holds.
                self._queue.add(key, self._clock() + LOOK)
                return False
            await self._client.delete(FINDINGS, key[1], namespace=key[0])
            return True
        if stored is None and finding.resolved is not None and key in self._about:
            # It ended before anybody could have read of it.
            self._forget(key)
            return False
        if stored is None and not self._room():
            self._unstored[key] = None
            return False
        self._unstored.pop(key, None)
        if stored is None:
            await self._create(key)
            # It may have been there, with a beginning of its own.
            finding = self._wanted(key) or finding
        return await self._tell(key, finding) or stored is None

    async def _create(self, key: Key) -> None:
        """Make an object, or go on with the one that is there and was not known of."""
        metadata = {"name": key[1], "namespace": key[0], "labels": {MANAGED_BY: "residency"}}
        body = {"apiVersion": FINDINGS.api_version, "kind": FINDING, "metadata": metadata}
        try:
            self._took(key, await self._client.create(FINDINGS, body, namespace=key[0]))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Without the right to read single ones.
            for item in await self._client.find(FINDINGS, namespace=key[0], fields=f"metadata.name={key[1]}"):
                self._took(key, item)
                self._adopt(key, self._stored[key])

    async def _tell(self, key: Key, finding: Finding) -> bool:
        stored = self._stored.get(key)
        patch = change((stored.status if stored else None) or {}, to_status(finding))
        if not patch or (patch.keys() == {"lastSeen"} and stored and not self._stale(stored, self._now())):
            return False
        self._took(
            key, await self._client.merge(FINDINGS, key[1], {"status": patch}, namespace=key[0], subresource="status")
        )
        return True

    def _took(self, key: Key, answer: Json) -> None:
        self._stored[key] = msgspec.convert(answer, Stored)

    def _room(self) -> bool:
        """Whether one more may be made; the oldest that is resolved makes room."""
        if len(self._stored) < self._keeping.most:
            return True
        resolved = [(at, key) for key in self._stored if (at := self._resolved_at(key)) is not None]
        if resolved:
            _, oldest = min(resolved)
            self._forget(oldest)
            self._soon(oldest)
        return False

    def _resolved_at(self, key: Key) -> float | None:
        about = self._about.get(key)
        if about is not None:
            return self._findings.resolved_at(about)
        observed = self._observed.get(key)
        return None if observed is None else observed.resolved

    def _expected(self, key: Key, error: ApiError) -> bool:
        """Whether the object or its namespace has gone meanwhile, or is going; it is looked at again later."""
        if not error.not_found and "being terminated" not in error.message:
            return False
        if error.not_found:
            self._stored.pop(key, None)
        self._queue.add(key, self._clock() + CALM)
        return True

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(2.0**failures, LONGEST_PAUSE)
        log.warning("finding not written", extra={"finding": "/".join(key), "error": str(error), "pause": pause})
        self._queue.add(key, self._clock() + pause)

    # Between

    def _wanted(self, key: Key) -> Finding | None:
        about = self._about.get(key)
        return self._observed.get(key) if about is None else self._findings.get(about)

    def _mark(self, keys: Collection[FindingKey]) -> None:
        for about in keys:
            finding = self._findings.get(about)
            if finding is None:
                continue
            key = finding.namespace, finding.name
            stored, known = self._stored.get(key), key in self._about
            self._about[key] = about
            if key in self._unstored and finding.resolved is None:
                continue  # it waits for room, and not for news
            if stored is not None and not known:
                # It was there before: written by somebody, or about to be deleted.
                self._hear(key, stored.spec)
            if stored is None or _news(stored.status or {}, finding):
                self._soon(key)
            else:
                self._queue.add(key, self._clock() + CALM)

    def _soon(self, key: Key) -> None:
        self._queue.add(key, AT_ONCE)
        self._wake.set()

    def _some_time(self, key: Key) -> None:
        """Write what is no news: after all that is."""
        self._queue.add(key, self._clock())

    def _observe(self, finding: Finding) -> None:
        self._observed[finding.namespace, finding.name] = finding
        while len(self._observed) > MOST_GAPS:
            oldest = min(self._observed)
            del self._observed[oldest]
            self._soon(oldest)

    def _forget(self, key: Key) -> None:
        about = self._about.pop(key, None)
        if about is not None:
            self._findings.forget(about)
        self._observed.pop(key, None)
        self._unstored.pop(key, None)

    def _now(self) -> float:
        """Whole seconds, so that a time that is read back is the one that was written."""
        return float(int(self._clock()))


def _news(status: Mapping[str, Any], finding: Finding) -> bool:
    """Whether more is new than how many there are and which."""
    said = to_status(finding)
    return any(status.get(field) != said.get(field) for field in ("firstSeen", "state", "mode", "acknowledged"))


def _time(text: str) -> float | None:
    try:
        return read(text)
    except ValueError:
        return None
