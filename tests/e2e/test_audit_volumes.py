"""Where volumes really are, on a real control plane: every change of it shows within two seconds."""

import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane import ControlPlane
from e2e.installation import CLASSIFICATIONS, Controller, Installation, wait_for
from e2e.storage_attempts import CLASSES, claim, storage_class
from residency.api.names import CLASSIFICATION, ENFORCEMENT, Fact
from residency.controller.catalogue import read
from residency.core.audit import NodeView
from residency.core.judge import asks
from residency.core.volumes import VolumeView, account, judge_volume, keys_asked, known, said_by_nodes
from residency.core.workload import node_terms

Object = dict[str, Any]

SOON: Final = 2.0
"""Seconds within which a change is to be seen in the metric."""
SETTLED: Final = 60.0
"""The same in a status, which is written now and then, and until Kubernetes has bound a volume."""
VOLUMES: Final = "/api/v1/persistentvolumes"
ZONE: Final = "topology.kubernetes.io/zone"
NODES: Final = {"ams": "NL", "nyc": "US"}
numbers = count(1)

DUTCH: Final = {
    "title": "Dutch",
    "mode": "Audit",
    "nodes": {"anyOf": [{"countries": ["NL"]}]},
    "storage": {"classSelector": {"matchLabels": {Fact.COUNTRY: "NL"}}},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with ControlPlane(scheduler=False, kwok=False, type_checking=False) as cluster:
        for zone, country in NODES.items():
            labels = {ZONE: zone, Fact.COUNTRY: country}
            cluster.request("POST", "/api/v1/nodes", {"metadata": {"name": zone, "labels": labels}})
        # So rarely does it look by itself that whatever shows was noticed.
        installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), "--resync-seconds", "600")
        installation.install()
        installation.controller()
        yield installation
        installation.close()


class Case:
    """A classification, a namespace and a StorageClass of a test's own."""

    def __init__(self, installed: Installation, country: str = "", spec: Object | None = None) -> None:
        self.installed, self.cluster = installed, installed.cluster
        self.name = f"stored-{next(numbers)}"
        self.namespace, self.storage_class = f"of-{self.name}", f"disk-{self.name}"
        self.cluster.request("POST", CLASSES, storage_class(self.storage_class, country))
        installed.classify(self.name, spec or DUTCH)
        installed.wait_ready(self.name)
        installed.namespace(self.namespace, self.name)
        installed.wait_ready(self.name)
        wait_for(lambda: installed.controllers[-1].metric("residency_audit_synced") == 1)

    def bind(self, zone: str = "", name: str = "data", **more: Any) -> str:
        """Let Kubernetes bind a claim to a volume that somebody made; wait until it has."""
        volume = f"{self.name}-{name}"
        self.cluster.request("POST", VOLUMES, self.volume(volume, zone, **more))
        # The binder looks again only every fifteen seconds for a volume that it did not know when the claim came.
        wait_for(lambda: self.phase(f"{VOLUMES}/{volume}") == "Available")
        self.cluster.request("POST", self.claims, claim(name, self.storage_class, volumeName=volume))
        wait_for(lambda: self.phase(f"{self.claims}/{name}") == "Bound")
        return volume

    def volume(self, name: str, zone: str, **more: Any) -> Object:
        spec: Object = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": self.storage_class,
            "nfs": {"server": "192.0.2.1", "path": "/"},
        }
        if zone:
            terms = [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
        return {"metadata": {"name": name, **more}, "spec": spec}

    @property
    def claims(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims"

    def phase(self, path: str) -> str:
        return str(self.cluster.request("GET", path).get("status", {}).get("phase", ""))

    def relabel_class(self, country: str | None) -> None:
        body = {"metadata": {"labels": {Fact.COUNTRY: country}}}
        self.cluster.request("PATCH", f"{CLASSES}/{self.storage_class}", body)

    def shows(self, seconds: float = SOON, **counts: int) -> None:
        """Wait until the metric counts this, and nothing else."""
        began = time.monotonic()
        controller = self.installed.controllers[-1]
        while (last := volumes(controller).get(self.name, {})) != counts:
            late = time.monotonic() - began > seconds
            assert not late, f"{last} instead of {counts} after {seconds} s\n{controller.last_lines}"
            time.sleep(0.02)
        print(f"{self.name}: {counts} after {time.monotonic() - began:.2f} s")

    def tells(self, status: str, reason: str, *saying: str) -> None:
        """Wait until the status says this of whether all complies, with these words."""
        told = self.installed.wait_condition(self.name, "Compliant", status, reason)
        for words in saying:
            assert words in told["message"]


def volumes(controller: Controller) -> Mapping[str, Mapping[str, int]]:
    """By classification, the volumes by outcome, as far as there are any."""
    found: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(controller.get("/metrics")[1]):
        for sample in family.samples:
            if sample.name == "residency_volumes" and sample.value:
                labels = sample.labels
                found.setdefault(labels["classification"], {})[labels["outcome"]] = int(sample.value)
    return found


def relabel_node(cluster: ControlPlane, name: str, country: str | None) -> None:
    cluster.request("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": {Fact.COUNTRY: country}}})


