"""What really runs where, on a real control plane: every change of it shows within two seconds."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane import ControlPlane, RequestError
from controlplane.pools import EU_PRIVATE, ODC_NOORD, POOL_LABEL, node_is_usable
from e2e.installation import ADMISSION, CLASSIFICATIONS, NAMESPACE, Controller, Installation, wait_for
from residency.api.names import CANARY, CLASSIFICATION, ENFORCEMENT, NO_CLASSIFICATION, SOVEREIGN, Fact, PolicyName
from residency.controller.catalogue import read
from residency.core.audit import NodeView, judge_running, satisfies
from residency.core.judge import asks
from residency.core.workload import PodView

Object = dict[str, Any]
Counts = Mapping[str, int]

SOON: Final = 2.0
"""Seconds within which a change is to be seen in the metric."""
SETTLED: Final = 60.0
"""The same in a status, which is written now and then, and for what is only there to begin with."""
POOL: Final = {"eu": "eu-private", "us": "us-amsterdam", "plain": "plain", "odc": "odc-noord"}
FRANKFURT: Final = "eu-private-0"
numbers = count(1)


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    # So rarely does it look by itself that whatever shows was noticed.
    flags = ("--identity", "the-one", "--resync-seconds", "600")
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), *flags)
    installation.install()
    yield installation
    installation.close()


@pytest.fixture
def controller(installed: Installation) -> Controller:
    """A controller whose audit is complete."""
    controller = installed.running
    wait_for(lambda: controller.metric("residency_audit_synced") == 1)
    return controller


class Case:
    """A classification and a namespace of a test's own."""

    def __init__(self, installed: Installation, controller: Controller, spec: Object, *, classified: bool = True):
        self.installed, self.controller, self.cluster = installed, controller, installed.cluster
        self.name = f"audited-{next(numbers)}"
        self.namespace = f"of-{self.name}"
        installed.classify(self.name, {"title": "Audited"} | spec)
        installed.wait_ready(self.name)
        installed.namespace(self.namespace, self.name if classified else "")
        if classified:
            installed.wait_ready(self.name)

    def pods(self, count: int, pool: str = "", bound: bool = True, prefix: str = "app", **spec: Any) -> None:
        """Create pods, and wait until they are bound."""
        selector = {POOL_LABEL: POOL[pool]} if pool else {}
        body = {"containers": [{"name": "c", "image": "c"}], "nodeSelector": selector} | spec
        for number in range(count):
            name = f"{prefix}-{number}"
            wait_for(lambda name=name: self.create(name, body))  # type: ignore[misc]
        if bound:
            wait_for(lambda: all(pod["spec"].get("nodeName") for pod in self.live))

    def create(self, name: str, spec: Object) -> bool:
        """Create a pod; whether that was possible already."""
        try:
            self.cluster.request(
                "POST", f"/api/v1/namespaces/{self.namespace}/pods", {"metadata": {"name": name}, "spec": spec}
            )
        except RequestError as error:
            # The namespace's ServiceAccount is made a moment after it.
            if "serviceaccount" in str(error):
                return False
            raise
        return True

    @property
    def live(self) -> list[Object]:
        """Its pods."""
        found: list[Object] = self.cluster.request("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return found

    @property
    def status(self) -> Object:
        """The status of its classification."""
        found: Object = self.installed.classification(self.name).get("status", {})
        return found

    def shows(self, seconds: float = SOON, **counts: int) -> None:
        """Wait until the metric counts this, and nothing else."""
        began = time.monotonic()
        while (last := pods(self.controller, self.name)) != counts:
            late = time.monotonic() - began > seconds
            assert not late, f"{last} instead of {counts} after {seconds} s\n{self.controller.last_lines}"
            time.sleep(0.02)
        print(f"{self.name}: {counts} after {time.monotonic() - began:.2f} s")

    def tells(self, type_: str, status: str, *saying: str) -> None:
        """Wait until the status says this, with these words."""
        last: Object = {}

        def told() -> bool:
            last.update(self.installed.condition(self.name, type_))
            return last.get("status") == status and all(words in last["message"] for words in saying)

        try:
            wait_for(told, SETTLED)
        except AssertionError:
            raise AssertionError(f"{last} instead of {status} {saying}\n{self.controller.last_lines}") from None


def pods(controller: Controller, classification: str) -> Counts:
    """The pods of a classification by outcome, as far as there are any."""
    families = text_string_to_metric_families(controller.get("/metrics")[1])
    samples = [sample for family in families for sample in family.samples if sample.name == "residency_pods"]
    return {
        sample.labels["outcome"]: int(sample.value)
        for sample in samples
        if sample.labels["classification"] == classification and sample.value
    }


def label(cluster: ControlPlane, node: str, **facts: str | None) -> None:
    """Set facts of a node, or take them away."""
    labels = {Fact[name.upper()].value: value for name, value in facts.items()}
    cluster.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}})


