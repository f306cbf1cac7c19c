"""``python -m bench.scale``: what the audit costs on clusters of growing size, on a real API server and etcd.

The controller is a process of its own, as it is installed, with all that it does. Its figures are what the kernel says
of that process. A count that is not what it has to be ends the bench.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.cluster import Cluster, Refused, restarts
from bench.figures import Figures, Machine, table, targets, verdict
from bench.population import Ground, Json, Line, Population
from bench.process import Process
from controlplane import ControlPlane, ControlPlaneError
from e2e.installation import Controller

SIZES: Final = (10_000, 50_000, 150_000)
NODES: Final = 5000
PER_SECOND: Final = 500
WINDOW: Final = 30.0
"""Seconds of nothing, and of events that are measured."""
SETTLE: Final = 10.0
"""Seconds from when the first findings are all stored until memory is read."""
RELABELLINGS: Final = 10
SCRAPES: Final = 20
FIRST_VERDICT: Final = 600.0
SOON: Final = 30.0
"""Seconds in which a change has to show, or the bench fails."""
LOOK: Final = 0.02
PAUSE: Final = 0.3
TAIL: Final = 1.0
"""Seconds after the last event until CPU time is read."""
WRITERS: Final = 4
CHURN: Final = 10
"""Of so many events one is the deletion of a pod and one its creation; the others change no verdict."""

_COUNT: Final = re.compile(r"^residency_pods\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class Wrong(Exception):
    """The audit does not say what is so."""


def counts(exposition: str) -> Mapping[Line, int]:
    """Read the counts of pods that are not zero."""
    found = {}
    for labels, value in _COUNT.findall(exposition):
        of = dict(_LABEL.findall(labels))
        if float(value):
            found[of["classification"], of["mode"], of["outcome"]] = int(float(value))
    return found


def _state(finding: Json) -> tuple[str, int]:
    return finding.get("state", ""), finding.get("count", 0)


@dataclass(frozen=True, slots=True)
class Happened:
    """Events at a rate, and what one cost beyond an idle time as long."""

    per_second: float
    cpu_ms: float


@dataclass
class Measurement:
    """One controller on a cluster of one size."""

    cluster: Cluster
    window: float
    _wanted: Mapping[Ground, Mapping[Line, int]] = field(init=False)
    _controller: Controller = field(init=False)
    _process: Process = field(init=False)

    def __post_init__(self) -> None:
        population, pods = self.cluster.population, self.cluster.pods
        self._wanted = {on: population.expected(pods, on) for on in (Ground.ALLOWED, Ground.ABROAD)}

    def run(self) -> Figures:
        """Start a controller, measure everything, one after the other, and stop it."""
        began = time.monotonic()
        self._controller = self.cluster.start()
        self._process = Process(self._controller.pid)
        first = self._shows(self._wanted[Ground.ALLOWED], began, FIRST_VERDICT, look=0.25)
        first_cpu = self._process.cpu
        self._stored()
        time.sleep(SETTLE)
        memory = self._process.memory
        idle = self._idle()
        happened = self._events(idle)
        self._end_shows()
        relabelled, told = self._relabelled()
        sizes, seconds = zip(*(self._scrape() for _ in range(SCRAPES)), strict=True)
        after = self._process.memory
        self._controller.stop()
        return Figures(
            pods=self.cluster.pods,
            nodes=self.cluster.nodes,
            pod_bytes=self.cluster.pod_bytes,
            first_verdict_s=first,
            first_verdict_cpu_s=first_cpu,
            resident_mb=memory.resident,
            resident_after_mb=after.resident,
            peak_mb=after.peak,
            idle_cpu=idle,
            events_per_second=happened.per_second,
            event_cpu_ms=happened.cpu_ms,
            relabel_s=median(relabelled),
            relabel_most_s=max(relabelled),
            finding_s=median(told),
            finding_most_s=max(told),
            scrape_kb=median(sizes) / 1000,
            scrape_s=median(seconds),
            scrape_most_s=max(seconds),
        )

    def _shows(self, wanted: Mapping[Line, int], began: float, seconds: float = SOON, look: float = LOOK) -> float:
        """Wait until the metrics count what is so; the seconds since it began."""
        while (found := counts(self._controller.get("/metrics")[1])) != wanted:
            if time.monotonic() - began > seconds or not self._controller.alive:
                wrong = differences(found, wanted)
                raise Wrong(f"after {seconds:.0f} s the audit counts wrong: {wrong}\n{self._controller.last_lines}")
            time.sleep(look)
        return time.monotonic() - began

    def _stored(self) -> None:
        """Wait until every finding of the first verdict has been written."""
        began = time.monotonic()
        while "\nresidency_findings_not_stored 0.0\n" not in self._controller.get("/metrics")[1]:
            if time.monotonic() - began > FIRST_VERDICT:
                raise Wrong(f"after {FIRST_VERDICT:.0f} s not all findings are stored\n{self._controller.last_lines}")
            time.sleep(1)

    def _idle(self) -> float:
        """CPU seconds a second while nothing happens."""
        before, began = self._process.cpu, time.monotonic()
        time.sleep(self.window)
        return (self._process.cpu - before) / (time.monotonic() - began)

    def _events(self, idle: float) -> Happened:
        """Let things happen at a steady rate, through several connections.

        Only the second half counts: what events lead to later, such as findings that count otherwise, is in it then.
        """
        total = int(2 * self.window * PER_SECOND) // (CHURN * WRITERS) * CHURN * WRITERS
        began = time.monotonic()
        with ThreadPoolExecutor(WRITERS) as pool:
            parts = [pool.submit(self._write, part, total // WRITERS, began) for part in range(WRITERS)]
            time.sleep(self.window)
            before, half = self._process.cpu, time.monotonic()
            ended = max(part.result() for part in parts)
        time.sleep(TAIL)
        beyond = self._process.cpu - before - idle * (time.monotonic() - half)
        per_second = total / (ended - began)
        return Happened(per_second, beyond / (per_second * (ended - half)) * 1000)

    def _write(self, part: int, events: int, began: float) -> float:
        """Write a part of the events, each when it is time for it; return when the last was written."""
        with self.cluster.writer() as writer:
            numbers = restarts(self.cluster.population, self.cluster.pods, part, WRITERS)
            gone = 0
            for count in range(events):
                time.sleep(max(0.0, began + (count * WRITERS + part) / PER_SECOND - time.monotonic()))
                if count % CHURN == 0:
                    gone = next(numbers)
                    writer.delete(gone)
                else:
                    writer.restart(gone if count % CHURN == 1 else next(numbers), count + 1)
        return time.monotonic()

    def _end_shows(self) -> None:
        """Events come in order: when one more shows, all others were taken in."""
        population = self.cluster.population
        last = population.marker()
        without = population.expected(self.cluster.pods, without=last)
        with self.cluster.writer() as writer:
            writer.delete(last)
            self._shows(without, time.monotonic())
            writer.restart(last, 0)
            self._shows(self._wanted[Ground.ALLOWED], time.monotonic())

    def _relabelled(self) -> tuple[list[float], list[float]]:
        """Seconds until all counts, and until all findings, say that the first node is another."""
        counted, told = [], []
        for _ in range(RELABELLINGS // 2):
            for on in (Ground.ABROAD, Ground.ALLOWED):
                began = time.monotonic()
                self.cluster.relabel(on)
                counted.append(self._shows(self._wanted[on], began))
                told.append(self._told(on, began))
                time.sleep(PAUSE)
        return counted, told

    def _told(self, on: Ground, began: float) -> float:
        """Wait until there is a finding in every namespace with pods on the first node, or until all are resolved."""
        for (namespace, classification), pods in self.cluster.population.crowds().items():
            wanted = ("Open", pods) if on is Ground.ABROAD else ("Resolved", 0)
            name = f"{classification}-misplaced"
            while (found := _state(self.cluster.finding(namespace, name))) != wanted:
                if time.monotonic() - began > SOON:
                    raise Wrong(f"after {SOON:.0f} s the finding {namespace}/{name} says {found} instead of {wanted}")
                time.sleep(LOOK)
        return time.monotonic() - began

    def _scrape(self) -> tuple[int, float]:
        began = time.monotonic()
        text = self._controller.get("/metrics")[1]
        seconds = time.monotonic() - began
        time.sleep(PAUSE)
        return len(text.encode()), seconds


def differences(found: Mapping[Line, int], wanted: Mapping[Line, int]) -> str:
    """Say where counts differ, for the first few."""
    lines = [line for line in sorted({*found, *wanted}) if found.get(line, 0) != wanted.get(line, 0)]
    shown = [f"{'/'.join(line)} is {found.get(line, 0)} instead of {wanted.get(line, 0)}" for line in lines[:5]]
    return "; ".join([*shown, *([f"and {len(lines) - 5} more"] if len(lines) > 5 else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a target was missed or a count was wrong."""
    options = _parser().parse_args(arguments)
    sizes = sorted(options.sizes or [*(size for size in SIZES if size < options.pods), options.pods])
    plane = ControlPlane(controller_manager=False, scheduler=False, kwok=False)
    try:
        population = Population(sizes[-1], options.nodes)
        with tempfile.TemporaryDirectory() as folder, plane, Cluster(plane, population, Path(folder)) as cluster:
            machine = Machine.here(cluster.versions)
            print(machine, flush=True)
            figures = [_at(cluster, pods, options.window) for pods in sizes]
    except (ControlPlaneError, Refused, Wrong, OSError, ValueError) as error:
        print(f"bench.scale: {error}", file=sys.stderr)
        return 1
    print("", *table(figures), "", "Targets:", "", sep="\n")
    found = list(targets(figures[-1]))
    print(*map(verdict, found), sep="\n")
    if options.out:
        document = {"machine": asdict(machine), "figures": [asdict(some) for some in figures]}
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(target.met for target in found) else 1


def _at(cluster: Cluster, pods: int, window: float) -> Figures:
    seconds = cluster.grow(pods)
    print(f"{pods} pods on {cluster.nodes} nodes are there after {seconds:.0f} s; measuring ...", flush=True)
    return Measurement(cluster, window).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    add = parser.add_argument
    most = SIZES[-1]
    add("--pods", type=int, default=most, metavar="N", help=f"pods in the end ({most}), by way of 10000 and 50000")
    add("--sizes", type=int, nargs="+", metavar="N", help="measure these numbers of pods instead, and no others")
    add("--nodes", type=int, default=NODES, metavar="N", help=f"nodes in the end, in proportion before ({NODES})")
    add("--window", type=float, default=WINDOW, metavar="S", help=f"seconds of events, and of nothing ({WINDOW:g})")
    add("--out", type=Path, metavar="FILE", help="write the figures there too, as JSON, for python -m bench.picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
