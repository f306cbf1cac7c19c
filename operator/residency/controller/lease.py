"""Who leads: one Lease, renewed by the leader, taken over when it stands still.

The rule of client-go: the holder's own deadline is shorter than the time after which others take over, and
both are measured on the local monotonic clock, never by the times in the Lease. A leader that cannot renew in
time has to end its process: `LeaseLost` is not to be handled, only to be died of.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from residency.cluster.client import Object
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import LEASES, Resource

log = logging.getLogger(__name__)

Clock = Callable[[], float]


class LeaseLost(Exception):
    """Another may lead by now; whatever this process still does is too much."""


class Leases(Protocol):
    """What the elector needs of a client."""

    def get(self, resource: Resource, name: str, /, *, namespace: str) -> Awaitable[Object]:
        """Read a Lease."""

    def create(self, resource: Resource, body: Object, /, *, namespace: str) -> Awaitable[Object]:
        """Make a Lease."""

    def replace(self, resource: Resource, body: Object, /, *, namespace: str) -> Awaitable[Object]:
        """Write a Lease, if nobody else has since it was read."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; the defaults are those of the Kubernetes components."""

    duration: int = 15
    """Others take over a Lease that has not changed for so long."""
    deadline: float = 10
    """The leader gives up when its last renewal is older than this: well before anybody takes over."""
    retry: float = 2
    """How often the leader renews and the others look."""

    @classmethod
    def within(cls, duration: int) -> "Timing":
        """Keep the proportions for another duration."""
        return cls(duration=duration, deadline=duration * 2 / 3, retry=duration * 2 / 15)


@dataclass(slots=True)
class Observation:
    """What the Lease said, and since when by our own clock."""

    clock: Clock = time.monotonic
    spec: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0

    def see(self, spec: dict[str, Any]) -> None:
        """Note a Lease just read; only a change restarts the waiting."""
        if spec != self.spec or not self.since:
            self.spec = spec
            self.since = self.clock()

    def free_for(self, identity: str, default_duration: int) -> bool:
        """Whether ``identity`` may take the Lease now."""
        holder = self.spec.get("holderIdentity")
        if not holder or holder == identity:
            return True
        duration = self.spec.get("leaseDurationSeconds") or default_duration
        return self.clock() - self.since > duration


class Elector:
    """Takes the Lease, keeps it, gives it back."""

    def __init__(
        self,
        client: Leases,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing = Timing(),
        clock: Clock = time.monotonic,
    ) -> None:
        """Stand for election as ``identity``; nothing is done yet."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing
        self._clock = clock
        self._seen = Observation(clock)
        self._held: Object | None = None
        self._renewed = 0.0
        """When it was asked for what was granted last: an answer may have been under way for long."""
        self.found = ""
        """When somebody last led before this process did, as the Lease says; empty: nobody ever did."""

    @property
    def leader(self) -> str:
        """Who holds the Lease, as far as we know."""
        return str(self._seen.spec.get("holderIdentity") or "")

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while True:
            asked = self._clock()
            if await self._attempt():
                break
            await asyncio.sleep(self._timing.retry)
        self._renewed = asked
        log.info("leading", extra={"identity": self._identity})

    async def hold(self) -> None:
        """Renew for ever; raise LeaseLost when that cannot be relied on any more."""
        while True:
            await asyncio.sleep(self._timing.retry)
            asked = self._clock()
            left = self._renewed + self._timing.deadline - asked
            with contextlib.suppress(TimeoutError):
                # What counts is when it was asked for.
                # Half the time at most, so that one request that hangs can be made up for.
                patience = min(left, self._timing.deadline / 2)
                if left > 0 and await asyncio.wait_for(self._attempt(), patience):
                    self._renewed = asked
            if self._held is None:
                raise LeaseLost(f"the lease {self._name} is now held by {self.leader or 'nobody'}")
            if self._clock() - self._renewed >= self._timing.deadline:
                raise LeaseLost(f"the lease {self._name} could not be renewed for {self._timing.deadline:g} s")

    async def release(self) -> None:
        """Give the Lease back so that another need not wait; failing at it costs them the wait."""
        if self._held is None:
            return
        body = self._held | {"spec": self._held["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}}
        self._held = None
        try:
            await asyncio.wait_for(self._client.replace(LEASES, body, namespace=self._namespace), self._timing.retry)
        except (ApiError, Unreachable, TimeoutError) as error:
            log.warning("the lease was not given back", extra={"error": str(error) or type(error).__name__})

    async def _attempt(self) -> bool:
        try:
            return await self._take()
        except (ApiError, Unreachable) as error:
            log.warning("the lease cannot be read or written now", extra={"error": str(error)})
        except Exception:  # a bug here must cost the leadership at worst, never leave two leaders
            log.exception("unexpected failure while electing")
        return False

    async def _take(self) -> bool:
        try:
            live = await self._client.get(LEASES, self._name, namespace=self._namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            return await self._write(self._client.create, self._lease({}, {}))
        spec = live.get("spec") or {}
        self._seen.see(spec)
        if self._held is not None and spec.get("holderIdentity") != self._identity:
            # Even when it is free again: somebody else may have led in between.
            self._held = None
            return False
        if not self._seen.free_for(self._identity, self._timing.duration):
            return False
        if self._held is None:
            self.found = str(spec.get("renewTime") or "")
        return await self._write(self._client.replace, self._lease(live["metadata"], spec))

    async def _write(self, write: Callable[..., Awaitable[Object]], body: Object) -> bool:
        try:
            self._held = await write(LEASES, body, namespace=self._namespace)
        except ApiError as error:
            if error.conflict or error.reason == "AlreadyExists":
                return False  # another was faster
            raise
        self._seen.see(self._held["spec"])
        return True

    def _lease(self, metadata: dict[str, Any], spec: dict[str, Any]) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": metadata or {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._timing.duration,
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (not mine),
            },
        }
