"""Misplaced pods are evicted where that is asked for and does good, and nowhere else, on a real control plane.

The tests of the first part go by one site, and follow each other: told of, tried as a dry run, evicted.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane, RequestError
from controlplane.pools import US_AMSTERDAM, Pool
from e2e.installation import Controller, Installation, wait_for
from residency.api.names import CLASSIFICATION, MIRROR, Fact

Object = dict[str, Any]

NAME, NAMESPACE, STRAY = "finnish", "payments", "stray"
HOME: Final = "home-0"
"""Where everything of the first part runs, until somebody says that it stands elsewhere."""
ABROAD: Final = US_AMSTERDAM.node_names[0]
PER_MINUTE: Final = 30
EVICTABLE: Final = {"web": 3, "api": 2}
STAYING: Final = {"bare": "no-controller", "static": "mirror", "pinned": "nowhere-to-go", "held": "nowhere-to-go"}
STAYING_TOO: Final = {"guarded": "blocked-by-budget"}
SOON: Final = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(type_checking=False) as cluster:
        cluster.add_pools([*DEFAULT_POOLS, finnish("home", 1)])
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    flags = ("--identity", "the-one", "--scheduler", "system:kube-scheduler", "--scheduler", "admin")
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), *flags)
    installation.install()
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def unpermitted(installed: Installation) -> Iterator[Controller]:
    """A controller of a chart whose eviction.enabled is false, as it is by default."""
    controller = installed.controller()
    yield controller
    controller.stop()


@pytest.fixture(scope="module")
def controller(installed: Installation, unpermitted: Controller) -> Controller:
    """A controller that may evict."""
    unpermitted.stop()
    installed.install("--set", "eviction.enabled=true")
    return installed.controller()


@pytest.fixture(scope="module")
def site(installed: Installation, unpermitted: Controller, stray: str) -> "Site":
    """A namespace with everything that can be misplaced, all on one node that is relabelled then."""
    assert unpermitted.alive
    assert stray, "by the time that it is looked at, it has been halted"
    made = Site(installed)
    made.build()
    made.relabel()
    return made


class Site:
    """What the first part goes by."""

    def __init__(self, installed: Installation) -> None:
        self.installed, self.cluster = installed, installed.cluster

    def build(self) -> None:
        """Run all of it on the one node where it may be."""
        self.installed.namespace(NAMESPACE)
        wait_for(lambda: self.installed.exists(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"))
        # A pod with a node of its own is refused once the namespace is classified.
        self.make("v1", "pods", "static", {**POD, "nodeName": HOME}, annotations={MIRROR: "a1b2"})
        self.installed.classify(NAME, spec())
        self.installed.wait_ready(NAME)
        labels = {"metadata": {"labels": {CLASSIFICATION: NAME}}}
        self.cluster.request("PATCH", f"/api/v1/namespaces/{NAMESPACE}", labels)
        self.volume("held")
        self.make("v1", "pods", "bare", POD)
        self.budget("web", 2)
        self.budget("guarded", 1)
        for name, replicas in {**EVICTABLE, "guarded": 1}.items():
            deployment(self.cluster, NAMESPACE, name, replicas, {})
        deployment(self.cluster, NAMESPACE, "pinned", 1, {"nodeSelector": {"kubernetes.io/hostname": HOME}})
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "held"}}]
        deployment(self.cluster, NAMESPACE, "held", 1, {"volumes": volumes})
        count = sum(EVICTABLE.values()) + len({**STAYING, **STAYING_TOO})
        wait_for(lambda: [node for _, node in self.ready().values()] == [HOME] * count, SOON)
        self.cluster.add_pool(finnish("refuge", 2))

    def relabel(self) -> None:
        """Say that the node stands elsewhere."""
        self.cluster.request("PATCH", f"/api/v1/nodes/{HOME}", {"metadata": {"labels": {Fact.COUNTRY: "US"}}})

    def make(
        self, version: str, plural: str, name: str, body: Object, annotations: Mapping[str, str] | None = None
    ) -> None:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        metadata = {"name": name, "annotations": dict(annotations or {})}
        self.cluster.request("POST", f"{root}/namespaces/{NAMESPACE}/{plural}", {"metadata": metadata, "spec": body})

    def budget(self, name: str, least: int) -> None:
        selector = {"matchLabels": {"app": name}}
        self.make("policy/v1", "poddisruptionbudgets", name, {"minAvailable": least, "selector": selector})

    def volume(self, name: str) -> None:
        """A volume that is on the one node, and a claim that is bound to it."""
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [HOME]}]}
        common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        body = {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/data"},
            "claimRef": {"namespace": NAMESPACE, "name": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        }
        self.cluster.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": body})
        resources = {"requests": {"storage": "1Gi"}}
        self.make("v1", "persistentvolumeclaims", name, {**common, "resources": resources, "volumeName": name})

    def ready(self) -> dict[str, tuple[str, str]]:
        """Its pods that run, by uid: which they are, and their node."""
        return running(self.cluster, NAMESPACE)

    def status(self) -> Object:
        """What the status of its classification says of eviction."""
        found: Object = self.installed.classification(NAME)["status"].get("eviction", {})
        return found

    def results(self) -> dict[str, int]:
        """How many pods there are by what was found."""
        return {one["result"]: one["count"] for one in self.status().get("results", ())}


POD: Final[Object] = {"containers": [{"name": "c", "image": "c"}]}


def finnish(name: str, nodes: int) -> Pool:
    return Pool(name, nodes=nodes, labels={Fact.COUNTRY: "FI"})


def spec(**fields: Any) -> Object:
    return {"title": "Finnish", "nodes": {"anyOf": [{"countries": ["FI"]}]}, **fields}


def evicting(**eviction: Any) -> Object:
    return spec(runningPods="Evict", eviction=eviction)


def deployment(cluster: ControlPlane, namespace: str, name: str, replicas: int, pod: Object) -> None:
    template = {"metadata": {"labels": {"app": name}}, "spec": {**POD, **pod}}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    cluster.request("POST", path, {"metadata": {"name": name}, "spec": body})


def running(cluster: ControlPlane, namespace: str) -> dict[str, tuple[str, str]]:
    found = {}
    for pod in cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]:
        conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            name = pod["metadata"].get("labels", {}).get("app", pod["metadata"]["name"])
            found[pod["metadata"]["uid"]] = name, pod["spec"]["nodeName"]
    return found


def evictions(controller: Controller, name: str = NAME) -> Callable[[str], float]:
    return lambda result: controller.metric("residency_evictions_total", classification=name, result=result)


def apply(site: Site, body: Object) -> None:
    site.installed.classify(NAME, body)
    site.installed.wait_ready(NAME)


# One site, step by step


def test_without_being_asked_nobody_is_evicted(site: Site, unpermitted: Controller) -> None:
    before = site.ready()
    misplaced = {"classification": NAME, "outcome": "Misplaced"}
    wait_for(lambda: unpermitted.metric("residency_pods", **misplaced) == len(before))
    time.sleep(3)
    assert site.ready() == before
    assert site.status() == {}
    assert "residency_evictions_total{" not in unpermitted.get("/metrics")[1]


def test_without_the_right_the_status_says_which_value_of_the_chart_gives_it(
    site: Site, unpermitted: Controller
) -> None:
    before = site.ready()
    apply(site, evicting(maxPerMinute=600))
    wait_for(lambda: site.status().get("state") == "NotPermitted")
    assert "eviction.enabled=true" in site.status()["message"]
    assert site.ready() == before
    complaints = [line for line in unpermitted.lines if "may not be evicted" in line["message"]]
    assert len(complaints) == 1
    assert unpermitted.metric("residency_reconcile_errors_total") == 0


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(site: Site, controller: Controller) -> None:
    before = site.ready()
    apply(site, evicting(maxPerMinute=600, dryRun=True))
    # Each would be allowed by itself: a budget is asked, and not used up.
    expected = Counter({"would-evict": sum(EVICTABLE.values())}) + Counter([*STAYING.values(), *STAYING_TOO.values()])
    wait_for(lambda: site.results() == expected, saying=str(expected))
    status = site.status()
    assert (status["state"], status["dryRun"]) == ("Evicting", True)
    assert "lastEvictionTime" not in status
    assert "5 would be evicted" in status["message"]
    assert site.ready() == before
    counted = evictions(controller)
    assert {result: counted(result) for result in ("evicted", "would-evict", "mirror")} == {
        "evicted": 0,
        "would-evict": 5,
        "mirror": 1,
    }


def test_pods_that_have_somewhere_to_go_are_evicted_at_the_rate_and_as_budgets_allow(
    site: Site, controller: Controller
) -> None:
    before = site.ready()
    apply(site, evicting(maxPerMinute=PER_MINUTE))
    fewest = EVICTABLE["web"]

    def corrected() -> bool:
        nonlocal fewest
        now = site.ready()
        fewest = min(fewest, sum(name == "web" for name, _ in now.values()))
        settled = Counter(name for name, node in now.values() if node.startswith("refuge-"))
        return settled == EVICTABLE

    wait_for(corrected, SOON)
    assert fewest >= 2, "its budget asks for two"
    assert evictions(controller)("evicted") == sum(EVICTABLE.values())
    lines = [line for line in controller.lines if line.get("classification") == NAME]
    evicted = [line for line in lines if line.get("result") == "evicted"]
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in evicted]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert min(pauses) >= 60 / PER_MINUTE - 0.1, pauses
    pods = [line["pod"].rsplit("-", 2)[0] for line in evicted]
    assert set(pods[:2]) == {f"{NAMESPACE}/web", f"{NAMESPACE}/api"}, "workloads take turns"
    stay = {uid: pod for uid, pod in before.items() if pod[0] not in EVICTABLE}
    assert {uid: pod for uid, pod in site.ready().items() if pod[0] not in EVICTABLE} == stay
    assert len(stay) == len({**STAYING, **STAYING_TOO})


def test_what_stays_is_told_with_the_reason(site: Site, controller: Controller) -> None:
    left = Counter([*STAYING.values(), *STAYING_TOO.values()])
    wait_for(lambda: site.results() == left | {"evicted": 5} and site.status()["state"] == "Blocked")
    status = site.status()
    assert "5 pods are misplaced, and none can be evicted now" in status["message"]
    assert f"{NAMESPACE}/bare (no controller owns it, so that nothing would bring it back)" in status["message"]
    assert "lastEvictionTime" in status
    assert all(evictions(controller)(result) >= 1 for result in left)
    finding = f"/apis/residency.dev/v1alpha1/namespaces/{NAMESPACE}/residencyfindings/{NAME}-misplaced"

    def said() -> dict[str, int]:
        told = site.cluster.request("GET", finding)["status"]
        return {one["result"]: one["count"] for one in told.get("evictions", ())}

    wait_for(lambda: said() == left | {"evicted": 5}, SOON, saying="the finding to tell the same")
    examples = site.cluster.request("GET", finding)["status"]["examples"]
    assert {one["name"]: one["eviction"] for one in examples}.items() >= {
        "bare": "no-controller",
        "static": "mirror",
    }.items()
    events = site.cluster.request("GET", f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events")["items"]
    evicted = [one for one in events if one["reason"] == "Evicted"]
    assert {one["regarding"]["name"].rsplit("-", 2)[0] for one in evicted} == set(EVICTABLE)
    assert all(HOME in one["note"] for one in evicted)
    assert controller.metric("residency_evictions_halted", classification=NAME) == 0


# Where it does not help


@pytest.fixture(scope="module")
def stray(installed: Installation, unpermitted: Controller) -> Iterator[str]:
    """A workload whose pods somebody binds by hand where they must not be, as a scheduler that is trusted may."""
    assert unpermitted.alive
    cluster, stop = installed.cluster, threading.Event()
    installed.classify(STRAY, evicting(maxPerMinute=600))
    installed.wait_ready(STRAY)
    installed.namespace(STRAY, STRAY)
    deployment(cluster, STRAY, "stray", 1, {"schedulerName": "nobody"})

    def bind() -> None:
        while not stop.wait(0.1):
            bind_all(cluster, STRAY)

    binding = threading.Thread(target=bind)
    binding.start()
    yield STRAY
    stop.set()
    binding.join()


def bind_all(cluster: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    for pod in cluster.request("GET", path)["items"]:
        if "nodeName" not in pod["spec"]:
            name = pod["metadata"]["name"]
            target = {"apiVersion": "v1", "kind": "Node", "name": ABROAD}
            # It may be gone or bound meanwhile.
            with contextlib.suppress(RequestError):
                cluster.request("POST", f"{path}/{name}/binding", {"metadata": {"name": name}, "target": target})


def test_a_workload_that_evictions_do_not_help_is_left_alone_until_something_changes(
    installed: Installation, controller: Controller, stray: str
) -> None:
    def status() -> Object:
        found: Object = installed.classification(stray)["status"].get("eviction", {})
        return found

    wait_for(lambda: status().get("state") == "Halted", SOON)
    assert evictions(controller, stray)("evicted") == 3
    assert evictions(controller, stray)("halted") == 1
    assert controller.metric("residency_evictions_halted", classification=stray) == 1
    assert f"Nothing more of {stray}/stray-" in status()["message"]
    time.sleep(2)
    assert evictions(controller, stray)("evicted") == 3
    installed.classify(stray, evicting(maxPerMinute=300))
    wait_for(lambda: evictions(controller, stray)("evicted") == 4)
    assert controller.metric("residency_evictions_halted", classification=stray) == 0
