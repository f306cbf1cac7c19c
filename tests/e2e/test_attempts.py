"""No way round: every attempt gets its way without Residency, and none with it, with no controller running.

Two clusters of the same pools: one bare, one on which the compiled policies are in force.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane
from e2e.attempts import ATTEMPTS, CATALOGUE, PIPELINE, STRICT, Attempt, Refused, Site
from e2e.enforcement import SETTINGS, applying, enforce, expect
from e2e.storage_attempts import CLASSES, STORAGE_ATTEMPTS, STORAGE_CLASSES, UNSTORED
from golden import resolved
from keepalive import KeepAlive
from residency.api.names import CLASSIFICATION
from residency.core.judge import Catalogue
from residency.core.storage import StorageClass, default_class, foreign_claims, with_classes
from residency.core.surroundings import Surroundings
from residency.policy.compile import compile_policies

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
TABLE = ("| attempt | without Residency | with Residency |", "|---|---|---|")
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
BY_NAME = [pytest.param(attempt, id=attempt.name) for attempt in (*ATTEMPTS, *STORAGE_ATTEMPTS)]
SPECS = {**CATALOGUE, UNSTORED: {key: said for key, said in CATALOGUE[STRICT].items() if key != "storage"}}

results: dict[str, dict[str, str]] = {}
"""How each attempt ended, without and with Residency."""


# More countries, the same nodes.
_NODES = CATALOGUE[STRICT]["nodes"]
WIDER = resolved(
    {
        **CATALOGUE,
        STRICT: {
            "title": "Wider",
            "nodes": _NODES | {"anyOf": [{"countries": ["DE", "NL"], "deploymentModels": ["government"]}]},
        },
    }
)


class Ground:
    """A cluster to make attempts on."""

    def __init__(
        self, cluster: ControlPlane, administrator: KeepAlive, pipeline: KeepAlive, catalogue: Catalogue | None
    ) -> None:
        self.cluster = cluster
        self._administrator = administrator
        self._pipeline = pipeline
        self._catalogue = catalogue
        self._numbers = itertools.count()

    def site(self) -> Site:
        """A fresh classified namespace, and one beside it without a classification."""
        number = next(self._numbers)
        names = f"attempt-{number}", f"attempt-{number}-unclassified"
        for name, labels in zip(names, ({CLASSIFICATION: STRICT}, {}), strict=True):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            path = f"/api/v1/namespaces/{name}?fieldManager=owner&force=true"
            expect(self._administrator.send("PATCH", path, body, "application/apply-patch+yaml"), 201)
            self.cluster.wait_for(lambda name=name: self._without_account(name))  # type: ignore[misc]
        return Site(self.cluster, *names, self._administrator, self._pipeline, self._changing, self.compile)

    def _changing(self) -> Iterator[None]:
        if self._catalogue is None:
            yield from itertools.repeat(None, 20)
            return
        for catalogue in (WIDER, self._catalogue):
            yield from applying(self._administrator, compile_policies(catalogue, SETTINGS).objects)
        self.compile()

    def compile(self) -> None:
        """Bring into force what a controller would, for the cluster as it is now."""
        if self._catalogue is None:
            return
        classes = [StorageClass.from_metadata(item["metadata"]) for item in self._items(CLASSES)]
        catalogue = {name: with_classes(c, classes) for name, c in self._catalogue.items()}
        labels = {
            item["metadata"]["name"]: item["metadata"]["labels"][CLASSIFICATION]
            for item in self._items("/api/v1/namespaces?labelSelector=" + CLASSIFICATION)
        }
        claims = foreign_claims(self._items("/api/v1/persistentvolumeclaims"), labels, catalogue)
        enforce(self._administrator, catalogue, surroundings=Surroundings(default_class(classes), claims))

    def _items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = expect(self._administrator.send("GET", path), 200).body["items"]
        return items

    def _without_account(self, namespace: str) -> str | None:
        answer = self._administrator.send("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        return None if answer.status == 200 else f"{namespace} has no default account yet"


@contextmanager
def ground(catalogue: Catalogue | None) -> Iterator[Ground]:
    with ExitStack() as stack:
        cluster = stack.enter_context(ControlPlane(type_checking=False))
        cluster.add_pools(DEFAULT_POOLS)
        administrator = stack.enter_context(KeepAlive(cluster.kubeconfig))
        pipeline = stack.enter_context(KeepAlive(cluster.user_kubeconfig(PIPELINE)))
        role: dict[str, Any] = {
            "metadata": {"name": PIPELINE},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": VERBS}],
        }
        root = "/apis/rbac.authorization.k8s.io/v1"
        expect(administrator.send("POST", f"{root}/clusterroles", role), 201)
        binding = {
            "metadata": {"name": PIPELINE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": PIPELINE},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": PIPELINE}],
        }
        expect(administrator.send("POST", f"{root}/clusterrolebindings", binding), 201)
        for item in STORAGE_CLASSES:
            expect(administrator.send("POST", CLASSES, item), 201)
        made = Ground(cluster, administrator, pipeline, catalogue)
        made.compile()
        yield made


@pytest.fixture(scope="module")
def without() -> Iterator[Ground]:
    with ground(None) as bare:
        yield bare


@pytest.fixture(scope="module")
def guarded() -> Iterator[Ground]:
    with ground(resolved(SPECS)) as enforced:
        yield enforced


def outcome(attempt: Attempt, site: Site) -> str:
    """How an attempt ended: "works", "harmless", or the message with which it was refused."""
    try:
        return "works" if attempt.run(site) else "harmless"
    except Refused as refusal:
        return str(refusal)


@pytest.mark.parametrize("attempt", BY_NAME)
def test_the_attempt_gets_its_way_without_residency(attempt: Attempt, without: Ground) -> None:
    ended = outcome(attempt, without.site())
    assert (ended != "works") == attempt.kubernetes_refuses, ended
    results.setdefault(attempt.name, {})["without"] = "Kubernetes refuses" if attempt.kubernetes_refuses else ended


@pytest.mark.parametrize("attempt", BY_NAME)
def test_the_attempt_gets_nowhere_with_residency(attempt: Attempt, guarded: Ground) -> None:
    ended = outcome(attempt, guarded.site())
    if attempt.code:
        assert f" {attempt.code}" in ended
        told = str(attempt.code)
    else:
        assert ended == "harmless"
        told = "Kubernetes refuses" if attempt.kubernetes_refuses else ended
    results.setdefault(attempt.name, {})["with"] = told


def test_the_security_page_tells_of_every_attempt_how_it_ends_and_of_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [f"| {name} | {ends.get('without', '?')} | {ends.get('with', '?')} |" for name, ends in results.items()]
    with capsys.disabled():
        print("", *TABLE, *rows, sep="\n")
    assert len(rows) == len(BY_NAME)
    _, _, after = SECURITY.read_text().partition("\n".join([*TABLE, ""]))
    table, _, _ = after.partition("\n\n")
    assert table.splitlines() == rows
