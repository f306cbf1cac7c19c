"""Findings on a real control plane: found at once, with the cause, acknowledged, and still known after a restart.

Together they are the story of a cluster in which everything goes wrong once: each deviation becomes a finding within
two seconds, with the right outcome and cause, and is resolved.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import pytest

from controlplane import ControlPlane, RequestError
from controlplane.pools import EU_PRIVATE, ODC_NOORD, POOL_LABEL, US_AMSTERDAM
from e2e.installation import ADMISSION, NAMESPACE, Controller, Installation, wait_for
from residency.api.names import CLASSIFICATION, NO_CLASSIFICATION, REGION, SOVEREIGN, Fact, PolicyName

Object = dict[str, Any]

SOON: Final = 2.0
"""Seconds within which a change is to be seen in the object."""
FRANKFURT: Final = "eu-private-0"
GERMAN: Final = {
    "title": "German",
    "references": [{"title": "A law", "clause": "1"}],
    "nodes": {"anyOf": [{"countries": ["DE"]}], "tolerations": [{"key": SOVEREIGN, "operator": "Exists"}]},
}
numbers = count(1)


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    flags = ("--identity", "the-one", "--resync-seconds", "600")
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), *flags)
    installation.install("--set", "eviction.enabled=true")
    installation.controller()
    installation.classify("german", GERMAN)
    installation.wait_ready("german")
    yield installation
    lines = [line.get("message") for one in installation.controllers for line in one.lines]
    installation.close()
    # Namespaces that went with their findings are no errors either.
    assert "finding not written" not in lines


@pytest.fixture
def controller(installed: Installation) -> Controller:
    """A controller whose audit is complete."""
    controller = installed.running
    wait_for(lambda: controller.metric("residency_audit_synced") == 1)
    return controller


@pytest.fixture
def namespace(installed: Installation, controller: Controller) -> Iterator[str]:
    """A namespace with two pods on a German node, where they may be; the node is put right in the end."""
    name = f"found-{next(numbers)}"
    installed.namespace(name, "german")
    pods(installed, name, {"kubernetes.io/hostname": FRANKFURT})
    # Watches of different resources are in no order: what is to be the cause comes when all else is known.
    wait_for(lambda: controller.metric("residency_pods", classification="german", outcome="Compliant") == 2)
    yield name
    label(installed, FRANKFURT, {Fact.COUNTRY: "DE", REGION: "de-frankfurt"})
    for number in range(2):
        path = f"/api/v1/namespaces/{name}/pods/app-{number}"
        installed.cluster.request("DELETE", path, {"gracePeriodSeconds": 0})
    installed.delete(f"/api/v1/namespaces/{name}")


def pods(installed: Installation, namespace: str, selector: dict[str, str], **more: Any) -> None:
    """Create two pods, and wait until they are bound."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    wait_for(lambda: installed.exists(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    spec = {"containers": [{"name": "c", "image": "c"}], "nodeSelector": selector, **more}
    for number in range(2):
        installed.cluster.request("POST", path, {"metadata": {"name": f"app-{number}"}, "spec": spec})
    wait_for(lambda: all(p["spec"].get("nodeName") for p in installed.cluster.request("GET", path)["items"]))


def label(installed: Installation, node: str, labels: dict[str, str | None]) -> None:
    """Set labels of a node."""
    written = {str(key): value for key, value in labels.items()}
    installed.cluster.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": written}})


def path(namespace: str, name: str = "") -> str:
    return f"/apis/residency.dev/v1alpha1/namespaces/{namespace}/residencyfindings" + (f"/{name}" if name else "")


def finding(installed: Installation, namespace: str, name: str) -> Object:
    """The status of a finding; empty where there is none."""
    try:
        found: Object = installed.cluster.request("GET", path(namespace, name)).get("status", {})
    except RequestError as error:
        if error.status != 404:
            raise
        return {}
    return found


def soon(what: Callable[[], Object], seconds: float = SOON, **fields: object) -> Object:
    """Wait until a status says this."""
    began = time.monotonic()
    while not fields.items() <= (last := what()).items():
        assert time.monotonic() - began < seconds, f"{last} instead of {fields} after {seconds} s"
        time.sleep(0.02)
    print(f"{fields} after {time.monotonic() - began:.2f} s")
    return last


