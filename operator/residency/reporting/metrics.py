"""Every metric of the controller, once: names, labels, and what they mean to an alert.

Labels are bounded: policy names are fixed, classifications are few. Each controller has its own registry, so
that tests can have several.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from residency import __version__
from residency.reporting.bounds import SERIES, Labels, Share, fit, largest_first

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
# When a counter began says nothing that the start of the process does not.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one controller process."""

    def __init__(self, series: int = SERIES) -> None:
        """Register everything; a metric without labels is there from the first scrape.

        ``series`` is how many there may be of all metrics together.
        """
        self._series = series
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("residency_build", "What is running.", registry=registry).info({"version": __version__})
        self.leader = Gauge("residency_leader", "1 while this process leads, else 0.", registry=registry)
        self.policies_in_force = Gauge(
            "residency_policies_in_force",
            "1 while the compiled policies were seen to be in force by the last canary, else 0.",
            registry=registry,
        )
        self._default = Gauge(
            "residency_default_classification_in_force",
            "1 while new namespaces get the default classification that is configured, else 0; absent without one.",
            ["classification"],
            registry=registry,
        )
        self.compiled_bytes = Gauge(
            "residency_compiled_bytes", "Size of the compiled policies as JSON.", registry=registry
        )
        self._classifications = Gauge(
            "residency_classifications", "DataClassifications by readiness.", ["ready"], registry=registry
        )
        self._namespaces = Gauge(
            "residency_namespaces",
            "Namespaces by classification and by the mode in which it holds there.",
            ["classification", "mode"],
            registry=registry,
        )
        self._waiting = Gauge(
            "residency_pods_waiting_unplaced",
            "Unscheduled pods from before their classification that could still start elsewhere.",
            ["classification"],
            registry=registry,
        )
        self.daemonsets_refused = Gauge(
            "residency_daemonsets_refused",
            "DaemonSets that contradict their classification, so that their template could not be placed.",
            registry=registry,
        )
        self.repairs = Counter(
            "residency_policy_repairs",
            "Compiled policies that somebody had edited or deleted and that were restored.",
            ["policy", "kind", "cause"],
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "residency_reconcile_errors", "Failed steps of reconciling.", ["step"], registry=registry
        )
        self.reconcile_duration = Histogram(
            "residency_reconcile_duration_seconds",
            "How long one reconciliation took.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self.evictions = Counter(
            "residency_evictions",
            "Looks at misplaced pods that might be evicted, by what came of them.",
            ["classification", "result"],
            registry=registry,
        )
        self._evictions_halted = Gauge(
            "residency_evictions_halted",
            "Workloads of which nothing more is evicted: what replaced pods was misplaced again, or nothing did.",
            ["classification"],
            registry=registry,
        )
        self.last_success = Gauge(
            "residency_last_successful_reconcile_timestamp_seconds",
            "When the last reconciliation without a failed step ended.",
            registry=registry,
        )

        self.events = Counter(
            "residency_events",
            "Kubernetes Events that were to be written, by what came of them.",
            ["reason", "result"],
            registry=registry,
        )
        self.events_dropped = Counter(
            "residency_events_dropped_pods",
            "Pods that began to deviate, and of which no Event will tell, because too much waited to be told already.",
            registry=registry,
        )
        self.report_writes = Counter(
            "residency_report_writes", "OpenReports Reports written and deleted.", ["result"], registry=registry
        )

    def classifications(self, ready: int, unready: int) -> None:
        """Set how many classifications are Ready."""
        self._classifications.labels("true").set(ready)
        self._classifications.labels("false").set(unready)

    def namespaces(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how many namespaces there are by (classification, mode); those not named any more disappear."""
        self._namespaces.clear()
        shown = fit(counts, Share.NAMESPACES.of(self._series), largest_first, keep=(1,))
        for labels, count in shown.items():
            self._namespaces.labels(*labels).set(count)

    def default_classification(self, name: str, *, in_force: bool) -> None:
        """Set whether the configured default is in force."""
        self._default.labels(name).set(int(in_force))

    def waiting(self, pods: Mapping[str, int]) -> None:
        """Set how many pods wait unplaced, by classification; those not named any more disappear."""
        self._waiting.clear()
        counts: Mapping[Labels, int] = {(classification,): count for classification, count in pods.items()}
        for labels, count in fit(counts, Share.WAITING_UNPLACED.of(self._series), largest_first).items():
            self._waiting.labels(*labels).set(count)

    def evictions_halted(self, workloads: Mapping[str, int]) -> None:
        """Set how many workloads are halted, by classification; those not named any more disappear."""
        self._evictions_halted.clear()
        for classification, count in workloads.items():
            self._evictions_halted.labels(classification).set(count)

    def add(self, collector: Collector) -> None:
        """Show also what somebody else collects, at each scrape."""
        self._registry.register(collector)

    def exposition(self) -> bytes:
        """Write all metrics in the text format."""
        return generate_latest(self._registry)
