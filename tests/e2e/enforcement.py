"""Compiled policies on a bare API server, without a controller: what enforces when nobody is there."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from keepalive import Answer, KeepAlive
from residency.api.names import CANARY, CLASSIFICATION, ENFORCEMENT
from residency.controller.rollout import as_revision, provisional_of, steps
from residency.core.judge import Catalogue
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.policy.canary import Seen, canary_pod, seen
from residency.policy.compile import Settings, compile_policies

SETTINGS = Settings(own_namespace="residency-system", canary_namespace="residency-canary")
PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}
IN_FORCE_SECONDS = 30.0


def expect(answer: Answer, *statuses: int) -> Answer:
    """Return the answer if it has one of the statuses; fail with what the API server said otherwise."""
    assert answer.status in statuses, f"{answer.status}: {answer.message}"
    return answer


def add_namespace(api: KeepAlive, name: str, classification: str | None = None, enforcement: str | None = None) -> None:
    """Create a namespace, classified or not, or label the one that is there."""
    said = {CLASSIFICATION: classification, ENFORCEMENT: enforcement}
    labels = {key: value for key, value in said.items() if value is not None}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    path = f"/api/v1/namespaces/{name}?fieldManager=tests&force=true"
    expect(api.send("PATCH", path, body, "application/apply-patch+yaml"), 200, 201)


def applying(api: KeepAlive, objects: Iterable[dict[str, Any]]) -> Iterator[None]:
    """Apply objects one after the other, and give way after each."""
    for item in objects:
        path = f"/apis/{item['apiVersion']}/{PLURALS[item['kind']]}/{item['metadata']['name']}"
        query = "?fieldManager=tests&force=true"
        expect(api.send("PATCH", path + query, item, "application/apply-patch+yaml"), 200, 201)
        yield


def enforce(
    api: KeepAlive,
    catalogue: Catalogue,
    namespaces: Iterable[tuple[str, str | None]] = (),
    surroundings: Surroundings = NOTHING_KNOWN,
    settings: Settings = SETTINGS,
) -> str:
    """Apply the policies of a catalogue, wait until the canary shows them in force; returns the revision."""
    compiled = compile_policies(catalogue, settings, surroundings)
    add_namespace(api, SETTINGS.canary_namespace, CANARY)
    # As the controller does: what the canary shows is written twice, or it would prove nothing of the others.
    *others, shown = steps(compiled.objects)
    provisional = provisional_of(compiled.revision)
    first = [as_revision(body, compiled.revision, provisional) for body in shown]
    for written, revision in (((*others[0], *others[1], *first), provisional), (shown, compiled.revision)):
        for _ in applying(api, written):
            pass
        _wait_until_seen(api, revision)
    for name, classification in namespaces:
        add_namespace(api, name, classification)
    return compiled.revision


def _wait_until_seen(api: KeepAlive, revision: str) -> None:
    deadline = time.monotonic() + IN_FORCE_SECONDS
    while (last := _canary(api)) is None or seen(last.message) != Seen(revision, revision):
        assert time.monotonic() < deadline, f"not in force: {last}"
        time.sleep(0.02)


def _canary(api: KeepAlive) -> Answer | None:
    path = f"/api/v1/namespaces/{SETTINGS.canary_namespace}/pods?dryRun=All"
    return api.send("POST", path, canary_pod())
