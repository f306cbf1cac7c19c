"""The figures of the audit at some sizes: as a table, and whether they are what was promised."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

LABEL_WIDTH: Final = 48
WIDTH: Final = 14


@dataclass(frozen=True, slots=True)
class Machine:
    """What it was measured on."""

    cores: int
    processor: str
    memory_gb: float
    load: float
    """How many processes wanted a core in the minute before."""
    versions: Mapping[str, str]

    @classmethod
    def here(cls, versions: Mapping[str, str]) -> Self:
        """Look at this machine."""
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        python = {"Python": platform.python_version()}
        return cls(
            os.cpu_count() or 0, processor, round(memory, 1), round(os.getloadavg()[0], 2), {**versions, **python}
        )

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version.removeprefix('v')}" for name, version in self.versions.items())
        return (
            f"{self.cores} cores ({self.processor or platform.machine()}), {self.memory_gb:.0f} GB, "
            f"load {self.load:.1f} before; {versions}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one controller cost on a cluster of one size."""

    pods: int
    nodes: int
    pod_bytes: int
    first_verdict_s: float
    first_verdict_cpu_s: float
    resident_mb: float
    """After the first verdict."""
    resident_after_mb: float
    """In the end."""
    peak_mb: float
    idle_cpu: float
    """CPU seconds a second while nothing happened."""
    events_per_second: float
    event_cpu_ms: float
    """Beyond those of an idle time as long."""
    relabel_s: float
    relabel_most_s: float
    finding_s: float
    """From the same relabelling to all the findings that it makes or ends."""
    finding_most_s: float
    scrape_kb: float
    scrape_s: float
    scrape_most_s: float

    @property
    def resident_most_mb(self) -> float:
        """The larger of the two, after the first verdict and in the end."""
        return max(self.resident_mb, self.resident_after_mb)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    label: str
    value: Callable[[Figures], float]
    form: str
    grows: bool = True
    """Whether its growth says something."""


ROWS: Final = (
    Row("nodes", lambda f: f.nodes, "{:.0f}", grows=False),
    Row("a pod as JSON", lambda f: f.pod_bytes / 1000, "{:.1f} KB", grows=False),
    Row("start to first complete verdict", lambda f: f.first_verdict_s, "{:.1f} s"),
    Row("CPU until then", lambda f: f.first_verdict_cpu_s, "{:.1f} s"),
    Row("resident after that", lambda f: f.resident_mb, "{:.0f} MB"),
    Row("resident in the end", lambda f: f.resident_after_mb, "{:.0f} MB"),
    Row("resident at most", lambda f: f.peak_mb, "{:.0f} MB"),
    Row("CPU while nothing happens", lambda f: f.idle_cpu * 100, "{:.1f} %"),
    Row("events a second", lambda f: f.events_per_second, "{:.0f}", grows=False),
    Row("CPU an event, beyond that", lambda f: f.event_cpu_ms, "{:.3f} ms"),
    Row("node of 110 pods relabelled to metric, median", lambda f: f.relabel_s, "{:.2f} s"),
    Row("the same, at most", lambda f: f.relabel_most_s, "{:.2f} s"),
    Row("and to its findings, median", lambda f: f.finding_s, "{:.2f} s"),
    Row("the same, at most", lambda f: f.finding_most_s, "{:.2f} s"),
    Row("/metrics", lambda f: f.scrape_kb, "{:.0f} KB"),
    Row("a scrape, median", lambda f: f.scrape_s, "{:.3f} s"),
    Row("the same, at most", lambda f: f.scrape_most_s, "{:.3f} s"),
)


def table(figures: Sequence[Figures]) -> Iterator[str]:
    """One column for each size, and how each grows over the one before."""
    titles = [f"{some.pods:,} pods" for some in figures]
    yield _line("", *titles, *(f"x {after.pods / before.pods:.3g}" for before, after in _pairs(figures)))
    for row in ROWS:
        growth = [row.value(after) / row.value(before) if row.value(before) else 0 for before, after in _pairs(figures)]
        yield _line(
            row.label,
            *(row.form.format(row.value(some)) for some in figures),
            *(f"x {ratio:.2f}" for ratio in growth if row.grows),
        )


def _pairs(figures: Sequence[Figures]) -> list[tuple[Figures, Figures]]:
    return list(pairwise(figures))


def _line(label: str, *cells: str) -> str:
    return f"  {label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells)


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of the largest size."""

    text: str
    value: Callable[[Figures], float]
    most: float
    form: str


PROMISES: Final = (
    Promise("MB resident", lambda f: f.resident_most_mb, 400, "{:.0f}"),
    Promise("ms CPU an event", lambda f: f.event_cpu_ms, 0.15, "{:.3f}"),
    Promise("s from a node's relabelling to the metric, each time", lambda f: f.relabel_most_s, 2, "{:.2f}"),
    Promise("s from a node's relabelling to its findings, each time", lambda f: f.finding_most_s, 2, "{:.2f}"),
    Promise("s a scrape, each time", lambda f: f.scrape_most_s, 0.5, "{:.3f}"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """One promise, and what was measured."""

    promise: Promise
    measured: float

    @property
    def met(self) -> bool:
        """Whether it is kept, as exactly as it is shown."""
        return float(self.promise.form.format(self.measured)) <= self.promise.most


def targets(figures: Figures) -> Iterator[Target]:
    """What was promised, compared with what was measured."""
    return (Target(promise, promise.value(figures)) for promise in PROMISES)


def verdict(target: Target) -> str:
    """One target as one line."""
    promise = target.promise
    shown = promise.form.format(target.measured)
    return f"  {'met   ' if target.met else 'MISSED'} {shown:>6}  {promise.text} (at most {promise.most:g})"
