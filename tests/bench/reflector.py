"""``python -m bench.reflector``: what the reflector costs per event, and holds per pod.

A server in a process of its own lists and watches generated pods of 7 KB, with TLS and without compression. CPU time
and memory are of this process alone, which runs nothing but the reflector; its sink does nothing.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import multiprocessing
import random
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from kubernetes.aio.client import Configuration

from bench.pods import realistic
from controlplane.certificates import Authority
from residency.cluster.client import Client
from residency.cluster.connection import Connection
from residency.cluster.reflector import Gap, Key, Metadata, Reflector
from residency.cluster.resources import PODS

NODES: Final = 5000
NAMESPACES: Final = 400
BURST: Final = 20_000
STEADY: Final = 5000
PER_SECOND: Final = 500
PAUSE: Final = 1.0


# A pod as an audit of its placement may want it


class PodMetadata(Metadata, gc=False):
    """Also what classifies it and who owns it."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Claim(msgspec.Struct, rename="camel", gc=False):
    """A claim by its name."""

    claim_name: str = ""


class Volume(msgspec.Struct, rename="camel", gc=False):
    """Of a volume, its claim."""

    persistent_volume_claim: Claim | None = None


class PodSpec(msgspec.Struct, rename="camel", gc=False):
    """Where it may be, where it is, and what it mounts."""

    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None
    volumes: list[Volume] | None = None


class PodStatus(msgspec.Struct, gc=False):
    """Whether it runs."""

    phase: str = ""


class Pod(msgspec.Struct, gc=False):
    """With its whole affinity and tolerations."""

    metadata: PodMetadata
    spec: PodSpec
    status: PodStatus


class SmallSpec(msgspec.Struct, rename="camel", gc=False):
    """Where it is."""

    node_name: str = ""


class SmallPod(msgspec.Struct, gc=False):
    """Only where it is."""

    metadata: Metadata
    spec: SmallSpec
    status: PodStatus


class Nothing:
    """A sink that does nothing."""

    def put(self, key: Key, item: object, before: object) -> None:
        """Ignore it."""

    def removed(self, key: Key, item: object) -> None:
        """Ignore it."""

    def gap(self, gap: Gap) -> None:
        """Ignore it."""


# The server


class Pods:
    """Generated pods as bytes; only what differs between them is written anew."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.version = count
        pod = realistic()
        pod["metadata"] = {
            "name": "@name@",
            "namespace": "@namespace@",
            "uid": "@uid@",
            "resourceVersion": "@version@",
            "creationTimestamp": "2026-11-23T00:00:00Z",
            "labels": pod["metadata"]["labels"],
            "annotations": pod["metadata"]["annotations"],
            "ownerReferences": [{"kind": "ReplicaSet", "name": "payments-7d4b9c6f5d", "uid": "@uid@"}],
        }
        pod["spec"]["nodeName"] = "@node@"
        pod["status"] = {"phase": "Running", "podIP": "10.1.2.3", "conditions": [{"type": "Ready", "status": "True"}]}
        self._template = json.dumps(pod, separators=(",", ":")).encode()

    def pod(self, number: int, version: int) -> bytes:
        """One pod."""
        body = self._template
        for mark, value in (
            ("name", f"payments-{number % 977:03}-7d4b9c6f5d-{number:05x}"),
            ("namespace", f"team-{number % NAMESPACES:03}"),
            ("uid", f"0d3c1b7e-8c1c-4d3f-9a51-{number:012x}"),
            ("version", str(version)),
            ("node", f"node-{number % NODES:04}.region-1.example"),
        ):
            body = body.replace(f"@{mark}@".encode(), value.encode())
        return body

    async def list(self, request: web.Request) -> web.StreamResponse:
        """Answer a list or a watch."""
        if "watch" in request.query:
            return await self._watch(request)
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        end = min(start + limit, self.count)
        meta = {"resourceVersion": str(self.version), "continue": str(end) if end < self.count else ""}
        items = b",".join(self.pod(number, number + 1) for number in range(start, end))
        body = b'{"kind":"PodList","metadata":' + json.dumps(meta).encode() + b',"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        chance = random.Random(1)
        burst = [self._event(chance) for _ in range(BURST)]
        steady = [self._event(chance) for _ in range(STEADY)]
        await asyncio.sleep(PAUSE)
        for event in burst:
            await response.write(event)
        await asyncio.sleep(PAUSE * 3)
        started = time.monotonic()
        for number, event in enumerate(steady):
            await asyncio.sleep(max(0.0, started + number / PER_SECOND - time.monotonic()))
            await response.write(event)
        await asyncio.sleep(3600)
        return response

    def _event(self, chance: random.Random) -> bytes:
        self.version += 1
        return b'{"type":"MODIFIED","object":' + self.pod(chance.randrange(self.count), self.version) + b"}\n"


def _serve(pods: int, folder: Path, pipe: Pipe) -> None:
    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/pods", Pods(pods).list)
        runner = web.AppRunner(app)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "serving.crt", folder / "serving.key")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.sleep(3600)

    asyncio.run(serve())


@contextlib.contextmanager
def _server(pods: int) -> Iterator[Connection]:
    with tempfile.TemporaryDirectory() as name:
        folder, authority = Path(name), Authority()
        authority.serving("bench").write(folder, "serving")
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(pods, folder, theirs), daemon=True)
        process.start()
        configuration = Configuration()
        configuration.host = f"https://127.0.0.1:{ours.recv()}"
        configuration.ca_cert_data = authority.certificate.decode()
        try:
            yield Connection(configuration, in_cluster=False)
        finally:
            process.terminate()
            process.join()


# The measurement


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def _until(reflector: Reflector[Any], puts: int) -> None:
    while reflector.counts.puts < puts:
        await asyncio.sleep(0.02)


async def _measure(connection: Connection, pods: int, item: type[Any]) -> None:
    client = Client(connection)
    gc.collect()
    before, cpu, wall = _resident(), time.process_time(), time.monotonic()
    reflector: Reflector[Any] = Reflector(client, PODS, item, Nothing())
    task = asyncio.create_task(reflector.run())
    await reflector.synced.wait()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    held = _resident() - before
    print(f"list of {pods} pods: {wall:.1f} s, {cpu / pods * 1e6:.1f} us CPU a pod")
    print(f"resident: {before:.0f} MB before, {held:.0f} MB more, {held / pods * 1e3:.2f} KB a pod")
    for name, events in (("as fast as they come", BURST), (f"{PER_SECOND} a second", STEADY)):
        await asyncio.sleep(PAUSE / 4)
        cpu, wall, puts = time.process_time(), time.monotonic(), reflector.counts.puts
        await _until(reflector, puts + events)
        cpu = time.process_time() - cpu
        print(f"{events} events, {name}: {cpu / events * 1e6:.1f} us CPU an event")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"resident after them: {_resident():.0f} MB; at most {peak:.0f} MB")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await client.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.reflector", description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000, metavar="N", help="how many pods there are (50000)")
    parser.add_argument("--small", action="store_true", help="keep of each pod only where it is")
    options = parser.parse_args(arguments)
    with _server(options.pods) as connection:
        asyncio.run(_measure(connection, options.pods, SmallPod if options.small else Pod))
    return 0


if __name__ == "__main__":
    sys.exit(main())
