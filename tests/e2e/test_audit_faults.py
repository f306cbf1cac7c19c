"""Whatever happens on the way, what the audit shows is what a fresh look shows: no ghosts, none missing."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any, Final

import pytest

from churn import PACE, SECONDS, SEED, SETTLE_SECONDS, Churn, cancelled
from controlplane import ControlPlane
from faulty_proxy import Fault, FaultyProxy
from golden import resolved
from residency.api.names import CLASSIFICATION, ENFORCEMENT, REGION, SOVEREIGN, Fact, Outcome
from residency.audit.findings import Subject
from residency.audit.life import Findings, Sight
from residency.audit.picture import Picture
from residency.audit.tally import PodKey
from residency.audit.volumes import VolumePicture
from residency.cluster.client import Client
from residency.cluster.connection import Connection, connect
from residency.controller.auditing import Audit
from residency.core.judge import Catalogue

COUNTRY: Final = Fact.COUNTRY.value
NAMESPACES: Final = ("red", "green", "blue", "grey")
NODES: Final = tuple(f"node-{number}" for number in range(12))
PODS: Final = tuple(f"pod-{number}" for number in range(60))
VOLUMES: Final = tuple(f"volume-{number}" for number in range(20))
CLASSES: Final = ("fast", "slow")
COUNTRIES: Final = ("NL", "NL", "DE", "US", None)
CALM_SECONDS: Final = 0.5


def catalogue(*german: str) -> Catalogue:
    """Two classifications, of which one allows these countries."""
    nodes = {"anyOf": [{"countries": ["NL"]}]}
    specs = {
        "dutch": {"title": "Dutch", "nodes": nodes, "storage": {"classSelector": {"matchLabels": {COUNTRY: "NL"}}}},
        "german": {"title": "German", "nodes": {"anyOf": [{"countries": german}]}, "mode": "Warn"},
    }
    return resolved(specs)


class Everything(Churn):
    """Changes all that the audit looks at."""

    async def begin(self) -> None:
        """Create the namespaces; they are only relabelled."""
        for name in NAMESPACES:
            await self.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    async def change(self) -> None:
        """Change something, mostly pods."""
        what = self.chance.choices(
            (self._pod, self._node, self._volume, self._class, self._namespace), (70, 12, 10, 3, 5)
        )
        await what[0]()

    async def _pod(self) -> None:
        pods = f"/api/v1/namespaces/{self.chance.choice(NAMESPACES)}/pods"
        name, dice = self.chance.choice(PODS), self.chance.random()
        if dice < 0.45:
            await self.send("POST", pods, self._new_pod(name))
        elif dice < 0.6:
            target = {"apiVersion": "v1", "kind": "Node", "name": self.chance.choice(NODES)}
            await self.send("POST", f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": target})
        elif dice < 0.7:
            phase = self.chance.choice(("Running", "Succeeded", "Failed"))
            await self.send("PATCH", f"{pods}/{name}/status", {"status": {"phase": phase}})
        else:
            await self.send("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
            if dice > 0.9:
                await self.send("POST", pods, self._new_pod(name))

    def _new_pod(self, name: str) -> Any:
        annotations = self.chance.choice(({}, {CLASSIFICATION: "dutch"}, {CLASSIFICATION: "unknown"}))
        selector = self.chance.choice(({}, {COUNTRY: "NL"}, {COUNTRY: "NL"}, {COUNTRY: "US"}))
        bound = self.chance.choice(({}, {"nodeName": self.chance.choice((*NODES, "gone"))}))
        spec = {"containers": [{"name": "c", "image": "i"}], "nodeSelector": selector, **bound}
        return {"metadata": {"name": name, "annotations": annotations}, "spec": spec}

    async def _node(self) -> None:
        name, dice = self.chance.choice(NODES), self.chance.random()
        labels = {
            COUNTRY: self.chance.choice(COUNTRIES),
            Fact.SUBDIVISION.value: self.chance.choice((None, None, None, None, "NL-GR")),
            REGION: self.chance.choice((None, None, None, None, "us-east-1")),
        }
        if dice < 0.35:
            given = {key: value for key, value in labels.items() if value}
            taints = self.chance.choice(([], [{"key": SOVEREIGN, "effect": "NoSchedule"}]))
            body = {"metadata": {"name": name, "labels": given}, "spec": {"taints": taints}}
            await self.send("POST", "/api/v1/nodes", body)
        elif dice < 0.85:
            await self.send("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": labels}})
        else:
            await self.send("DELETE", f"/api/v1/nodes/{name}")

    async def _volume(self) -> None:
        name, dice = self.chance.choice(VOLUMES), self.chance.random()
        namespace = self.chance.choice(NAMESPACES)
        volume = f"/api/v1/persistentvolumes/{name}"
        claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        if dice < 0.4:
            common = {"accessModes": ["ReadWriteOnce"], "storageClassName": self.chance.choice((*CLASSES, ""))}
            await self.send("POST", "/api/v1/persistentvolumes", self._new_volume(name, namespace, common))
            spec = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}
            await self.send("POST", claim.rsplit("/", 1)[0], {"metadata": {"name": name}, "spec": spec})
        elif dice < 0.7:
            for path, phases in ((volume, ("Available", "Bound", "Released")), (claim, ("Pending", "Bound", "Lost"))):
                await self.send("PATCH", f"{path}/status", {"status": {"phase": self.chance.choice(phases)}})
        elif dice < 0.8:
            labels = {COUNTRY: self.chance.choice(COUNTRIES)}
            await self.send("PATCH", volume, {"metadata": {"labels": labels}})
        else:
            path = self.chance.choice((volume, claim))
            await self.send("DELETE", path)
            # Nobody is there who would take the protection of volumes away.
            await self.send("PATCH", path, {"metadata": {"finalizers": None}})

    def _new_volume(self, name: str, namespace: str, common: Mapping[str, object]) -> Any:
        affinity = {}
        if country := self.chance.choice(COUNTRIES):
            terms = [{"matchExpressions": [{"key": COUNTRY, "operator": "In", "values": [country]}]}]
            affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}
        source = {"nfs": {"server": "192.0.2.1", "path": "/"}, "claimRef": {"namespace": namespace, "name": name}}
        spec = {**common, **source, **affinity, "capacity": {"storage": "1Gi"}}
        return {"metadata": {"name": name}, "spec": spec}

    async def _class(self) -> None:
        name, dice = self.chance.choice(CLASSES), self.chance.random()
        labels = {COUNTRY: self.chance.choice(("NL", "US"))}
        classes = "/apis/storage.k8s.io/v1/storageclasses"
        if dice < 0.4:
            await self.send("POST", classes, {"metadata": {"name": name, "labels": labels}, "provisioner": "none"})
        elif dice < 0.8:
            await self.send("PATCH", f"{classes}/{name}", {"metadata": {"labels": labels}})
        else:
            await self.send("DELETE", f"{classes}/{name}")

    async def _namespace(self) -> None:
        labels = {
            CLASSIFICATION: self.chance.choice((None, "dutch", "german", "unknown")),
            ENFORCEMENT: self.chance.choice((None, None, "Audit")),
        }
        name = self.chance.choice(NAMESPACES)
        await self.send("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})


class Lives:
    """Makes findings of what it is told, change by change."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._findings = Findings()
        self.outcomes: dict[Subject, set[Outcome]] = {subject: set() for subject in Subject}
        """Those that there ever were."""

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in what changed, in pods and in volumes."""
        volumes = self._audit.volumes
        assert volumes is not None
        self._look(Sight(Subject.PODS, picture.tally, picture.catalogue), pods)
        self._look(Sight(Subject.VOLUMES, volumes.tally, volumes.catalogue), volumes.tally.take_changed())

    def _look(self, sight: Sight, changed: Collection[PodKey]) -> None:
        self._findings.look(sight, 0.0, changed)
        self.outcomes[sight.subject] |= {outcome for _, _, outcome in sight.tally.counts}

    @property
    def open(self) -> Mapping[object, int]:
        """How many each finding that is open stands for."""
        return {
            (f.namespace, f.subject, f.classification, f.outcome): f.count for f in self._findings if f.resolved is None
        }


def deviating(picture: Picture, volumes: VolumePicture) -> Mapping[object, int]:
    """The same without a history."""
    return Counter(
        (key[0], subject, name, judged.outcome)
        for subject, tally in ((Subject.PODS, picture.tally), (Subject.VOLUMES, volumes.tally))
        for name, key, judged in tally.all_deviating()
    )


def shown(audit: Audit) -> Mapping[str, object]:
    """All that an audit knows."""
    picture, volumes = audit.complete, audit.volumes
    if picture is None or volumes is None:
        return {}
    keys = [key for namespace in NAMESPACES for key in picture.pods_in(namespace)]
    return {
        "pods": {key: picture.look(key) for key in keys},
        "counts": dict(picture.counts),
        "waiting": set(picture.waiting),
        "nodes": dict(picture.nodes),
        "namespaces": dict(picture.classified),
        "eligible": dict(picture.eligible),
        "spread": dict(picture.spread.located(picture.nodes)),
        "volumes": dict(volumes.counts),
        "deviating volumes": {(name, key): judged for name, key, judged in volumes.tally.all_deviating()},
    }


@contextlib.asynccontextmanager
async def looking(audit: Audit) -> AsyncIterator[None]:
    """Let an audit look."""
    task = asyncio.create_task(audit.run(lambda: None))
    yield
    await cancelled(task)
    assert audit.restarts == 0


async def fresh(connection: Connection, judged_by: Catalogue) -> Mapping[str, object]:
    """What an audit shows that has just begun, past the proxy."""
    client = Client(connection)
    audit = Audit(client, ())
    audit.judge_by(judged_by)
    async with looking(audit), asyncio.timeout(SETTLE_SECONDS):
        while not (found := shown(audit)):
            await asyncio.sleep(0.05)
    await client.close()
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as cluster:
        yield cluster


@pytest.mark.timeout(SECONDS + 240)
async def test_the_audit_shows_what_a_fresh_look_shows_whatever_happened(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    connection = await connect()
    churn = Everything(connection, random.Random(SEED))
    await churn.begin()
    first, last = catalogue("DE", "NL"), catalogue("DE")
    async with FaultyProxy(connection, random.Random(SEED)) as proxy:
        client = Client(connection, proxy.address)
        audit = Audit(client, (), pace=PACE)
        lives = Lives(audit)
        audit.listeners.append(lives)
        audit.judge_by(first)
        async with looking(audit):
            seconds = await churn.until_enough(cluster, restarts=1)
            audit.judge_by(last)
            proxy.calm = True
            expected = await fresh(connection, last)
            deadline = time.monotonic() + SETTLE_SECONDS
            while shown(audit) != expected and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            print(churn.told(proxy, seconds))
            found = shown(audit)
            for what, value in expected.items():
                assert found[what] == value, what
            await asyncio.sleep(CALM_SECONDS)  # listeners are told four times a second
            picture, volumes = audit.complete, audit.volumes
            assert picture is not None
            assert volumes is not None
            assert lives.open == deviating(picture, volumes)
        await client.close()
    await churn.close()
    # Everything came about, or nothing was compared.
    assert lives.outcomes[Subject.PODS] == set(Outcome)
    assert lives.outcomes[Subject.VOLUMES] == set(Outcome) - {Outcome.UNPINNED, Outcome.UNPLACEABLE, Outcome.INTRUDER}
    # What happens to further pages is the reflector's test's: here there are few.
    missed = set(Fault) - {Fault.EXPIRE_PAGE} - set(proxy.happened)
    assert not missed, f"never happened: {missed}"
