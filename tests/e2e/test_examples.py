"""The examples: the API server takes them as they are, and Residency puts or refuses them as they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import CommandError, ControlPlane
from demo import examples, refusals
from demo.checks import Checks
from demo.examples import Workload
from demo.judging import Judging
from demo.setting import Setting, start_controller
from demo.sight import Sight
from e2e.installation import Installation

APPLICATIONS = examples.applications()
REFUSALS = examples.refusals()
KINDS = {
    "Pod",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
}


def name_of(workload: Workload) -> str:
    return workload.file.stem


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(type_checking=False) as cluster:
        cluster.add_pools()
        cluster.add_storage_class()
        yield cluster


@pytest.fixture(scope="module")
def unguarded(cluster: ControlPlane) -> dict[Path, str]:
    """What the API server says to every file before Residency is there: nothing where it takes it."""
    cluster.kubectl("apply", "-f", str(examples.NAMESPACES))
    for document in examples.documents(examples.NAMESPACES):
        cluster.kubectl("label", "namespace", document["metadata"]["name"], "residency.dev/classification-")
    return {file: refusal(cluster, file) for file in files()}


@pytest.fixture(scope="module")
def settled(
    cluster: ControlPlane, unguarded: dict[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judging]:
    """Residency in force, and every example applied to a classified namespace and settled."""
    assert not any(unguarded.values())
    cluster.kubectl("delete", "-f", str(examples.NAMESPACES))
    installation = Installation(cluster, tmp_path_factory.mktemp("controller"))
    installation.install()
    cluster.kubectl("apply", "-f", str(examples.CLASSIFICATIONS))
    try:
        setting = Setting(cluster, installation, start_controller(installation))
        setting.wait_until_in_force()
        setting.apply_applications()
        judging = Judging.by(Sight(cluster))
        checks = Checks()
        checks.soon(lambda: judging.unsettled(APPLICATIONS), "every example to run all its pods", 90)
        assert not checks.failures
        yield judging
    finally:
        installation.close()


def files() -> list[Path]:
    return sorted({each.file for each in (*APPLICATIONS, *REFUSALS)})


def refusal(cluster: ControlPlane, file: Path) -> str:
    """What the API server says against a file; empty where it would take it."""
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", str(file))
    except CommandError as error:
        return error.stderr
    return ""


def test_there_is_an_application_of_every_kind() -> None:
    assert {each.kind for each in APPLICATIONS} == KINDS


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_an_example_is_taken_where_there_is_no_residency(unguarded: dict[Path, str], file: Path) -> None:
    assert unguarded[file] == ""


@pytest.mark.parametrize("workload", APPLICATIONS, ids=name_of)
def test_an_application_runs_only_on_the_pools_that_it_names_and_that_its_classifications_allow(
    settled: Judging, workload: Workload
) -> None:
    pods = settled.of(workload)
    assert len(pods) == settled.expected(workload)
    assert settled.outside([workload], pods) == []


@pytest.mark.parametrize("workload", APPLICATIONS, ids=name_of)
def test_an_application_is_accepted_in_an_unclassified_namespace_with_residency_in_force(
    settled: Judging, cluster: ControlPlane, workload: Workload
) -> None:
    # The others in its file (a Service, say) are not judged, so only this one is tried.
    manifest = dict(workload.manifest)
    manifest["metadata"] = manifest["metadata"] | {"namespace": "intranet", "name": f"{workload.name}-unclassified"}
    path = refusals.path_of(Workload(workload.file, manifest)).rpartition("/")[0]
    answer = cluster.request("POST", f"{path}?dryRun=All", manifest)
    assert answer["metadata"]["namespace"] not in settled.labels


@pytest.mark.parametrize("attempt", refusals.attempts("nl-depv"), ids=lambda attempt: attempt.title)
def test_an_attempt_is_refused_with_the_code_that_it_names_and_changes_nothing(
    settled: Judging, cluster: ControlPlane, attempt: refusals.Attempt
) -> None:
    in_use = Checks()
    in_use.soon(settled.use_unknown, "the status of every classification to say who uses it")
    assert not in_use.failures
    (outcome,) = refusals.make(cluster, [attempt])
    assert outcome.as_it_should, outcome.found
