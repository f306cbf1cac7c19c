"""Several controllers, one leader; and API servers that come, go and lag."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from controlplane import ControlPlane, RequestError
from e2e.installation import ADMISSION, NAMESPACE, Controller, Installation, wait_for
from residency.api.names import PolicyName
from residency.policy.canary import canary_pod

LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/residency-controller"
GUARD: Final = f"{ADMISSION}/validatingadmissionpolicies/{PolicyName.GUARD_PODS}"
DUTCH: Final = {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}}
LEASE_SECONDS: Final = 9


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(apiservers=2, scheduler=False, kwok=False, type_checking=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    flags = ("--lease-seconds", str(LEASE_SECONDS), "--resync-seconds", "3", "--api-server", cluster.urls[1])
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), *flags)
    installation.install()
    leader = installation.controller()
    installation.classify("nl-dutch", DUTCH)
    installation.wait_ready("nl-dutch")
    leader.stop()
    yield installation
    installation.close()


@pytest.fixture
def pair(installed: Installation) -> Iterator[tuple[Controller, Controller]]:
    """A leader, and another that stands by."""
    leader = installed.controller()
    wait_for(lambda: leader.leads and leader.get("/readyz")[0] == 200)
    standby = installed.controller()
    yield leader, standby
    for controller in (leader, standby):
        controller.kill()
    release(installed)


def release(installed: Installation) -> None:
    """Free the Lease of whoever was killed."""
    installed.cluster.request("PATCH", LEASE, {"spec": {"holderIdentity": ""}})


def holder(installed: Installation) -> str:
    return str(installed.cluster.request("GET", LEASE)["spec"].get("holderIdentity", ""))


def leading(controller: Controller) -> bool:
    return controller.alive and controller.leads


def test_one_leads_and_the_other_is_ready_to(installed: Installation, pair: tuple[Controller, Controller]) -> None:
    leader, standby = pair
    assert leader.leads
    assert not standby.leads
    assert standby.get("/readyz") == (200, "ok\n")
    assert standby.get("/livez") == (200, "ok\n")
    time.sleep(LEASE_SECONDS + 1)
    assert leader.leads
    assert not standby.leads
    assert holder(installed)


def test_a_leader_that_stops_hands_over_at_once(installed: Installation, pair: tuple[Controller, Controller]) -> None:
    leader, standby = pair
    stopped = time.monotonic()
    assert leader.stop() == 0
    wait_for(lambda: leading(standby), LEASE_SECONDS)
    assert time.monotonic() - stopped < LEASE_SECONDS
    assert standby.stop() == 0
    assert holder(installed) == ""


def test_a_leader_that_is_killed_is_succeeded_by_one_that_repairs(
    installed: Installation, pair: tuple[Controller, Controller]
) -> None:
    leader, standby = pair
    leader.kill()
    installed.cluster.request("PATCH", GUARD, {"spec": {"failurePolicy": "Ignore"}})
    assert not standby.leads, "the Lease has not run out"
    wait_for(lambda: leading(standby), 2 * LEASE_SECONDS)
    wait_for(lambda: installed.cluster.request("GET", GUARD)["spec"]["failurePolicy"] == "Fail", 5)
    wait_for(lambda: standby.metric("residency_policy_repairs_total", cause="edited") == 1)


def test_a_leader_that_finds_another_in_its_lease_ends_with_an_error(
    installed: Installation, pair: tuple[Controller, Controller]
) -> None:
    leader, _ = pair
    installed.cluster.request("PATCH", LEASE, {"spec": {"holderIdentity": "somebody-else"}})
    assert leader.wait() == 1
    assert "is now held by somebody-else" in leader.last_lines


def test_in_force_means_at_every_api_server(installed: Installation, pair: tuple[Controller, Controller]) -> None:
    assert pair
    first, second = installed.cluster.urls
    message = installed.condition("nl-dutch")["message"]
    assert f"was seen to be in force at {first}, {second}" in message
    installed.classify("nl-dutch", DUTCH | {"title": "Dutch, changed"})
    installed.wait_ready("nl-dutch")
    revision = installed.classification("nl-dutch")["status"]["revision"]
    for number in range(2):
        with pytest.raises(RequestError, match=f"guard revision {revision}"):
            installed.cluster.request(
                "POST", "/api/v1/namespaces/residency-canary/pods?dryRun=All", canary_pod(), apiserver=number
            )


def test_an_api_server_that_cannot_be_reached_is_said_to_be_assumed(
    installed: Installation, pair: tuple[Controller, Controller]
) -> None:
    assert pair
    second = installed.cluster.urls[1]
    installed.cluster.stop_component("kube-apiserver-2")
    try:
        wait_for(lambda: f"assumed at {second}" in installed.condition("nl-dutch")["message"])
        assert installed.condition("nl-dutch")["status"] == "True"
    finally:
        installed.cluster.start_component("kube-apiserver-2")
    wait_for(lambda: "assumed" not in installed.condition("nl-dutch")["message"])


def test_a_leader_without_an_api_server_ends_with_an_error_and_does_well_when_started_again(
    installed: Installation, pair: tuple[Controller, Controller]
) -> None:
    leader, standby = pair
    installed.cluster.stop_component("kube-apiserver")
    try:
        assert leader.wait(3 * LEASE_SECONDS) == 1
        assert standby.alive, "who does not lead waits"
    finally:
        installed.cluster.start_component("kube-apiserver")
    wait_for(lambda: leading(standby), 3 * LEASE_SECONDS)
    wait_for(lambda: standby.get("/readyz")[0] == 200)


def test_a_renewed_token_is_read_from_its_file(installed: Installation, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    good = installed.cluster.service_account_kubeconfig(NAMESPACE, "residency-controller").read_text()
    kubeconfig.write_text(good)
    controller = Controller(installed.cluster.group, kubeconfig, tmp_path / "log", *installed.flags).start()
    try:
        wait_for(lambda: controller.leads and controller.get("/readyz")[0] == 200)
        # All tokens that were made before a ServiceAccount are worth nothing to the one that replaces it.
        account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/residency-controller"
        live = installed.cluster.request("GET", account)
        installed.delete(account)
        metadata = {key: live["metadata"][key] for key in ("name", "labels", "annotations")}
        installed.cluster.request("POST", account.rsplit("/", 1)[0], {"metadata": metadata})
        renewed = installed.cluster.service_account_kubeconfig(NAMESPACE, "residency-controller")
        kubeconfig.write_text(renewed.read_text())
        installed.classify("nl-dutch", DUTCH | {"title": "Dutch, once more"})
        installed.wait_ready("nl-dutch")
        wait_for(lambda: controller.get("/readyz")[0] == 200)
        assert controller.alive
    finally:
        controller.stop()
