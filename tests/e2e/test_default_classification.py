"""The default classification of new namespaces, without a controller: who gets it, who does not, and what that harms.

It is a default, not a floor; it must never keep a namespace from being made, least of all at the start of a cluster.
"""

import base64
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane import ControlPlane
from e2e.attempts import CATALOGUE
from e2e.enforcement import SETTINGS, enforce, expect
from e2e.installation import wait_for
from golden import resolved
from keepalive import Answer, KeepAlive
from residency.api.names import CANARY, CLASSIFICATION, CLASSIFIED_BY, ClassificationName, Code, Fact
from residency.core.judge import Catalogue
from residency.core.selectors import parse_selector
from residency.policy.compile import Settings
from residency.policy.defaults import met
from selector_cases import SELECTORS

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
STRICT, LAX = "nl-strict", "nl-lax"
SPECS: Final = {
    STRICT: CATALOGUE["nl-depv"],
    LAX: {"title": "Anywhere in the Netherlands", "nodes": {"anyOf": [{"countries": ["NL"]}]}},
}
NAMESPACES: Final = "/api/v1/namespaces"
CLASSIFICATIONS: Final = "/apis/residency.dev/v1alpha1/dataclassifications"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
NOBODYS_CHOICE: Final = {CLASSIFICATION: STRICT, CLASSIFIED_BY: "default"}
MADE_BY_THE_API_SERVER: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
# The probe tells this revision of the policy from the one before.
DEFAULTS: Final = replace(
    SETTINGS,
    excluded_namespaces=("legacy",),
    default_classification=STRICT,
    default_exceptions=tuple(map(parse_selector, ("team in (ci, sandbox),!tenant", "platform", "probe=defaults"))),
)


def known(*names: str) -> Catalogue:
    return resolved({name: SPECS[name] for name in names})


def namespace(name: str = "", labels: Mapping[str, str] | None = None, **metadata: Any) -> Json:
    named = {"name": name} if name else {}
    labelled = {} if labels is None else {"labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": named | labelled | metadata}


def make(api: KeepAlive, body: Json, query: str = "") -> Answer:
    return expect(api.send("POST", NAMESPACES + query, body), 201)


def ours(answer: Answer) -> dict[str, str]:
    """The labels of Residency's own."""
    labels: dict[str, str] = answer.body["metadata"].get("labels", {})
    return {key: value for key, value in labels.items() if key.startswith("residency.dev/")}


def live(api: KeepAlive, name: str) -> dict[str, str]:
    return ours(expect(api.send("GET", f"{NAMESPACES}/{name}"), 200))


def label(api: KeepAlive, name: str, **labels: str | None) -> Answer:
    changed = {"by": CLASSIFIED_BY, "to": CLASSIFICATION}
    body = {"metadata": {"labels": {changed.get(key, key): value for key, value in labels.items()}}}
    return api.send("PATCH", f"{NAMESPACES}/{name}", body, MERGE)


def pod(api: KeepAlive, where: str, name: str = "first") -> Answer:
    body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
    return api.send("POST", f"{NAMESPACES}/{where}/pods", body)


def remove(api: KeepAlive, name: str) -> None:
    """Delete a namespace, with nobody there who would finalize it."""
    expect(api.send("DELETE", f"{NAMESPACES}/{name}"), 200)
    body = api.send("GET", f"{NAMESPACES}/{name}").body
    expect(api.send("PUT", f"{NAMESPACES}/{name}/finalize", body | {"spec": {"finalizers": []}}), 200)
    expect(api.send("GET", f"{NAMESPACES}/{name}"), 404)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane:
        control_plane.kubectl("apply", "-f", str(ROOT / "crds" / "residency.dev_dataclassifications.yaml"))
        control_plane.kubectl("wait", "--for=condition=Established", "crd/dataclassifications.residency.dev")
        create = ("create", "clusterrole")
        control_plane.kubectl(*create, "maker", "--resource=namespaces", "--verb=create")
        control_plane.kubectl(*create, "owner", "--resource=namespaces", "--verb=get,create,update,patch,delete")
        for role in ("maker", "owner"):
            control_plane.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", f"--user={role}")
        yield control_plane


