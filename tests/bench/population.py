"""Who lives in a cluster of any size, and what the audit has to say of them: worked out from their numbers alone.

Objects are copies of a few that an API server has made and stored. Copies differ in what is always equally long, so
that it can be exchanged within the bytes in etcd, whatever is around it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from zlib import crc32

from residency.api.names import NO_CLASSIFICATION, SOVEREIGN, Fact, Mode, Outcome

Json = dict[str, Any]
Line = tuple[str, str, str]
"""Classification, mode, outcome."""

CLASSIFICATIONS: Final = 20
NAMESPACES: Final = 400
POOLS: Final = 40
CROWD: Final = 110
"""Pods on the first node, which is the one that is relabelled."""
CROWDED: Final = range(NAMESPACES, NAMESPACES + 2 * 20, 2)
"""Their namespaces, which have no other pods: it is they in which something begins when that node is relabelled."""


class Ground(StrEnum):
    """What a node is, by its facts."""

    ALLOWED = "allowed"
    ABROAD = "abroad"
    """Its country is allowed by no classification."""
    UNSAID = "unsaid"
    """Nobody has said its country."""
    SOVEREIGN = "sovereign"
    """Allowed, and only classified pods may run there."""


class Kind(StrEnum):
    """What a pod is."""

    APPLICATION = "application"
    """Of a Deployment; placed, where its namespace is classified."""
    AGENT = "agent"
    """Of a DaemonSet: its affinity names its node."""
    EARLIER = "earlier"
    """An application from before its namespace was classified."""
    WAITING = "waiting"
    """An application that no node was found for yet."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod by its number."""

    number: int
    kind: Kind
    namespace: str
    classification: str
    """Its namespace's; empty for none."""
    node: int
    """Where it runs, or would."""

    @property
    def name(self) -> str:
        """Its name, equally long for all pods of a kind."""
        owner = "log-collector" if self.kind is Kind.AGENT else "payments-7d4b9c6f5d"
        return f"{owner}-{self.number:06x}"

    @property
    def key(self) -> str:
        """Where etcd has it."""
        return f"/registry/pods/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Population:
    """A cluster that grows: what has been there stays as it is."""

    pods: int
    nodes: int
    """Of the cluster when it is full-grown."""

    def __post_init__(self) -> None:
        if self.pods <= CROWD or not 2 <= self.nodes <= 10_000 or self.pods > 16**6:
            raise ValueError(f"more than {CROWD} and at most {16**6} pods on 2 to 10000 nodes can be told apart")

    def pod(self, number: int) -> Pod:
        """One pod: the first of them crowd the first node, the others fill the nodes in turn."""
        chance = crc32(b"%d" % number)
        namespace = CROWDED[number % len(CROWDED)] if number < CROWD else chance % NAMESPACES
        behind = (number - CROWD) * (self.nodes - 1) // (self.pods - CROWD)
        return Pod(
            number,
            _kind(number, chance // NAMESPACES % 1000),
            namespace_name(namespace),
            classified_as(namespace),
            0 if number < CROWD else 1 + behind,
        )

    def nodes_for(self, pods: int) -> int:
        """How many nodes there are when so many pods are."""
        return self.pod(pods - 1).node + 1

    def expected(
        self, pods: int, first_node: Ground = Ground.ALLOWED, without: int | None = None
    ) -> Mapping[Line, int]:
        """What the audit has to count among the first so many pods, one of which may be gone."""
        allowed = {pool(node) for node in range(self.nodes_for(pods)) if _allows(ground(node))}
        counts: Counter[Line] = Counter()
        for pod in map(self.pod, range(pods)):
            on = ground(pod.node) if pod.node else first_node
            line = _line(pod, on, somewhere=pool(pod.node) in allowed)
            if line is not None and pod.number != without:
                counts[line] += 1
        return counts

    def crowds(self) -> Mapping[tuple[str, str], int]:
        """How many pods are misplaced while the first node is abroad, by their namespace and its classification."""
        return Counter((pod.namespace, pod.classification) for pod in map(self.pod, range(CROWD)))

    def marker(self) -> int:
        """The number of a pod that complies, and is not on the first node: its coming and going shows."""
        pods = map(self.pod, range(CROWD, self.pods))
        good = (p for p in pods if p.kind is Kind.APPLICATION and p.classification and _allows(ground(p.node)))
        return next(good).number


def _line(pod: Pod, on: Ground, *, somewhere: bool) -> Line | None:
    if pod.classification:
        return pod.classification, str(Mode.ENFORCE), str(_outcome(pod, on, somewhere=somewhere))
    intrudes = on is Ground.SOVEREIGN and pod.kind is not Kind.WAITING
    return (NO_CLASSIFICATION, "", str(Outcome.INTRUDER)) if intrudes else None


def _kind(number: int, of_a_thousand: int) -> Kind:
    if of_a_thousand < 200:
        return Kind.AGENT
    if of_a_thousand < 250:
        return Kind.EARLIER
    return Kind.WAITING if of_a_thousand < 252 and number >= CROWD else Kind.APPLICATION


def _outcome(pod: Pod, on: Ground, *, somewhere: bool) -> Outcome:
    if pod.kind is Kind.WAITING:
        return Outcome.WAITING if somewhere else Outcome.UNPLACEABLE
    if not _allows(on):
        return Outcome.MISPLACED if on is Ground.ABROAD else Outcome.UNKNOWN
    return Outcome.UNPINNED if pod.kind is Kind.EARLIER else Outcome.COMPLIANT


def _allows(on: Ground) -> bool:
    return on in (Ground.ALLOWED, Ground.SOVEREIGN)


def namespaces() -> Iterator[int]:
    """The numbers of all namespaces."""
    yield from range(NAMESPACES)
    yield from CROWDED


def namespace_name(number: int) -> str:
    """The name of a namespace."""
    return f"team-{number:03}"


def classified_as(namespace: int) -> str:
    """As what a namespace is classified; every other one is not."""
    return "" if namespace % 2 else f"class-{namespace // 2 % CLASSIFICATIONS:03}"


def node_name(number: int) -> str:
    """The name of a node."""
    return f"node-{number:04}"


def pool(node: int) -> str:
    """The pool that a node belongs to; its applications ask for it."""
    return f"pool-{node % POOLS:03}"


def ground(node: int) -> Ground:
    """What a node is."""
    if node % 11 == 9:
        return Ground.ABROAD
    if node % 50 == 8:
        return Ground.UNSAID
    return Ground.SOVEREIGN if node % 25 == 3 else Ground.ALLOWED


# What is stored


@dataclass(frozen=True, slots=True)
class Stored:
    """A pod as an API server has stored it, of which any number can be made."""

    pod: Pod
    uid: str
    value: bytes

    CONTAINER = "0123456789abcdef" * 4
    """What the original has for the id of its container: what changes when it is restarted."""

    def copy(self, pod: Pod, version: int) -> bytes:
        """Another pod of its kind, in one of its versions."""
        changes = (
            (self.pod.name, pod.name),
            (self.pod.namespace, pod.namespace),
            (node_name(self.pod.node), node_name(pod.node)),
            (pool(self.pod.node), pool(pod.node)),
            (self.uid, f"{pod.number:08x}-0000-4000-8000-{pod.number:012x}"),
            (self.CONTAINER, f"{pod.number:032x}{version:032x}"),
        )
        return exchanged(self.value, changes)


def exchanged(value: bytes, changes: tuple[tuple[str, str], ...]) -> bytes:
    """Put other words in the place of some that are equally long: so the lengths around them stay right."""
    for old, new in changes:
        if len(old) != len(new):
            raise ValueError(f"{new!r} is not as long as {old!r}")
        value = value.replace(old.encode(), new.encode())
    return value


# What the originals are made from


def pod_manifest(pod: Pod) -> Json:
    """A pod as it is created."""
    agent = pod.kind is Kind.AGENT
    owner = pod.name.rpartition("-")[0]
    spec: Json = {
        "containers": [_container("app", 8080, 6), _container("proxy", 8443, 2)],
        "serviceAccountName": "default",
        "priority": 0,
        "securityContext": {"runAsNonRoot": True, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [
            {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for what in ("not-ready", "unreachable")
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "config", "configMap": {"name": "payments-config"}},
            {"name": "kube-api-access-x7k2p", "projected": {"sources": _identity()}},
        ],
    }
    if agent:
        field = {"key": "metadata.name", "operator": "In", "values": [node_name(pod.node)]}
        required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    else:
        spec["nodeSelector"] = {"node.example/pool": pool(pod.node)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "labels": {
                "app.kubernetes.io/name": "payments",
                "app.kubernetes.io/instance": "payments-production",
                "pod-template-hash": "7d4b9c6f5d",
            },
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet" if agent else "ReplicaSet",
                    "name": owner,
                    "uid": "5f0c3e0e-4d4c-4f0a-9d0f-5d8f6a1f7b11",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def _identity() -> list[Json]:
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    place = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return [token, authority, {"downwardAPI": {"items": [place]}}]


def _container(name: str, port: int, variables: int) -> Json:
    check = {"httpGet": {"path": "/healthz", "port": port}, "periodSeconds": 10, "timeoutSeconds": 2}
    return {
        "name": name,
        "image": f"registry.example/payments/{name}:2.14.3",
        "args": ["--config=/etc/payments/config.yaml", f"--listen=0.0.0.0:{port}"],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"}],
        "env": [
            {"name": f"SETTING_{number:02}", "value": f"https://service-{number:02}.example.internal/v1"}
            for number in range(variables)
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "config", "mountPath": "/etc/payments", "readOnly": True},
            {
                "name": "kube-api-access-x7k2p",
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": True,
            },
        ],
        "livenessProbe": check,
        "readinessProbe": check,
    }


def running_status() -> Json:
    """What a kubelet says of a pod that runs."""
    now = "2026-11-01T08:00:00Z"
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "conditions": [{"type": type_, "status": "True", "lastTransitionTime": now} for type_ in conditions],
        "hostIP": "10.20.30.40",
        "hostIPs": [{"ip": "10.20.30.40"}],
        "podIP": "10.120.30.40",
        "podIPs": [{"ip": "10.120.30.40"}],
        "qosClass": "Burstable",
        "startTime": now,
        "containerStatuses": [
            {
                "name": name,
                "ready": True,
                "started": True,
                "restartCount": 0,
                "image": f"registry.example/payments/{name}:2.14.3",
                "imageID": f"registry.example/payments/{name}@sha256:{'b' * 64}",
                "containerID": f"containerd://{Stored.CONTAINER}",
                "state": {"running": {"startedAt": now}},
            }
            for name in ("app", "proxy")
        ],
    }


def node_manifest(number: int) -> Json:
    """A node as it is created."""
    name, on = node_name(number), ground(number)
    facts = {Fact.COUNTRY: country(on), Fact.DEPLOYMENT_MODEL: "government", Fact.SEAL: "3"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "m7.4xlarge",
        "topology.kubernetes.io/region": "region-1",
        "topology.kubernetes.io/zone": "region-1a",
        "node.example/pool": pool(number),
        "node.example/generation": "7",
        **{str(key): value for key, value in facts.items() if value},
    }
    taints = [{"key": SOVEREIGN, "effect": "NoSchedule"}] if on is Ground.SOVEREIGN else []
    spec = {"podCIDR": "10.120.30.0/24", "providerID": f"example://{name}", "taints": taints}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}


