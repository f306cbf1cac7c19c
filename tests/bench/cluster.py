"""A real control plane that is filled with nodes and pods, and grown while it runs."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.catalogues import specification
from bench.etcd import Entry, Etcd
from bench.population import (
    CLASSIFICATIONS,
    Ground,
    Json,
    Kind,
    Pod,
    Population,
    Stored,
    classified_as,
    country,
    exchanged,
    ground,
    namespace_name,
    namespaces,
    node_manifest,
    node_name,
    node_status,
    originals,
    originals_of_nodes,
    pod_manifest,
    pool,
    running_status,
)
from controlplane import ControlPlane
from e2e.installation import Controller, Installation, wait_for
from keepalive import Answer, KeepAlive
from residency.api.names import CLASSIFICATION, Fact
from residency.cluster.resources import FINDINGS

MERGE: Final = "application/merge-patch+json"
STRIDE: Final = 7919
"""A prime, so that no pod is met twice before every other was met."""
CAUGHT_UP_SECONDS: Final = 300.0


class Refused(Exception):
    """The API server did not do what the bench needs."""


class Cluster:
    """The chart, its classifications and namespaces, and as many nodes and pods as were asked for so far."""

    def __init__(self, plane: ControlPlane, population: Population, folder: Path) -> None:
        self.plane, self.population = plane, population
        self.installation = Installation(plane, folder)
        self.pods = self.nodes = 0
        """So many there are."""
        self._api = KeepAlive(plane.kubeconfig)
        self._etcd = Etcd(plane.etcd_url)
        self._stored: dict[tuple[Kind, str], Stored] = {}
        self._stored_nodes: dict[Ground, tuple[str, bytes]] = {}

    def __enter__(self) -> Self:
        self.installation.install()
        controller = self.installation.controller()
        names = [f"class-{number:03}" for number in range(CLASSIFICATIONS)]
        for number, name in enumerate(names):
            self.installation.classify(name, specification(number))
        for name in names:
            self.installation.wait_ready(name)
        for number in namespaces():
            labels = {CLASSIFICATION: classified_as(number)} if classified_as(number) else {}
            body = {"metadata": {"name": namespace_name(number), "labels": labels}}
            self._send("POST", "/api/v1/namespaces", body)
        self._make_originals()
        controller.stop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.installation.close()
        self._etcd.__exit__(kind, error, trace)
        self._api.__exit__(kind, error, trace)

    @property
    def versions(self) -> Mapping[str, str]:
        """What it runs."""
        return {
            "kube-apiserver": str(self._send("GET", "/version")["gitVersion"]),
            "etcd": self._etcd.version,
        }

    @property
    def pod_bytes(self) -> int:
        """The size of a pod as the API server writes it."""
        pod = next(pod for pod in map(self.population.pod, range(self.pods)) if pod.kind is Kind.APPLICATION)
        body = self._send("GET", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")
        return len(json.dumps(body, separators=(",", ":")))

    # Its life

    def grow(self, pods: int) -> float:
        """Have so many pods, and the nodes that they are on; return the seconds until the API server shows them."""
        start = time.monotonic()
        nodes = self.population.nodes_for(pods)
        self._etcd.fill(self._node_entry(number) for number in range(self.nodes, nodes))
        self._etcd.fill(self._pod_entry(number) for number in range(self.pods, pods))
        self.nodes, self.pods = nodes, pods
        for plural, count in (("nodes", nodes), ("pods", pods)):
            wait_for(lambda plural=plural, count=count: self._counted(plural) == count, CAUGHT_UP_SECONDS)  # type: ignore[misc]
        return time.monotonic() - start

    def start(self) -> Controller:
        """Start a controller that shows every count: in this cluster there is something the matter with all it has."""
        return self.installation.controller(f"--metrics-series={35 * CLASSIFICATIONS}")

    def relabel(self, on: Ground) -> None:
        """Make of the first node something else."""
        body = {"metadata": {"labels": {Fact.COUNTRY.value: country(on) or None}}}
        self._send("PATCH", f"/api/v1/nodes/{node_name(0)}", body, MERGE)

    def finding(self, namespace: str, name: str) -> Json:
        """The status of a ResidencyFinding; empty where there is none."""
        answer = self._api.send("GET", FINDINGS.path(name, namespace=namespace))
        if answer.status == HTTPStatus.NOT_FOUND:
            return {}
        status: Json = _done(answer).get("status", {})
        return status

    @contextlib.contextmanager
    def writer(self) -> Iterator["Writer"]:
        """Change pods through a connection of one's own."""
        with Etcd(self.plane.etcd_url) as etcd:
            yield Writer(etcd, self._pod_entry, self.population)

    # How it is made

    def _make_originals(self) -> None:
        for on, number in originals_of_nodes().items():
            created = self._send("POST", "/api/v1/nodes", node_manifest(number))
            path = f"/api/v1/nodes/{node_name(number)}/status?fieldManager=kubelet"
            self._send("PATCH", path, {"status": node_status(number)}, MERGE)
            self._stored_nodes[on] = created["metadata"]["uid"], self._etcd.read(_node_key(number))
        with KeepAlive(self.plane.user_kubeconfig("system:kube-scheduler")) as scheduler:
            for pod in originals():
                self._make(pod, scheduler)
        for number in originals_of_nodes().values():
            self._etcd.delete(_node_key(number))

    def _make(self, pod: Pod, scheduler: KeepAlive) -> None:
        """Make a pod as Kubernetes does, keep what is stored of it before it is bound and when it runs, delete it."""
        pods = f"/api/v1/namespaces/{pod.namespace}/pods"
        created = self._send("POST", pods, pod_manifest(pod))
        uid = created["metadata"]["uid"]
        if pod.kind is Kind.APPLICATION:
            waiting = Pod(pod.number, Kind.WAITING, pod.namespace, pod.classification, pod.node)
            self._stored[Kind.WAITING, pod.classification] = Stored(waiting, uid, self._etcd.read(pod.key))
        target = {"apiVersion": "v1", "kind": "Node", "name": node_name(pod.node)}
        _done(scheduler.send("POST", f"{pods}/{pod.name}/binding", {"metadata": {"name": pod.name}, "target": target}))
        path = f"{pods}/{pod.name}/status?fieldManager=kubelet"
        self._send("PATCH", path, {"status": running_status()}, MERGE)
        self._stored[pod.kind, pod.classification] = Stored(pod, uid, self._etcd.read(pod.key))
        self._etcd.delete(pod.key)

    def _pod_entry(self, number: int, version: int = 0) -> Entry:
        pod = self.population.pod(number)
        original = (Kind.APPLICATION, "") if pod.kind is Kind.EARLIER else (pod.kind, pod.classification)
        return pod.key, self._stored[original].copy(pod, version)

    def _node_entry(self, number: int) -> Entry:
        on = ground(number)
        first = originals_of_nodes()[on]
        uid, value = self._stored_nodes[on]
        mine = f"{number:08x}-0000-4000-9000-{number:012x}"
        changes = ((node_name(first), node_name(number)), (pool(first), pool(number)), (uid, mine))
        return _node_key(number), exchanged(value, changes)

    def _counted(self, plural: str) -> int:
        body = self._send("GET", f"/api/v1/{plural}?limit=1")
        return len(body["items"]) + int(body["metadata"].get("remainingItemCount", 0))

    def _send(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Json:
        try:
            return _done(self._api.send(method, path, body, content_type))
        except (http.client.HTTPException, OSError):
            # An API server closes a connection on which nothing was asked for a minute and a half.
            self._api = KeepAlive(self.plane.kubeconfig)
            return _done(self._api.send(method, path, body, content_type))


def _done(answer: Answer) -> Json:
    if not 200 <= answer.status < 300:
        raise Refused(f"the API server answered {answer.status}: {answer.message}")
    return answer.body


def _node_key(number: int) -> str:
    return f"/registry/minions/{node_name(number)}"


@dataclass(frozen=True, slots=True)
class Writer:
    """Changes pods in etcd; the API server tells whoever watches."""

    etcd: Etcd
    entry: Callable[[int, int], Entry]
    population: Population

    def restart(self, number: int, version: int) -> None:
        """Let the containers of a pod be restarted, or create it again: on its own this changes no verdict."""
        self.etcd.put(*self.entry(number, version))

    def delete(self, number: int) -> None:
        """Delete a pod."""
        self.etcd.delete(self.population.pod(number).key)


def restarts(population: Population, pods: int, part: int, parts: int) -> Iterator[int]:
    """The numbers of a part of the pods that run, all over the cluster, again and again."""
    mine = range(part, pods, parts)
    at = 0
    while True:
        at = (at + STRIDE) % len(mine)
        if population.pod(mine[at]).kind is not Kind.WAITING:
            yield mine[at]
