"""Whatever happens on the way, the reflector's picture is what the API server has: no ghosts, none missing."""

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import aiohttp
import msgspec
import pytest
from kubernetes.aio.client.rest import RESTClientObject

from controlplane import ControlPlane
from faulty_proxy import Fault, FaultyProxy
from residency.cluster.client import Client
from residency.cluster.connection import Connection, connect
from residency.cluster.reflector import Cause, Gap, Key, Metadata, Pace, Reflector
from residency.cluster.resources import PODS

EVENTS: Final = int(os.environ.get("RESIDENCY_REFLECTOR_EVENTS", "6000"))
SECONDS: Final = float(os.environ.get("RESIDENCY_REFLECTOR_SECONDS", "35"))
"""The changes go on until there were so many, or for so long, whichever comes first."""
SEED: Final = int(os.environ.get("RESIDENCY_REFLECTOR_SEED", "20261123"))
SETTLE_SECONDS: Final = 60.0

NAMESPACES: Final = ("red", "green", "blue")
NAMES: Final = tuple(f"pod-{number}" for number in range(150))
WRITERS: Final = 4
# No check from time to time: it would repair what this is to find.
PACE: Final = Pace(
    page=50, first_pause=0.1, longest_pause=1.0, silence=3.0, watch_seconds=(3.0, 6.0), check_seconds=1e9
)


class PodMetadata(Metadata):
    """A pod's metadata with its labels."""

    labels: dict[str, str] | None = None


class Pod(msgspec.Struct):
    """As much of a pod as is compared."""

    metadata: PodMetadata


class Mirror:
    """Keeps a picture from nothing but what it is told, and checks that it is told what makes sense."""

    def __init__(self) -> None:
        self.picture: dict[Key, Pod] = {}
        self.gaps: list[Gap] = []

    def put(self, key: Key, item: Pod, before: Pod | None) -> None:
        """Keep it."""
        assert self.picture.get(key) is before
        assert before is None or before.metadata.uid == item.metadata.uid
        self.picture[key] = item

    def removed(self, key: Key, item: Pod) -> None:
        """Drop it."""
        assert self.picture.pop(key) is item

    def gap(self, gap: Gap) -> None:
        """Note it."""
        self.gaps.append(gap)


