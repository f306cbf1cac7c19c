"""Findings as people read them: the status of a ResidencyFinding, and metrics."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.api.names import EvictionResult, Mode, Outcome
from residency.audit.findings import Example, Finding, State, Subject
from residency.audit.gaps import Blindness
from residency.core.messages import one_line
from residency.reporting.bounds import SERIES, Labels, Share, fit
from residency.reporting.eviction import results_json
from residency.reporting.status import Json

_LONGEST: Final = 1024
"""What the custom resource allows of a text; in bytes, so in characters too."""
_LONGEST_COMMENT: Final = 500
_LONGEST_NAME: Final = 253


def to_status(finding: Finding) -> Json:
    """Write a finding; what there is nothing to say of is left out."""
    texts = {name: one_line(getattr(finding, name), _LONGEST) for name in _TEXTS}
    status = {
        "subject": str(finding.subject),
        "classification": finding.classification,
        "outcome": None if finding.outcome is None else str(finding.outcome),
        "mode": None if finding.mode is None else str(finding.mode),
        "state": str(finding.state),
        "count": finding.count,
        "examples": [_example(example) for example in finding.examples] or None,
        "evictions": results_json(finding.evictions) or None,
        "firstSeen": written(finding.first_seen),
        "lastSeen": written(finding.last_seen),
        "resolved": None if finding.resolved is None else written(finding.resolved),
        "acknowledged": None if finding.acknowledged is None else finding.acknowledged[:_LONGEST_COMMENT],
        **{name: text or None for name, text in texts.items()},
    }
    return {name: value for name, value in status.items() if value is not None}


_TEXTS: Final = ("cause", "resolution", "remedy", "reference")


def from_status(namespace: str, status: Mapping[str, Any]) -> Finding | None:
    """Read a finding back; None where that is none that this version could have written."""
    try:
        outcome, mode, resolved = (status.get(name) for name in ("outcome", "mode", "resolved"))
        return Finding(
            namespace,
            str(status["classification"]),
            Subject(status["subject"]),
            None if outcome is None else Outcome(outcome),
            None if mode is None else Mode(mode),
            int(status.get("count", 0)),
            tuple(map(_read_example, status.get("examples", ()))),
            read(status["firstSeen"]),
            read(status["lastSeen"]),
            None if resolved is None else read(resolved),
            acknowledged=status.get("acknowledged"),
            evictions=tuple(
                (result, int(e["count"]))
                for e in status.get("evictions", ())
                if (result := _eviction(e["result"])) is not None
            ),
            **{name: str(status.get(name, "")) for name in _TEXTS},
        )
    except (KeyError, TypeError, ValueError):
        return None


def acknowledgement(spec: Mapping[str, Any] | None) -> tuple[str | None, float | None]:
    """Read the comment of an acknowledgement, and until when it holds; None: there is none, and for ever."""
    said = (spec or {}).get("acknowledgement") or {}
    comment, until = said.get("comment"), said.get("until")
    if comment is None or until is None:
        return comment, None
    try:
        # The whole of that day.
        after = datetime.combine(date.fromisoformat(until), time(), UTC) + timedelta(days=1)
    except OverflowError:
        return comment, None  # the last day of all
    except ValueError:
        return None, None  # before the first: what is no date at all the API server does not take
    return comment, after.timestamp()


def written(at: float) -> str:
    """Write a time as Kubernetes does."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def read(text: str) -> float:
    """Read a time as Kubernetes writes it; with fractions too, as in Leases."""
    return datetime.fromisoformat(text).timestamp()


def _example(example: Example) -> Json:
    node = {"node": example.node} if example.node else {}
    eviction = {} if example.eviction is None else {"eviction": str(example.eviction)}
    why = one_line(example.why, _LONGEST)
    return {"name": one_line(example.name, _LONGEST_NAME), **node, "why": why, **eviction}


def _read_example(status: Mapping[str, Any]) -> Example:
    return Example(status["name"], status.get("node", ""), status["why"], _eviction(status.get("eviction")))


def _eviction(said: str | None) -> EvictionResult | None:
    """Read a result; None also where another version had one that this does not know."""
    return EvictionResult(said) if said in list(EvictionResult) else None


class Kept(Protocol):
    """What the metrics are read off, at each scrape."""

    @property
    def current(self) -> Iterable[Finding]:
        """All findings, the resolved ones that are kept among them."""

    @property
    def not_stored(self) -> int:
        """How many that are not resolved have no object."""

    @property
    def gaps_seen(self) -> Mapping[Blindness, int]:
        """How often nobody looked, by why."""


class FindingsCollector(Collector):
    """The metrics of findings."""

    def __init__(self, kept: Kept, *, series: int = SERIES) -> None:
        self._kept = kept
        self._most = Share.FINDINGS.of(series)

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        found = GaugeMetricFamily(
            "residency_findings",
            "Findings by what deviates from which classification in which way, and where in their life they are.",
            labels=["classification", "subject", "outcome", "state"],
        )
        counts: Counter[Labels] = Counter(
            (f.classification, str(f.subject), "" if f.outcome is None else str(f.outcome), str(f.state))
            for f in self._kept.current
        )
        # What is open stays longest, and all keep what they are.
        for labels, count in sorted(fit(counts, self._most, _open_first, keep=(1, 2, 3)).items()):
            found.add_metric(labels, count)
        yield found
        yield GaugeMetricFamily(
            "residency_findings_not_stored",
            "Findings that are not resolved and that have no ResidencyFinding (yet).",
            value=self._kept.not_stored,
        )
        gaps = CounterMetricFamily(
            "residency_audit_gaps", "Times in which nobody looked at what runs, by why.", labels=["cause"]
        )
        for why in Blindness:
            gaps.add_metric([str(why)], self._kept.gaps_seen.get(why, 0))
        yield gaps


def _open_first(labels: Labels, count: int) -> tuple[int, int]:
    return list(State).index(State(labels[3])), -count
