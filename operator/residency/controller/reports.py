"""Reports for OpenReports, where a cluster has it: written when they change, at a bounded rate.

Where it has not, that is looked up every few minutes and nothing else is done.
"""

import asyncio
import hashlib
import json
import logging
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from residency.api.names import MANAGED_BY, REPORT_NAME
from residency.audit.deviations import compliant
from residency.audit.findings import Finding
from residency.audit.picture import Picture
from residency.audit.tally import PodKey
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import REPORTS
from residency.reporting.limits import Bucket, Buckets, Clock
from residency.reporting.metrics import Metrics
from residency.reporting.reports import reports

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between looks whether something is to be written."""
CALM: Final = 10.0
"""Seconds between them while no pod begins or ceases to deviate: more or fewer may comply."""
SHARE: Final = 20
"""How much longer than it took to work the reports out to rest after it."""
RETRY: Final = 10.0
"""Seconds after which a failure may be over."""
LOOK_AGAIN: Final = 300.0
"""Seconds between looks whether OpenReports has been installed."""
BURST: Final = 30
"""Reports that may be written at once."""
A_SECOND: Final = 5.0
"""The same in the long run."""
BURST_EACH: Final = 2
"""One and the same report at once; after that one every ten seconds."""
A_SECOND_EACH: Final = 0.1
MOST_REFUSED: Final = 5
"""Reports that may be refused one after another, by quotas or webhooks say, before all of them rest."""
MOST_NAMESPACES: Final = 10_000
AT_ONCE: Final = 2_000
"""Pods that are counted before others get their turn."""


class ReportWriter:
    """Keeps the reports as the findings are."""

    def __init__(
        self,
        client: Client,
        metrics: Metrics,
        findings: Callable[[], Sequence[Finding] | None],
        clock: Clock = time.monotonic,
    ) -> None:
        """``findings`` says what there is to report; None while that is not known."""
        self._client = client
        self._metrics = metrics
        self._findings = findings
        self._clock = clock
        self._overall = Bucket(BURST, A_SECOND, clock)
        self._each: Buckets[str] = Buckets(BURST_EACH, A_SECOND_EACH, clock, MOST_NAMESPACES)
        self._picture: weakref.ref[Picture] | None = None
        self._there = False
        self._due = clock()
        """When to work them out even though nothing is known to have changed."""
        self._rested = clock()
        """When anything may be done at all."""
        self._changed = True
        self._written: dict[str, str] = {}
        """What was written, by namespace, as a digest."""
        self._refused: dict[str, float] = {}
        """The namespaces that refused theirs, and until when they are left alone."""
        self._in_a_row = 0

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in that something has changed."""
        self._picture = weakref.ref(picture)
        self._changed = self._changed or bool(pods)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(LOOK)
            await self.look()

    async def look(self) -> None:
        """Write what is to be written and may be now; nothing that goes wrong with it is raised."""
        picture = None if self._picture is None else self._picture()
        if picture is None:
            return
        try:
            await self._look(picture)
        except (ApiError, Unreachable) as error:
            self._lost(error)
        except Exception:  # reports are a courtesy: nothing depends on them
            log.exception("reports could not be written")
            self._rest(LOOK_AGAIN)

    async def _look(self, picture: Picture) -> None:
        now = self._clock()
        if now < self._rested or (self._there and not self._changed and now < self._due):
            return
        if not self._there:
            await self._find()
        findings = self._findings()
        if findings is None:
            return
        self._changed = False
        wanted = await self._work_out(picture, findings)
        self._due = now + CALM
        self._rested = now + (self._clock() - now) * SHARE
        await self._write(wanted)

    async def _find(self) -> None:
        """See whether there is OpenReports, and which reports of ours are there from before."""
        found = await self._client.find(REPORTS, fields=f"metadata.name={REPORT_NAME}", metadata_only=True)
        metadata = [item["metadata"] for item in found]
        ours = [one["namespace"] for one in metadata if (one.get("labels") or {}).get(MANAGED_BY) == "residency"]
        self._written = {namespace: self._written.get(namespace, "") for namespace in ours}
        self._there = True
        log.info("reports are written for OpenReports", extra={"there": len(ours)})

    def _lost(self, error: ApiError | Unreachable) -> None:
        """Try again, after a while or, where there is no OpenReports or no right to it, after a longer one."""
        absent = isinstance(error, ApiError) and error.not_found
        refused = isinstance(error, ApiError) and error.refused
        if not absent:
            log.warning("reports cannot be written", extra={"error": str(error)})
            self._metrics.report_writes.labels("failed").inc()
        # What is not found may be a namespace, or all of OpenReports: look for the latter.
        self._rest(RETRY if not refused or (absent and self._there) else LOOK_AGAIN)
        self._there = self._there and not absent

    def _rest(self, seconds: float) -> None:
        self._rested, self._changed = self._clock() + seconds, True

    async def _work_out(self, picture: Picture, findings: Sequence[Finding]) -> Mapping[str, Object]:
        passing: dict[str, Mapping[str, int]] = {}
        counted = 0
        for namespace in list(picture.classified):
            pods = len(picture.pods_in(namespace))
            if pods:
                passing[namespace] = compliant(picture, namespace)
                counted += pods
            if counted > AT_ONCE:
                counted = 0
                await asyncio.sleep(0)
        return reports(findings, passing)

    async def _write(self, wanted: Mapping[str, Object]) -> None:
        """Write what differs, and delete what is not wanted any more, as much as may be now."""
        for namespace in [one for one in self._written if one not in wanted]:
            if not self._overall.take():
                self._changed = True
                return
            await self._delete(namespace)
        self._in_a_row = 0
        for namespace in self._turns(wanted):
            body = wanted[namespace]
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            if self._written.get(namespace) == digest:
                continue
            if self._overall.wait:
                self._changed = True
                return
            if not self._each.take(namespace):
                self._changed = True
                continue
            self._overall.take()
            if await self._apply(namespace, body):
                self._written[namespace] = digest

    def _turns(self, wanted: Collection[str]) -> Sequence[str]:
        """Those that have not refused, and then those whose refusal is longest ago: so everybody gets a turn."""
        now = self._clock()
        self._refused = {namespace: until for namespace, until in self._refused.items() if namespace in wanted}
        open_ = (namespace for namespace in wanted if self._refused.get(namespace, now) <= now)
        return sorted(open_, key=lambda namespace: self._refused.get(namespace, 0.0))

    async def _apply(self, namespace: str, body: Object) -> bool:
        try:
            await self._client.apply(REPORTS, body, namespace=namespace)
        except ApiError as error:
            if error.not_found or not error.refused:
                raise
            if "being terminated" not in error.message:
                self._note_refusal(namespace, error)
            return False
        self._refused.pop(namespace, None)
        self._in_a_row = 0
        self._metrics.report_writes.labels("written").inc()
        return True

    def _note_refusal(self, namespace: str, error: ApiError) -> None:
        """Leave a namespace alone for a while; raise where so many refuse that it is not their own affair."""
        self._refused[namespace] = self._clock() + LOOK_AGAIN
        self._in_a_row += 1
        if self._in_a_row >= MOST_REFUSED:
            raise error
        log.warning("a report is refused", extra={"namespace": namespace, "error": str(error)})
        self._metrics.report_writes.labels("failed").inc()

    async def _delete(self, namespace: str) -> None:
        try:
            await self._client.delete(REPORTS, REPORT_NAME, namespace=namespace)
        except ApiError as error:
            if not error.not_found:
                raise
        del self._written[namespace]
        self._metrics.report_writes.labels("deleted").inc()
