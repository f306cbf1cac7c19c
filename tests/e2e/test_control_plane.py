"""The control plane that everything else is tested on: what it promises to the other tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import CommandError, ControlPlane, ControlPlaneError, Pool, RequestError, StaticManifests
from residency.api.names import Fact

AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
STATIC_POLICY: list[dict[str, Any]] = [
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-forbidden-names.static.k8s.io"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["namespaces"],
                    }
                ]
            },
            "validations": [{"expression": "object.metadata.name != 'forbidden'", "message": "Forbidden from disk."}],
        },
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-forbidden-names.static.k8s.io"},
        "spec": {"policyName": "no-forbidden-names.static.k8s.io", "validationActions": ["Deny"]},
    },
]
DATABASE = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database}
spec:
  serviceName: database
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec: {containers: [{name: database, image: database}]}
  volumeClaimTemplates:
  - metadata: {name: at-once}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
  - metadata: {name: with-the-pod}
    spec:
      storageClassName: with-the-pod
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
"""


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def two_api_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Highly available, with an audit log and a static policy; nothing runs pods here."""
    manifests = tmp_path_factory.mktemp("static")
    (manifests / "policy.yaml").write_text(yaml.safe_dump_all(STATIC_POLICY))
    with ControlPlane(
        apiservers=2,
        audit_policy=AUDIT_POLICY,
        static_manifests=StaticManifests(validating=manifests),
        controller_manager=False,
        scheduler=False,
        kwok=False,
    ) as cluster:
        yield cluster


def served(cluster: ControlPlane, group: str) -> set[tuple[str, str]]:
    """What an API group serves: versions and kinds."""
    versions = [entry["version"] for entry in cluster.request("GET", f"/apis/{group}")["versions"]]
    resources = {version: cluster.request("GET", f"/apis/{group}/{version}") for version in versions}
    return {(version, resource["kind"]) for version, found in resources.items() for resource in found["resources"]}


def namespace_manifest(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def test_pods_are_scheduled_and_become_ready(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "deployment", "web", "--image=web", "--replicas=3", "-n", namespace)

    control_plane.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    pods = json.loads(control_plane.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
    assert len(pods) == 3
    assert all(pod["spec"]["nodeName"] for pod in pods)


def test_jobs_complete(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "job", "once", "--image=once", "-n", namespace)

    control_plane.kubectl("wait", "--for=condition=complete", "job/once", "-n", namespace, "--timeout=60s")


def test_claims_get_volumes_at_once_or_with_their_pod(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_storage_class("with-the-pod", default=False, wait_for_pod=True)
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=DATABASE)
    control_plane.kubectl("rollout", "status", "statefulset/database", "-n", namespace, "--timeout=60s")

    claims = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims")["items"]
    assert [claim["status"]["phase"] for claim in claims] == ["Bound", "Bound"]
    volumes = control_plane.request("GET", "/api/v1/persistentvolumes")["items"]
    pinned = {
        volume["spec"]["storageClassName"]: "nodeAffinity" in volume["spec"]
        for volume in volumes
        if volume["spec"]["claimRef"]["namespace"] == namespace
    }
    assert pinned == {"standard": False, "with-the-pod": True}


def test_a_volume_goes_with_its_claim(control_plane: ControlPlane, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "claim"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    control_plane.request("POST", claims, claim)
    bound = ("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/claim", "-n", namespace, "--timeout=60s")
    control_plane.kubectl(*bound)
    volume = control_plane.request("GET", f"{claims}/claim")["spec"]["volumeName"]
    control_plane.request("DELETE", f"{claims}/claim")

    control_plane.kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=60s")


def test_a_tainted_pool_takes_only_those_who_tolerate_it(control_plane: ControlPlane, namespace: str) -> None:
    selector = json.dumps({"spec": {"nodeSelector": {Fact.PROVIDER: "odc-noord"}}})
    control_plane.kubectl("run", "stranger", "--image=x", "-n", namespace, "--overrides", selector)

    waiting = control_plane.kubectl(
        *("wait", "--for=condition=PodScheduled=false", "pod/stranger", "-n", namespace, "--timeout=60s")
    )
    assert "condition met" in waiting


def test_a_kubelet_cannot_give_its_own_node_a_fact(control_plane: ControlPlane) -> None:
    kubelet = control_plane.user_kubeconfig("system:node:plain-0", ["system:nodes"])

    with pytest.raises(CommandError, match="is not allowed to modify labels"):
        control_plane.kubectl("label", "node", "plain-0", f"{Fact.COUNTRY}=NL", kubeconfig=kubelet)


def test_users_have_the_rights_that_rbac_gives_them(control_plane: ControlPlane, namespace: str) -> None:
    nobody = control_plane.user_kubeconfig("eve")
    auditor = control_plane.user_kubeconfig("ann", ["auditors"])
    control_plane.kubectl(
        *("create", "rolebinding", "auditors", "--clusterrole=view", "--group=auditors", "-n", namespace)
    )

    refusal = control_plane.kubectl("get", "pods", "-n", namespace, kubeconfig=nobody, check=False)
    assert 'User "eve" cannot list resource "pods"' in refusal
    assert control_plane.kubectl("get", "pods", "-n", namespace, kubeconfig=auditor) == ""


def test_a_service_account_can_be_impersonated_with_a_token(control_plane: ControlPlane) -> None:
    kubeconfig = control_plane.service_account_kubeconfig("default", "default")

    whoami = json.loads(control_plane.kubectl("auth", "whoami", "-o", "json", kubeconfig=kubeconfig))
    assert whoami["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


def test_helm_knows_no_other_cluster(control_plane: ControlPlane) -> None:
    assert control_plane.helm("list", "--all-namespaces", "--short").strip() == ""


def test_the_scheduler_comes_back_after_it_was_killed(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kill_component("kube-scheduler")
    control_plane.kubectl("run", "waiting", "--image=x", "-n", namespace)
    assert "kube-scheduler" not in control_plane.components
    control_plane.start_component("kube-scheduler")

    control_plane.kubectl("wait", "--for=condition=Ready", "pod/waiting", "-n", namespace, "--timeout=60s")


def test_several_run_at_once_and_know_nothing_of_each_other(
    control_plane: ControlPlane, two_api_servers: ControlPlane
) -> None:
    two_api_servers.request("POST", "/api/v1/namespaces", namespace_manifest("only-there"))

    with pytest.raises(RequestError, match='namespaces "only-there" not found'):
        control_plane.request("GET", "/api/v1/namespaces/only-there")


def test_api_servers_share_their_objects(two_api_servers: ControlPlane) -> None:
    two_api_servers.request("POST", "/api/v1/namespaces", namespace_manifest("shared"), apiserver=0)

    assert two_api_servers.request("GET", "/api/v1/namespaces/shared", apiserver=1)
    second = two_api_servers.user_kubeconfig("admin", ["system:masters"], apiserver=1)
    assert "shared" in two_api_servers.kubectl("get", "namespaces", kubeconfig=second)


def test_one_api_server_answers_while_the_other_is_down(two_api_servers: ControlPlane) -> None:
    two_api_servers.kill_component("kube-apiserver")
    assert two_api_servers.request("GET", "/api/v1/namespaces/default", apiserver=1)
    with pytest.raises(OSError, match="refused"):
        two_api_servers.request("GET", "/api/v1/namespaces/default", apiserver=0)

    two_api_servers.start_component("kube-apiserver")
    assert two_api_servers.request("GET", "/api/v1/namespaces/default", apiserver=0)


def test_nothing_is_lost_when_etcd_is_killed(two_api_servers: ControlPlane) -> None:
    two_api_servers.request("POST", "/api/v1/namespaces", namespace_manifest("durable"))
    two_api_servers.kill_component("etcd")
    two_api_servers.start_component("etcd")

    assert two_api_servers.request("GET", "/api/v1/namespaces/durable")


def test_a_static_policy_is_in_force_on_every_api_server(two_api_servers: ControlPlane) -> None:
    for apiserver in range(2):
        with pytest.raises(RequestError, match=r"Forbidden from disk\."):
            two_api_servers.request("POST", "/api/v1/namespaces", namespace_manifest("forbidden"), apiserver=apiserver)


def test_every_api_server_writes_an_audit_log(two_api_servers: ControlPlane) -> None:
    logs = two_api_servers.audit_logs
    assert two_api_servers.audit_log == logs[0]
    for number, log in enumerate(logs):
        two_api_servers.request("GET", f"/api/v1/namespaces/default?marker={number}", apiserver=number)
        events = [json.loads(line) for line in log.read_text().splitlines()]

        assert any(event["requestURI"].endswith(f"marker={number}") for event in events)


def test_pods_can_be_created_without_a_controller_manager(two_api_servers: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "alone"},
        "spec": {"containers": [{"name": "alone", "image": "alone"}]},
    }
    created = two_api_servers.request("POST", "/api/v1/namespaces/default/pods", pod)

    assert created["metadata"]["uid"]


def test_nodes_without_kwok_are_refused_and_not_waited_for(two_api_servers: ControlPlane) -> None:
    with pytest.raises(ControlPlaneError, match="runs without it"):
        two_api_servers.add_pool(Pool("pool"))


def test_an_emulated_older_version_serves_what_that_version_served(control_plane: ControlPlane) -> None:
    group = "admissionregistration.k8s.io"
    with ControlPlane(emulated_version="1.35") as older:
        older.add_pool(Pool("old", nodes=1))
        version = older.request("GET", "/version")
        kinds = served(older, group)

    assert (version["emulationMajor"], version["emulationMinor"]) == ("1", "35")
    assert ("v1", "ValidatingAdmissionPolicy") in kinds
    assert "MutatingAdmissionPolicy" not in {kind for _, kind in kinds}
    assert ("v1", "MutatingAdmissionPolicy") in served(control_plane, group)


def test_an_api_server_that_does_not_start_shows_why_and_leaves_nothing() -> None:
    cluster = ControlPlane(apiserver_flags=["--no-such-flag"], controller_manager=False, scheduler=False, kwok=False)

    with pytest.raises(ControlPlaneError, match=r"(?s)kube-apiserver ended with status 1.*no-such-flag"):
        cluster.start()
    assert cluster.components == {}
    assert not cluster.folder.exists()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc, which only Linux has")
def test_it_listens_on_the_loopback_address_only(control_plane: ControlPlane, two_api_servers: ControlPlane) -> None:
    pids = [*control_plane.components.values(), *two_api_servers.components.values()]
    listening = [address for pid in pids for address in listening_addresses(pid)]

    assert len(listening) >= 10
    assert set(listening) == {"0100007F"}


def listening_addresses(pid: int) -> Iterator[str]:
    """The local addresses, as the kernel prints them, of the sockets that a process listens on."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                yield fields[1].partition(":")[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_stays_behind_of_a_control_plane_for_a_shell(number: signal.Signals, status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "controlplane", "up", "--no-pools"]
    shell = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        folder = printed_folder(shell)
        # The watchdog and the five components.
        assert len(processes_of(folder)) == 6
        shell.send_signal(number)
        assert shell.wait(timeout=20) == status
    finally:
        shell.kill()
        shell.communicate()

    deadline = time.monotonic() + 15
    while processes_of(folder) or folder.exists():
        assert time.monotonic() < deadline, f"still there: {processes_of(folder)}, {folder}"
        time.sleep(0.05)


def printed_folder(shell: "subprocess.Popen[str]") -> Path:
    """The folder that the printed kubeconfig is in."""
    assert shell.stdout is not None
    exported = next(line for line in shell.stdout if "export KUBECONFIG=" in line)
    return Path(exported.partition("=")[2].strip()).parent


def processes_of(folder: Path) -> list[str]:
    """The processes whose arguments name the folder; the dead that nobody reaped have none."""
    lines = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if str(folder) in line]
