"""Events and Reports on a real control plane: people find what is the matter where they look, soon, not too often."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane import ControlPlane, RequestError
from e2e.installation import Controller, Installation, wait_for
from residency.api.names import CLASSIFICATION, EventReason, Fact
from residency.controller import events

Object = dict[str, Any]

SOON: Final = 3.0
"""Seconds within which a change is to be told of."""
FRANKFURT: Final = "eu-private-0"
OPENREPORTS: Final = Path(__file__).parents[1] / "openreports.yaml"
REPORT: Final = "/apis/openreports.io/v1alpha1/namespaces/{}/reports/residency"
CONTAINERS: Final = [{"name": "c", "image": "c"}]


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), "--identity", "the-one")
    installation.install()
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def controller(installed: Installation) -> Controller:
    """A controller that found no OpenReports, and namespaces to look at."""
    controller = installed.controller()
    for name, country in (("german", "DE"), ("french", "FR")):
        installed.classify(name, {"title": name, "nodes": {"anyOf": [{"countries": [country]}]}})
    for name in ("german", "french"):
        installed.wait_ready(name)
        installed.namespace(f"of-{name}", name)
        installed.wait_ready(name)
    wait_for(lambda: controller.metric("residency_audit_synced") == 1)
    return controller


@pytest.fixture
def web(installed: Installation, controller: Controller) -> Iterator[Object]:
    """A Deployment of three pods on one German node, where they may be; both are put right in the end."""
    cluster = installed.cluster
    path = "/apis/apps/v1/namespaces/of-german/deployments"
    pod = {"nodeSelector": {"kubernetes.io/hostname": FRANKFURT}, "containers": CONTAINERS}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    made: Object = cluster.request("POST", path, {"metadata": {"name": "web"}, "spec": spec})
    wait_for(lambda: compliant(controller) == 3)
    yield made
    country(cluster, "DE")
    cluster.request("DELETE", f"{path}/web", {"propagationPolicy": "Background"})
    wait_for(lambda: not pods(cluster, "of-german"))


def compliant(controller: Controller) -> float:
    return controller.metric("residency_pods", classification="german", outcome="Compliant")


def country(cluster: ControlPlane, country: str) -> None:
    """State where the node in Frankfurt is."""
    labels = {Fact.COUNTRY.value: country}
    cluster.request("PATCH", f"/api/v1/nodes/{FRANKFURT}", {"metadata": {"labels": labels}})


def told(cluster: ControlPlane, kind: str, name: str, reason: EventReason, seconds: float = SOON) -> Object:
    """Wait for an Event about an object, and return the last one."""

    def find() -> Object | None:
        found: list[Object] = cluster.request("GET", "/apis/events.k8s.io/v1/events")["items"]
        about = [e for e in found if (e["regarding"]["kind"], e["regarding"]["name"]) == (kind, name)]
        ours = [e for e in about if e["reportingController"] == "residency.dev/controller" and e["reason"] == reason]
        return max(ours, key=lambda event: str(event["eventTime"])) if ours else None

    return wait_for(find, seconds, saying=f"{reason} of {kind} {name}")


def complaints(controller: Controller) -> list[Object]:
    """What those who write Events and Reports logged that is not as it should be."""
    writers = ("residency.controller.events", "residency.controller.reports")
    return [line for line in controller.lines if line["logger"] in writers and line["level"] != "info"]


def test_a_misplaced_pod_is_told_of_at_its_deployment_and_its_node_until_it_is_put_right(
    installed: Installation, controller: Controller, web: Object
) -> None:
    cluster = installed.cluster
    country(cluster, "US")
    began = time.monotonic()
    of_web = told(cluster, "Deployment", "web", EventReason.MISPLACED)
    of_node = told(cluster, "Node", FRANKFURT, EventReason.MISPLACED)
    print(f"told after {time.monotonic() - began:.2f} s")
    why = "its node has country US, where german allows country DE. Fix: "
    assert of_web["note"].startswith("3 pods of german on nodes that are not allowed; web-")
    assert why in of_web["note"]
    assert of_web["regarding"]["uid"] == web["metadata"]["uid"]
    assert of_web["related"]["name"].startswith("web-")
    assert of_web["metadata"]["namespace"] == "of-german"
    assert of_node["note"].startswith("3 pods of german here that may not be; for example of-german/web-")
    assert why in of_node["note"]
    assert of_node["type"] == of_web["type"] == "Warning"
    # As people see it.
    assert "3 pods of german here that may not be" in cluster.kubectl("describe", "node", FRANKFURT)
    assert "3 pods of german on nodes" in cluster.kubectl("-n", "of-german", "describe", "deployment", "web")
    country(cluster, "DE")
    assert told(cluster, "Node", FRANKFURT, EventReason.COMPLIANCE_RESTORED)["type"] == "Normal"
    assert told(cluster, "Deployment", "web", EventReason.COMPLIANCE_RESTORED)["type"] == "Normal"
    assert controller.metric("residency_events_total", reason="Misplaced", result="written") == 2
    assert controller.metric("residency_events_total", reason="ComplianceRestored", result="written") == 2


@pytest.mark.usefixtures("controller")
def test_a_pod_that_waits_in_vain_says_what_is_asked_and_so_does_its_cron_job(installed: Installation) -> None:
    cluster = installed.cluster
    path = "/apis/batch/v1/namespaces/of-french"
    template = {"spec": {"restartPolicy": "Never", "containers": CONTAINERS}}
    nightly = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": template}}}
    made = cluster.request("POST", f"{path}/cronjobs", {"metadata": {"name": "nightly"}, "spec": nightly})
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": made["metadata"]["uid"]}
    metadata = {"name": "nightly-1", "ownerReferences": [owner | {"controller": True}]}
    cluster.request("POST", f"{path}/jobs", {"metadata": metadata, "spec": {"template": template}})
    pod = wait_for(lambda: next(iter(pods(cluster, "of-french")), None))
    said = "1 pod of french without a node to go to: french asks country FR (0 nodes); of 11 nodes none has all of that"
    for kind, name in (("Pod", pod), ("CronJob", "nightly")):
        assert said in told(cluster, kind, name, EventReason.UNPLACEABLE)["note"]
    assert said in cluster.kubectl("-n", "of-french", "describe", "pod", pod)


def pods(cluster: ControlPlane, namespace: str) -> list[str]:
    items: list[Object] = cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return [item["metadata"]["name"] for item in items]


def test_many_at_once_make_few_events(installed: Installation, controller: Controller) -> None:
    """90 pods that nobody owns, each with a name of its own: more than may be told of at once."""
    cluster = installed.cluster
    for number in range(90):
        spec = {"nodeSelector": {"kubernetes.io/hostname": FRANKFURT}, "containers": CONTAINERS}
        body = {"metadata": {"name": f"app{number}-x", "labels": {"many": "yes"}}, "spec": spec}
        cluster.request("POST", "/api/v1/namespaces/of-german/pods", body)
    wait_for(lambda: compliant(controller) == 90)
    before, began = controller.metric("residency_events_total"), time.monotonic()
    country(cluster, "US")
    wait_for(lambda: controller.metric("residency_events_total") > before)
    time.sleep(4)
    written = controller.metric("residency_events_total") - before
    allowed = events.BURST + events.A_SECOND * (time.monotonic() - began)
    assert 20 < written <= allowed + 1
    # However many there are, the node is told of, and all of them there.
    assert told(cluster, "Node", FRANKFURT, EventReason.MISPLACED)["note"].startswith("90 pods of german here that")
    assert controller.metric("residency_events_total", result="failed") == 0
    country(cluster, "DE")
    cluster.kubectl("-n", "of-german", "delete", "pods", "--selector=many=yes", "--wait=false", "--grace-period=0")
    wait_for(lambda: compliant(controller) == 0)


def test_without_openreports_nothing_is_wrong(controller: Controller) -> None:
    assert complaints(controller) == []
    assert controller.metric("residency_report_writes_total") == 0


@pytest.mark.usefixtures("web")
def test_reports_appear_change_and_go_and_what_was_told_before_is_counted_up(
    installed: Installation, controller: Controller
) -> None:
    cluster = installed.cluster
    (waiting,) = pods(cluster, "of-french")
    controller.stop()
    cluster.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(OPENREPORTS.read_text())
    )
    wait_for(lambda: served(cluster))
    successor = installed.controller()

    french = wait_for(lambda: report(cluster, "of-french"))
    assert french["summary"] == {"pass": 0, "fail": 0, "warn": 0, "error": 0, "skip": 1}
    (skipped,) = french["results"]
    assert (skipped["policy"], skipped["rule"], skipped["result"]) == ("french", "Unplaceable", "skip")
    assert [resource["name"] for resource in skipped["resources"]] == [waiting]
    assert report(cluster, "of-german")["summary"]["pass"] == 3
    assert told(cluster, "Pod", waiting, EventReason.UNPLACEABLE)["series"]["count"] == 2

    country(cluster, "US")
    wait_for(lambda: report(cluster, "of-german")["summary"]["fail"] == 3, 2 * SOON)
    (failed,) = report(cluster, "of-german")["results"]
    assert (failed["policy"], failed["rule"], failed["result"], failed["scored"]) == (
        "german",
        "Misplaced",
        "fail",
        True,
    )
    assert len(failed["resources"]) == 3
    assert failed["properties"]["count"] == "3"
    country(cluster, "DE")
    wait_for(
        lambda: report(cluster, "of-german")["summary"] == {"pass": 3, "fail": 0, "warn": 0, "error": 0, "skip": 0}
    )

    declassified = {"metadata": {"labels": {CLASSIFICATION: None}}}
    cluster.request("PATCH", "/api/v1/namespaces/of-french", declassified)
    wait_for(lambda: not report(cluster, "of-french"))
    assert report(cluster, "of-german")
    assert complaints(successor) == []


def served(cluster: ControlPlane) -> bool:
    try:
        cluster.request("GET", "/apis/openreports.io/v1alpha1/reports")
    except RequestError:
        return False
    return True


def report(cluster: ControlPlane, namespace: str) -> Object:
    """The report of a namespace; empty where there is none."""
    try:
        found: Object = cluster.request("GET", REPORT.format(namespace))
    except RequestError as error:
        if error.status != 404:
            raise
        return {}
    return found
