"""What people read of the audit: the conditions and counts of a status, and metrics."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.api.names import ClassificationName, Condition, Outcome, Reason
from residency.audit.picture import Eligible, Picture
from residency.audit.volumes import VolumePicture
from residency.cluster.reflector import Cause, Counts
from residency.reporting.bounds import SERIES, Labels, Share, fit, fit_least, worst_first
from residency.reporting.status import PODS_SHOWN, Json, Judgement
from residency.reporting.volumes import NO_VOLUMES, AuditedVolumes

OF_CLASSIFIED = tuple(outcome for outcome in Outcome if outcome is not Outcome.INTRUDER)
"""What can become of a pod that is classified."""

_RUNNING_WRONG = (Outcome.MISPLACED, Outcome.UNPINNED)
_RUNNING_UNKNOWN = (Outcome.UNKNOWN, Outcome.NOT_LOCATED)
_WITHOUT_NODE = (Outcome.WAITING, Outcome.UNPLACEABLE)


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit says of one classification."""

    counts: Mapping[Outcome, int]
    eligible: Eligible
    examples: Sequence[str] = ()
    """Some pods that deviate, and why."""
    volumes: AuditedVolumes = NO_VOLUMES

    @classmethod
    def of(cls, picture: Picture, volumes: VolumePicture | None = None) -> Mapping[ClassificationName, "Audited"]:
        """Read all classifications off the pictures."""
        stored = {} if volumes is None else AuditedVolumes.of(volumes)
        counts: dict[str, Counter[Outcome]] = {}
        for (name, _, outcome), count in picture.counts.items():
            counts.setdefault(name, Counter())[outcome] += count
        return {
            name: cls(
                counts.get(name, Counter()),
                eligible,
                tuple(_examples(picture, name)),
                stored.get(name, NO_VOLUMES),
            )
            for name, eligible in picture.eligible.items()
        }

    def of_these(self, *outcomes: Outcome) -> int:
        """How many pods there are of some outcomes."""
        return sum(self.counts.get(outcome, 0) for outcome in outcomes)

    def to_json(self) -> Json:
        """As the status has it."""
        pods = {f"{outcome[0].lower()}{outcome[1:]}": self.counts.get(outcome, 0) for outcome in OF_CLASSIFIED}
        return {"pods": pods, "volumes": self.volumes.to_json(), "eligibleNodes": self.eligible.usable}

    def judgements(self) -> Mapping[Condition, Judgement]:
        """The conditions that follow."""
        return {
            Condition.SATISFIABLE: self._satisfiable(),
            Condition.COMPLIANT: self.volumes.added_to(self._compliant()),
        }

    def _satisfiable(self) -> Judgement:
        all_, usable = self.eligible.by_facts, self.eligible.usable
        if usable:
            return Judgement("True", Reason.NODES_ELIGIBLE, f"{_nodes(usable)} this and can take pods.")
        why = "No node satisfies this by its facts; set those of some, or allow more."
        if all_:
            why = f"{_nodes(all_)} this, but none is Ready and not cordoned."
        return Judgement("False", Reason.NO_ELIGIBLE_NODE, why)

    def _compliant(self) -> Judgement:
        running = self.of_these(*OF_CLASSIFIED) - self.of_these(*_WITHOUT_NODE)
        without = self._without_node()
        if self.of_these(*_RUNNING_WRONG):
            return Judgement("False", Reason.PODS_DEVIATE, f"Of {_pods(running)} that run, {self._listed()}{without}")
        if self.of_these(*_RUNNING_UNKNOWN):
            return Judgement("Unknown", Reason.PODS_UNKNOWN, f"Of {_pods(running)} that run, {self._listed()}{without}")
        say = f"Of {_pods(running)} that run, all are where they may be, and kept there."
        return Judgement("True", Reason.ALL_COMPLIANT, (say if running else "No pod runs under this.") + without)

    def _listed(self) -> str:
        words = {
            Outcome.MISPLACED: "{} on nodes that are not allowed",
            Outcome.UNPINNED: "{} on allowed nodes that nothing keeps them on",
            Outcome.UNKNOWN: "{} on nodes of which too little is known",
            Outcome.NOT_LOCATED: "{} on nodes that are not there or virtual",
        }
        found = [text.format(self.counts[outcome]) for outcome, text in words.items() if self.counts.get(outcome)]
        return f"{'; '.join(found)}. For example: {'; '.join(self.examples)}."

    def _without_node(self) -> str:
        waiting, lost = self.of_these(*_WITHOUT_NODE), self.of_these(Outcome.UNPLACEABLE)
        if not waiting:
            return ""
        return f" {_pods(waiting)} wait{'s' if waiting == 1 else ''} for a node; for {lost} of them there is none."


Told = Mapping[ClassificationName, Audited]