def test_a_finding_lives_from_the_change_that_made_it_over_a_restart_to_the_one_that_ends_it(
    installed: Installation, controller: Controller, namespace: str
) -> None:
    def misplaced() -> Object:
        return finding(installed, namespace, "german-misplaced")

    label(installed, FRANKFURT, {Fact.COUNTRY: "US"})
    found = soon(misplaced, state="Open", outcome="Misplaced", classification="german", mode="Enforce", count=2)
    assert found["cause"] == f"node {FRANKFURT} was relabelled: country from DE to US"
    assert found["reference"] == "A law, 1"
    assert [example["name"] for example in found["examples"]] == ["app-0", "app-1"]
    assert found["examples"][0]["node"] == FRANKFURT
    assert controller.metric("residency_findings", classification="german", outcome="Misplaced", state="Open") == 1

    acknowledgement = {"comment": "Known, CHG-123", "until": "2999-12-31"}
    installed.cluster.request(
        "PATCH", path(namespace, "german-misplaced"), {"spec": {"acknowledgement": acknowledgement}}
    )
    before = soon(misplaced, state="Acknowledged", acknowledged="Known, CHG-123")

    controller.kill()
    time.sleep(6)
    again = installed.controller()
    gaps: list[Object] = wait_for(
        lambda: [
            item["status"]
            for item in installed.cluster.request("GET", path(NAMESPACE))["items"]
            if item.get("status", {}).get("state") == "Resolved"
        ]
    )
    assert [gap["subject"] for gap in gaps] == ["Observation"]
    assert "no controller was looking" in gaps[0]["cause"]
    assert again.metric("residency_audit_gaps_total", cause="down") == 1
    assert again.metric("residency_findings", classification="german", state="Acknowledged") == 1
    same = ("firstSeen", "cause", "state", "acknowledged", "count", "examples")
    assert {name: misplaced()[name] for name in same} == {name: before[name] for name in same}

    label(installed, FRANKFURT, {Fact.COUNTRY: "DE"})
    ended = soon(misplaced, state="Resolved", count=0)
    assert ended["resolution"] == f"node {FRANKFURT} was relabelled: country from US to DE"
    assert ended["firstSeen"] == before["firstSeen"]
    shown = installed.cluster.kubectl("get", "findings", "-n", namespace)
    assert shown.split("\n")[0].split("  ")[0] == "NAME"
    assert all(word in shown for word in ("german-misplaced", "Misplaced", "Resolved"))


def test_what_ended_while_no_controller_looked_is_resolved(
    installed: Installation, controller: Controller, namespace: str
) -> None:
    label(installed, FRANKFURT, {Fact.COUNTRY: None})
    found = soon(lambda: finding(installed, namespace, "german-unknown"), state="Open")
    assert found["cause"] == f"node {FRANKFURT} was relabelled: country DE taken away"
    label(installed, FRANKFURT, {Fact.COUNTRY: "DE"})
    ended = soon(lambda: finding(installed, namespace, "german-unknown"), state="Resolved")
    assert ended["resolution"] == f"node {FRANKFURT} was relabelled: country set to DE"
    label(installed, FRANKFURT, {Fact.COUNTRY: None})
    soon(lambda: finding(installed, namespace, "german-unknown"), state="Open")
    controller.stop()
    label(installed, FRANKFURT, {Fact.COUNTRY: "DE"})
    installed.controller()
    ended = soon(lambda: finding(installed, namespace, "german-unknown"), 60, state="Resolved")
    assert ended["resolution"] == "it ended while the audit was not looking"


def test_a_region_that_speaks_against_the_country_is_found(installed: Installation, namespace: str) -> None:
    label(installed, FRANKFURT, {REGION: "us-east-1"})
    found = soon(lambda: finding(installed, namespace, "german-unknown"), state="Open")
    assert found["cause"] == f"node {FRANKFURT} was relabelled: {REGION} from de-frankfurt to us-east-1"
    assert found["examples"][0]["why"] == "its node says country DE, but its region is called us-east-1"
    label(installed, FRANKFURT, {REGION: "de-frankfurt"})
    ended = soon(lambda: finding(installed, namespace, "german-unknown"), state="Resolved")
    assert ended["resolution"] == f"node {FRANKFURT} was relabelled: {REGION} from us-east-1 to de-frankfurt"


def test_facts_that_contradict_each_other_are_found(installed: Installation, namespace: str) -> None:
    label(installed, FRANKFURT, {Fact.SUBDIVISION: "NL-GR"})
    found = soon(lambda: finding(installed, namespace, "german-unknown"), state="Open", count=2)
    assert found["cause"] == f"node {FRANKFURT} was relabelled: subdivision set to NL-GR"
    label(installed, FRANKFURT, {Fact.SUBDIVISION: None})
    soon(lambda: finding(installed, namespace, "german-unknown"), state="Resolved")


def allowing(*countries: str, **fields: Any) -> Object:
    """A classification for pods without tolerations."""
    return {"title": "Tightened", "nodes": {"anyOf": [{"countries": list(countries)}]}, **fields}


