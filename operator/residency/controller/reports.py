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
from residency.audit.deviations import compliant, findings_of
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
CALM: Final = 30.0
"""Seconds between them while no pod begins or ceases to deviate: more or fewer may comply."""
SHARE: Final = 20
"""How much longer than it took to work the reports out to rest after it."""
LOOK_AGAIN: Final = 300.0
"""Seconds between looks whether OpenReports has been installed."""
BURST: Final = 30
"""Reports that may be written at once."""
A_SECOND: Final = 5.0
"""The same in the long run."""
BURST_EACH: Final = 2
"""One and the same report at once; after that one every ten seconds."""
A_SECOND_EACH: Final = 0.1
MOST_NAMESPACES: Final = 10_000
AT_ONCE: Final = 2_000
"""Pods that are counted before others get their turn."""


class ReportWriter:
    """Keeps the reports as the findings are."""

    def __init__(
        self,
        client: Client,
        metrics: Metrics,
        findings: Callable[[Picture], Sequence[Finding]] = findings_of,
        clock: Clock = time.monotonic,
    ) -> None:
        """``findings`` says what there is to report."""
        self._client = client
        self._metrics = metrics
        self._findings = findings
        self._clock = clock
        self._overall = Bucket(BURST, A_SECOND, clock)
        self._each: Buckets[str] = Buckets(BURST_EACH, A_SECOND_EACH, clock, MOST_NAMESPACES)
        self._picture: weakref.ref[Picture] | None = None
        self._there = False
        self._look_at = clock()
        self._due = clock()
        """When to work them out even though nothing is known to have changed."""
        self._rested = clock()
        """When it may be done at all."""
        self._changed = True
        self._written: dict[str, str] = {}
        """What was written, by namespace, as a digest."""

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in that something has changed."""
        self._picture = weakref.ref(picture)
        self._changed = self._changed or bool(pods)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(LOOK)
            picture = None if self._picture is None else self._picture()
            if picture is None:
                continue
            try:
                await self._look(picture)
            except (ApiError, Unreachable) as error:
                self._lost(error)
            except Exception:  # reports are a courtesy: nothing depends on them
                log.exception("reports could not be written")
                self._there, self._look_at = False, self._clock() + LOOK_AGAIN
            del picture

    async def _look(self, picture: Picture) -> None:
        now = self._clock()
        if not self._there:
            if now < self._look_at:
                return
            await self._find()
        if now >= self._rested and (self._changed or now >= self._due):
            self._changed = False
            wanted = await self._work_out(picture)
            took = self._clock() - now
            self._rested, self._due = now + took * SHARE, now + CALM
            await self._write(wanted)

    async def _find(self) -> None:
        """See whether there is OpenReports, and which reports of ours are there from before."""
        found = await self._client.find(REPORTS, fields=f"metadata.name={REPORT_NAME}", metadata_only=True)
        metadata = [item["metadata"] for item in found]
        self._written = {
            one["namespace"]: "" for one in metadata if (one.get("labels") or {}).get(MANAGED_BY) == "residency"
        }
        self._there = self._changed = True
        log.info("reports are written for OpenReports", extra={"there": len(self._written)})

    def _lost(self, error: ApiError | Unreachable) -> None:
        """Look again whether there is OpenReports: at once where there was, and after a while where there was not."""
        absent = isinstance(error, ApiError) and error.not_found
        if not absent:
            log.warning("reports cannot be written", extra={"error": str(error)})
            self._metrics.report_writes.labels("failed").inc()
        self._look_at = self._clock() + (0 if self._there and absent else LOOK_AGAIN)
        self._there = False

    async def _work_out(self, picture: Picture) -> Mapping[str, Object]:
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
        return reports(self._findings(picture), passing)

    async def _write(self, wanted: Mapping[str, Object]) -> None:
        """Write what differs, and delete what is not wanted any more, as much as may be now."""
        for namespace in [one for one in self._written if one not in wanted]:
            if not self._overall.take():
                self._changed = True
                return
            await self._delete(namespace)
        for namespace, body in wanted.items():
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            if self._written.get(namespace) == digest:
                continue
            if not self._each.take(namespace) or not self._overall.take():
                self._changed = True
                continue
            if await self._apply(namespace, body):
                self._written[namespace] = digest

    async def _apply(self, namespace: str, body: Object) -> bool:
        try:
            await self._client.apply(REPORTS, body, namespace=namespace)
        except ApiError as error:
            if "being terminated" not in error.message:
                raise
            return False
        self._metrics.report_writes.labels("written").inc()
        return True

    async def _delete(self, namespace: str) -> None:
        await self._client.delete(REPORTS, REPORT_NAME, namespace=namespace)
        del self._written[namespace]
        self._metrics.report_writes.labels("deleted").inc()