@pytest.fixture(scope="module")
def guarded(cluster: ControlPlane) -> ControlPlane:
    """The same with the policies in force."""
    with KeepAlive(cluster.kubeconfig) as api:
        make(api, namespace("from-before"))
        put_in_force(api, known(STRICT, LAX), DEFAULTS)
    return cluster


@pytest.fixture
def administrator(guarded: ControlPlane) -> Iterator[KeepAlive]:
    with KeepAlive(guarded.kubeconfig) as api:
        yield api


@pytest.fixture
def owner(guarded: ControlPlane) -> Iterator[KeepAlive]:
    """Somebody with every ordinary right to namespaces, and no right of Residency's."""
    with KeepAlive(guarded.user_kubeconfig("owner")) as api:
        yield api


def put_in_force(api: KeepAlive, catalogue: Catalogue, settings: Settings, probe: str = "defaults") -> None:
    """Wait also for the policy on new namespaces itself, which the canary does not show."""
    enforce(api, catalogue, settings=settings)
    default = settings.default_classification
    expected = NOBODYS_CHOICE | {CLASSIFICATION: default} if ClassificationName(default) in catalogue else {}

    def in_force() -> bool:
        probes = [namespace("probe"), namespace("probe", {"probe": probe})]
        return [ours(make(api, body, "?dryRun=All")) for body in probes] == [expected, {}]

    wait_for(in_force, 30)


@contextmanager
def instead(api: KeepAlive, catalogue: Catalogue, settings: Settings) -> Iterator[None]:
    """Have other policies in force for a while."""
    put_in_force(api, catalogue, settings)
    try:
        yield
    finally:
        put_in_force(api, known(STRICT, LAX), DEFAULTS)


# Who gets it


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "plain"},
        {"name": "labels-null", "labels": None},
        {"name": "labels-empty", "labels": {}},
        {"name": "labelled", "labels": {"team": "payments"}},
        {"generateName": "generated-"},
        {"generateName": "generated-labelled-", "labels": {"team": "payments"}},
        {"name": "kubelike"},
        {"name": "not-legacy"},
        {"name": "with-a-mark", "labels": {CLASSIFIED_BY: "somebody"}},
    ],
    ids=str,
)
def test_a_new_namespace_that_nobody_classified_gets_the_default(administrator: KeepAlive, metadata: Json) -> None:
    created = make(administrator, {"metadata": metadata})
    assert ours(created) == NOBODYS_CHOICE
    others = {key: value for key, value in (metadata.get("labels") or {}).items() if key != CLASSIFIED_BY}
    assert others.items() <= created.body["metadata"]["labels"].items()
    assert live(administrator, created.body["metadata"]["name"]) == NOBODYS_CHOICE


@pytest.mark.parametrize("labels", [None, {"team": "payments"}], ids=str)
def test_a_namespace_by_server_side_apply_gets_it_and_keeps_it_when_applied_again(
    administrator: KeepAlive, labels: dict[str, str] | None
) -> None:
    name = "applied-labelled" if labels else "applied"
    path = f"{NAMESPACES}/{name}?fieldManager=pipeline"
    for status in (201, 200):
        applied = expect(administrator.send("PATCH", path, namespace(name, labels), APPLY), status)
        assert ours(applied) == NOBODYS_CHOICE
    assert ours(expect(administrator.send("PATCH", path, namespace(name, {"x": "y"}), APPLY), 200)) == NOBODYS_CHOICE


def test_kubectl_creates_and_applies_namespaces_as_ever(guarded: ControlPlane, administrator: KeepAlive) -> None:
    guarded.kubectl("create", "namespace", "kubectl-created")
    for labels in ({}, {"x": "y"}, {}):
        guarded.kubectl("apply", "-f", "-", input=json.dumps(namespace("kubectl-applied", labels)))
    shown = guarded.kubectl("get", "namespaces", "--selector", f"{CLASSIFIED_BY}=default", "--output=name")
    assert {"namespace/kubectl-created", "namespace/kubectl-applied"} <= set(shown.split())
    assert live(administrator, "kubectl-applied") == NOBODYS_CHOICE