@pytest.mark.usefixtures("controller")
def test_a_classification_that_is_tightened_is_found_until_it_is_loosened(installed: Installation) -> None:
    name = f"found-{next(numbers)}"
    installed.classify(name, allowing("DE", "NL"))
    installed.wait_ready(name)
    installed.namespace(name, name)
    pods(installed, name, {POOL_LABEL: US_AMSTERDAM.name})
    installed.classify(name, allowing("DE"))
    found = soon(lambda: finding(installed, name, f"{name}-misplaced"), state="Open", count=2)
    assert found["cause"] == f"classification {name} was tightened"
    installed.wait_ready(name)
    installed.classify(name, allowing("DE", "NL"))
    ended = soon(lambda: finding(installed, name, f"{name}-misplaced"), state="Resolved")
    assert ended["resolution"] == f"classification {name} was loosened"


def test_a_pod_bound_by_hand_while_the_guard_is_off_is_found(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/residency-controller"
    rules = cluster.request("GET", role)["rules"]
    # So that the controller cannot put the guard back at once.
    without = [rule for rule in rules if "validatingadmissionpolicybindings" not in rule["resources"]]
    assert len(without) < len(rules)
    binding = f"/api/v1/namespaces/{namespace}/pods/stray/binding"
    target = {"apiVersion": "v1", "kind": "Node", "name": US_AMSTERDAM.node_names[0]}

    def bound() -> bool:
        try:
            cluster.request("POST", binding, {"metadata": {"name": "stray"}, "target": target})
        except RequestError:
            return False
        return True

    cluster.request("PATCH", role, {"rules": without})
    try:
        spec = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "c"}]}
        body = {"metadata": {"name": "stray"}, "spec": spec}
        cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        assert not bound()
        cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{PolicyName.GUARD_BINDINGS}")
        wait_for(bound)
        found = soon(lambda: finding(installed, namespace, "german-misplaced"), state="Open", count=1)
    finally:
        cluster.request("PATCH", role, {"rules": rules})
    assert found["cause"].startswith(f"pod stray was bound to node {target['name']} by hand")
    installed.delete(f"/api/v1/namespaces/{namespace}/pods/stray?gracePeriodSeconds=0")
    ended = soon(lambda: finding(installed, namespace, "german-misplaced"), state="Resolved")
    assert ended["resolution"] == "pod stray has ended or was deleted"


