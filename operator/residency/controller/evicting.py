"""Evicts misplaced pods as planners decide: reads what a decision rests on afresh, asks the API server, tells of it.

It acts only on orders, which a pass of the reconciler gives when it has seen the policies in force, and takes back as
the next one begins; and only while everything is watched. Its task ends with the leadership.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec

from residency.api.names import CLASSIFICATION, ENFORCEMENT, ClassificationName, EvictionResult, Mode, Outcome
from residency.audit.departure import Around, Found, Live, decide, held_by, owned, reach
from residency.audit.eviction import MOST_RELAPSES, Came, Order, Planner, Summary, Workload, workload_of
from residency.audit.picture import Picture
from residency.audit.tally import PodKey
from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import ACCESS_REVIEWS, CLAIMS, NAMESPACES, NODES, PODS, VOLUMES
from residency.controller.auditing import REST, Audit
from residency.controller.observed import Node, node_view
from residency.controller.siblings import siblings
from residency.core import messages
from residency.core.audit import Judged, NodeView
from residency.core.judge import Catalogue, NamespaceLabels
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.core.workload import PodView
from residency.reporting.eviction import NOT_OBSERVED, NOT_PERMITTED, Says, eviction_json
from residency.reporting.metrics import Metrics
from residency.reporting.status import Json

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between looks whether there is something to do."""
BUSY: Final = 0.1
"""The same while there is: at most so often is a pod looked at for a classification."""
ASK_AGAIN: Final = 30.0
"""Seconds for which an answer holds whether the controller may evict."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a pass of the reconciler has found to be in force."""

    of: Mapping[ClassificationName, Order] = field(default_factory=dict)
    """By classification; those for which nothing may be evicted now are not here."""
    catalogue: Catalogue = field(default_factory=dict)
    surroundings: Surroundings = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Considered:
    """One pod that was looked at, and what came of it."""

    classification: ClassificationName
    pod: PodKey
    uid: str
    result: EvictionResult
    message: str
    dry_run: bool
    node: str = ""
    """Where it was."""


