"""``python -m bench.audit``: what the audit's picture costs, without a cluster.

Pods of 7 KB and nodes are decoded from JSON as they come from the API server and kept as the reflector keeps them; half
of 400 namespaces are classified, under 20 classifications, each pod pinned as admission would. CPU time and memory are
of this process alone.
"""

import argparse
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.catalogues import catalogue
from bench.pods import realistic
from residency.api.names import CLASSIFICATION, Fact
from residency.audit.picture import Picture
from residency.cluster.reflector import Key
from residency.controller.observed import Namespace, Namespaces, Node, Nodes, Pod, Pods
from residency.core.workload import Term
from residency.reporting.audit import AuditCollector, Audited
from residency.reporting.metrics import Metrics
from residency.reporting.spread import SpreadCollector

Json = dict[str, Any]

CLASSIFICATIONS: Final = 20
NAMESPACES: Final = 400
CROWD: Final = 110
"""Pods on the node that is relabelled, at least."""
EVENTS: Final = 20_000
PAGE: Final = 500
MARKS: Final = ("name", "namespace", "node", "version")


class Objects:
    """Generated objects as the API server writes them; only what differs between pods is written anew."""

    def __init__(self, pods: int, nodes: int) -> None:
        self.pods, self.nodes = pods, nodes
        self.catalogue = catalogue(CLASSIFICATIONS)
        self._names = sorted(self.catalogue)
        self._templates = [self._template(number) for number in range(CLASSIFICATIONS * 2)]

    def _template(self, number: int) -> bytes:
        """A pod of one of the kinds of namespaces: every other is classified, and its pods are placed."""
        pod = realistic()
        pod["metadata"] |= {
            "name": "@name@",
            "namespace": "@namespace@",
            "resourceVersion": "@version@",
            "uid": "@name@",
        }
        pod["spec"]["nodeName"] = "@node@"
        pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        if self._classified(number):
            (alternative,) = self.catalogue[self._names[number // 2]].placement.alternatives
            required = {"nodeSelectorTerms": [Term(alternative).to_dict()]}
            pod["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        return json.dumps(pod, separators=(",", ":")).encode()

    @staticmethod
    def _classified(number: int) -> bool:
        return number % 2 == 0

    def namespace(self, number: int) -> bytes:
        """One namespace."""
        labels = {CLASSIFICATION: self._names[number % 40 // 2]} if self._classified(number) else {}
        return json.dumps({"metadata": {"name": f"team-{number:03}", "labels": labels}}).encode()

    def pod(self, number: int, version: int = 1, node: int | None = None) -> bytes:
        """One pod; the first of them crowd the first node."""
        body = self._templates[number % NAMESPACES % 40]
        on = (0 if number < CROWD else number % self.nodes) if node is None else node
        values = (f"payments-7d4b9c6f5d-{number:06x}", f"team-{number % NAMESPACES:03}", f"node-{on:04}", str(version))
        for mark, value in zip(MARKS, values, strict=True):
            body = body.replace(f"@{mark}@".encode(), value.encode())
        return body

    def node(self, number: int, country: str = "NL") -> bytes:
        """One node; every eleventh stands where it must not."""
        facts = {
            Fact.COUNTRY: "US" if number % 11 == 9 else country,
            Fact.DEPLOYMENT_MODEL: "government",
            Fact.SEAL: "3",
        }
        labels = {f"example.com/label-{some}": f"value-{some}" for some in range(20)}
        labels |= {"kubernetes.io/hostname": f"node-{number:04}"} | {str(key): value for key, value in facts.items()}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        return json.dumps({"metadata": {"name": f"node-{number:04}", "labels": labels}, "status": status}).encode()


class Fed:
    """A picture, and what the reflector would keep beside it."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.picture = Picture(("kube-system",))
        self.picture.set_catalogue(objects.catalogue)
        self._sinks = Pods(self.picture), Nodes(self.picture), Namespaces(self.picture)
        self._kept: dict[Key, Pod] = {}
        self._page = msgspec.json.Decoder(list[Pod])
        self._one = msgspec.json.Decoder(Pod)

    def nodes(self) -> None:
        """All nodes and namespaces."""
        for number in range(self.objects.nodes):
            self.node(self.objects.node(number))
        for number in range(NAMESPACES):
            item = msgspec.json.decode(self.objects.namespace(number), type=Namespace)
            self._sinks[2].put(("", item.metadata.name), item, None)

    def node(self, data: bytes) -> None:
        """One node."""
        item = msgspec.json.decode(data, type=Node)
        self._sinks[1].put(("", item.metadata.name), item, None)

    def pods(self, page: bytes) -> None:
        """One page of a list."""
        for item in self._page.decode(page):
            self._put(item)

    def event(self, data: bytes) -> None:
        """One pod of a watch."""
        self._put(self._one.decode(data))

    def _put(self, item: Pod) -> None:
        metadata = item.metadata
        metadata.namespace = sys.intern(metadata.namespace)
        key = metadata.namespace, metadata.name
        before = self._kept.get(key)
        self._kept[key] = item
        self._sinks[0].put(key, item, before)


def _pages(objects: Objects) -> Iterator[bytes]:
    for first in range(0, objects.pods, PAGE):
        last = min(first + PAGE, objects.pods)
        yield b"[" + b",".join(objects.pod(number) for number in range(first, last)) + b"]"


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _measure(pods: int, nodes: int) -> None:
    objects = Objects(pods, nodes)
    fed = Fed(objects)
    before = _resident()
    first = _cpu(fed.nodes)
    print(f"{nodes} nodes, {NAMESPACES} namespaces: {first:.2f} s CPU")
    first = sum(_cpu(lambda page=page: fed.pods(page)) for page in _pages(objects))  # type: ignore[misc]
    gc.collect()
    held = _resident() - before
    print(f"{pods} pods decoded and judged: {first:.2f} s CPU, {first / pods * 1e6:.1f} us a pod")
    print(f"resident: {before:.0f} MB before, {held:.0f} MB more, {_resident():.0f} MB in all")
    print("counts:", _summary(fed.picture))
    chance = random.Random(1)
    spent = _events(fed, lambda: objects.pod(_elsewhere(chance, objects), 2))
    print(f"{EVENTS} events that change nothing: {spent * 1e6:.1f} us each")
    spent = _events(fed, lambda: objects.pod(_elsewhere(chance, objects), 3, chance.randrange(nodes)))
    print(f"{EVENTS} pods that are on another node now: {spent * 1e6:.1f} us each")
    crowd = len(fed.picture._on_node["node-0000"])
    for country in ("US", "NL"):
        data = objects.node(0, country)
        spent = _cpu(lambda data=data: fed.node(data))  # type: ignore[misc]
        print(f"a node of {crowd} pods is relabelled {country}: {spent * 1e3:.2f} ms")
    known = dict(objects.catalogue)
    gone = known.pop(sorted(known)[0])
    print(
        f"one of {CLASSIFICATIONS} classifications goes: {_cpu(lambda: fed.picture.set_catalogue(known)) * 1e3:.0f} ms"
    )
    known[gone.name] = gone
    fed.picture.set_catalogue(known)
    print(f"all go: {_cpu(lambda: fed.picture.set_catalogue({})) * 1e3:.0f} ms")
    print(f"all come: {_cpu(lambda: fed.picture.set_catalogue(known)) * 1e3:.0f} ms")
    print(f"what statuses are told: {_cpu(lambda: Audited.of(fed.picture)) * 1e3:.1f} ms")
    print(f"a scrape: {_scrape(fed.picture) * 1e3:.1f} ms")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB resident")


def _elsewhere(chance: random.Random, objects: Objects) -> int:
    return chance.randrange(CROWD, objects.pods)


def _events(fed: Fed, make: Callable[[], bytes]) -> float:
    """CPU seconds an event; what is fed is made beforehand, a little at a time."""
    spent = 0.0
    for _ in range(EVENTS // PAGE):
        events = [make() for _ in range(PAGE)]
        spent += _cpu(lambda events=events: _feed(fed, events))  # type: ignore[misc]
    return spent / EVENTS


def _feed(fed: Fed, events: Sequence[bytes]) -> None:
    for data in events:
        fed.event(data)


def _summary(picture: Picture) -> str:
    by_outcome: dict[str, int] = {}
    for (_, _, outcome), count in picture.counts.items():
        by_outcome[outcome] = by_outcome.get(outcome, 0) + count
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(by_outcome.items()))


def _scrape(picture: Picture) -> float:
    class Shown:
        restarts, synced, complete = 0, True, picture
        watched: dict[str, Any] = {}  # noqa: RUF012 (nothing writes it)

    metrics = Metrics()
    metrics.add(AuditCollector(Shown()))
    metrics.add(SpreadCollector(Shown(), namespaces=True))
    return _cpu(metrics.exposition)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000, metavar="N", help="how many pods there are (50000)")
    parser.add_argument("--nodes", type=int, default=2_000, metavar="N", help="how many nodes there are (2000)")
    options = parser.parse_args(arguments)
    _measure(options.pods, options.nodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
