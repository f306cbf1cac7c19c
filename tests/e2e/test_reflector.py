"""Whatever happens on the way, the reflector's picture is what the API server has: no ghosts, none missing."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import msgspec
import pytest

from churn import PACE, SECONDS, SEED, SETTLE_SECONDS, Churn, cancelled
from controlplane import ControlPlane
from faulty_proxy import Fault, FaultyProxy
from residency.cluster.client import Client
from residency.cluster.connection import Connection, connect
from residency.cluster.reflector import Cause, Gap, Key, Metadata, Reflector
from residency.cluster.resources import PODS

NAMESPACES: Final = ("red", "green", "blue")
NAMES: Final = tuple(f"pod-{number}" for number in range(150))


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


class Pods(Churn):
    """Changes pods."""

    async def change(self) -> None:
        """Create, relabel or delete a pod, or delete many at once."""
        namespace, name = self.chance.choice(NAMESPACES), self.chance.choice(NAMES)
        pods = f"/api/v1/namespaces/{namespace}/pods"
        labels = {"color": self.chance.choice(("red", "green")), "step": str(self.chance.randrange(1000))}
        body = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        dice = self.chance.random()
        if dice < 0.002:
            await self.send("DELETE", f"{pods}?labelSelector=color%3D{labels['color']}")
        elif dice < 0.45:
            await self.send("POST", pods, body)
        elif dice < 0.75:
            await self.send("PATCH", f"{pods}/{name}", {"metadata": {"labels": labels}})
        else:
            await self.send("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
            if dice > 0.9:
                await self.send("POST", pods, body)


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
    reflector = Reflector(client, PODS, Pod, mirror, labels=labels, pace=PACE, missed=mirror.gaps.append)
    task = asyncio.create_task(reflector.run())
    yield reflector, mirror
    await cancelled(task)
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


def told(reflector: Reflector[Pod], mirror: Mirror) -> str:
    """What the reflector made of it, for whoever reads the output of the test."""
    counts = reflector.counts
    relisted = sum(gap.relisted for gap in mirror.gaps)
    return (
        f"{counts.puts} puts and {counts.removals} removals, {counts.lists.total()} lists, {len(mirror.gaps)} gaps"
        f" ({relisted} relisted)\nlost: { {str(cause): number for cause, number in counts.lost.items()} }"
    )


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("restarts", [0, 2])
async def test_the_picture_equals_a_fresh_list_whatever_happened(
    cluster: ControlPlane, connection: Connection, restarts: int
) -> None:
    writers = Pods(connection, random.Random(SEED + restarts))
    for name in NAMESPACES:
        await writers.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    async with (
        FaultyProxy(connection, random.Random(SEED - restarts)) as proxy,
        following(connection, proxy, "") as (everything, mirror),
        following(connection, proxy, "color=red") as (red, red_mirror),
    ):
        seconds = await writers.until_enough(cluster, restarts)
        proxy.calm = True
        expected, expected_red = await settled(connection, everything, ""), await settled(connection, red, "color=red")
        print(writers.told(proxy, seconds), told(everything, mirror), sep="\n")
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
