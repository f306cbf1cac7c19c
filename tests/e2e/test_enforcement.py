"""Classified workloads run only where they may: with the controller there, killed, and on what existed before.

The whole installation: the chart, the controller with the chart's rights, the real scheduler, simulated nodes.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane, RequestError
from e2e.installation import Controller, Installation, wait_for
from residency.api.names import CLASSIFICATION, SOVEREIGN, Code, Fact

Json = dict[str, Any]

TOLERATION = {"key": SOVEREIGN, "operator": "Exists"}
DUTCH = {
    "title": "Departementaal Vertrouwelijk",
    "references": [{"title": "Rijksbreed Cloudbeleid 2026", "clause": "4.6"}],
    "nodes": {"anyOf": [{"countries": ["NL"], "deploymentModels": ["government"]}], "tolerations": [TOLERATION]},
}
EUROPEAN = {
    "title": "European",
    "nodes": {"anyOf": [{"controlledFromSets": ["eea"]}], "tolerations": [TOLERATION]},
}
GOVERNMENT, EUROPE, AMERICAN, PLAIN = (pool.name for pool in DEFAULT_POOLS)
NODES = DEFAULT_POOLS[0].nodes
assert all(pool.nodes == NODES for pool in DEFAULT_POOLS[:2])


@pytest.fixture(scope="module")
def before() -> Iterator[ControlPlane]:
    """A control plane on which Residency was never installed."""
    with ControlPlane() as cluster:
        cluster.add_pools(DEFAULT_POOLS)
        cluster.add_storage_class()
        yield cluster


@pytest.fixture(scope="module")
def unclassified_before(before: ControlPlane) -> Json:
    """A realistic pod as the API server stores it without Residency."""
    before.kubectl("create", "namespace", "elsewhere")
    return stored(before, "elsewhere")


@pytest.fixture(scope="module")
def installed(
    before: ControlPlane, unclassified_before: Json, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Residency on that control plane, with two classifications in force and a controller that leads."""
    assert unclassified_before
    installation = Installation(before, tmp_path_factory.mktemp("installation"), "--resync-seconds", "5")
    installation.install()
    installation.controller()
    try:
        installation.classify("nl-depv", DUTCH)
        installation.classify("eu-gdpr", EUROPEAN)
        installation.wait_ready("nl-depv")
        installation.wait_ready("eu-gdpr")
        yield installation
    finally:
        installation.close()


REALISTIC: Json = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}]},
                ]
            }
        }
    },
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}],
    "initContainers": [{"name": "init", "image": "init"}],
    "containers": [
        {"name": "app", "image": "app", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}},
        {"name": "proxy", "image": "proxy", "ports": [{"containerPort": 8080}]},
    ],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
}


def stored(cluster: ControlPlane, namespace: str) -> Json:
    """What a dry-run of a realistic pod would store, without what differs from one request to the next."""
    pod = {"metadata": {"name": "app", "labels": {"app": "app"}}, "spec": copy.deepcopy(REALISTIC)}
    answer: Json = cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    text = json.dumps(answer)
    for name in [v["name"] for v in answer["spec"]["volumes"] if v["name"].startswith("kube-api-access-")]:
        text = text.replace(name, "kube-api-access")
    answer = json.loads(text)
    for changing in ("uid", "creationTimestamp", "managedFields"):
        answer["metadata"].pop(changing)
    return answer


def deployment(name: str, replicas: int = 1, **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app"}]} | spec,
            },
        },
    }


def daemonset(name: str, **spec: Any) -> Json:
    made = deployment(name, **spec)
    del made["spec"]["replicas"]
    return made | {"kind": "DaemonSet"}


def pod(name: str, annotation: str = "", **spec: Any) -> Json:
    metadata: Json = {"name": name, "labels": {"app": name}}
    if annotation:
        metadata["annotations"] = {CLASSIFICATION: annotation}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "app", "image": "app"}]} | spec,
    }


def apply(cluster: ControlPlane, namespace: str, thing: Json) -> str:
    return cluster.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(thing))


def create(cluster: ControlPlane, namespace: str, thing: Json) -> Json:
    """Create a pod or a workload of apps/v1."""
    plural = thing["kind"].lower() + "s"
    root = "/api/v1" if thing["kind"] == "Pod" else "/apis/apps/v1"
    answer: Json = cluster.request("POST", f"{root}/namespaces/{namespace}/{plural}", thing)
    return answer


def refused(cluster: ControlPlane, namespace: str, thing: Json) -> str:
    """What the API server says to somebody who creates this; fails when it lets it through."""
    with pytest.raises(RequestError) as caught:
        create(cluster, namespace, thing)
    assert caught.value.status == 403
    return str(caught.value)


