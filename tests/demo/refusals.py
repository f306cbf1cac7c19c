"""Attempts that must fail, made with kubectl as a developer makes them, by an administrator of the cluster."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from controlplane import CommandError, ControlPlane, RequestError
from demo.examples import ROOT, Object, Workload, refusals
from residency.api.names import CLASSIFICATION, Code

# Several at once: starting kubectl takes longer than the answer.
_AT_ONCE: Final = 4

_PATHS: Final = {
    "Namespace": "/api/v1/namespaces/{name}",
    "Pod": "/api/v1/namespaces/{namespace}/pods/{name}",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
    "StatefulSet": "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}",
    "DaemonSet": "/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}",
    "ReplicaSet": "/apis/apps/v1/namespaces/{namespace}/replicasets/{name}",
    "ReplicationController": "/api/v1/namespaces/{namespace}/replicationcontrollers/{name}",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs/{name}",
    "CronJob": "/apis/batch/v1/namespaces/{namespace}/cronjobs/{name}",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One command that must be refused with that code, and what must be as before afterwards."""

    title: str
    code: str
    command: tuple[str, ...]
    path: str
    """The object that it would make or change."""
    before: Object | None
    """What that object must still look like, as far as this says; None when it must not be there."""

    @property
    def typed(self) -> str:
        """The command as one would type it."""
        return _relative(" ".join(("kubectl", *self.command)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    attempt: Attempt
    refused: bool
    said: str
    undone: bool
    """Whether everything is as before."""

    @property
    def as_it_should(self) -> bool:
        """Whether it was refused with the right code and left nothing behind."""
        return self.refused and self.attempt.code in self.said and self.undone

    @property
    def found(self) -> str:
        """What came of it in words, for when that is not as it should be."""
        return (
            ("refused" if self.refused else "accepted") + ("" if self.undone else ", with an effect") + f": {self.said}"
        )


def path_of(workload: Workload) -> str:
    """Where the API server has an object."""
    return _PATHS[workload.kind].format(namespace=workload.namespace, name=workload.name)


def attempts(classification: str) -> list[Attempt]:
    """The refused examples, and what is done without a file to namespaces and to a classification in use."""
    of_files = [
        Attempt(each.attempt, each.refused, ("apply", "-f", str(each.file)), path_of(each), None) for each in refusals()
    ]
    others = [
        Attempt(
            "A namespace that the cluster itself lives in",
            Code.EXCLUDED_NAMESPACE,
            ("label", "namespace", "kube-system", f"{CLASSIFICATION}={classification}"),
            "/api/v1/namespaces/kube-system",
            {"metadata": {"labels": {"kubernetes.io/metadata.name": "kube-system"}}},
        ),
        Attempt(
            "Deleting a classification that is in use",
            Code.CLASSIFICATION_IN_USE,
            ("delete", "dataclassification", classification, "--wait=false"),
            f"/apis/residency.dev/v1alpha1/dataclassifications/{classification}",
            {"metadata": {"name": classification}},
        ),
    ]
    return sorted([*of_files, *others], key=lambda attempt: (attempt.code, attempt.command))


def make(cluster: ControlPlane, tried: Sequence[Attempt]) -> list[Outcome]:
    """Make the attempts, several at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda attempt: _make(cluster, attempt), tried))


def _make(cluster: ControlPlane, attempt: Attempt) -> Outcome:
    try:
        said, refused = cluster.kubectl(*attempt.command), False
    except CommandError as error:
        said, refused = error.stderr, True
    return Outcome(attempt, refused, _relative(" ".join(said.split())), _undone(cluster, attempt))


def _undone(cluster: ControlPlane, attempt: Attempt) -> bool:
    try:
        found = cluster.request("GET", attempt.path)
    except RequestError as error:
        return attempt.before is None and error.status == 404
    if attempt.before is None or "deletionTimestamp" in found["metadata"]:
        return False
    return all(found["metadata"].get(key) == value for key, value in attempt.before["metadata"].items())


def _relative(text: str) -> str:
    return text.replace(f"{ROOT}/", "")