def test_whoever_may_only_create_namespaces_gets_one_with_the_default(
    guarded: ControlPlane, administrator: KeepAlive
) -> None:
    with KeepAlive(guarded.user_kubeconfig("maker")) as maker:
        assert ours(make(maker, namespace("by-a-maker"))) == NOBODYS_CHOICE
    assert live(administrator, "by-a-maker") == NOBODYS_CHOICE


def test_the_first_pod_is_placed_however_soon_it_comes(administrator: KeepAlive) -> None:
    for number in range(30):
        make(administrator, namespace(f"soon-{number}"))
        placed = expect(pod(administrator, f"soon-{number}"), 201).body["spec"]["affinity"]["nodeAffinity"]
        (term,) = placed["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert {"key": Fact.COUNTRY, "operator": "In", "values": ["NL"]} in term["matchExpressions"]


# Who does not


def test_a_namespace_that_brings_a_classification_keeps_it(owner: KeepAlive) -> None:
    assert ours(make(owner, namespace("chosen", {CLASSIFICATION: LAX}))) == {CLASSIFICATION: LAX}
    assert ours(make(owner, namespace("same", {CLASSIFICATION: STRICT}))) == {CLASSIFICATION: STRICT}


@pytest.mark.parametrize("name", ["nl-unknown", ""])
def test_a_classification_that_is_not_known_is_refused_as_ever(owner: KeepAlive, name: str) -> None:
    refused = expect(owner.send("POST", NAMESPACES, namespace("unknown", {CLASSIFICATION: name})), 403)
    assert Code.UNKNOWN_CLASSIFICATION in refused.message


@pytest.mark.parametrize("name", ["kube-flannel", "legacy", SETTINGS.own_namespace, SETTINGS.canary_namespace])
def test_namespaces_of_the_cluster_and_excluded_ones_stay_as_they_are(administrator: KeepAlive, name: str) -> None:
    is_canary = name == SETTINGS.canary_namespace
    if is_canary:
        remove(administrator, name)
    assert ours(make(administrator, namespace(name))) == {}
    if is_canary:
        expect(label(administrator, name, to=CANARY), 200)


def test_a_generated_name_that_begins_as_those_of_kubernetes_is_one_of_them(administrator: KeepAlive) -> None:
    assert ours(make(administrator, namespace(generateName="kube-proxy-"))) == {}


@pytest.mark.parametrize("name", [*MADE_BY_THE_API_SERVER, "legacy", SETTINGS.own_namespace, SETTINGS.canary_namespace])
def test_a_generated_name_is_not_taken_for_one_that_is_left_alone(owner: KeepAlive, name: str) -> None:
    says_so = namespace(labels={"kubernetes.io/metadata.name": name}, generateName="generated-")
    assert ours(make(owner, says_so)) == NOBODYS_CHOICE
    if not name.startswith("kube-"):
        assert ours(make(owner, namespace(generateName=name))) == NOBODYS_CHOICE


@pytest.mark.parametrize(
    ("labels", "excepted"),
    [
        ({"team": "ci"}, True),
        ({"team": "sandbox"}, True),
        ({"team": "ci", "tenant": ""}, False),
        ({"team": "payments"}, False),
        ({"tenant": "a"}, False),
        ({"platform": ""}, True),
        ({"platform": "x", "team": "payments"}, True),
    ],
    ids=str,
)
def test_namespaces_that_meet_one_of_the_selectors_get_no_default(
    administrator: KeepAlive, labels: dict[str, str], excepted: bool
) -> None:
    for body in (namespace("selected", labels), namespace("", labels, generateName="selected-")):
        created = make(administrator, body, "?dryRun=All")
        assert ours(created) == ({} if excepted else NOBODYS_CHOICE)


def test_namespaces_that_were_there_are_never_touched(administrator: KeepAlive) -> None:
    for name in ("from-before", "default"):
        assert ours(expect(label(administrator, name, changed="yes"), 200)) == {}
        put = administrator.send("GET", f"{NAMESPACES}/{name}").body
        assert ours(expect(administrator.send("PUT", f"{NAMESPACES}/{name}", put), 200)) == {}
        path = f"{NAMESPACES}/{name}?fieldManager=pipeline&force=true"
        assert ours(expect(administrator.send("PATCH", path, namespace(name, {"x": "y"}), APPLY), 200)) == {}


# What it means afterwards


def test_leaving_the_default_needs_the_right_to_declassify_like_any_classification(
    owner: KeepAlive, administrator: KeepAlive
) -> None:
    make(owner, namespace("leaving"))
    for new in (None, LAX):
        assert Code.DECLASSIFICATION in expect(label(owner, "leaving", to=new), 403).message
    without = namespace("leaving")
    assert Code.DECLASSIFICATION in expect(owner.send("PUT", f"{NAMESPACES}/leaving", without), 403).message
    expect(label(administrator, "leaving", to=LAX), 200)


def test_the_note_that_nobody_chose_is_anybodys_to_take_away_and_protects_nothing(owner: KeepAlive) -> None:
    make(owner, namespace("confirmed"))
    assert ours(expect(label(owner, "confirmed", by=None), 200)) == {CLASSIFICATION: STRICT}
    assert Code.DECLASSIFICATION in expect(label(owner, "confirmed", to=None), 403).message
    assert ours(expect(label(owner, "confirmed", by="default"), 200)) == NOBODYS_CHOICE
    assert Code.DECLASSIFICATION in expect(label(owner, "confirmed", to=LAX), 403).message


def test_a_forged_note_gives_nothing(owner: KeepAlive) -> None:
    forged = {CLASSIFICATION: LAX, CLASSIFIED_BY: "default"}
    assert ours(make(owner, namespace("forged", forged))) == forged
    assert Code.DECLASSIFICATION in expect(label(owner, "forged", to=None), 403).message
    for name in ("nl-unknown", CANARY):
        refused = owner.send("POST", NAMESPACES, namespace("forged-unknown", forged | {CLASSIFICATION: name}))
        assert Code.UNKNOWN_CLASSIFICATION in expect(refused, 403).message


def test_the_default_is_in_use_and_cannot_be_deleted(administrator: KeepAlive) -> None:
    for name in (STRICT, LAX):
        kind = {"apiVersion": "residency.dev/v1alpha1", "kind": "DataClassification"}
        body = kind | {"metadata": {"name": name}, "spec": SPECS[name]}
        expect(administrator.send("POST", CLASSIFICATIONS, body), 201)
    refused = expect(administrator.send("DELETE", f"{CLASSIFICATIONS}/{STRICT}"), 403)
    assert f"{STRICT} is in use by new namespaces (it is their default)" in refused.message
    assert refused.message.endswith(Code.CLASSIFICATION_IN_USE)
    expect(administrator.send("DELETE", f"{CLASSIFICATIONS}/{LAX}"), 200)


# Where there is none


def test_a_default_that_is_not_known_keeps_no_namespace_from_being_made(
    administrator: KeepAlive, owner: KeepAlive
) -> None:
    with instead(administrator, known(LAX), DEFAULTS):
        assert ours(make(owner, namespace("while-unknown"))) == {}
        assert "affinity" not in expect(pod(administrator, "while-unknown"), 201).body["spec"]
        assert ours(make(owner, namespace("while-unknown-chosen", {CLASSIFICATION: LAX}))) == {CLASSIFICATION: LAX}
        refused = owner.send("POST", NAMESPACES, namespace("while-unknown-named", {CLASSIFICATION: STRICT}))
        assert Code.UNKNOWN_CLASSIFICATION in expect(refused, 403).message
    assert live(administrator, "while-unknown") == {}


def test_what_an_api_server_writes_that_knows_the_default_sooner_than_its_guard_does_is_not_refused(
    administrator: KeepAlive,
) -> None:
    """While a classification comes or goes, a namespace may get a default that the guard does not know (yet)."""
    with instead(administrator, known(LAX), DEFAULTS):
        assert ours(make(administrator, namespace("sooner", NOBODYS_CHOICE))) == NOBODYS_CHOICE
        assert Code.UNKNOWN_CLASSIFICATION in expect(pod(administrator, "sooner"), 403).message
    expect(pod(administrator, "sooner"), 201)


def test_without_a_default_nothing_is_written(administrator: KeepAlive) -> None:
    with instead(administrator, known(STRICT, LAX), replace(DEFAULTS, default_classification="")):
        assert ours(make(administrator, namespace("without"))) == {}
        marked = {CLASSIFIED_BY: "default"}
        assert ours(make(administrator, namespace("without-marked", marked))) == marked
        refused = administrator.send("POST", NAMESPACES, namespace("x", marked | {CLASSIFICATION: "nl-unknown"}))
        assert Code.UNKNOWN_CLASSIFICATION in expect(refused, 403).message


# What selectors mean

LABELS: Final[list[dict[str, str]]] = [
    {},
    {"team": ""},
    {"team": "ci"},
    {"team": "sandbox"},
    {"team": "ci", "tenant": ""},
    {"team": "payments", "tenant": "a"},
    {"tenant": "b"},
    {"in": "notin"},
    {"notin": "x"},
    {"example.com/Team_1.x": "A-1_b.C"},
    {"n" * 63: "n" * 63},
]


def test_a_selector_means_what_it_means_to_the_api_server(administrator: KeepAlive) -> None:
    """A policy that refuses everything, and says which selectors it finds met."""
    verdicts = " + ".join(f'(({met(parse_selector(text))}) ? "1" : "0")' for text in SELECTORS)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    refusal = {"expression": "false", "messageExpression": f'"met: " + {verdicts}'}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [refusal]}
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    expect(administrator.send("POST", f"{path}ies", {"metadata": {"name": "selectors"}, "spec": spec}), 201)
    bound = {"policyName": "selectors", "validationActions": ["Deny"]}
    expect(administrator.send("POST", f"{path}ybindings", {"metadata": {"name": "selectors"}, "spec": bound}), 201)

    def ours_says(labels: dict[str, str]) -> str:
        body = {"metadata": {"name": "x", "labels": labels}}
        answer = administrator.send("POST", f"{NAMESPACES}/default/configmaps?dryRun=All", body)
        return answer.message.partition("met: ")[2]

    wait_for(lambda: ours_says({}))
    for number, labels in enumerate(LABELS):
        make(administrator, namespace(f"labels-{number}", labels | {CLASSIFICATION: LAX}))
    kubernetes = []
    for text in SELECTORS:
        query = urllib.parse.urlencode({"labelSelector": text})
        items = expect(administrator.send("GET", f"{NAMESPACES}?{query}"), 200).body["items"]
        kubernetes.append({item["metadata"]["name"] for item in items})
    for number, labels in enumerate(LABELS):
        expected = "".join("01"[f"labels-{number}" in selected] for selected in kubernetes)
        assert ours_says(labels) == expected, labels