def say(
    name: ClassificationName, told: Told | None, before: Mapping[str, Any], *, beginning: bool
) -> tuple[Json, Mapping[Condition, Judgement]]:
    """Say what a status gets of the audit: fields and conditions; both stay as they are while it begins."""
    if told is None:
        kept = {field: before[field] for field in ("pods", "volumes", "eligibleNodes") if field in before}
        return kept, {} if beginning else _unknown(UNOBSERVED)
    audited = told.get(name)
    return ({}, _unknown(UNREADY)) if audited is None else (audited.to_json(), audited.judgements())


UNREADY = Judgement("Unknown", Reason.NOT_READY, "Nothing of it is in force to judge by.")
UNOBSERVED = Judgement(
    "Unknown", Reason.NOT_OBSERVED, "Pods, nodes, namespaces and volumes could not all be watched lately; see the log."
)


def _unknown(judgement: Judgement) -> Mapping[Condition, Judgement]:
    return dict.fromkeys((Condition.SATISFIABLE, Condition.COMPLIANT), judgement)


def _examples(picture: Picture, name: ClassificationName) -> Iterator[str]:
    for (namespace, pod), judged in picture.tally.examples(name, PODS_SHOWN):
        yield f"{namespace}/{pod} ({judged.why})"


def _pods(count: int) -> str:
    return f"{count} pod{'' if count == 1 else 's'}"


def _nodes(count: int) -> str:
    return f"{count} node satisfies" if count == 1 else f"{count} nodes satisfy"


class Watched(Protocol):
    """One reflector, as far as it is shown."""

    counts: Counts
    last_contact: float | None


class Audit(Protocol):
    """What the metrics are read off, at each scrape."""

    restarts: int

    @property
    def synced(self) -> bool:
        """Whether everything is being watched."""

    @property
    def complete(self) -> Picture | None:
        """The picture, once it has been complete."""

    @property
    def watched(self) -> Mapping[str, Watched]:
        """The reflectors by what they follow."""


class AuditCollector(Collector):
    """The metrics of an audit: read when they are asked for, so that they are never older than the picture."""

    def __init__(self, audit: Audit, *, series: int = SERIES) -> None:
        """``series`` is how many there may be of all metrics together."""
        self._audit = audit
        self._series = series

    def collect(self) -> Iterator[Metric]:
        """Read them; without a complete picture nothing is counted."""
        yield GaugeMetricFamily(
            "residency_audit_synced",
            "1 while pods, nodes, namespaces and volumes are all watched and were all seen, else 0.",
            value=float(self._audit.synced),
        )
        yield CounterMetricFamily(
            "residency_audit_restarts",
            "How often the audit failed and began again from nothing.",
            value=self._audit.restarts,
        )
        yield from self._reflectors()
        picture = self._audit.complete
        if picture is not None:
            yield _pod_counts(picture, Share.PODS.of(self._series))
            yield _node_counts(picture, Share.ELIGIBLE_NODES.of(self._series))

    def _reflectors(self) -> Iterator[Metric]:
        contact = GaugeMetricFamily(
            "residency_audit_last_contact_timestamp_seconds",
            "When the API server last told something of a resource; it does so every minute at least.",
            labels=["resource"],
        )
        lists = CounterMetricFamily(
            "residency_audit_lists",
            "Complete lists of a resource, by why they were needed.",
            labels=["resource", "cause"],
        )
        lost = CounterMetricFamily(
            "residency_audit_watches_lost", "Lists and watches that ended, by why.", labels=["resource", "cause"]
        )
        offset = time.time() - time.monotonic()
        for resource, watched in self._audit.watched.items():
            if watched.last_contact is not None:
                contact.add_metric([resource], watched.last_contact + offset)
            _add(lists, resource, watched.counts.lists)
            _add(lost, resource, watched.counts.lost)
        yield from (contact, lists, lost)


def _add(family: CounterMetricFamily, resource: str, counts: Mapping[Cause, int]) -> None:
    for cause, count in counts.items():
        family.add_metric([resource, str(cause)], count)


def _pod_counts(picture: Picture, most: int) -> Metric:
    family = GaugeMetricFamily(
        "residency_pods",
        "Pods by what they are classified as, the mode in which that holds, and what the audit says of them.",
        labels=["classification", "mode", "outcome"],
    )
    zeros: dict[Labels, int] = {(n, c.mode, o): 0 for n, c in picture.catalogue.items() for o in OF_CLASSIFIED}
    for line, count in sorted(fit(zeros | dict(picture.counts), most, worst_first, keep=(1, 2)).items()):
        family.add_metric(list(map(str, line)), count)
    return family


def _node_counts(picture: Picture, most: int) -> Metric:
    family = GaugeMetricFamily(
        "residency_eligible_nodes",
        "Nodes that satisfy a classification, are Ready and not cordoned.",
        labels=["classification"],
    )
    usable = {str(name): eligible.usable for name, eligible in picture.eligible.items()}
    for name, count in sorted(fit_least(usable, most).items()):
        family.add_metric([name], count)
    return family
