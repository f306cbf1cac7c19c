"""Kubernetes Events on workloads, nodes and pods that wait: written in a task of their own, at a bounded rate.

The audit only hands over which pods have changed. Nothing here ever waits for the API server on its behalf, and
nothing that goes wrong here ends anything else.
"""

import asyncio
import hashlib
import logging
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Final

from residency.api.names import EVENT_ACTION, EVENT_CONTROLLER, EvictionResult
from residency.audit.picture import Picture
from residency.audit.tally import PodKey
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import EVENTS
from residency.controller.evicting import Considered
from residency.controller.owners import Owners, Ref
from residency.reporting.events import Planner
from residency.reporting.limits import Bucket, Buckets, Clock, Recent
from residency.reporting.metrics import Metrics
from residency.reporting.notices import Notice, Topic, evicted

log = logging.getLogger(__name__)

BURST: Final = 60
"""Events that may be written at once."""
A_SECOND: Final = 1.0
"""The same in the long run."""
BURST_EACH: Final = 6
"""Events on one object at once; after that one a minute."""
A_SECOND_EACH: Final = 1 / 60
MOST_OBJECTS: Final = 2_000
"""Objects and Events that are remembered."""
MOST_EVICTED: Final = 600
"""Evicted pods that wait to be told of: a minute's, at the highest rate."""
AT_ONCE: Final = 1_000
"""Pods that are looked at before others get their turn."""
PAUSE: Final = 5.0
"""Seconds to wait when the API server does not take any."""
COMPLAIN: Final = 1 / 300
"""How often a second it is logged that Events are refused."""


