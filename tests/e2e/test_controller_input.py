"""Whatever the API server lets through, and what it would not: the controller lives on, and others are served."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane import ControlPlane, RequestError
from e2e.installation import CLASSIFICATIONS, Controller, Installation, wait_for
from strategies import NAMES, specs

Object = dict[str, Any]

CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/dataclassifications.residency.dev"
DUTCH: Final = {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}}
# Seconds: with long lists the API server compiles for a while, and every change is a revision.
PATIENCE: Final = 180
# Those that generated classifications include, so that they include one another, and in circles; and some more.
SOME_NAMES: Final = (*NAMES, *(f"more-{number}" for number in range(5)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(scheduler=False, kwok=False, type_checking=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(cluster, tmp_path_factory.mktemp("controllers"), "--resync-seconds", "4")
    installation.install()
    installation.controller()
    installation.classify("nl-dutch", DUTCH)
    installation.wait_ready("nl-dutch")
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def controller(installed: Installation) -> Controller:
    return installed.controllers[0]


def seen(installed: Installation, name: str) -> bool:
    """Whether the controller has judged a classification as it is now."""
    return bool(installed.condition(name))


@settings(
    max_examples=1,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(drawn=st.lists(specs(), min_size=len(SOME_NAMES), max_size=len(SOME_NAMES)))
def test_whatever_the_schema_lets_through_is_judged(
    installed: Installation, controller: Controller, drawn: list[Object]
) -> None:
    sent = [name for name, spec in zip(SOME_NAMES, drawn, strict=True) if accepted(installed, name, spec)]
    for name in sent:
        wait_for(lambda name=name: seen(installed, name), PATIENCE, saying=f"{name} to be judged")  # type: ignore[misc]
    installed.wait_ready("nl-dutch", PATIENCE)
    assert controller.alive
    assert not [line for line in controller.lines if "exception" in line]
    remove(installed, sent)


def accepted(installed: Installation, name: str, spec: Mapping[str, Any]) -> bool:
    try:
        installed.classify(name, spec)
    except RequestError as error:
        if error.status != 422:
            raise
        return False
    return True


def remove(installed: Installation, sent: list[str]) -> None:
    for name in sent:
        installed.cluster.request("PATCH", f"{CLASSIFICATIONS}/{name}", {"spec": {"includes": None}})

    def deleted(name: str) -> bool:
        try:
            installed.delete(f"{CLASSIFICATIONS}/{name}")
        except RequestError as error:
            return error.status == 404
        return False

    for name in sent:
        wait_for(lambda name=name: deleted(name), PATIENCE, saying=f"{name} to go")  # type: ignore[misc]


@pytest.mark.parametrize(
    "rubbish",
    [
        {"placement": {"generation": 9, "alternatives": [{"requirements": [{"key": "", "operator": "Gt"}]}]}},
        {"placement": {"generation": 0}, "revision": "none", "observedGeneration": 99},
        {"usedBy": {"namespaces": 7, "namespaceNames": ["nobody"], "classifications": ["nobody"]}},
        {"countrySets": [{"name": "eu", "version": "never"}]},
        {"conditions": [], "placement": None, "usedBy": None, "countrySets": None, "revision": None},
    ],
)
def test_rubbish_in_a_status_is_put_right(installed: Installation, rubbish: Object) -> None:
    path = f"{CLASSIFICATIONS}/nl-dutch"
    installed.cluster.request("PATCH", f"{path}/status", {"status": rubbish})

    def right() -> bool:
        status = installed.classification("nl-dutch")["status"]
        (alternative,) = status.get("placement", {}).get("alternatives", [{}])
        values = [requirement.get("values") for requirement in alternative.get("requirements", ())]
        return (
            values == [["NL"]]
            and status["placement"]["generation"] == status["observedGeneration"] == 1
            and status.get("usedBy") == {"namespaces": 0, "namespaceNames": [], "classifications": []}
            and status.get("countrySets") == []
            and status.get("revision", "none") in installed.condition("nl-dutch").get("message", "")
        )

    wait_for(right, saying="the status to be what it was")


def test_what_cannot_be_read_keeps_what_was_in_force_and_hurts_nobody(
    installed: Installation, controller: Controller
) -> None:
    """As after a downgrade, or a change of the schema behind our back."""
    installed.classify("odd", {"title": "Odd", "nodes": {"anyOf": [{"countries": ["DE"]}]}})
    installed.wait_ready("odd")
    definition = installed.cluster.request("GET", CRD)
    version = definition["spec"]["versions"][0]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    permissive = version | {"schema": {"openAPIV3Schema": anything}}
    installed.cluster.request("PATCH", CRD, {"spec": {"versions": [permissive]}})
    try:
        specs_: list[Any] = [
            {"title": "Odd", "nodes": {"anyOf": [{"countries": ["EL"]}]}},
            {"title": 7},
            {"nodes": "everywhere", "includes": "all"},
            [],
            None,
        ]
        wait_for(lambda: accepted_as_is(installed, specs_[1]), saying="the schema to be permissive")
        for spec in specs_:
            installed.cluster.request("PATCH", f"{CLASSIFICATIONS}/odd", {"spec": None})
            installed.cluster.request("PATCH", f"{CLASSIFICATIONS}/odd", {"spec": spec})
            unready = installed.wait_condition("odd", "Ready", "False", "Invalid")
            assert "spec" in unready["message"]
            assert "Generation 1 stays in force" in unready["message"]
        assert installed.classification("odd")["status"]["placement"]["generation"] == 1
        assert controller.alive
        installed.wait_ready("nl-dutch")
    finally:
        installed.cluster.request("PATCH", f"{CLASSIFICATIONS}/odd", {"spec": {"title": "Odd", "nodes": None}})
        installed.cluster.request("PATCH", CRD, {"spec": {"versions": [version]}})
    assert not [line for line in controller.lines if "exception" in line]


def accepted_as_is(installed: Installation, spec: Any) -> bool:
    try:
        installed.cluster.request("PATCH", f"{CLASSIFICATIONS}/odd", {"spec": spec})
    except RequestError:
        return False
    return True
