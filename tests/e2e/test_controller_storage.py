"""The controller and storage: StorageClasses by their labels, and claims from before their namespace was classified."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from controlplane import ControlPlane, RequestError
from e2e.installation import Controller, Installation, wait_for
from e2e.storage_attempts import CLASSES, NL_DISK, US_DISK, claim, ephemeral, storage_class, volume
from residency.api.names import CLASSIFICATION, DEFAULT_CLASS, Code, Fact

Object = dict[str, Any]

STORED: Final = {"title": "Dutch", "storage": {"classSelector": {"matchLabels": {Fact.COUNTRY: "NL"}}}}
LABEL: Final = "nl-stored"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with ControlPlane(scheduler=False, kwok=False, type_checking=False) as cluster:
        for item in (storage_class(NL_DISK, "NL"), storage_class(US_DISK)):
            cluster.request("POST", CLASSES, item)
        # Only what wakes it makes it look: the tests are over before it would by itself.
        installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), "--resync-seconds", "600")
        installation.install()
        installation.controller()
        installation.classify(LABEL, STORED)
        installation.wait_ready(LABEL)
        yield installation
        installation.close()


@pytest.fixture
def controller(installed: Installation) -> Controller:
    return installed.controllers[0]


def allowed(installed: Installation) -> list[str]:
    """The StorageClasses that the status names."""
    storage: Object = installed.classification(LABEL)["status"]["placement"].get("storage", {})
    return list(storage.get("classes", []))


def answer(installed: Installation, namespace: str, kind: str, body: Object) -> str:
    """What the API server says to a dry run: nothing where it takes it."""
    try:
        installed.cluster.request("POST", f"/api/v1/namespaces/{namespace}/{kind}?dryRun=All", body)
    except RequestError as error:
        return str(error)
    return ""


def claims(installed: Installation, namespace: str, storage_class: str | None) -> str:
    return answer(installed, namespace, "persistentvolumeclaims", claim(storage_class=storage_class))


def pods(installed: Installation, namespace: str, source: Object) -> str:
    spec = {"containers": [{"name": "app", "image": "app"}], **volume(source)}
    return answer(installed, namespace, "pods", {"metadata": {"name": "app"}, "spec": spec})


def account(installed: Installation, namespace: str) -> None:
    """Wait until pods can be made in a namespace."""
    wait_for(lambda: installed.exists(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))


def test_a_class_is_allowed_as_soon_as_it_is_labelled_and_no_longer_than_that(installed: Installation) -> None:
    installed.namespace("relabelled", LABEL)
    assert allowed(installed) == [NL_DISK]
    wait_for(lambda: Code.STORAGE_CLAIM in claims(installed, "relabelled", US_DISK))
    assert claims(installed, "relabelled", NL_DISK) == ""
    for country, classes in (("NL", [NL_DISK, US_DISK]), (None, [NL_DISK])):
        body = {"metadata": {"labels": {Fact.COUNTRY: country}}}
        installed.cluster.request("PATCH", f"{CLASSES}/{US_DISK}", body)
        wait_for(lambda classes=classes: allowed(installed) == classes, 15)  # type: ignore[misc]
        refused = claims(installed, "relabelled", US_DISK)
        assert (refused == "") == (US_DISK in classes), refused
        installed.wait_ready(LABEL)


def test_a_new_class_and_a_deleted_one_are_seen(installed: Installation) -> None:
    installed.namespace("extended", LABEL)
    installed.cluster.request("POST", CLASSES, storage_class("nl-new", "NL"))
    wait_for(lambda: allowed(installed) == [NL_DISK, "nl-new"], 15)
    wait_for(lambda: claims(installed, "extended", "nl-new") == "")
    installed.delete(f"{CLASSES}/nl-new")
    wait_for(lambda: allowed(installed) == [NL_DISK], 15)
    wait_for(lambda: Code.STORAGE_CLAIM in claims(installed, "extended", "nl-new"))


def test_ephemeral_volumes_that_name_no_class_are_judged_by_the_default_of_the_moment(installed: Installation) -> None:
    installed.namespace("defaulted", LABEL)
    account(installed, "defaulted")
    wait_for(lambda: "has no default" in pods(installed, "defaulted", ephemeral(None)))
    path = f"{CLASSES}/{NL_DISK}"
    installed.cluster.request("PATCH", path, {"metadata": {"annotations": {DEFAULT_CLASS[0]: "true"}}})
    wait_for(lambda: pods(installed, "defaulted", ephemeral(None)) == "", 15)
    installed.cluster.request("PATCH", path, {"metadata": {"annotations": {DEFAULT_CLASS[0]: None}}})
    wait_for(lambda: "has no default" in pods(installed, "defaulted", ephemeral(None)), 15)


def test_a_claim_from_before_is_not_mounted_any_more_and_others_are(
    installed: Installation, controller: Controller
) -> None:
    installed.namespace("grown")
    account(installed, "grown")
    path = "/api/v1/namespaces/grown/persistentvolumeclaims"
    installed.cluster.request("POST", path, claim("abroad", US_DISK))
    installed.cluster.request("POST", path, claim("at-home", NL_DISK))
    abroad, at_home = ({"persistentVolumeClaim": {"claimName": name}} for name in ("abroad", "at-home"))
    assert pods(installed, "grown", abroad) == ""
    body = {"metadata": {"labels": {CLASSIFICATION: LABEL}}}
    installed.cluster.request("PATCH", "/api/v1/namespaces/grown", body)
    wait_for(lambda: Code.VOLUME in pods(installed, "grown", abroad), 15)
    assert pods(installed, "grown", at_home) == ""
    # What was found stays in force without a controller.
    controller.kill()
    assert "mounts claim abroad, which is older and not allowed" in pods(installed, "grown", abroad)
    successor = installed.controller()
    wait_for(lambda: successor.leads and successor.get("/readyz")[0] == 200, 60)
    installed.controllers.reverse()
    installed.delete(f"{path}/abroad")
    wait_for(lambda: not installed.exists(f"{path}/abroad"))


def test_an_unscheduled_pod_with_a_volume_from_before_is_reported(installed: Installation) -> None:
    installed.namespace("waiting")
    account(installed, "waiting")
    spec = {"containers": [{"name": "app", "image": "app"}], **volume({"nfs": {"server": "192.0.2.1", "path": "/"}})}
    installed.cluster.request("POST", "/api/v1/namespaces/waiting/pods", {"metadata": {"name": "app"}, "spec": spec})
    body = {"metadata": {"labels": {CLASSIFICATION: LABEL}}}
    installed.cluster.request("PATCH", "/api/v1/namespaces/waiting", body)
    told = installed.wait_condition(LABEL, "Enforced", "False", "PodsWaiting")
    assert "waiting/app" in told["message"]
    installed.delete("/api/v1/namespaces/waiting/pods/app?gracePeriodSeconds=0")
