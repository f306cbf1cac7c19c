"""What people read of volumes in the audit: counts, what `Compliant` says of them, and their metric."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.api.names import Outcome, Reason
from residency.audit.volumes import VolumePicture
from residency.reporting.bounds import SERIES, Labels, Share, fit, worst_first
from residency.reporting.status import Json, Judgement, Truth

OF_VOLUMES: Final = (
    Outcome.COMPLIANT,
    Outcome.MISPLACED,
    Outcome.WAITING,
    Outcome.UNKNOWN,
    Outcome.NOT_LOCATED,
)
"""What can become of a volume."""
SHOWN: Final = 3
"""Volumes that are named in a condition."""

_WRONG: Final = {
    Outcome.MISPLACED: "{} where they may not be",
    Outcome.UNKNOWN: "{} of which too little is known",
    Outcome.NOT_LOCATED: "{} that nothing says the place of",
}
_BADNESS: Final[Sequence[Truth]] = ("True", "Unknown", "False")


@dataclass(frozen=True, slots=True)
class AuditedVolumes:
    """What the audit says of the volumes of one classification."""

    counts: Mapping[Outcome, int] = field(default_factory=dict)
    examples: Sequence[str] = ()
    """Some that deviate, and why."""

    @classmethod
    def of(cls, volumes: VolumePicture) -> Mapping[str, "AuditedVolumes"]:
        """Read all classifications that have any off a picture."""
        counts: dict[str, Counter[Outcome]] = {}
        for (name, _, outcome), count in volumes.counts.items():
            counts.setdefault(name, Counter())[outcome] += count
        return {name: cls(counted, tuple(_examples(volumes, name))) for name, counted in counts.items()}

    @property
    def essence(self) -> object:
        """What of it is worth telling at once."""
        return self.examples, [self.counts.get(outcome, 0) for outcome in _WRONG]

    def to_json(self) -> Json:
        """As the status has it."""
        return {f"{outcome[0].lower()}{outcome[1:]}": self.counts.get(outcome, 0) for outcome in OF_VOLUMES}

    def added_to(self, of_pods: Judgement) -> Judgement:
        """What `Compliant` says of both: the worse of the two decides, and is told first."""
        own = self._judgement()
        if own is None:
            return of_pods
        worse, other = sorted((of_pods, own), key=lambda one: _BADNESS.index(one.status), reverse=True)
        return Judgement(worse.status, worse.reason, f"{worse.message} {other.message}")

    def _judgement(self) -> Judgement | None:
        """What is to be said of volumes alone; None where there are none."""
        there = sum(self.counts.get(outcome, 0) for outcome in (Outcome.COMPLIANT, *_WRONG))
        if not there:
            return None
        found = [text.format(self.counts[outcome]) for outcome, text in _WRONG.items() if self.counts.get(outcome)]
        of = f"{there} volume{'' if there == 1 else 's'} with its data"
        if not found:
            return Judgement("True", Reason.ALL_COMPLIANT, f"Of {of}, all are where they may be.")
        message = f"Of {of}, {'; '.join(found)}. For example: {'; '.join(self.examples)}."
        if self.counts.get(Outcome.MISPLACED):
            return Judgement("False", Reason.VOLUMES_DEVIATE, message)
        return Judgement("Unknown", Reason.VOLUMES_UNKNOWN, message)


NO_VOLUMES: Final = AuditedVolumes()
"""Where there are none."""


def _examples(volumes: VolumePicture, name: str) -> Iterator[str]:
    for key, judged in volumes.tally.examples(name, SHOWN):
        claim = f"of claim {volumes.claim_of(key)}: " if volumes.volume_of(key) else ""
        yield f"{key[0]}/{key[1]} ({claim}{judged.why})"


class Audit(Protocol):
    """What the metric is read off, at each scrape."""

    @property
    def volumes(self) -> VolumePicture | None:
        """The picture, once it has been complete."""


class VolumeCollector(Collector):
    """The metric of volumes, never older than the picture."""

    def __init__(self, audit: Audit, *, series: int = SERIES) -> None:
        self._audit = audit
        self._most = Share.VOLUMES.of(series)

    def collect(self) -> Iterator[Metric]:
        """Read it; without a complete picture nothing is counted."""
        volumes = self._audit.volumes
        if volumes is None:
            return
        family = GaugeMetricFamily(
            "residency_volumes",
            "Volumes with the data of classified namespaces, by what these are classified as, the mode in which that "
            "holds, and what the audit says of them.",
            labels=["classification", "mode", "outcome"],
        )
        zeros: dict[Labels, int] = {(n, c.mode, o): 0 for n, c in volumes.catalogue.items() for o in OF_VOLUMES}
        lines = fit(zeros | dict(volumes.counts), self._most, worst_first, keep=(1, 2))
        for line, count in sorted(lines.items()):
            family.add_metric(list(map(str, line)), count)
        yield family