def in_countries(*countries: str) -> Object:
    tolerations = [{"key": SOVEREIGN, "operator": "Exists"}]
    return {"nodes": {"anyOf": [{"countries": list(countries)}], "tolerations": tolerations}}


@pytest.fixture
def on_frankfurt(installed: Installation, controller: Controller) -> Iterator[Case]:
    """Four pods on one German node, where they may be; the node is put right in the end."""
    case = Case(installed, controller, in_countries("DE"))
    case.pods(4, nodeSelector={"kubernetes.io/hostname": FRANKFURT})
    case.shows(SETTLED, Compliant=4)
    yield case
    label(installed.cluster, FRANKFURT, country="DE", subdivision=None)


def test_pods_where_they_may_be_are_compliant(on_frankfurt: Case) -> None:
    on_frankfurt.tells("Compliant", "True", "all are where they may be")
    on_frankfurt.tells("Satisfiable", "True", "3 nodes satisfy this")
    assert on_frankfurt.status["eligibleNodes"] == 3
    assert on_frankfurt.controller.metric("residency_eligible_nodes", classification=on_frankfurt.name) == 3


def test_the_status_counts_what_the_metric_does(on_frankfurt: Case) -> None:
    label(on_frankfurt.cluster, FRANKFURT, country="US")
    on_frankfurt.shows(Misplaced=4)
    expected = {"misplaced": 4, "compliant": 0, "unpinned": 0, "unplaceable": 0}
    expected |= {"waiting": 0, "unknown": 0, "notLocated": 0}
    wait_for(lambda: on_frankfurt.status.get("pods") == expected, SETTLED)


def test_pods_on_a_node_that_is_relabelled_are_misplaced_until_it_is_put_right(on_frankfurt: Case) -> None:
    label(on_frankfurt.cluster, FRANKFURT, country="US")
    on_frankfurt.shows(Misplaced=4)
    example = f"{on_frankfurt.namespace}/app-0 (its node has country US, where {on_frankfurt.name} allows country DE)"
    on_frankfurt.tells("Compliant", "False", "4 on nodes that are not allowed", example)
    label(on_frankfurt.cluster, FRANKFURT, country="DE")
    on_frankfurt.shows(Compliant=4)
    on_frankfurt.tells("Compliant", "True")


def test_pods_on_a_node_without_the_fact_are_unknown_and_never_compliant(on_frankfurt: Case) -> None:
    label(on_frankfurt.cluster, FRANKFURT, country=None)
    on_frankfurt.shows(Unknown=4)
    on_frankfurt.tells("Compliant", "Unknown", "4 on nodes of which too little is known")
    assert on_frankfurt.status["eligibleNodes"] == 2


def test_facts_that_contradict_each_other_make_a_node_unknown(on_frankfurt: Case) -> None:
    label(on_frankfurt.cluster, FRANKFURT, subdivision="NL-GR")
    on_frankfurt.shows(Unknown=4)
    on_frankfurt.tells("Compliant", "Unknown", "contradict each other")


def test_pods_that_end_or_are_deleted_are_not_counted(on_frankfurt: Case) -> None:
    path = f"/api/v1/namespaces/{on_frankfurt.namespace}/pods"
    on_frankfurt.cluster.request("PATCH", f"{path}/app-0/status", {"status": {"phase": "Succeeded"}})
    on_frankfurt.shows(Compliant=3)
    on_frankfurt.cluster.request("DELETE", f"{path}/app-1", {"gracePeriodSeconds": 0})
    on_frankfurt.shows(Compliant=2)


def test_a_full_namespace_that_is_classified_shows_what_has_to_move(
    installed: Installation, controller: Controller
) -> None:
    case = Case(installed, controller, in_countries("DE"), classified=False)
    case.pods(3, "us", prefix="us")
    case.pods(2, "eu", prefix="eu")
    case.pods(1, "plain", prefix="plain")
    labels = {"metadata": {"labels": {CLASSIFICATION: case.name}}}
    case.cluster.request("PATCH", f"/api/v1/namespaces/{case.namespace}", labels)
    case.shows(Misplaced=3, Unpinned=2, Unknown=1)
    case.tells("Compliant", "False", "3 on nodes that are not allowed; 2 on allowed nodes that nothing keeps them on")


def test_a_classification_that_is_tightened_shows_whom_it_leaves_outside(
    installed: Installation, controller: Controller
) -> None:
    case = Case(installed, controller, in_countries("DE", "NL"))
    case.pods(2, "eu", prefix="eu")
    case.pods(2, "us", prefix="us")
    case.shows(SETTLED, Compliant=4)
    installed.classify(case.name, {"title": "Audited"} | in_countries("DE"))
    case.shows(Misplaced=2, Unpinned=2)