def country(on: Ground) -> str:
    """The country of a node; empty where nobody has said it."""
    return {Ground.UNSAID: "", Ground.ABROAD: "US"}.get(on, "NL")


def node_status(number: int) -> Json:
    """What a kubelet says of its node, forty images included."""
    now = "2026-11-01T08:00:00Z"
    capacity = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "200Gi", "pods": "110"}
    kinds = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": "10.20.30.40"},
            {"type": "Hostname", "address": node_name(number)},
        ],
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": f"Kubelet{kind}",
                "message": "as the kubelet sees it",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, status in kinds.items()
        ],
        "images": [
            {
                "names": [
                    f"registry.example/team/image-{image:02}@sha256:{'c' * 64}",
                    f"registry.example/team/image-{image:02}:1.{image}",
                ],
                "sizeBytes": 100_000_000 + image,
            }
            for image in range(40)
        ],
    }


def originals() -> Iterator[Pod]:
    """The pods that are made one by one: one of each kind that runs for each classification, and for none."""
    for namespace in (*range(0, 2 * CLASSIFICATIONS, 2), 1):
        for kind in (Kind.APPLICATION, Kind.AGENT):
            yield Pod(0, kind, namespace_name(namespace), classified_as(namespace), 0)


def originals_of_nodes() -> Mapping[Ground, int]:
    """The first node of each ground."""
    return {on: next(number for number in range(100) if ground(number) is on) for on in Ground}
