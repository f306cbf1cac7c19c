"""The controller on a real API server, with the rights that the chart gives it and no others."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from controlplane import ControlPlane, RequestError
from e2e.installation import ADMISSION, CLASSIFICATIONS, NAMESPACE, Controller, Installation, wait_for
from keepalive import KeepAlive
from residency.api.names import CLASSIFICATION, ENFORCEMENT, PLACED_TERMS, Fact, PolicyName

Object = dict[str, Any]

VALIDATING: Final = f"{ADMISSION}/validatingadmissionpolicies"
MUTATING: Final = f"{ADMISSION}/mutatingadmissionpolicies"
GUARD: Final = f"{VALIDATING}/{PolicyName.GUARD_PODS}"
GUARD_BINDING: Final = f"{VALIDATING.removesuffix('ies')}ybindings/{PolicyName.GUARD_PODS}"
PLACER: Final = f"{MUTATING}/{PolicyName.PLACE_PODS}"
PLACER_BINDING: Final = f"{MUTATING.removesuffix('ies')}ybindings/{PolicyName.PLACE_PODS}"
DEFAULTER: Final = f"{MUTATING}/{PolicyName.DEFAULT_NAMESPACES}"
DEFAULTER_BINDING: Final = f"{MUTATING.removesuffix('ies')}ybindings/{PolicyName.DEFAULT_NAMESPACES}"
CLUSTER_ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/residency-controller"
CANARY_NAMESPACE: Final = "/api/v1/namespaces/residency-canary"

CONTAINERS: Final = {"containers": [{"name": "c", "image": "c"}]}
POD: Final[Object] = {"metadata": {"name": "old"}, "spec": CONTAINERS}
DAEMONSET: Final = {
    "metadata": {"name": "agent"},
    "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": CONTAINERS},
    },
}
DUTCH: Final = {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["NL"]}]}}
EUROPEAN: Final = {"title": "European", "nodes": {"anyOf": [{"countrySets": ["eea"]}]}}
# Four alternatives of eight lists of 64 long values: more than a compiled entry may have.
HUGE: Final = {
    "title": "Huge",
    "nodes": {
        "anyOf": [
            {
                "matchExpressions": [
                    {
                        "key": f"node-restriction.kubernetes.io/key-{alternative}-{key}",
                        "operator": "In",
                        "values": [f"{'v' * 59}-{value}" for value in range(64)],
                    }
                    for key in range(8)
                ]
            }
            for alternative in range(4)
        ]
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """Without a scheduler: pods stay unscheduled, which is what the controller looks for."""
    with ControlPlane(scheduler=False, kwok=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("controllers")
    # One identity, as a restarted container has: it need not wait for its own Lease.
    installation = Installation(cluster, folder, "--identity", "the-one", "--resync-seconds", "4")
    installation.install()
    yield installation
    installation.close()


@pytest.fixture
def controller(installed: Installation) -> Controller:
    """A controller that leads: the one before, unless a test has ended it."""
    controller = installed.running
    wait_for(lambda: controller.leads)
    return controller


@pytest.fixture
def dutch(installed: Installation, controller: Controller) -> Iterator[str]:
    """A classification that is in force."""
    assert controller.alive
    installed.classify("nl-dutch", DUTCH)
    installed.wait_ready("nl-dutch")
    yield "nl-dutch"
    discard(installed, "nl-dutch")


def discard(installed: Installation, *names: str) -> None:
    """Delete classifications, in whatever state they are."""
    for name in names:
        wait_for(partial(_discarded, installed, f"{CLASSIFICATIONS}/{name}"), saying=f"{name} to be gone")


def _discarded(installed: Installation, path: str) -> bool:
    """Try to delete it; what the guard was compiled with may be a moment older than what is compiled now."""
    for method, suffix, body in (
        ("PATCH", "/status", {"status": {"usedBy": None}}),
        ("DELETE", "", None),
        ("PATCH", "", {"metadata": {"finalizers": None}}),
    ):
        with contextlib.suppress(RequestError):
            installed.cluster.request(method, path + suffix, body)
    return not installed.exists(path)


def delete_namespace(installed: Installation, name: str) -> None:
    installed.delete(f"/api/v1/namespaces/{name}")


def version(installed: Installation, path: str) -> str:
    return str(installed.cluster.request("GET", path)["metadata"]["resourceVersion"])


# In force


def test_a_classification_is_ready_when_its_revision_was_seen_in_force(installed: Installation, dutch: str) -> None:
    status = installed.classification(dutch)["status"]
    ready = installed.condition(dutch)
    assert ready["reason"] == "InForce"
    assert status["revision"] in ready["message"]
    assert installed.cluster.url in ready["message"]
    assert status["placement"]["generation"] == 1
    assert status["placement"]["alternatives"][0]["requirements"][0]["values"] == ["NL"]
    assert installed.condition(dutch, "Enforced")["reason"] == "NoneWaiting"


def test_a_change_is_ready_again_with_another_revision(installed: Installation, dutch: str) -> None:
    before = installed.classification(dutch)["status"]["revision"]
    installed.classify(dutch, EUROPEAN)
    installed.wait_ready(dutch)
    status = installed.classification(dutch)["status"]
    assert status["revision"] != before
    assert status["countrySets"][0]["name"] == "eea"
    assert status["placement"]["generation"] == status["observedGeneration"] == 2


def test_where_nothing_changes_nothing_is_written(installed: Installation, dutch: str, controller: Controller) -> None:
    policies = [GUARD, GUARD_BINDING, PLACER, PLACER_BINDING, DEFAULTER, DEFAULTER_BINDING]
    paths = [f"{CLASSIFICATIONS}/{dutch}", *policies]
    before = [version(installed, path) for path in paths]
    passes = controller.metric("residency_reconcile_duration_seconds_count")
    wait_for(lambda: controller.metric("residency_reconcile_duration_seconds_count") >= passes + 2)
    assert [version(installed, path) for path in paths] == before


def test_a_restart_writes_nothing_either(installed: Installation, dutch: str, controller: Controller) -> None:
    policies = [GUARD, GUARD_BINDING, PLACER, PLACER_BINDING, DEFAULTER, DEFAULTER_BINDING]
    paths = [f"{CLASSIFICATIONS}/{dutch}", *policies]
    before = [version(installed, path) for path in paths]
    assert controller.stop() == 0
    successor = installed.controller()
    wait_for(lambda: successor.get("/readyz")[0] == 200 and successor.leads)
    assert [version(installed, path) for path in paths] == before
    assert successor.metric("residency_policy_repairs_total") == 0


# Repair


@pytest.mark.parametrize("path", [GUARD, GUARD_BINDING, PLACER, PLACER_BINDING], ids=lambda path: path.split("/")[-2])
def test_what_is_deleted_is_back_within_five_seconds_and_counted(
    installed: Installation, controller: Controller, dutch: str, path: str
) -> None:
    assert dutch
    kind = installed.cluster.request("GET", path)["kind"]
    uid = installed.cluster.request("GET", path)["metadata"]["uid"]
    repaired = {"policy": path.rsplit("/", 1)[1], "kind": kind, "cause": "deleted"}
    counted = controller.metric("residency_policy_repairs_total", **repaired)
    installed.delete(path)

    def back() -> bool:
        return installed.exists(path) and installed.cluster.request("GET", path)["metadata"]["uid"] != uid

    wait_for(back, 5, saying="the policy to be back")
    wait_for(lambda: controller.metric("residency_policy_repairs_total", **repaired) == counted + 1)


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        (GUARD, {"failurePolicy": "Ignore"}),
        (GUARD, {"matchConditions": [{"name": "off", "expression": "false"}]}),
        (GUARD, {"validations": [{"expression": "true"}]}),
        (GUARD_BINDING, {"validationActions": ["Audit"]}),
        (GUARD_BINDING, {"matchResources": {"objectSelector": {"matchLabels": {"never": "there"}}}}),
        (PLACER, {"matchConditions": [{"name": "off", "expression": "false"}]}),
        (PLACER_BINDING, {"matchResources": {"excludeResourceRules": None, "matchPolicy": "Exact"}}),
    ],
    ids=["ignored", "switched off", "allowing", "audited", "narrowed", "unplaced", "exact"],
)
def test_what_is_edited_is_restored_within_five_seconds_and_counted(
    installed: Installation, controller: Controller, dutch: str, path: str, edit: Object
) -> None:
    assert dutch
    live = installed.cluster.request("GET", path)
    repaired = {"policy": live["metadata"]["name"], "kind": live["kind"], "cause": "edited"}
    counted = controller.metric("residency_policy_repairs_total", **repaired)
    before = live["spec"]
    if "matchConditions" in edit:
        edit = {"matchConditions": [*before.get("matchConditions", []), *edit["matchConditions"]]}
    edited = installed.cluster.request("PATCH", path, {"spec": edit})
    assert edited["spec"] != before
    wait_for(lambda: installed.cluster.request("GET", path)["spec"] == before, 5, saying="the spec to be restored")
    wait_for(lambda: controller.metric("residency_policy_repairs_total", **repaired) == counted + 1)


def test_labels_of_others_on_a_policy_are_kept_and_no_repair(
    installed: Installation, controller: Controller, dutch: str
) -> None:
    assert dutch
    counted = controller.metric("residency_policy_repairs_total")
    installed.cluster.request("PATCH", GUARD, {"metadata": {"labels": {"team": "platform"}}})
    installed.cluster.request("PATCH", GUARD, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    passes = controller.metric("residency_reconcile_duration_seconds_count")
    wait_for(lambda: controller.metric("residency_reconcile_duration_seconds_count") >= passes + 2)
    assert installed.cluster.request("GET", GUARD)["metadata"]["labels"]["team"] == "platform"
    assert controller.metric("residency_policy_repairs_total") == counted


def test_what_was_done_while_the_controller_was_killed_is_repaired_by_the_next(
    installed: Installation, controller: Controller, dutch: str
) -> None:
    assert dutch
    controller.kill()
    installed.cluster.request("PATCH", GUARD, {"spec": {"failurePolicy": "Ignore"}})
    installed.delete(PLACER_BINDING)
    successor = installed.controller()
    wait_for(lambda: successor.metric("residency_policy_repairs_total") == 2)
    assert installed.cluster.request("GET", GUARD)["spec"]["failurePolicy"] == "Fail"
    assert installed.exists(PLACER_BINDING)


# Not in force


def test_without_the_right_to_repair_ready_is_not_claimed(
    installed: Installation, controller: Controller, dutch: str
) -> None:
    role = installed.cluster.request("GET", CLUSTER_ROLE)
    readers = [
        rule | {"verbs": [verb for verb in rule["verbs"] if verb in ("get", "list", "watch")]}
        if "admissionregistration.k8s.io" in rule["apiGroups"]
        else rule
        for rule in role["rules"]
    ]
    installed.cluster.request("PATCH", CLUSTER_ROLE, {"rules": readers})
    try:
        time.sleep(1)  # the authorizer follows roles through a watch
        installed.delete(PLACER_BINDING)
        unready = installed.wait_condition(dutch, "Ready", "False", "NotYetInForce")
        assert "forbidden" in unready["message"]
        assert installed.condition(dutch, "Enforced")["status"] == "Unknown"
        assert controller.metric("residency_policies_in_force") == 0
        assert controller.get("/readyz")[0] == 503
    finally:
        installed.cluster.request("PATCH", CLUSTER_ROLE, {"rules": role["rules"]})
    installed.wait_ready(dutch)
    assert installed.exists(PLACER_BINDING)


def test_policies_that_are_written_but_do_not_act_are_not_in_force(
    installed: Installation, controller: Controller, dutch: str
) -> None:
    # Without its label the canary namespace is not classified: everything is in place, and nothing is refused there.
    installed.cluster.request("PATCH", CANARY_NAMESPACE, {"metadata": {"labels": {CLASSIFICATION: None}}})
    try:
        unready = installed.wait_condition(dutch, "Ready", "False", "NotYetInForce")
        assert "let the canary pod pass" in unready["message"]
        assert controller.metric("residency_policies_in_force") == 0
    finally:
        labels = {CLASSIFICATION: "residency-canary"}
        installed.cluster.request("PATCH", CANARY_NAMESPACE, {"metadata": {"labels": labels}})
    installed.wait_ready(dutch)


def test_what_does_not_fit_leaves_the_old_policies_in_force(installed: Installation, dutch: str) -> None:
    before = installed.classification(dutch)["status"]["revision"]
    installed.classify("huge", HUGE)
    try:
        message = installed.wait_condition("huge", "Ready", "False", "DoesNotFit")["message"]
        assert "Nothing of it is in force" in message
        assert installed.condition(dutch)["status"] == "True"
        assert installed.classification(dutch)["status"]["revision"] == before
    finally:
        discard(installed, "huge")


def test_a_change_that_does_not_fit_leaves_the_generation_before_in_force(installed: Installation, dutch: str) -> None:
    installed.classify(dutch, HUGE)
    message = installed.wait_condition(dutch, "Ready", "False", "DoesNotFit")["message"]
    assert "Generation 1 stays in force" in message
    placement = installed.classification(dutch)["status"]["placement"]
    assert placement["generation"] == 1
    assert placement["alternatives"][0]["requirements"][0]["values"] == ["NL"]


# Use


def test_users_are_counted_and_named(installed: Installation, dutch: str) -> None:
    names = [f"used-{number:02}" for number in range(12)]
    for name in names:
        installed.namespace(name, dutch)
    installed.classify("nl-outer", {"title": "Outer", "includes": [dutch]})

    def used() -> Object:
        found: Object = installed.classification(dutch)["status"]["usedBy"]
        return found

    try:
        wait_for(lambda: used()["namespaces"] == 12 and used()["classifications"] == ["nl-outer"])
        assert used()["namespaceNames"] == names[:10]
    finally:
        for name in names:
            installed.cluster.request(
                "PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": {CLASSIFICATION: None}}}
            )
            delete_namespace(installed, name)
        discard(installed, "nl-outer")
    wait_for(lambda: used() == {"namespaces": 0, "namespaceNames": [], "classifications": []})


def test_deleting_what_is_in_use_is_refused_by_name(installed: Installation, dutch: str) -> None:
    installed.namespace("keeps-dutch", dutch)
    try:
        wait_for(lambda: installed.classification(dutch)["status"]["usedBy"]["namespaces"] == 1)
        with pytest.raises(RequestError) as refused:
            installed.delete(f"{CLASSIFICATIONS}/{dutch}")
        assert "keeps-dutch" in refused.value.message
    finally:
        delete_namespace(installed, "keeps-dutch")


def test_what_was_deleted_past_the_guard_stays_in_force_until_nobody_uses_it(
    installed: Installation, controller: Controller, dutch: str
) -> None:
    path = f"{CLASSIFICATIONS}/{dutch}"
    installed.namespace("still-dutch", dutch)
    wait_for(lambda: installed.classification(dutch)["status"]["usedBy"]["namespaces"] == 1)
    controller.kill()
    installed.cluster.request("PATCH", f"{path}/status", {"status": {"usedBy": None}})
    installed.delete(path)
    successor = installed.controller()
    unready = installed.wait_condition(dutch, "Ready", "False", "InUse")
    assert "namespace still-dutch" in unready["message"]
    assert successor.metric("residency_policies_in_force") == 1
    delete_namespace(installed, "still-dutch")
    wait_for(lambda: not installed.exists(path), saying="the classification to go")


def test_what_is_not_in_use_goes_at_once(installed: Installation, dutch: str) -> None:
    assert installed.classification(dutch)["metadata"]["finalizers"] == ["residency.dev/in-use"]
    installed.delete(f"{CLASSIFICATIONS}/{dutch}")
    wait_for(lambda: not installed.exists(f"{CLASSIFICATIONS}/{dutch}"), 10)


# The default for new namespaces


def test_the_default_of_the_flags_is_given_as_soon_as_it_is_known_and_outlives_the_controller(
    installed: Installation, controller: Controller
) -> None:
    def given(**labels: str) -> str | None:
        body = {"metadata": {"name": "new", "labels": labels}}
        new = installed.cluster.request("POST", "/api/v1/namespaces?dryRun=All", body)
        found: str | None = new["metadata"]["labels"].get(CLASSIFICATION)
        return found

    def told(part: str) -> Object | None:
        return next((line for line in flagged.lines if f"default classification {part}" in line["message"]), None)

    def in_force() -> list[str]:
        metrics = flagged.get("/metrics")[1].splitlines()
        return [line for line in metrics if line.startswith("residency_default_classification_in_force")]

    assert controller.stop() == 0
    flags = ("--default-classification", "nl-default", "--default-exclude-selector", "team in (ci),!tenant")
    flagged = installed.controller(*flags)
    sample = 'residency_default_classification_in_force{classification="nl-default"}'
    try:
        warning = wait_for(lambda: told("unknown"))
        assert (warning["level"], warning["classification"]) == ("warning", "nl-default")
        assert in_force() == [f"{sample} 0.0"]
        assert given() is None
        installed.classify("nl-default", DUTCH)
        installed.wait_ready("nl-default")
        wait_for(lambda: in_force() == [f"{sample} 1.0"])
        assert told("known")
        assert (given(), given(team="ci"), given(team="ci", tenant="a")) == ("nl-default", None, "nl-default")
        installed.namespace("by-default")
        wait_for(lambda: installed.classification("nl-default")["status"]["usedBy"]["namespaces"] == 1)
        delete_namespace(installed, "by-default")
        wait_for(lambda: installed.classification("nl-default")["status"]["usedBy"]["namespaces"] == 0)
        with pytest.raises(RequestError, match="in use by new namespaces"):
            installed.delete(f"{CLASSIFICATIONS}/nl-default")
        flagged.kill()
        assert given() == "nl-default"
    finally:
        flagged.kill()
        installed.controller()
        wait_for(lambda: given() is None, saying="the default to end with its flag")
        discard(installed, "nl-default")


# What was there before


def test_pods_that_wait_from_before_are_found_before_enforced_is_said(installed: Installation, dutch: str) -> None:
    installed.namespace("from-before")
    installed.cluster.request("POST", "/api/v1/namespaces/from-before/pods", POD)
    labels = {"metadata": {"labels": {CLASSIFICATION: dutch}}}
    installed.cluster.request("PATCH", "/api/v1/namespaces/from-before", labels)
    try:
        waiting = installed.wait_condition(dutch, "Enforced", "False", "PodsWaiting")
        assert "1 unscheduled pods" in waiting["message"]
        assert "from-before/old" in waiting["message"]
        assert installed.condition(dutch)["status"] == "True"
        installed.delete("/api/v1/namespaces/from-before/pods/old")
        installed.cluster.request("POST", "/api/v1/namespaces/from-before/pods", POD)
        installed.wait_condition(dutch, "Enforced", "True", "NoneWaiting")
    finally:
        delete_namespace(installed, "from-before")


def test_existing_daemonsets_follow_a_changed_classification(installed: Installation, dutch: str) -> None:
    installed.namespace("agents", dutch)
    path = "/apis/apps/v1/namespaces/agents/daemonsets"

    def countries() -> list[str]:
        live = installed.cluster.request("GET", f"{path}/agent")
        assert PLACED_TERMS in live["metadata"]["annotations"]
        required = live["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        found: list[str] = term["matchExpressions"][0]["values"]
        return found

    try:
        # A namespace just made may not be known to the policies yet as what it is.
        wait_for(lambda: installed.classification(dutch)["status"]["usedBy"]["namespaces"] == 1)
        installed.cluster.request("POST", path, DAEMONSET)
        assert countries() == ["NL"]
        installed.classify(dutch, {"title": "Dutch", "nodes": {"anyOf": [{"countries": ["DE", "NL"]}]}})
        wait_for(lambda: countries() == ["DE", "NL"], saying="the template to be widened")
    finally:
        delete_namespace(installed, "agents")


# Modes


def test_a_classification_that_only_audits_leaves_everything_as_it_is_until_it_is_enforced(
    installed: Installation, dutch: str, controller: Controller
) -> None:
    installed.classify(dutch, DUTCH | {"mode": "Audit"})
    installed.wait_condition(dutch, "Enforced", "False", "LowerMode")
    installed.namespace("audited", dutch)
    try:
        wait_for(lambda: controller.metric("residency_namespaces", classification=dutch, mode="Audit") == 1)
        installed.cluster.request("POST", "/apis/apps/v1/namespaces/audited/daemonsets", DAEMONSET)
        installed.cluster.request("POST", "/api/v1/namespaces/audited/pods", POD)
        passes = controller.metric("residency_reconcile_duration_seconds_count")
        wait_for(lambda: controller.metric("residency_reconcile_duration_seconds_count") >= passes + 2)
        assert not placed(installed, "audited")
        assert controller.metric("residency_pods_waiting_unplaced", classification=dutch) == 0
        installed.classify(dutch, DUTCH)
        waiting = installed.wait_condition(dutch, "Enforced", "False", "PodsWaiting")
        assert "audited/old" in waiting["message"]
        wait_for(lambda: placed(installed, "audited"), saying="the DaemonSet to be placed")
        assert controller.metric("residency_namespaces", classification=dutch, mode="Enforce") == 1
    finally:
        delete_namespace(installed, "audited")


def test_a_lowered_namespace_is_told_of_and_raising_it_places_what_is_there(
    installed: Installation, dutch: str, controller: Controller
) -> None:
    installed.wait_ready(dutch)
    path = "/api/v1/namespaces/lowered"
    labels = {CLASSIFICATION: dutch, ENFORCEMENT: "Warn"}
    installed.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": "lowered", "labels": labels}})
    try:
        wait_for(lambda: controller.metric("residency_namespaces", classification=dutch, mode="Warn") == 1)
        installed.cluster.request("POST", "/apis/apps/v1/namespaces/lowered/daemonsets", DAEMONSET)
        american = POD | {"spec": POD["spec"] | {"nodeSelector": {Fact.COUNTRY: "US"}}}
        with KeepAlive(installed.cluster.kubeconfig) as api:
            dry_run = f"{path}/pods?dryRun=All"
            wait_for(lambda: "RES-101" in " ".join(api.send("POST", dry_run, american).warnings))
            assert not placed(installed, "lowered")
            installed.cluster.request("PATCH", path, {"metadata": {"labels": {ENFORCEMENT: None}}})
            wait_for(lambda: placed(installed, "lowered"), saying="the DaemonSet to be placed")
            assert api.send("POST", dry_run, american).status == 403
    finally:
        delete_namespace(installed, "lowered")


def placed(installed: Installation, namespace: str) -> bool:
    """Whether the DaemonSet there was placed."""
    live = installed.cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/daemonsets/agent")
    return PLACED_TERMS in live["metadata"].get("annotations", {})


# Secrets


def test_no_credentials_are_logged(installed: Installation, controller: Controller, dutch: str) -> None:
    assert dutch
    token = (installed.cluster.service_account_kubeconfig(NAMESPACE, "residency-controller")).read_text()
    assert "eyJ" in token
    assert "eyJ" not in controller.log.read_text()
    assert {line["level"] for line in controller.lines} <= {"info", "warning"}