def test_every_mode_is_judged_alike_and_told_apart(installed: Installation, controller: Controller) -> None:
    case = Case(installed, controller, in_countries("DE") | {"mode": "Audit"})
    case.pods(2, "us")
    case.shows(Misplaced=2)
    labels = {"classification": case.name, "outcome": "Misplaced"}
    assert controller.metric("residency_pods", mode="Audit", **labels) == 2
    assert controller.metric("residency_pods", mode="Enforce", **labels) == 0


def test_pods_that_no_node_can_take_are_unplaceable_until_one_can(
    installed: Installation, controller: Controller
) -> None:
    case = Case(installed, controller, in_countries("FR"))
    case.pods(2, bound=False)
    case.shows(SETTLED, Unplaceable=2)
    case.tells("Satisfiable", "False", "No node satisfies this")
    case.tells("Compliant", "True")
    label(case.cluster, "plain-0", country="FR")
    try:
        case.tells("Satisfiable", "True")
        case.shows(SETTLED, Compliant=2)  # the scheduler's own time
    finally:
        label(case.cluster, "plain-0", country=None)


def test_a_node_that_cannot_take_pods_is_not_eligible(installed: Installation, controller: Controller) -> None:
    case = Case(installed, controller, in_countries("FI"))
    label(case.cluster, "plain-1", country="FI")
    cordon: Callable[[bool], object] = lambda on: case.cluster.request(  # noqa: E731
        "PATCH", "/api/v1/nodes/plain-1", {"spec": {"unschedulable": on}}
    )
    try:
        case.tells("Satisfiable", "True")
        cordon(True)
        case.tells("Satisfiable", "False", "none is Ready and not cordoned")
    finally:
        cordon(False)
        label(case.cluster, "plain-1", country=None)


def test_an_unclassified_pod_on_a_sovereign_pool_is_an_intruder(
    installed: Installation, controller: Controller
) -> None:
    case = Case(installed, controller, in_countries("DE"), classified=False)
    tolerations = [{"key": SOVEREIGN, "operator": "Exists"}]
    case.pods(2, "odc", tolerations=tolerations)
    wait_for(lambda: pods(controller, NO_CLASSIFICATION) == {"Intruder": 2}, SOON)
    # What has business on every node is in a namespace that is left alone.
    spec = {"containers": [{"name": "c", "image": "c"}], "nodeSelector": {POOL_LABEL: ODC_NOORD.name}}
    body = {"metadata": {"name": "agent"}, "spec": {**spec, "tolerations": tolerations}}
    case.cluster.request("POST", "/api/v1/namespaces/kube-system/pods", body)
    agent = "/api/v1/namespaces/kube-system/pods/agent"
    wait_for(lambda: case.cluster.request("GET", agent)["spec"].get("nodeName"))
    time.sleep(SOON)
    assert pods(controller, NO_CLASSIFICATION) == {"Intruder": 2}
    for number in range(2):
        case.cluster.request(
            "DELETE", f"/api/v1/namespaces/{case.namespace}/pods/app-{number}", {"gracePeriodSeconds": 0}
        )
    wait_for(lambda: pods(controller, NO_CLASSIFICATION) == {}, SOON)


def test_a_pod_bound_by_hand_while_the_guard_was_off_is_found(installed: Installation, controller: Controller) -> None:
    case = Case(installed, controller, in_countries("DE"))
    controller.stop()
    cluster = installed.cluster
    for name in (PolicyName.GUARD_PODS, PolicyName.GUARD_BINDINGS):
        cluster.request("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{name}")
    path = f"/api/v1/namespaces/{case.namespace}/pods"
    target = {"apiVersion": "v1", "kind": "Node", "name": "us-amsterdam-0"}
    case.pods(1, bound=False, schedulerName="nobody")

    def bound() -> bool:
        try:
            cluster.request("POST", f"{path}/app-0/binding", {"metadata": {"name": "app-0"}, "target": target})
        except RequestError:
            return False
        return True

    wait_for(bound)
    case.controller = again = installed.controller()
    wait_for(lambda: again.metric("residency_audit_synced") == 1)
    case.shows(Misplaced=1)
    case.tells("Compliant", "False")


def test_pods_of_a_node_that_is_deleted_are_not_located(installed: Installation, controller: Controller) -> None:
    case = Case(installed, controller, in_countries("DE"))
    case.pods(2, nodeSelector={"kubernetes.io/hostname": "eu-private-2"})
    case.shows(SETTLED, Compliant=2)
    case.cluster.request("DELETE", "/api/v1/nodes/eu-private-2")
    case.shows(NotLocated=2)
    case.tells("Compliant", "Unknown", "2 on nodes that are not there")
    node = next(m for m in EU_PRIVATE.manifests() if m["metadata"]["name"] == "eu-private-2")
    case.cluster.request("POST", "/api/v1/nodes", node)
    wait_for(lambda: "NotLocated" not in pods(controller, case.name), SOON)