class EventWriter:
    """Makes Events of what changes in the audit."""

    def __init__(self, client: Client, metrics: Metrics, identity: str, clock: Clock = time.monotonic) -> None:
        """``identity`` says which replica writes."""
        self._client = client
        self._metrics = metrics
        self._identity = identity
        self._owners = Owners(client)
        self._planner = Planner(clock)
        self._overall = Bucket(BURST, A_SECOND, clock)
        self._each: Buckets[str] = Buckets(BURST_EACH, A_SECOND_EACH, clock, MOST_OBJECTS)
        self._complaints = Bucket(1, COMPLAIN, clock)
        self._told: Recent[Topic, tuple[Ref, ...]] = Recent(MOST_OBJECTS)
        """What has Events about pods: those may be gone when it is over."""
        self._written: Recent[tuple[str, str], int] = Recent(MOST_OBJECTS)
        """Events by namespace and name, and how often they have been told."""
        self._picture: weakref.ref[Picture] | None = None
        self._changes: list[Collection[PodKey]] = []
        self._evicted: deque[Considered] = deque(maxlen=MOST_EVICTED)
        self._news, self._work = asyncio.Event(), asyncio.Event()

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in what has changed."""
        # Weakly: while an audit begins again there is room for one picture only.
        self._picture = weakref.ref(picture)
        self._changes.append(pods)
        self._news.set()

    def corrected(self, looked_at: Considered) -> None:
        """Take in that a pod was evicted, which its owner should read of."""
        if looked_at.result is EvictionResult.EVICTED:
            self._metrics.events_dropped.inc(len(self._evicted) == MOST_EVICTED)
            self._evicted.append(looked_at)
            self._work.set()

    async def run(self) -> None:
        """Write for ever."""
        await asyncio.gather(self._again_and_again(self._sort), self._again_and_again(self._tell))

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:  # Events are a courtesy: nothing depends on them
                log.exception("events failed, and go on")
                await asyncio.sleep(PAUSE)

    async def _sort(self) -> None:
        """Turn changes into what is to be told, a few at a time: there may be very many at once."""
        await self._news.wait()
        self._news.clear()
        changes, self._changes = self._changes, []
        pods = chain.from_iterable(changes)
        while some := tuple(islice(pods, AT_ONCE)):
            picture = self._seen()
            if picture is not None:
                self._metrics.events_dropped.inc(self._planner.note(some, picture))
            await asyncio.sleep(0)
        picture = self._seen()
        if picture is not None:
            self._planner.look_after(picture)
        if self._planner.waiting:
            self._work.set()

    async def _tell(self) -> None:
        """Tell of what waits."""
        await self._work.wait()
        if not await self._next():
            self._work.clear()
        await asyncio.sleep(0)  # many may have nothing to tell after all

    def _seen(self) -> Picture | None:
        return None if self._picture is None else self._picture()

    async def _next(self) -> bool:
        """Tell of one evicted pod or one topic; whether there was one."""
        await self._may()
        if self._evicted:
            await self._tell_of_eviction(self._evicted.popleft())
            return True
        picture = self._seen()
        taken = None if picture is None else self._planner.take(picture)
        if picture is None or taken is None:
            return False
        topic, notices = taken
        for number, notice in enumerate(notices):
            try:
                for regarding, related in (await self._about(topic, notice, picture)).items():
                    if not await self._write(notice, regarding, related):
                        self._planner.postpone(topic, notice)
            except (ApiError, Unreachable) as error:
                if self._failed(notice, error):
                    await self._again(topic, notices[number:], error)
                break
        return True

    async def _tell_of_eviction(self, looked_at: Considered) -> None:
        """Tell it of the pod, which may be gone already: people find it among the Events of its namespace."""
        notice, pod = evicted(looked_at.classification, looked_at.node), Ref("v1", "Pod", *looked_at.pod, looked_at.uid)
        try:
            await self._write(notice, pod, None)
        except (ApiError, Unreachable) as error:
            self._failed(notice, error)

    async def _may(self) -> None:
        while wait := self._overall.wait:
            await asyncio.sleep(wait)

    def _failed(self, notice: Notice, error: ApiError | Unreachable) -> bool:
        """Count an Event that could not be written, and complain; False where that is nothing wrong."""
        if _gone(error):
            return False
        self._metrics.events.labels(str(notice.reason), "failed").inc()
        if self._complaints.take():
            log.warning("events cannot be written", extra={"error": str(error)})
        return True

    async def _again(self, topic: Topic, untold: Sequence[Notice], error: ApiError | Unreachable) -> None:
        """Tell it later, unless the API server does not want it."""
        if not (isinstance(error, ApiError) and error.refused):
            self._planner.again(topic, untold)
            await asyncio.sleep(PAUSE)

    async def _about(self, topic: Topic, notice: Notice, picture: Picture) -> Mapping[Ref, Ref | None]:
        """Find what a notice is about, and what is related to it."""
        if not topic.namespace:
            node = await self._owners.node(topic.name)
            return {} if node is None else {node: None}
        if not notice.examples:
            told = self._told.get(topic) or ()
            return {ref: None for ref in told if ref.kind != "Pod" or picture.look((ref.namespace, ref.name))}
        about = await self._of_pods(notice)
        self._told.put(topic, tuple(about))
        return about

    async def _of_pods(self, notice: Notice) -> Mapping[Ref, Ref | None]:
        """Find the workload, with one of its pods; and the pods where it is those that people will look at."""
        about: dict[Ref, Ref | None] = {}
        for key in notice.examples:
            found = await self._owners.pod(key)
            if found is None:
                continue
            pod, workload = found
            about.setdefault(workload, None if workload == pod else pod)
            if notice.waiting:
                about.setdefault(pod, None)
            elif workload != pod:
                break  # the others are its too
        return about

    async def _write(self, notice: Notice, regarding: Ref, related: Ref | None) -> bool:
        """Write an Event, unless there were too many about the same; whether it was."""
        result = "limited"
        if self._each.take(regarding.uid):
            await self._may()
            self._overall.take()
            result = await self._put(event(notice, regarding, related, self._identity, datetime.now(UTC)))
        self._metrics.events.labels(str(notice.reason), result).inc()
        return result != "limited"

    async def _put(self, body: Object) -> str:
        """Create an Event, or count it up where it was told before."""
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        told = self._written.get(key)
        if told is None:
            told = await self._create(key, body)
        if told and not await self._count_up(key, told + 1, body["eventTime"]):
            told = await self._create(key, body)
        self._written.put(key, told + 1)
        return "repeated" if told else "written"

    async def _create(self, key: tuple[str, str], body: Object) -> int:
        """Create an Event; return how often it had been told before."""
        namespace, name = key
        try:
            await self._client.create(EVENTS, body, namespace=namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return 0
        # Told before this process led. An empty patch reads it without the right to read those of others.
        live = await self._client.merge(EVENTS, name, {}, namespace=namespace)
        return int((live.get("series") or {}).get("count") or 1)

    async def _count_up(self, key: tuple[str, str], count: int, now: str) -> bool:
        """Say of an Event how often it has been told by now; whether it is still there: API servers forget them."""
        namespace, name = key
        patch = {"series": {"count": count, "lastObservedTime": now}}
        try:
            await self._client.merge(EVENTS, name, patch, namespace=namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            return False
        return True


def _gone(error: ApiError | Unreachable) -> bool:
    """Whether what was to be told of, or its namespace, is gone or going."""
    return isinstance(error, ApiError) and (error.not_found or "being terminated" in error.message)


def event(notice: Notice, regarding: Ref, related: Ref | None, identity: str, now: datetime) -> Object:
    """Write an Event; the same about the same has the same name, whoever writes it."""
    said = "\0".join((regarding.uid, *notice.matter, notice.note))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    body: Object = {
        "apiVersion": EVENTS.api_version,
        "kind": "Event",
        # Events of what is in no namespace are in this one.
        "metadata": {
            "name": f"{regarding.name[:230].rstrip('-.')}.{digest}",
            "namespace": regarding.namespace or "default",
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": notice.type,
        "reason": str(notice.reason),
        "action": EVENT_ACTION,
        "note": notice.note,
        "regarding": regarding.to_json(),
        "reportingController": EVENT_CONTROLLER,
        "reportingInstance": identity[:128],
    }
    return body | ({} if related is None else {"related": related.to_json()})