def pools(cluster: ControlPlane, namespace: str, app: str, count: int) -> set[str]:
    """The pools on which the pods of an app run, once as many as expected do."""

    def running() -> list[str] | None:
        items = cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{app}")["items"]
        alive = [item for item in items if "deletionTimestamp" not in item["metadata"]]
        nodes = [item["spec"].get("nodeName", "") for item in alive if item["status"].get("phase") == "Running"]
        return nodes if len(nodes) == len(alive) == count else None

    nodes = wait_for(running, 40, saying=f"{count} pods of {app} to run")
    return {node.rsplit("-", 1)[0] for node in nodes}


def namespace(installed: Installation, name: str, classification: str = "") -> str:
    installed.namespace(name, classification)
    wait_for(lambda: installed.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"), saying="its account")
    return name


ALL_WAYS = [
    pytest.param({"nodeSelector": {Fact.COUNTRY: "US"}}, Code.CONTRADICTION, id="a contradicting node selector"),
    pytest.param({"nodeName": f"{AMERICAN}-0"}, Code.NODE_NAME, id="a node name"),
    pytest.param(
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": Fact.COUNTRY, "operator": "In", "values": ["US", "DE"]}]}
                        ]
                    }
                }
            }
        },
        Code.CONTRADICTION,
        id="a contradicting affinity",
    ),
    pytest.param(
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}},
        Code.CONTRADICTION,
        id="nothing but an empty term",
    ),
]


class TestWithTheController:
    def test_an_unclassified_pod_is_exactly_what_it_is_without_residency(
        self, installed: Installation, unclassified_before: Json
    ) -> None:
        assert stored(installed.cluster, "elsewhere") == unclassified_before

    def test_pods_of_a_classified_namespace_run_only_on_nodes_that_satisfy_it(self, installed: Installation) -> None:
        payments = namespace(installed, "payments", "nl-depv")
        apply(installed.cluster, payments, deployment("api", 4))
        assert pools(installed.cluster, payments, "api", 4) == {GOVERNMENT}

    def test_an_annotated_workload_is_placed_in_any_namespace(self, installed: Installation) -> None:
        shared = namespace(installed, "shared")
        made = deployment("letters", 3)
        made["spec"]["template"]["metadata"]["annotations"] = {CLASSIFICATION: "nl-depv"}
        apply(installed.cluster, shared, made)
        assert pools(installed.cluster, shared, "letters", 3) == {GOVERNMENT}

    def test_an_annotation_tightens_what_the_namespace_asks(self, installed: Installation) -> None:
        office = namespace(installed, "office", "eu-gdpr")
        create(installed.cluster, office, pod("secret", "nl-depv"))
        assert pools(installed.cluster, office, "secret", 1) == {GOVERNMENT}

    def test_ored_terms_are_placed_one_by_one(self, installed: Installation) -> None:
        ored = namespace(installed, "ored", "nl-depv")
        either = {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": Fact.COUNTRY, "operator": "In", "values": ["US", "NL"]}]},
                {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]},
            ]
        }
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": either}}
        apply(installed.cluster, ored, deployment("api", 4, affinity=affinity))
        assert pools(installed.cluster, ored, "api", 4) == {GOVERNMENT}

    @pytest.mark.parametrize(("spec", "code"), ALL_WAYS)
    def test_what_cannot_be_placed_is_refused_at_once(self, installed: Installation, spec: Json, code: Code) -> None:
        if not installed.exists("/api/v1/namespaces/refusing"):
            namespace(installed, "refusing", "nl-depv")
        for thing in (pod("app", **spec), deployment("app", **spec), daemonset("app", **spec)):
            assert code in refused(installed.cluster, "refusing", thing)

    def test_a_denial_says_what_where_why_and_how_to_mend_it(self, installed: Installation) -> None:
        talking = namespace(installed, "talking", "nl-depv")
        said = refused(installed.cluster, talking, deployment("api", nodeSelector={Fact.COUNTRY: "US"}))
        assert said.endswith(
            "Not allowed to run there: spec.template.spec.nodeSelector asks country=US, but namespace talking is "
            "nl-depv (Departementaal Vertrouwelijk), which allows country NL. Fix: remove it, or ask for what is "
            "allowed. Why: Rijksbreed Cloudbeleid 2026, 4.6. RES-101; more: kubectl describe dcl nl-depv"
        )

    def test_an_annotation_on_the_workload_is_refused_with_the_line_to_move(self, installed: Installation) -> None:
        misplacing = namespace(installed, "misplacing")
        made = deployment("api")
        made["metadata"]["annotations"] = {CLASSIFICATION: "nl-depv"}
        said = refused(installed.cluster, misplacing, made)
        assert "Fix: move that line to spec.template.metadata.annotations. RES-106" in said

    def test_a_namespace_cannot_name_an_unknown_classification(self, installed: Installation) -> None:
        with pytest.raises(RequestError, match=Code.UNKNOWN_CLASSIFICATION):
            installed.namespace("typo", "nl-dpev")

    @pytest.mark.parametrize("name", ["kube-system", "residency-system"])
    def test_excluded_namespaces_cannot_be_classified(self, installed: Installation, name: str) -> None:
        body = {"metadata": {"labels": {CLASSIFICATION: "nl-depv"}}}
        with pytest.raises(RequestError, match=Code.EXCLUDED_NAMESPACE):
            installed.cluster.request("PATCH", f"/api/v1/namespaces/{name}", body)

    def test_a_classification_in_use_is_not_deleted_and_says_who_uses_it(self, installed: Installation) -> None:
        installed.classify("nl-used", DUTCH | {"title": "Used"})
        installed.wait_ready("nl-used")
        user = namespace(installed, "using", "nl-used")
        path = "/apis/residency.dev/v1alpha1/dataclassifications/nl-used"
        wait_for(lambda: installed.classification("nl-used")["status"]["usedBy"].get("namespaces"))
        with pytest.raises(RequestError, match=f"in use by namespace using.*{Code.CLASSIFICATION_IN_USE}"):
            installed.delete(path)
        installed.cluster.kubectl("label", "namespace", user, f"{CLASSIFICATION}-")
        wait_for(lambda: not installed.classification("nl-used")["status"].get("usedBy", {}).get("namespaces"))
        installed.delete(path)
        wait_for(lambda: not installed.exists(path))

    def test_a_mirror_pod_is_its_own_nodes_affair_and_nobody_elses(self, installed: Installation) -> None:
        static = namespace(installed, "static", "nl-depv")
        node = f"{PLAIN}-0"
        mirror = pod("static", nodeName=node)
        mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "a1b2"}
        kubelet = installed.cluster.user_kubeconfig(f"system:node:{node}", ["system:nodes"])
        uid = installed.cluster.request("GET", f"/api/v1/nodes/{node}")["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": True}
        mirror["metadata"]["ownerReferences"] = [owner]
        installed.cluster.kubectl("-n", static, "create", "-f", "-", input=json.dumps(mirror), kubeconfig=kubelet)
        mirror["metadata"]["name"] = "forged"
        assert Code.NODE_NAME in refused(installed.cluster, static, mirror)


