"""Modes: what Enforce, Warn and Audit do, and who may lower them.

Every mode is reached in two ways, by the classification itself and by the label of a namespace, and does the same.
docs/modes.md has the table of what is seen here.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane import ControlPlane
from e2e.agreement import AUDIT_POLICY, AuditLog
from e2e.attempts import CATALOGUE, PREFERRING, SELECTING, STRICT, pod, workload
from e2e.enforcement import add_namespace, enforce, expect
from golden import resolved
from keepalive import Answer, KeepAlive
from residency.api.names import CLASSIFICATION, ENFORCEMENT, PLACED_BY, Code, Mode
from residency.core.judge import Catalogue
from residency.core.surroundings import Surroundings

Json = dict[str, Any]

PAGE: Final = Path(__file__).parents[2] / "docs" / "modes.md"
OF_MODE: Final = {mode: f"{STRICT}-{mode.lower()}" for mode in Mode}
WAYS: Final = ("the classification", "the namespace")
COMES_TO: Final = {
    Mode.ENFORCE: "refused",
    Mode.WARN: "admitted, with a warning and a note in the audit log",
    Mode.AUDIT: "admitted, with a note in the audit log",
}
LEFT: Final = {Mode.ENFORCE: "placed", Mode.WARN: "left as it is", Mode.AUDIT: "left as it is"}


def _catalogue() -> Catalogue:
    specs = {name: CATALOGUE[STRICT] | {"mode": str(mode)} for mode, name in OF_MODE.items()}
    return resolved(specs | {"nl-lax": {"title": "x", "nodes": {"anyOf": [{"countries": ["NL"]}]}}})


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(
        audit_policy=AUDIT_POLICY, controller_manager=False, scheduler=False, kwok=False
    ) as control_plane:
        control_plane.kubectl(
            "create", "clusterrole", "ordinary", "--resource=namespaces", "--verb=get,update,patch,create"
        )
        control_plane.kubectl("create", "clusterrolebinding", "ordinary", "--clusterrole=ordinary", "--user=developer")
        yield control_plane


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> Iterator[KeepAlive]:
    with KeepAlive(cluster.kubeconfig) as connection:
        enforce(connection, _catalogue(), surroundings=Surroundings(lowered=frozenset({Mode.WARN, Mode.AUDIT})))
        for mode in Mode:
            add_namespace(connection, f"by-classification-{mode.lower()}", OF_MODE[mode])
            add_namespace(connection, f"by-namespace-{mode.lower()}", OF_MODE[Mode.ENFORCE], mode)
        yield connection


def namespace_of(way: str, mode: Mode) -> str:
    return f"by-{way.removeprefix('the ')}-{mode.lower()}"


numbers = itertools.count()


def named(body: Json) -> Json:
    body["metadata"]["name"] = f"app-{next(numbers)}"
    return body


class Seen:
    """What became of a request: refused, admitted with a warning, with a note in the audit log, or without either."""

    def __init__(self, cluster: ControlPlane, answer: Answer) -> None:
        self.answer = answer
        self.refused = answer.status == 403
        if not self.refused:
            expect(answer, 200, 201)
        assert cluster.audit_log is not None
        noted = AuditLog(cluster.audit_log).notes(answer.audit_id)
        self.notes = [failure["message"] for failure in json.loads(noted or "[]")]

    def __str__(self) -> str:
        if self.refused:
            return "refused"
        told = (["a warning"] if self.answer.warnings else []) + (["a note in the audit log"] if self.notes else [])
        return f"admitted, with {' and '.join(told)}" if told else "admitted"

    @property
    def text(self) -> str:
        return " ".join((self.answer.message, *self.answer.warnings, *self.notes))


Act = Callable[[KeepAlive, str], Answer]


def contradicting_pod(api: KeepAlive, namespace: str) -> Answer:
    return api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod(SELECTING)))


def contradicting_template(api: KeepAlive, namespace: str) -> Answer:
    path, body = workload("Deployment", SELECTING)
    return api.send("POST", path.replace("{ns}", namespace), named(body))


def contradicting_daemonset(api: KeepAlive, namespace: str) -> Answer:
    path, body = workload("DaemonSet", SELECTING)
    return api.send("POST", path.replace("{ns}", namespace), named(body))


def binding_by_hand(api: KeepAlive, namespace: str) -> Answer:
    made = expect(api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod({}))), 201).body
    name = made["metadata"]["name"]
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"kind": "Node", "name": "any"},
    }
    return api.send("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", body)


def claim_abroad(api: KeepAlive, namespace: str) -> Answer:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "us-disk", "resources": resources}
    return api.send(
        "POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", named({"metadata": {}, "spec": spec})
    )


def volume_abroad(api: KeepAlive, namespace: str) -> Answer:
    volume = {"name": "data", "nfs": {"server": "files.example", "path": "/"}}
    return api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod({"volumes": [volume]})))


COLUMNS: Final[dict[str, tuple[Act, Code]]] = {
    "guard": (contradicting_pod, Code.CONTRADICTION),
    "template": (contradicting_template, Code.CONTRADICTION),
    "binding": (binding_by_hand, Code.BINDING),
    "storage": (claim_abroad, Code.STORAGE_CLAIM),
}
rows: dict[Mode, dict[str, str]] = {mode: {} for mode in Mode}
"""What was seen, by mode and column."""


def seen(mode: Mode, column: str, outcome: str) -> None:
    assert rows[mode].setdefault(column, outcome) == outcome


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", list(Mode))
def test_only_enforce_changes_pods_and_daemonsets(api: KeepAlive, mode: Mode, way: str) -> None:
    namespace = namespace_of(way, mode)
    made = expect(api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod({}))), 201)
    path, body = workload("DaemonSet", {})
    daemonset = expect(api.send("POST", path.replace("{ns}", namespace), named(body)), 201)
    changed = {
        "affinity" in made.body["spec"],
        PLACED_BY in made.body["metadata"].get("annotations", {}),
        "affinity" in daemonset.body["spec"]["template"]["spec"],
    }
    assert changed == {mode is Mode.ENFORCE}
    assert made.warnings == daemonset.warnings == ()
    seen(mode, "mutate", "placed" if changed == {True} else "left as it is")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("column", COLUMNS)
def test_a_mode_does_what_it_says_and_no_more(
    cluster: ControlPlane, api: KeepAlive, column: str, mode: Mode, way: str
) -> None:
    act, code = COLUMNS[column]
    outcome = Seen(cluster, act(api, namespace_of(way, mode)))
    assert str(outcome) == COMES_TO[mode]
    assert code in outcome.text
    seen(mode, column, str(outcome))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", list(Mode))
def test_volumes_of_a_pod_are_taken_as_its_placement_is(
    cluster: ControlPlane, api: KeepAlive, mode: Mode, way: str
) -> None:
    outcome = Seen(cluster, volume_abroad(api, namespace_of(way, mode)))
    assert str(outcome) == COMES_TO[mode]
    assert Code.VOLUME in outcome.text


@pytest.mark.parametrize("mode", [Mode.WARN, Mode.AUDIT])
def test_what_would_only_be_placed_is_not_told_of(cluster: ControlPlane, api: KeepAlive, mode: Mode) -> None:
    namespace = namespace_of("the namespace", mode)
    for spec in ({}, PREFERRING):
        assert (
            str(Seen(cluster, api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod(spec))))) == "admitted"
        )
        for kind in ("Deployment", "DaemonSet", "CronJob"):
            path, body = workload(kind, spec)
            assert str(Seen(cluster, api.send("POST", path.replace("{ns}", namespace), named(body)))) == "admitted"


@pytest.mark.parametrize("mode", [Mode.WARN, Mode.AUDIT])
def test_a_daemonset_that_contradicts_is_told_of(cluster: ControlPlane, api: KeepAlive, mode: Mode) -> None:
    outcome = Seen(cluster, contradicting_daemonset(api, namespace_of("the classification", mode)))
    assert str(outcome) == COMES_TO[mode]


@pytest.mark.parametrize("mode", [Mode.WARN, Mode.AUDIT])
@pytest.mark.parametrize("way", WAYS)
def test_an_annotation_may_change_where_it_is_not_enforced(api: KeepAlive, mode: Mode, way: str) -> None:
    namespace = namespace_of(way, mode)
    of_namespace = OF_MODE[Mode.ENFORCE if way == "the namespace" else mode]
    made = expect(api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod({}, of_namespace))), 201)
    path = f"/api/v1/namespaces/{namespace}/pods/{made.body['metadata']['name']}"
    body = {"metadata": {"annotations": {CLASSIFICATION: None}}}
    expect(api.send("PATCH", path, body, "application/merge-patch+json"), 200)


@pytest.mark.parametrize("mode", list(Mode))
def test_an_annotation_goes_as_far_as_its_classification_in_any_other_namespace(
    cluster: ControlPlane, api: KeepAlive, mode: Mode
) -> None:
    add_namespace(api, "unclassified")
    body = named(pod(SELECTING, OF_MODE[mode]))
    assert str(Seen(cluster, api.send("POST", "/api/v1/namespaces/unclassified/pods", body))) == COMES_TO[mode]


def test_a_lowered_namespace_lowers_no_other_classification(cluster: ControlPlane, api: KeepAlive) -> None:
    audited = namespace_of("the namespace", Mode.AUDIT)
    warned = Seen(
        cluster, api.send("POST", f"/api/v1/namespaces/{audited}/pods", named(pod(SELECTING, OF_MODE[Mode.WARN])))
    )
    assert str(warned) == COMES_TO[Mode.WARN]
    assert len(warned.notes) == 2
    same = api.send("POST", f"/api/v1/namespaces/{audited}/pods", named(pod(SELECTING, OF_MODE[Mode.ENFORCE])))
    assert str(Seen(cluster, same)) == COMES_TO[Mode.AUDIT]


def test_two_classifications_hold_each_in_its_own_mode(api: KeepAlive) -> None:
    """A namespace that is audited, a pod that asks for an enforced one: placed by the latter."""
    namespace = namespace_of("the classification", Mode.AUDIT)
    made = expect(api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod({}, OF_MODE[Mode.ENFORCE]))), 201)
    assert made.body["metadata"]["annotations"][PLACED_BY] == OF_MODE[Mode.ENFORCE]
    refused = api.send("POST", f"/api/v1/namespaces/{namespace}/pods", named(pod(SELECTING, OF_MODE[Mode.ENFORCE])))
    assert "the annotation residency.dev/classification is" in expect(refused, 403).message


def test_the_metric_of_the_api_server_counts_what_is_only_noted(api: KeepAlive) -> None:
    expect(contradicting_pod(api, namespace_of("the classification", Mode.AUDIT)), 201)
    status, text = api.exchange("GET", "/metrics", None)
    assert status == 200
    counted = [
        line
        for line in text.decode().splitlines()
        if line.startswith("apiserver_validating_admission_policy_check_total")
        and 'policy="residency-audit-pods"' in line
        and 'enforcement_action="audit"' in line
    ]
    assert counted
    assert float(counted[0].rpartition(" ")[2]) >= 1


def label(cluster: ControlPlane, namespace: str, **labels: str | None) -> Answer:
    """Relabel a namespace as somebody who may write namespaces and nothing else."""
    keys = {"classification": CLASSIFICATION, "enforcement": ENFORCEMENT}
    body = {"metadata": {"labels": {keys[key]: value for key, value in labels.items()}}}
    with KeepAlive(cluster.user_kubeconfig("developer")) as developer:
        return developer.send("PATCH", f"/api/v1/namespaces/{namespace}", body, "application/merge-patch+json")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((OF_MODE[Mode.ENFORCE], None), {"enforcement": "Warn"}),
        ((OF_MODE[Mode.ENFORCE], "Warn"), {"enforcement": "Audit"}),
        ((OF_MODE[Mode.ENFORCE], None), {"classification": OF_MODE[Mode.AUDIT]}),
        ((OF_MODE[Mode.WARN], None), {"enforcement": "Audit"}),
        # Today it changes nothing, but the classification may be on its way to Enforce.
        ((OF_MODE[Mode.AUDIT], None), {"enforcement": "Warn"}),
        # Nor does this, but the namespace may be on its way to Enforce, and then would not get there.
        ((OF_MODE[Mode.ENFORCE], "Audit"), {"classification": OF_MODE[Mode.AUDIT]}),
        ((OF_MODE[Mode.ENFORCE], "Audit"), {"classification": OF_MODE[Mode.AUDIT], "enforcement": None}),
        ((OF_MODE[Mode.ENFORCE], "Warn"), {"classification": OF_MODE[Mode.WARN], "enforcement": "Enforce"}),
        # Lowered before it was classified, or as it is.
        ((None, "Audit"), {"classification": OF_MODE[Mode.ENFORCE]}),
        ((None, None), {"classification": OF_MODE[Mode.ENFORCE], "enforcement": "Warn"}),
    ],
    ids=str,
)
def test_lowering_needs_the_right_to_declassify(
    cluster: ControlPlane, api: KeepAlive, before: tuple[str | None, str | None], after: dict[str, str | None]
) -> None:
    name = f"lowered-{next(numbers)}"
    add_namespace(api, name, *before)
    refused = expect(label(cluster, name, **after), 403)
    assert refused.message.endswith(Code.ENFORCEMENT)
    assert (
        f"somebody who may declassify dataclassifications.residency.dev/{before[0] or after['classification']},"
        in refused.message
    )
    body = {
        "metadata": {
            "labels": {CLASSIFICATION: after.get("classification", before[0])}
            | ({ENFORCEMENT: after["enforcement"]} if "enforcement" in after else {})
        }
    }
    expect(api.send("PATCH", f"/api/v1/namespaces/{name}", body, "application/merge-patch+json"), 200)


def test_a_namespace_made_lowered_needs_the_right_too(cluster: ControlPlane) -> None:
    labels = {CLASSIFICATION: OF_MODE[Mode.ENFORCE], ENFORCEMENT: "Audit"}
    with KeepAlive(cluster.user_kubeconfig("developer")) as developer:
        made = developer.send("POST", "/api/v1/namespaces", {"metadata": {"name": "made-lowered", "labels": labels}})
    assert expect(made, 403).message.endswith(Code.ENFORCEMENT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((OF_MODE[Mode.ENFORCE], "Audit"), {"enforcement": "Warn"}),
        ((OF_MODE[Mode.ENFORCE], "Warn"), {"enforcement": "Enforce"}),
        ((OF_MODE[Mode.ENFORCE], "Audit"), {"enforcement": None}),
        ((OF_MODE[Mode.AUDIT], None), {"classification": OF_MODE[Mode.ENFORCE]}),
        (("nl-lax", None), {"classification": OF_MODE[Mode.ENFORCE]}),
        ((None, None), {"classification": OF_MODE[Mode.AUDIT]}),
        ((None, None), {"enforcement": "Audit"}),
        ((None, "Enforce"), {"classification": OF_MODE[Mode.ENFORCE]}),
    ],
    ids=str,
)
def test_raising_and_classifying_at_first_need_no_right(
    cluster: ControlPlane, api: KeepAlive, before: tuple[str | None, str | None], after: dict[str, str | None]
) -> None:
    name = f"raised-{next(numbers)}"
    add_namespace(api, name, *before)
    expect(label(cluster, name, **after), 200)


def test_leaving_a_classification_needs_the_right_in_every_mode(cluster: ControlPlane, api: KeepAlive) -> None:
    for mode in Mode:
        name = f"left-{mode.lower()}"
        add_namespace(api, name, OF_MODE[mode])
        assert expect(label(cluster, name, classification=None), 403).message.endswith(Code.DECLASSIFICATION)


@pytest.mark.parametrize("said", ["warn", "Off", "", "Enforced"])
def test_what_is_no_mode_is_refused_and_lowers_nothing(cluster: ControlPlane, api: KeepAlive, said: str) -> None:
    name = f"no-mode-{next(numbers)}"
    add_namespace(api, name, OF_MODE[Mode.ENFORCE])
    refused = expect(label(cluster, name, enforcement=said), 403)
    assert "write Enforce, Warn or Audit" in refused.message


def test_the_page_on_modes_says_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["mutate", *COLUMNS]
    table = [f"| {mode} | " + " | ".join(rows[mode].get(column, "?") for column in columns) + " |" for mode in Mode]
    header = [f"| mode | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    with capsys.disabled():
        print("", *header, *table, sep="\n")
    page = PAGE.read_text()
    assert [row for row in (*header, *table) if row not in page] == []