@dataclass
class Evictor:
    """Corrects where pods run, for the classifications that ask for it."""

    client: Client
    audit: Audit
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    heard_by: list[Callable[[Considered], None]] = field(default_factory=list)
    """Are told of every pod that was looked at with another result than before."""
    forgotten_by: list[Callable[[ClassificationName], None]] = field(default_factory=list)
    """Are told of classifications of which nothing is remembered any more."""
    _planners: dict[ClassificationName, Planner] = field(default_factory=dict)
    _orders: Orders | None = None
    _picture: Picture | None = None
    """What the planners were told of."""
    _permitted: tuple[float, bool] | None = None
    _told: dict[ClassificationName, Json] = field(default_factory=dict)
    _compared: float = 0.0

    def __post_init__(self) -> None:
        self.audit.listeners.append(self)

    # What the reconciler says

    def pause(self) -> None:
        """Evict nothing until there are orders again."""
        self._orders = None

    def go(self, orders: Orders, wanted: Collection[ClassificationName]) -> None:
        """Act on these orders until paused; of what is not wanted any more nothing is remembered."""
        forgotten = self._planners.keys() - set(wanted)
        for name in forgotten:
            del self._planners[name]
            self._told.pop(name, None)
        for name, order in sorted(orders.of.items()):
            planner = self._planners.get(name)
            if planner is None:
                planner = self._planners[name] = Planner(order, self.clock())
                self._fill(name, planner)
            if planner.follow(order):
                forgotten.add(name)
        self._orders = orders
        for name in sorted(forgotten):
            for hears in self.forgotten_by:
                hears(name)

    def tell(self, name: ClassificationName, order: Order, withheld: Says | None) -> Json:
        """Write what the status of a classification says of it."""
        if withheld is None:
            self._told[name] = self._says(name, order)
            return self._told[name]
        self._told.pop(name, None)
        return eviction_json(order, self._summary(name), withheld)

    # What the audit says

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in which pods began or ceased to be misplaced."""
        if picture is not self._picture:
            self._picture = picture
            for name, planner in self._planners.items():
                self._fill(name, planner)
            return
        now = self.clock()
        for name, planner in self._planners.items():
            deviating = picture.tally.deviating(name)
            for pod in sorted(pods):
                if _to_be_corrected(deviating.get(pod)):
                    planner.put(pod, now)
                else:
                    planner.drop(pod, now)

    def _fill(self, name: ClassificationName, planner: Planner) -> None:
        if self._picture is not None:
            deviating = self._picture.tally.deviating(name)
            planner.keep_only({pod for pod, judged in deviating.items() if _to_be_corrected(judged)}, self.clock())

    # Its life

    async def run(self, wake: Callable[[], None]) -> None:
        """Evict for ever what is to be evicted; ``wake`` is called when there is something new for a status."""
        while True:
            busy = False
            try:
                busy = await self._round()
            except Exception:
                log.exception("evicting failed, and goes on")
                await asyncio.sleep(REST)
            self.metrics.evictions_halted({name: one.halted_workloads for name, one in self._planners.items()})
            if self.clock() - self._compared >= REST:
                self._compared = self.clock()
                if self._has_news():
                    wake()
            await asyncio.sleep(BUSY if busy else LOOK)

    async def _round(self) -> bool:
        """Look at one pod for each classification; say whether there was any."""
        if self._complete:
            for planner in self._planners.values():
                planner.look(self.clock(), self._size)
        orders, busy = self._in_order(), False
        if orders is None or not orders.of or not await self._may():
            return False
        waiting: Collection[Workload] | None = None
        for name in sorted(orders.of):
            if self._in_order() is not orders:
                return busy
            planner = self._planners[name]
            if planner.due(self.clock()):
                waiting = self._waiting() if waiting is None else waiting
                pod = planner.next(self.clock(), waiting)
                if pod is not None:
                    busy = True
                    await self._consider(name, planner, pod, orders)
        return busy

    @property
    def _complete(self) -> bool:
        """Whether the planners were told of the picture that is kept now."""
        return self._picture is not None and self.audit.complete is self._picture

    def _in_order(self) -> Orders | None:
        """The orders, while the picture that they are carried out by is as fresh as can be."""
        if not self._complete:
            return None
        seeing = all(reflector.blind_for is None for reflector in self.audit.watched.values())
        return self._orders if seeing else None

    def _waiting(self) -> Collection[Workload]:
        return set() if self._picture is None else {workload_of(pod) for pod in self._picture.waiting}

    def _size(self, workload: Workload) -> int:
        pods = () if self._picture is None else self._picture.pods_in(workload[0])
        return sum(workload_of(pod) == workload for pod in pods)

    # One pod

    async def _consider(self, name: ClassificationName, planner: Planner, pod: PodKey, orders: Orders) -> None:
        live: Live | None = None
        try:
            live, found = await self._find(name, pod, orders)
        except (ApiError, Unreachable) as error:
            found = EvictionResult.FAILED, str(error)
        if self._in_order() is not orders:
            return  # what it was judged by is not so any more
        if found is None and live is not None:
            found = self._relapse(planner, pod, live)
        if found is None and live is not None:
            came = await self._evict(pod, live, planner.order)
        elif found is not None:
            came = Came(*found, uid=live.uid if live else "")
        else:
            return
        if planner.settle(pod, came, self.clock()):
            node = live.view.node_name if live else ""
            self._report(Considered(name, pod, came.uid, came.result, came.message, planner.order.dry_run, node))
        self.metrics.evictions.labels(name, came.result).inc()

    async def _find(self, name: ClassificationName, pod: PodKey, orders: Orders) -> tuple[Live | None, Found | None]:
        """Read a pod and what decides about it; say why it is not to be evicted, None where it is."""
        namespace = pod[0]
        try:
            live = Live.of(await self.client.get(PODS, pod[1], namespace=namespace))
        except ApiError as error:
            if not error.not_found:
                raise
            return None, (EvictionResult.CHANGED, messages.EVICT_CHANGED)
        found = owned(live)
        if found is not None:
            return live, found
        node, says = await asyncio.gather(self._node(live.view.node_name), self._says_namespace(namespace))
        try:
            reaches = [await self._reach(namespace, claim) for claim in live.claims]
        except ApiError as error:
            if not error.not_found:
                raise
            return live, (EvictionResult.NOWHERE_TO_GO, messages.EVICT_NO_VOLUME)
        nodes = {} if self._picture is None else self._picture.nodes
        around = Around(
            node, namespace, says, nodes, orders.catalogue, orders.surroundings, tuple(filter(None, reaches))
        )
        return live, decide(live, around, name) or await self._held_by(name, namespace, live)

    async def _held_by(self, name: ClassificationName, namespace: str, live: Live) -> Found | None:
        deviating = {} if self._picture is None else self._picture.tally.deviating(name)
        others = await siblings(self.client, namespace, live) if live.ready else ()
        return held_by(live, others, lambda other: _to_be_corrected(deviating.get((namespace, other))))

    async def _node(self, name: str) -> NodeView | None:
        try:
            return node_view(msgspec.convert(await self.client.get(NODES, name), Node))
        except ApiError as error:
            if not error.not_found:
                raise
            return None

    async def _says_namespace(self, name: str) -> NamespaceLabels:
        labels = (await self.client.get(NAMESPACES, name, metadata_only=True))["metadata"].get("labels") or {}
        return NamespaceLabels(labels.get(CLASSIFICATION), labels.get(ENFORCEMENT))

    async def _reach(self, namespace: str, claim: str) -> PodView | None:
        """From where the volume of a claim can be reached; None where it has none yet."""
        volume = (await self.client.get(CLAIMS, claim, namespace=namespace))["spec"].get("volumeName")
        return reach(await self.client.get(VOLUMES, volume)) if volume else None

    def _relapse(self, planner: Planner, pod: PodKey, live: Live) -> Found | None:
        """Say whether a pod waits, or is left alone, because others of its workload were evicted before in vain."""
        if not planner.relapse(pod, live.uid, _seconds(live.created), self.clock(), self.wall()):
            return None
        if planner.halted(pod):
            return EvictionResult.HALTED, messages.EVICT_HALTED.format(count=MOST_RELAPSES)
        return EvictionResult.RELAPSED, messages.EVICT_RELAPSED

    async def _evict(self, pod: PodKey, live: Live, order: Order) -> Came:
        began, uid, size = self.wall(), live.uid, self._size(workload_of(pod))
        try:
            await self.client.evict(pod[1], namespace=pod[0], uid=uid, dry_run=order.dry_run)
        except ApiError as error:
            # A gateway or a deadline says nothing of whether it was done.
            lost = error.status > HTTPStatus.INTERNAL_SERVER_ERROR and not order.dry_run
            return replace(self._refused(error, uid), wall=began, sent=lost)
        except Unreachable as error:
            return Came(EvictionResult.FAILED, str(error), uid, began, sent=not order.dry_run)
        if order.dry_run:
            return Came(EvictionResult.WOULD_EVICT, messages.WOULD_EVICT, uid)
        return Came(EvictionResult.EVICTED, messages.EVICTED, uid, began, sent=True, size=size)

    def _refused(self, error: ApiError, uid: str) -> Came:
        if error.not_found or error.conflict:
            return Came(EvictionResult.CHANGED, messages.EVICT_CHANGED, uid)
        if error.over_budget:
            return Came(EvictionResult.BLOCKED_BY_BUDGET, messages.EVICT_BUDGET, uid, after=error.retry_after)
        if error.status == HTTPStatus.FORBIDDEN:
            self._permitted = None
        return Came(EvictionResult.FAILED, str(error), uid, after=error.retry_after)

    # What it may, and what it says

    async def _may(self) -> bool:
        """Whether the controller has the right to evict, as the API server said a moment ago."""
        if self._permitted is None or self.clock() - self._permitted[0] >= ASK_AGAIN:
            attributes = {"verb": "create", "resource": "pods", "subresource": "eviction"}
            body = {
                "apiVersion": ACCESS_REVIEWS.api_version,
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            try:
                answer = await self.client.create(ACCESS_REVIEWS, body)
            except (ApiError, Unreachable) as error:
                log.warning("not known whether pods may be evicted", extra={"error": str(error)})
                await asyncio.sleep(REST)
                return False
            allowed = bool((answer.get("status") or {}).get("allowed"))
            if not allowed and (self._permitted is None or self._permitted[1]):
                log.warning("pods may not be evicted, though a classification asks for it: %s", NOT_PERMITTED[1])
            self._permitted = self.clock(), allowed
        return self._permitted[1]

    def _report(self, considered: Considered) -> None:
        log.info(
            "misplaced pod considered",
            extra={
                "classification": considered.classification,
                "pod": "/".join(considered.pod),
                "result": str(considered.result),
                "why": considered.message,
                "dry_run": considered.dry_run,
            },
        )
        for hears in self.heard_by:
            hears(considered)

    def _summary(self, name: ClassificationName) -> Summary | None:
        planner = self._planners.get(name)
        return None if planner is None else planner.summary()

    def _says(self, name: ClassificationName, order: Order) -> Json:
        withheld: Says | None = None
        if not self.audit.synced:
            withheld = NOT_OBSERVED
        elif self._permitted is not None and not self._permitted[1]:
            withheld = NOT_PERMITTED
        return eviction_json(order, self._summary(name), withheld)

    def _has_news(self) -> bool:
        """Whether a status says what is not so any more."""
        orders = self._orders
        if orders is None:
            return False
        return any(self._told.get(name) != self._says(name, order) for name, order in orders.of.items())


def _to_be_corrected(judged: Judged | None) -> bool:
    return judged is not None and judged.outcome is Outcome.MISPLACED and judged.mode is Mode.ENFORCE


def _seconds(moment: str) -> float:
    """Read a time of the API server; what it does not tell is long ago."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
