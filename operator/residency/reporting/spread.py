"""Metrics of where classified pods are, read off the picture at each scrape."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.audit.picture import Picture
from residency.audit.spread import place_of
from residency.reporting.bounds import SERIES, Labels, Share, fit, largest_first

PLACE: Final = ("country", "provider", "controlled_from", "deployment_model")


class Source(Protocol):
    """Whoever has a picture."""

    @property
    def complete(self) -> Picture | None:
        """The picture, once it has been complete."""


class SpreadCollector(Collector):
    """Pods and nodes by place; where that is wanted, pods by namespace."""

    def __init__(self, audit: Source, *, series: int = SERIES, namespaces: bool = False) -> None:
        """``namespaces``: also show every namespace, beyond the ``series`` that there may be of all else."""
        self._audit = audit
        self._series = series
        self._namespaces = namespaces

    def collect(self) -> Iterator[Metric]:
        """Read them; without a complete picture nothing is counted."""
        picture = self._audit.complete
        if picture is None:
            return
        yield self._located(picture)
        yield self._nodes(picture)
        if self._namespaces:
            yield _by_namespace(picture)

    def _located(self, picture: Picture) -> Metric:
        family = GaugeMetricFamily(
            "residency_located_pods",
            "Pods that are bound to a node, by what they are classified as and by that node's facts.",
            labels=["classification", *PLACE],
        )
        found = {(name, *place): count for (name, place), count in picture.spread.located(picture.nodes).items()}
        for labels, count in sorted(fit(found, Share.LOCATED_PODS.of(self._series), largest_first).items()):
            family.add_metric(labels, count)
        return family

    def _nodes(self, picture: Picture) -> Metric:
        family = GaugeMetricFamily("residency_nodes", "Nodes by their facts.", labels=[*PLACE, "sovereign"])
        found = Counter[Labels]((*place_of(n), str(n.sovereign).lower()) for n in picture.nodes.values())
        for labels, count in sorted(fit(found, Share.NODES.of(self._series), largest_first).items()):
            family.add_metric(labels, count)
        return family


def _by_namespace(picture: Picture) -> Metric:
    family = GaugeMetricFamily(
        "residency_namespace_pods",
        "Pods by namespace, classification, the mode in which that holds there, and what the audit says of them.",
        labels=["namespace", "classification", "mode", "outcome"],
    )
    for namespace, counts in sorted(picture.spread.namespaces.items()):
        for line, count in sorted(counts.items()):
            family.add_metric([namespace, *map(str, line)], count)
    return family