# A cluster that starts


def test_a_cold_start_is_not_held_up_and_what_the_api_server_makes_gets_no_default(guarded: ControlPlane) -> None:
    """All of Kubernetes' own namespaces are made anew, with the policy stored already and nobody of Residency there."""
    before = {name: uid(guarded, name) for name in MADE_BY_THE_API_SERVER}
    guarded.stop_component("kube-apiserver")
    for name in MADE_BY_THE_API_SERVER:
        forget(guarded, f"/registry/namespaces/{name}")
    guarded.start_component("kube-apiserver")
    with KeepAlive(guarded.kubeconfig) as api:
        assert ours(make(api, namespace("first-after-the-start"))) == NOBODYS_CHOICE
        wait_for(lambda: all(api.send("GET", f"{NAMESPACES}/{name}").status == 200 for name in MADE_BY_THE_API_SERVER))
        for name in MADE_BY_THE_API_SERVER:
            assert uid(guarded, name) != before[name]
            assert live(api, name) == {}


def uid(cluster: ControlPlane, name: str) -> str:
    return str(cluster.request("GET", f"{NAMESPACES}/{name}")["metadata"]["uid"])


def forget(cluster: ControlPlane, key: str) -> None:
    """Take a key out of etcd."""
    body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
    with urllib.request.urlopen(f"{cluster.etcd_url}/v3/kv/deleterange", body, timeout=10) as answer:
        assert json.load(answer)["deleted"] == "1"