class Writers:
    """Change pods at random, through no proxy."""

    def __init__(self, connection: Connection, chance: random.Random) -> None:
        self._host = connection.host
        ssl = RESTClientObject(connection.configuration).ssl_context
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ssl))
        self._chance = chance
        self.done: Counter[str] = Counter()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def create_namespaces(self) -> None:
        """Create what the pods live in."""
        for name in NAMESPACES:
            await self._send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    async def change_until(self, enough: int, deadline: float) -> None:
        """Change pods until so much was changed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._write(enough, deadline))

    async def _write(self, enough: int, deadline: float) -> None:
        while self.done.total() < enough and time.monotonic() < deadline:
            try:
                await self._change()
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.2)  # the API server is being restarted

    async def _change(self) -> None:
        namespace, name = self._chance.choice(NAMESPACES), self._chance.choice(NAMES)
        pods = f"/api/v1/namespaces/{namespace}/pods"
        labels = {"color": self._chance.choice(("red", "green")), "step": str(self._chance.randrange(1000))}
        body = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        dice = self._chance.random()
        if dice < 0.002:
            await self._send("DELETE", f"{pods}?labelSelector=color%3D{labels['color']}")
        elif dice < 0.45:
            await self._send("POST", pods, body)
        elif dice < 0.75:
            await self._send("PATCH", f"{pods}/{name}", {"metadata": {"labels": labels}})
        else:
            await self._send("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
            if dice > 0.9:
                await self._send("POST", pods, body)

    async def _send(self, method: str, path: str, body: object = None) -> None:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content}
        async with self._session.request(method, self._host + path, data=data, headers=headers) as answer:
            await answer.read()
            if answer.status < 300:
                self.done[method] += 1
            else:
                assert answer.status in (404, 409, 429, 500, 503), await answer.text()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as cluster:
        yield cluster


@pytest.fixture
async def connection(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    return await connect()


@contextlib.asynccontextmanager
async def following(
    connection: Connection, proxy: FaultyProxy, labels: str
) -> AsyncIterator[tuple[Reflector[Pod], Mirror]]:
    """Run a reflector behind the proxy."""
    client, mirror = Client(connection, proxy.address), Mirror()
    reflector = Reflector(client, PODS, Pod, mirror, labels=labels, pace=PACE)
    task = asyncio.create_task(reflector.run())
    yield reflector, mirror
    assert not task.done(), task.exception()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await client.close()


async def fresh(connection: Connection, labels: str) -> Mapping[Key, Pod]:
    """List, past the proxy and past the reflector."""
    client = Client(connection)
    items = await client.find_as(Pod, PODS, labels=labels)
    await client.close()
    return {(item.metadata.namespace, item.metadata.name): item for item in items}


async def settled(connection: Connection, reflector: Reflector[Pod], labels: str) -> Mapping[Key, Pod]:
    """Wait until the picture is as it is to be; what it should be, whether it is or not."""
    expected = await fresh(connection, labels)
    deadline = time.monotonic() + SETTLE_SECONDS
    while reflector.objects != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return expected


async def restart_api_server(cluster: ControlPlane, kill: bool) -> None:
    """Stop it in one way or the other, leave it away for a moment, and start it."""
    stop = cluster.kill_component if kill else cluster.stop_component
    await asyncio.to_thread(stop, "kube-apiserver")
    await asyncio.sleep(1)
    await asyncio.to_thread(cluster.start_component, "kube-apiserver")


def told(
    kind: str, reflector: Reflector[Pod], mirror: Mirror, writers: Writers, proxy: FaultyProxy, seconds: float
) -> str:
    """What happened, for whoever reads the output of the test."""
    counts = reflector.counts
    faults = ", ".join(f"{number} x {fault}" for fault, number in sorted(proxy.happened.items()))
    relisted = sum(gap.relisted for gap in mirror.gaps)
    return (
        f"\n{kind}: {writers.done.total()} changes in {seconds:.0f} s {dict(writers.done)}; {counts.puts} puts and"
        f" {counts.removals} removals, {counts.lists.total()} lists, {len(mirror.gaps)} gaps ({relisted} relisted)\n"
        f"faults: {faults}\nlost: { {str(cause): number for cause, number in counts.lost.items()} }"
    )


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("restarts", [0, 2])
async def test_the_picture_equals_a_fresh_list_whatever_happened(
    cluster: ControlPlane, connection: Connection, restarts: int
) -> None:
    chance = random.Random(SEED + restarts)
    writers = Writers(connection, chance)
    await writers.create_namespaces()
    started = time.monotonic()
    async with (
        FaultyProxy(connection, random.Random(SEED - restarts)) as proxy,
        following(connection, proxy, "") as (everything, mirror),
        following(connection, proxy, "color=red") as (red, red_mirror),
    ):
        writing = asyncio.create_task(writers.change_until(EVENTS, started + SECONDS))
        for number in range(restarts):
            part = (number + 1) / (restarts + 1)
            while writers.done.total() < part * EVENTS and time.monotonic() - started < part * SECONDS:
                await asyncio.sleep(0.1)
            await restart_api_server(cluster, kill=number % 2 == 0)
        await writing
        seconds = time.monotonic() - started
        proxy.calm = True
        expected, expected_red = await settled(connection, everything, ""), await settled(connection, red, "color=red")
        print(told(f"{restarts} restarts", everything, mirror, writers, proxy, seconds))
        assert everything.objects == expected
        assert mirror.picture == expected
        assert red.objects == expected_red
        assert red_mirror.picture == expected_red
    await writers.close()
    assert len(expected) > len(expected_red) > 10
    missed = set(Fault) - set(proxy.happened)
    assert not missed, f"never happened: {missed}"
    assert everything.counts.lists[Cause.EXPIRED] > 0
    assert any(gap.relisted for gap in mirror.gaps)
    assert not all(gap.relisted for gap in mirror.gaps)