def test_a_volume_elsewhere_is_found_until_its_nodes_are_put_right(installed: Installation) -> None:
    case = Case(installed)
    case.bind("nyc")
    case.shows(Misplaced=1)
    try:
        relabel_node(case.cluster, "nyc", "NL")
        case.shows(Compliant=1)
    finally:
        relabel_node(case.cluster, "nyc", "US")
    case.shows(Misplaced=1)


def test_volumes_of_a_class_that_is_relabelled_afterwards_are_found(installed: Installation) -> None:
    case = Case(installed, "NL")
    for name in ("one", "other"):
        case.bind(name=name)
    case.shows(Compliant=2)
    case.relabel_class("US")
    case.shows(Misplaced=2)
    why = f"of claim one: its StorageClass {case.storage_class} says country US, where {case.name} allows country NL"
    case.tells("False", "VolumesDeviate", "Of 2 volumes with its data, 2 where they may not be", why)
    counted = {"compliant": 0, "misplaced": 2, "waiting": 0, "unknown": 0, "notLocated": 0}
    assert installed.classification(case.name)["status"]["volumes"] == counted
    case.relabel_class("NL")
    case.shows(Compliant=2)
    case.tells("True", "AllCompliant", "Of 2 volumes with its data, all are where they may be.")


def test_a_volume_without_facts_is_unknown_and_never_compliant(installed: Installation) -> None:
    case = Case(installed)
    case.bind()
    case.shows(Unknown=1)
    case.tells("Unknown", "VolumesUnknown", "of which too little is known", "its country is not known")
    case.relabel_class("NL")
    case.shows(Compliant=1)


def test_a_volume_of_which_contradictory_things_are_said_is_unknown(installed: Installation) -> None:
    case = Case(installed, "NL")
    path = f"{VOLUMES}/{case.bind('nyc')}"
    case.shows(Unknown=1)
    case.relabel_class("US")
    case.shows(Misplaced=1)
    case.cluster.request("PATCH", path, {"metadata": {"labels": {Fact.COUNTRY: "NL"}}})
    case.shows(Unknown=1)


def test_a_released_volume_holds_the_data_until_it_is_deleted(installed: Installation) -> None:
    case = Case(installed, "US")
    volume = case.bind()
    case.shows(Misplaced=1)
    case.cluster.request("DELETE", f"{case.claims}/data")
    wait_for(lambda: case.phase(f"{VOLUMES}/{volume}") == "Released")
    time.sleep(SOON)
    case.shows(Misplaced=1)
    case.cluster.request("DELETE", f"{VOLUMES}/{volume}")
    wait_for(lambda: not installed.exists(f"{VOLUMES}/{volume}"))
    case.shows()