def test_a_volume_elsewhere_is_found_until_it_is_deleted(installed: Installation, namespace: str) -> None:
    volume, claims = f"/api/v1/persistentvolumes/{namespace}", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    terms = [{"matchExpressions": [{"key": POOL_LABEL, "operator": "In", "values": [US_AMSTERDAM.name]}]}]
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    spec = {
        **common,
        "capacity": {"storage": "1Gi"},
        "nfs": {"server": "192.0.2.1", "path": "/"},
        "claimRef": {"namespace": namespace, "name": "data"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    claim = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": namespace}
    installed.cluster.request("POST", claims, {"metadata": {"name": "data"}, "spec": claim})
    installed.cluster.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": namespace}, "spec": spec})
    wait_for(lambda: installed.cluster.request("GET", volume).get("status", {}).get("phase") == "Bound")
    found = soon(lambda: finding(installed, namespace, "german-misplaced-volumes"), state="Open", subject="Volumes")
    assert found["cause"] == f"volume {namespace} was bound to claim data"
    assert [(example["name"], example["node"]) for example in found["examples"]] == [("data", namespace)]
    installed.delete(f"{claims}/data")
    installed.delete(volume)
    soon(lambda: finding(installed, namespace, "german-misplaced-volumes"), 30, state="Resolved")


@pytest.mark.usefixtures("controller")
def test_an_intruder_is_found_until_it_leaves(installed: Installation) -> None:
    name = f"found-{next(numbers)}"
    installed.namespace(name)
    pods(installed, name, {POOL_LABEL: ODC_NOORD.name}, tolerations=[{"key": SOVEREIGN, "operator": "Exists"}])
    found = soon(lambda: finding(installed, name, "intruder"), state="Open", outcome="Intruder", count=2)
    assert found["classification"] == NO_CLASSIFICATION
    installed.delete(f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0")
    soon(lambda: finding(installed, name, "intruder"), state="Resolved")


@pytest.mark.usefixtures("controller")
def test_eviction_resolves_what_it_can_as_the_budget_allows(installed: Installation) -> None:
    name = f"found-{next(numbers)}"
    cluster = installed.cluster
    evicting = {"runningPods": "Evict", "eviction": {"maxPerMinute": 60}}
    installed.classify(name, allowing("DE", "NL", **evicting))
    installed.wait_ready(name)
    installed.namespace(name, name)
    wait_for(lambda: installed.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    labels, apps = {"app": "web"}, f"/apis/apps/v1/namespaces/{name}/deployments"
    budget = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    cluster.request(
        "POST", f"/apis/policy/v1/namespaces/{name}/poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": budget}
    )
    preferring = [
        {"weight": 100, "preference": {"matchExpressions": [{"key": POOL_LABEL, "operator": "In", "values": [pool]}]}}
        for pool in (US_AMSTERDAM.name,)
    ]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferring}}
    template = {
        "metadata": {"labels": labels},
        "spec": {"affinity": affinity, "containers": [{"name": "c", "image": "c"}]},
    }
    body = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    cluster.request("POST", apps, {"metadata": {"name": "web"}, "spec": body})

    def nodes() -> list[str]:
        found = cluster.request("GET", f"/api/v1/namespaces/{name}/pods")["items"]
        ready = [pod for pod in found if pod["status"].get("phase") == "Running"]
        return [pod["spec"]["nodeName"] for pod in ready if "deletionTimestamp" not in pod["metadata"]]

    wait_for(lambda: len(found := nodes()) == 2 and all(node.startswith(US_AMSTERDAM.name) for node in found))
    installed.classify(name, allowing("DE", **evicting))
    soon(lambda: finding(installed, name, f"{name}-misplaced"), state="Open", outcome="Misplaced")
    soon(lambda: finding(installed, name, f"{name}-misplaced"), 90, state="Resolved")
    wait_for(lambda: len(found := nodes()) == 2 and all(node.startswith(EU_PRIVATE.name) for node in found))
    controller = installed.running
    assert controller.metric("residency_evictions_total", classification=name, result="evicted") == 2


@pytest.mark.usefixtures("controller")
def test_a_full_namespace_that_is_classified_is_found(installed: Installation) -> None:
    name = f"found-{next(numbers)}"
    installed.namespace(name)
    pods(installed, name, {POOL_LABEL: US_AMSTERDAM.name})
    labels = {"metadata": {"labels": {CLASSIFICATION: "german"}}}
    installed.cluster.request("PATCH", f"/api/v1/namespaces/{name}", labels)
    found = soon(lambda: finding(installed, name, "german-misplaced"), state="Open", count=2)
    assert found["cause"] == f"namespace {name} was classified german"
    installed.delete(f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0")
    ended = soon(lambda: finding(installed, name, "german-misplaced"), state="Resolved")
    assert ended["resolution"].endswith("has ended or was deleted")


# The custom resource


def test_what_people_and_the_controller_may_write_is_bounded(installed: Installation) -> None:
    def refused(body: Object, *words: str, method: str = "POST", at: str = path("default")) -> None:
        with pytest.raises(RequestError) as refusal:
            installed.cluster.request(method, f"{at}?dryRun=All&fieldValidation=Strict", body)
        assert refusal.value.status in (400, 422)
        assert all(word in refusal.value.message for word in words)

    def of(acknowledgement: Object) -> Object:
        return {
            "apiVersion": "residency.dev/v1alpha1",
            "kind": "ResidencyFinding",
            "metadata": {"name": "german-misplaced"},
            "spec": {"acknowledgement": acknowledgement},
        }

    fine = of({"comment": "because", "until": "2027-01-31"})
    installed.cluster.request("POST", f"{path('default')}?dryRun=All&fieldValidation=Strict", fine)
    refused(of({"until": "2027-01-31"}), "spec.acknowledgement.comment", "Required")
    refused(of({"comment": " "}), "must say something")
    refused(of({"comment": "x" * 501}), "spec.acknowledgement.comment", "500")
    refused(of({"comment": "because", "until": "tomorrow"}), "spec.acknowledgement.until")
    refused(of({"comment": "because", "by": "me"}), "unknown field")
    installed.cluster.request("POST", path("default"), fine)
    try:
        at = f"{path('default', 'german-misplaced')}/status"
        for field, value in (("state", "Fine"), ("count", -1), ("cause", "x" * 1025), ("firstSeen", "yesterday")):
            refused({"status": {field: value}}, f"status.{field}", method="PATCH", at=at)
    finally:
        installed.delete(path("default", "german-misplaced"))


@pytest.mark.parametrize(
    ("role", "verb", "may"), [("admin", "patch", True), ("edit", "patch", False), ("view", "get", True)]
)
def test_who_administers_a_namespace_may_acknowledge_and_who_views_it_may_read(
    installed: Installation, role: str, verb: str, may: bool
) -> None:
    def allowed() -> bool:
        found = installed.cluster.request("GET", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}")
        of_findings = [rule for rule in found["rules"] if "residencyfindings" in rule.get("resources", ())]
        # Aggregated, so that all three have the rule of who reads.
        assert of_findings
        return any(verb in rule["verbs"] for rule in of_findings)

    assert allowed() is may