class TestDaemonSets:
    def test_a_daemonset_follows_its_classification_when_it_widens_and_tightens(self, installed: Installation) -> None:
        installed.classify("nl-agents", DUTCH | {"title": "Agents"})
        installed.wait_ready("nl-agents")
        agents = namespace(installed, "agents", "nl-agents")
        apply(installed.cluster, agents, daemonset("agent"))
        assert pools(installed.cluster, agents, "agent", NODES) == {GOVERNMENT}
        wider = {"anyOf": [*DUTCH["nodes"]["anyOf"], {"countries": ["DE"]}], "tolerations": [TOLERATION]}  # type: ignore[index]
        installed.classify("nl-agents", DUTCH | {"title": "Agents", "nodes": wider})
        installed.wait_ready("nl-agents")
        assert pools(installed.cluster, agents, "agent", 2 * NODES) == {GOVERNMENT, EUROPE}
        installed.classify("nl-agents", DUTCH | {"title": "Agents"})
        installed.wait_ready("nl-agents")
        assert pools(installed.cluster, agents, "agent", NODES) == {GOVERNMENT}

    def test_applying_a_daemonset_twice_changes_nothing(self, installed: Installation) -> None:
        twice = namespace(installed, "twice", "nl-depv")
        for how in ([], ["--server-side"]):
            made = daemonset("server-side" if how else "client-side")
            path = f"/apis/apps/v1/namespaces/{twice}/daemonsets/{made['metadata']['name']}"
            arguments = ("-n", twice, "apply", *how, "-f", "-")
            installed.cluster.kubectl(*arguments, input=json.dumps(made))
            first = installed.cluster.request("GET", path)["metadata"]["generation"]
            installed.cluster.kubectl(*arguments, input=json.dumps(made))
            assert installed.cluster.request("GET", path)["metadata"]["generation"] == first

    def test_a_daemonset_with_its_own_affinity_is_asked_for_the_exact_change(self, installed: Installation) -> None:
        owner = namespace(installed, "owner", "nl-depv")
        linux = [{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": linux}}}
        everything = [{"operator": "Exists"}]
        said = refused(installed.cluster, owner, daemonset("agent", affinity=affinity, tolerations=everything))
        assert f"in each nodeSelectorTerm require {Fact.COUNTRY} In NL; {Fact.DEPLOYMENT_MODEL} In government" in said
        linux[0]["matchExpressions"] += [
            {"key": Fact.COUNTRY, "operator": "In", "values": ["NL"]},
            {"key": Fact.DEPLOYMENT_MODEL, "operator": "In", "values": ["government"]},
        ]
        create(installed.cluster, owner, daemonset("agent", affinity=affinity, tolerations=everything))
        assert pools(installed.cluster, owner, "agent", NODES) == {GOVERNMENT}


class TestWhatWasThereBefore:
    def test_a_full_namespace_is_classified_mended_rolled_out_and_deleted(self, installed: Installation) -> None:
        cluster = installed.cluster
        full = namespace(installed, "full")
        abroad = {"nodeSelector": {Fact.PROVIDER: "us-cloud"}}
        node = cluster.request("GET", f"/api/v1/nodes/{AMERICAN}-0")
        abroad["nodeSelector"][Fact.PROVIDER] = node["metadata"]["labels"][Fact.PROVIDER]
        apply(cluster, full, deployment("web", 3, **abroad))
        apply(cluster, full, deployment("free", 2))
        apply(cluster, full, daemonset("agent"))
        assert pools(cluster, full, "web", 3) == {AMERICAN}
        pools(cluster, full, "free", 2)
        cluster.kubectl("label", "namespace", full, f"{CLASSIFICATION}=nl-depv")
        # What exists goes on, and can be scaled down and restarted as far as the classification lets it.
        cluster.kubectl("-n", full, "scale", "deployment", "web", "--replicas=2")
        assert pools(cluster, full, "web", 2) == {AMERICAN}
        cluster.kubectl("-n", full, "rollout", "restart", "deployment", "free")
        cluster.kubectl("-n", full, "rollout", "status", "deployment", "free", "--timeout=60s")
        assert pools(cluster, full, "free", 2) == {GOVERNMENT}
        # The template that contradicts is mended: accepted, rolled out, nothing hangs.
        apply(cluster, full, deployment("web", 2))
        cluster.kubectl("-n", full, "rollout", "status", "deployment", "web", "--timeout=60s")
        assert pools(cluster, full, "web", 2) == {GOVERNMENT}
        cluster.kubectl("delete", "namespace", full, "--timeout=60s")

    def test_a_gated_pod_from_before_is_not_released_unplaced(self, installed: Installation) -> None:
        cluster = installed.cluster
        gated = namespace(installed, "gated")
        create(cluster, gated, pod("early", schedulingGates=[{"name": "example.com/wait"}]))
        cluster.kubectl("label", "namespace", gated, f"{CLASSIFICATION}=nl-depv")
        path = f"/api/v1/namespaces/{gated}/pods"
        with pytest.raises(RequestError, match=Code.NOT_PLACED):
            cluster.request("PATCH", f"{path}/early", {"spec": {"schedulingGates": []}})
        create(cluster, gated, pod("late", schedulingGates=[{"name": "example.com/wait"}]))
        cluster.request("PATCH", f"{path}/late", {"spec": {"schedulingGates": []}})
        assert pools(cluster, gated, "late", 1) == {GOVERNMENT}
        cluster.kubectl("delete", "namespace", gated, "--timeout=60s")

    def test_a_pod_that_waits_from_before_is_found_before_enforced_is_said(self, installed: Installation) -> None:
        cluster = installed.cluster
        waiting = namespace(installed, "waiting")
        create(cluster, waiting, pod("old", nodeSelector={"no-such": "node"}))
        cluster.kubectl("label", "namespace", waiting, f"{CLASSIFICATION}=nl-depv")
        found = installed.wait_condition("nl-depv", "Enforced", "False", "PodsWaiting")
        assert "waiting/old" in found["message"]
        cluster.kubectl("-n", waiting, "delete", "pod", "old")
        installed.wait_condition("nl-depv", "Enforced", "True")

    def test_a_namespace_of_an_unknown_classification_fails_closed(self, installed: Installation) -> None:
        """Such a namespace can only be from before: here the guard of namespaces is taken away for a moment."""
        installed.classify("nl-gone", DUTCH | {"title": "Gone"})
        installed.wait_ready("nl-gone")
        gone = namespace(installed, "gone", "nl-gone")
        create(installed.cluster, gone, pod("early"))
        wait_for(lambda: installed.classification("nl-gone")["status"]["usedBy"].get("namespaces"))
        # The deletion is forced past the guard, by taking the use out of the status that the guard reads.
        path = "/apis/residency.dev/v1alpha1/dataclassifications/nl-gone"
        installed.cluster.request("PATCH", f"{path}/status", {"status": {"usedBy": None}})
        installed.delete(path)
        wait_for(lambda: installed.classification("nl-gone")["metadata"].get("deletionTimestamp"))
        # The finalizer is the backstop: it stays compiled while it is used.
        assert Code.CONTRADICTION in refused(installed.cluster, gone, pod("late", nodeSelector={Fact.COUNTRY: "US"}))
        installed.cluster.request("PATCH", path, {"metadata": {"finalizers": None}})
        wait_for(lambda: not installed.exists(path))

        def fails_closed() -> bool:
            try:
                installed.cluster.request("POST", f"/api/v1/namespaces/{gone}/pods?dryRun=All", pod("late"))
            except RequestError as error:
                return Code.UNKNOWN_CLASSIFICATION in str(error)
            return False

        wait_for(fails_closed)
        installed.cluster.kubectl("delete", "namespace", gone, "--timeout=60s")


@pytest.fixture(scope="module")
def killed(installed: Installation) -> Installation:
    """The same, with the controller killed by SIGKILL while a classified application runs."""
    namespace(installed, "alone", "nl-depv")
    apply(installed.cluster, "alone", deployment("api", 2))
    assert pools(installed.cluster, "alone", "api", 2) == {GOVERNMENT}
    namespace(installed, "alone-unclassified")
    for controller in controllers(installed):
        controller.kill()
    return installed


class TestWithoutTheController:
    def test_applications_scale_onto_the_same_nodes(self, killed: Installation) -> None:
        killed.cluster.kubectl("-n", "alone", "scale", "deployment", "api", "--replicas=6")
        assert pools(killed.cluster, "alone", "api", 6) == {GOVERNMENT}

    def test_new_applications_are_placed(self, killed: Installation) -> None:
        apply(killed.cluster, "alone", deployment("new", 3))
        apply(killed.cluster, "alone", daemonset("agent"))
        create(killed.cluster, "alone-unclassified", pod("letters", "nl-depv"))
        assert pools(killed.cluster, "alone", "new", 3) == {GOVERNMENT}
        assert pools(killed.cluster, "alone", "agent", NODES) == {GOVERNMENT}
        assert pools(killed.cluster, "alone-unclassified", "letters", 1) == {GOVERNMENT}

    @pytest.mark.parametrize(("spec", "code"), ALL_WAYS)
    def test_nothing_escapes(self, killed: Installation, spec: Json, code: Code) -> None:
        assert code in refused(killed.cluster, "alone", pod("escape", **spec))
        assert code in refused(killed.cluster, "alone", deployment("escape", **spec))
        assert code in refused(killed.cluster, "alone-unclassified", pod("escape", "nl-depv", **spec))

    def test_unclassified_applications_run_anywhere(self, killed: Installation) -> None:
        apply(killed.cluster, "alone-unclassified", deployment("free", 3, nodeSelector={"kubernetes.io/os": "linux"}))
        assert GOVERNMENT not in pools(killed.cluster, "alone-unclassified", "free", 3)

    def test_namespaces_are_still_guarded(self, killed: Installation) -> None:
        with pytest.raises(RequestError, match=Code.UNKNOWN_CLASSIFICATION):
            killed.namespace("typo", "nl-dpev")

    def test_what_exists_can_be_scaled_down_finished_and_deleted(self, killed: Installation) -> None:
        killed.cluster.kubectl("-n", "alone", "scale", "deployment", "api", "--replicas=1")
        assert pools(killed.cluster, "alone", "api", 1) == {GOVERNMENT}
        killed.cluster.kubectl("delete", "namespace", "alone", "alone-unclassified", "--timeout=60s")

    def test_a_new_controller_takes_over_and_finds_all_in_order(self, killed: Installation) -> None:
        killed.classify("nl-depv", DUTCH | {"title": "Departementaal Vertrouwelijk (2026)"})
        controller = killed.controller()
        killed.wait_ready("nl-depv", 40)
        assert controller.metric("residency_policy_repairs_total") == 0


def controllers(installed: Installation) -> list[Controller]:
    return [controller for controller in installed.controllers if controller.alive]