def test_a_claim_waits_for_its_volume_and_may_lose_it(installed: Installation) -> None:
    case = Case(installed, "NL")
    volume = case.bind()
    case.shows(Compliant=1)
    case.cluster.request("POST", case.claims, claim("waiting", case.storage_class))
    case.shows(Compliant=1, Waiting=1)
    case.cluster.request("DELETE", f"{VOLUMES}/{volume}")
    case.cluster.request("PATCH", f"{VOLUMES}/{volume}", {"metadata": {"finalizers": None}})
    wait_for(lambda: case.phase(f"{case.claims}/data") == "Lost")
    case.shows(NotLocated=1, Waiting=1)


def test_a_namespace_that_is_classified_when_it_is_full_shows_what_it_holds(installed: Installation) -> None:
    nodes_only = {"title": "Dutch", "nodes": DUTCH["nodes"]}
    case = Case(installed, spec=nodes_only)
    path = f"/api/v1/namespaces/{case.namespace}"
    case.cluster.request("PATCH", path, {"metadata": {"labels": {CLASSIFICATION: None}}})
    for zone in NODES:
        case.bind(zone, zone)
    case.bind(name="anywhere")
    case.shows()
    case.cluster.request("PATCH", path, {"metadata": {"labels": {CLASSIFICATION: case.name}}})
    case.shows(Compliant=1, Misplaced=1, Unknown=1)
    case.cluster.request("PATCH", path, {"metadata": {"labels": {ENFORCEMENT: "Warn"}}})
    labels = {"classification": case.name, "mode": "Warn", "outcome": "Misplaced"}
    wait_for(lambda: installed.controllers[-1].metric("residency_volumes", **labels) == 1, SOON)


def test_a_controller_that_starts_again_has_the_same_picture_as_fresh_lists(installed: Installation) -> None:
    wait_for(lambda: volumes(installed.controllers[-1]) == from_fresh_lists(installed.cluster), SOON)
    before = volumes(installed.controllers[-1])
    assert sum(sum(counts.values()) for counts in before.values()) >= 8
    installed.controllers[-1].stop()
    again = installed.controller()
    wait_for(lambda: again.metric("residency_audit_synced") == 1)
    assert volumes(again) == before


def from_fresh_lists(cluster: ControlPlane) -> Mapping[str, Mapping[str, int]]:
    """What the audit should show, judged volume by volume; claims without one as they say of themselves."""

    def items(path: str) -> list[Object]:
        found: list[Object] = cluster.request("GET", path)["items"]
        return found

    catalogue = {e.name: e.compiled for e in read(items(CLASSIFICATIONS)) if e.compiled is not None}
    keys = keys_asked(catalogue)
    labels = {item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in items("/api/v1/namespaces")}
    classes = {item["metadata"]["name"]: item["metadata"].get("labels", {}) for item in items(CLASSES)}
    nodes = {
        n["metadata"]["name"]: NodeView.of(n["metadata"]["name"], n["metadata"]["labels"])
        for n in items("/api/v1/nodes")
    }
    shown: dict[str, dict[str, int]] = {}

    def add(name: str, outcome: str) -> None:
        counts = shown.setdefault(name, {})
        counts[outcome] = counts.get(outcome, 0) + 1

    for item in items(VOLUMES):
        spec, namespace = item["spec"], item["spec"]["claimRef"]["namespace"]
        required = spec.get("nodeAffinity", {}).get("required")
        said = tuple(sorted(item["metadata"].get("labels", {}).items()))
        terms = None if required is None else node_terms(required)
        view = VolumeView("v", (namespace, "c"), spec["storageClassName"], said, terms)
        of_class = account(classes[view.storage_class], keys)
        for ask in asks("", labels[namespace].get(CLASSIFICATION), None, labels[namespace].get(ENFORCEMENT)):
            everything = known(view, of_class, said_by_nodes(view, nodes, keys), keys)
            judged = judge_volume(everything, ask, catalogue)
            add(judged.classification, judged.outcome)
    for item in items("/api/v1/persistentvolumeclaims"):
        if item["status"]["phase"] != "Bound":
            outcome = {"Pending": "Waiting", "Lost": "NotLocated"}[item["status"]["phase"]]
            add(labels[item["metadata"]["namespace"]][CLASSIFICATION], outcome)
    return shown