def test_statuses_come_to_rest_while_pods_come_and_go(installed: Installation, controller: Controller) -> None:
    case = Case(installed, controller, in_countries("DE"))
    case.tells("Compliant", "True")
    versions, deadline = set(), time.monotonic() + 8
    path = f"/api/v1/namespaces/{case.namespace}/pods"
    for number in count():
        if time.monotonic() > deadline:
            break
        spec = {"containers": [{"name": "c", "image": "c"}]}
        case.create(f"p-{number}", spec)
        if number:
            case.cluster.request("DELETE", f"{path}/p-{number - 1}", {"gracePeriodSeconds": 0})
        versions.add(installed.classification(case.name)["metadata"]["resourceVersion"])
    assert number > 20
    assert len(versions) <= 3


def test_a_controller_that_starts_again_has_the_same_picture(installed: Installation, controller: Controller) -> None:
    wait_for(lambda: picture(controller) == from_fresh_lists(installed.cluster), SETTLED)
    before = picture(controller)
    assert sum(before.values()) > 20
    controller.stop()
    again = installed.controller()
    wait_for(lambda: again.metric("residency_audit_synced") == 1)
    assert picture(again) == before


def test_without_all_it_needs_the_audit_says_so_and_counts_nothing(
    installed: Installation, controller: Controller
) -> None:
    """Without the right to watch nodes: everything else goes on."""
    controller.stop()
    cluster = installed.cluster
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/residency-controller"
    role = cluster.request("GET", path)
    rules = json.loads(json.dumps(role["rules"]))
    for rule in rules:
        rule["resources"] = [resource for resource in rule["resources"] if resource != "nodes"]
    cluster.request("PATCH", path, {"rules": rules})
    try:
        blind = installed.controller()
        wait_for(lambda: blind.metric("residency_audit_lists_total", resource="pods", cause="start") == 1)
        wait_for(lambda: blind.metric("residency_last_successful_reconcile_timestamp_seconds") > 0)
        assert blind.metric("residency_audit_synced") == 0
        assert blind.metric("residency_audit_watches_lost_total", resource="nodes", cause="refused") > 0
        exposition = blind.get("/metrics")[1]
        assert "residency_pods{" not in exposition
        assert "residency_eligible_nodes{" not in exposition
        assert blind.get("/readyz")[0] == 200
    finally:
        cluster.request("PATCH", path, {"rules": role["rules"]})
    wait_for(lambda: blind.metric("residency_audit_synced") == 1, 90)
    assert "residency_pods{" in blind.get("/metrics")[1]


def from_fresh_lists(cluster: ControlPlane) -> Mapping[tuple[str, ...], float]:
    """What the audit should show, judged pod by pod."""

    def items(path: str) -> list[Object]:
        found: list[Object] = cluster.request("GET", path)["items"]
        return found

    catalogue = {e.name: e.compiled for e in read(items(CLASSIFICATIONS)) if e.compiled is not None}
    labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in items("/api/v1/namespaces")}
    nodes = {}
    for node in items("/api/v1/nodes"):
        name, taints = node["metadata"]["name"], [taint["key"] for taint in node["spec"].get("taints", ())]
        usable = node_is_usable(node) and not node["spec"].get("unschedulable")
        nodes[name] = NodeView.of(name, node["metadata"]["labels"], taints, usable=usable)
    shown = Counter[tuple[str, ...]]()
    for pod in items("/api/v1/pods"):
        namespace = pod["metadata"]["namespace"]
        if namespace in ("kube-system", NAMESPACE, CANARY) or pod["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        view, says = PodView.from_template(pod), labels[namespace]
        claims = asks(namespace, says.get(CLASSIFICATION), view.classification, says.get(ENFORCEMENT))
        for judged in judge_running(view, nodes, claims, catalogue):
            mode = "" if judged.mode is None else str(judged.mode)
            shown["residency_pods", judged.classification, mode, str(judged.outcome)] += 1
    for name, classification in catalogue.items():
        fits = sum(node.usable and satisfies(node, classification.placement) for node in nodes.values())
        shown["residency_eligible_nodes", name] = fits
    return {line: count for line, count in shown.items() if count}


def picture(controller: Controller) -> Mapping[tuple[str, ...], float]:
    """All that the audit shows."""
    families = text_string_to_metric_families(controller.get("/metrics")[1])
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name in ("residency_pods", "residency_eligible_nodes") and sample.value
    }
