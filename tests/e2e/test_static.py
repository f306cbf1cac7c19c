"""Policies that an API server reads from files: they protect the others, and hold with nothing in etcd."""

import json
import re
import shutil
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane import CommandError, ControlPlane, RequestError
from e2e.attempts import CATALOGUE, LAX, SELECTING, STRICT, Refused, pod
from e2e.enforcement import PLURALS, SETTINGS, add_namespace, enforce, expect
from e2e.installation import ACCOUNT, ADMISSION, CHART, CLASSIFICATIONS, NAMESPACE, Installation, wait_for
from golden import resolved
from keepalive import Answer, KeepAlive
from residency.api.names import (
    BREAK_GLASS,
    CLASSIFICATION,
    DEFINITION,
    MANAGED_BY,
    PLACED_BY,
    REVISION,
    STATIC_SUFFIX,
    Code,
    Fact,
    PolicyName,
)
from residency.cli import main
from residency.policy.canary import Seen, canary_pod, seen

Json = dict[str, Any]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "static.md"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"
CRD: Final = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"
# One of each of the four kinds.
GUARDS: Final = {
    kind: f"{ADMISSION}/{plural}/{PolicyName.GUARD_PODS if kind.startswith('Validating') else PolicyName.PLACE_PODS}"
    for kind, plural in PLURALS.items()
}
BY_KIND: Final = pytest.mark.parametrize("path", GUARDS.values(), ids=GUARDS)
OFF: Final = {"matchConditions": [{"name": "off", "expression": "false"}]}
OTHER_ACTIONS: Final = '{"validationActions":["Audit"]}'
NOWHERE: Final = {"matchResources": {"namespaceSelector": {"matchLabels": {"never": "there"}}}}


def render(folder: Path, *flags: str) -> None:
    """Run the command."""
    assert main(["render", "--static", str(folder), "--namespace", NAMESPACE, *flags]) == 0


def write_classifications(folder: Path, specs: Mapping[str, Json]) -> Path:
    """Write classifications as people do."""
    head = {"apiVersion": "residency.dev/v1alpha1", "kind": "DataClassification"}
    path = folder / "classifications.yaml"
    path.write_text(yaml.safe_dump_all([head | {"metadata": {"name": n}, "spec": s} for n, s in specs.items()]))
    return path


def flags_of(folder: Path) -> tuple[str, ...]:
    return (f"--admission-control-config-file={folder / 'admission-configuration.yaml'}",)


def refused(answer: Answer) -> None:
    """Assert that the self-protection refused."""
    expect(answer, 403)
    assert answer.message.endswith(Code.PROTECTED), answer.message


def edit(path: str) -> Json:
    """What takes a policy or binding out of force."""
    return {"spec": NOWHERE if "bindings/" in path else OFF}


# Guarding the guard


@dataclass
class Ground:
    """A cluster on which policies are in force, and an API server that can be given the self-protection and denied it.

    No controller runs: what is deleted stays deleted.
    """

    cluster: ControlPlane
    installation: Installation
    folder: Path
    administrator: KeepAlive
    intact: bool = False
    """Whether nobody had the opportunity to change the policies since they were written."""

    def protect(self) -> None:
        """Have the self-protection in force, over policies that are."""
        if not self.intact or not self._complete():
            self.expose()
        render(self.folder)
        self._wait(protected=True)
        self.intact = True

    def expose(self) -> None:
        """Have the policies in force, without the self-protection."""
        self.intact = False
        (self.folder / "validating" / "residency.yaml").unlink(missing_ok=True)
        self._wait(protected=False)
        self.installation.install("--force-conflicts")
        # An apply leaves what somebody added.
        for plural in PLURALS.values():
            expect(self.send("DELETE", f"{ADMISSION}/{plural}?labelSelector={MANAGED_BY}%3Dresidency"), 200)
        enforce(self.administrator, resolved(CATALOGUE))

    def send(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Answer:
        """Send a request as an administrator."""
        return self.administrator.send(method, path, body, content_type)

    def get(self, path: str) -> Json:
        """Read an object."""
        return expect(self.send("GET", path), 200).body

    def _complete(self) -> bool:
        return all(self.send("GET", path).status == 200 for path in (*GUARDS.values(), CRD))

    def _wait(self, *, protected: bool) -> None:
        body = binding("residency-probe")
        path = f"{ADMISSION}/validatingadmissionpolicybindings?dryRun=All"
        wait_for(lambda: (self.send("POST", path, body).status == 403) is protected, 20)


def binding(name: str) -> Json:
    """A binding of a policy that there is not."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": "none", "validationActions": ["Deny"]},
    }


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("static")
    render(folder)
    with ExitStack() as stack:
        cluster = stack.enter_context(
            ControlPlane(controller_manager=False, scheduler=False, kwok=False, apiserver_flags=flags_of(folder))
        )
        installation = Installation(cluster, tmp_path_factory.mktemp("logs"))
        stack.callback(installation.close)
        yield Ground(cluster, installation, folder, stack.enter_context(KeepAlive(cluster.kubeconfig)))


@pytest.fixture
def protected(ground: Ground) -> Ground:
    ground.protect()
    return ground


@pytest.fixture
def exposed(ground: Ground) -> Ground:
    ground.expose()
    return ground


def test_the_chart_is_installed_and_a_controller_becomes_ready_and_repairs_past_the_protection(ground: Ground) -> None:
    ground._wait(protected=True)
    ground.installation.install()
    controller = ground.installation.controller()
    ground.installation.classify(STRICT, CATALOGUE[STRICT])
    ground.installation.wait_ready(STRICT)
    with KeepAlive(breaker(ground.cluster)) as api:
        for path in GUARDS.values():
            expect(api.send("DELETE", path), 200)
    for path in GUARDS.values():
        wait_for(lambda path=path: ground.send("GET", path).status == 200, saying=path)  # type: ignore[misc]
    with KeepAlive(breaker(ground.cluster)) as api:
        expect(api.send("PATCH", GUARDS["ValidatingAdmissionPolicy"], {"spec": OFF}, MERGE), 200)
    wait_for(lambda: "matchConditions" not in ground.get(GUARDS["ValidatingAdmissionPolicy"])["spec"])
    # A changed catalogue is written past it too.
    ground.installation.classify(STRICT, CATALOGUE[STRICT] | {"title": "Changed"})
    ground.installation.wait_ready(STRICT)
    # Without a controller its finalizer would keep it, and with it a definition that is deleted.
    path = f"{CLASSIFICATIONS}/{STRICT}"
    ground.installation.delete(path)
    wait_for(lambda: not ground.installation.exists(path), 30, saying="the classification to be gone")
    assert controller.stop() == 0


def breaker(cluster: ControlPlane) -> Path:
    """The kubeconfig of an administrator who breaks the glass by a certificate."""
    return cluster.user_kubeconfig("breaker", [BREAK_GLASS, "system:masters"])


@BY_KIND
def test_an_administrator_may_not_delete_a_policy_or_binding(protected: Ground, path: str) -> None:
    refused(protected.send("DELETE", path))
    refused(protected.send("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}))
    assert "deletionTimestamp" not in protected.get(path)["metadata"]


@BY_KIND
def test_an_administrator_may_not_delete_them_all_at_once(protected: Ground, path: str) -> None:
    collection = path.rpartition("/")[0]
    before = names(protected, collection)
    for query in ("", f"?labelSelector={MANAGED_BY}%3Dresidency", f"?fieldSelector=metadata.name%3D{name_in(path)}"):
        refused(protected.send("DELETE", collection + query))
    assert names(protected, collection) == before != set()


@BY_KIND
def test_an_administrator_may_not_create_what_passes_for_residencys(protected: Ground, path: str) -> None:
    copied = protected.get(path)
    collection = path.rpartition("/")[0]
    for metadata in ({"name": "residency-another"}, {"generateName": "residency-"}):
        refused(protected.send("POST", collection, copied | {"metadata": metadata}))
    applied = {key: copied[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "residency-new"}}
    refused(protected.send("PATCH", f"{collection}/residency-new?fieldManager=me", applied, APPLY))


@BY_KIND
def test_an_administrator_may_not_edit_the_spec_in_any_way(protected: Ground, path: str) -> None:
    live = protected.get(path)
    change = edit(path)
    refused(protected.send("PUT", path, live | {"spec": live["spec"] | change["spec"]}))
    refused(protected.send("PATCH", path, change, MERGE))
    operations = [{"op": "add", "path": f"/spec/{key}", "value": value} for key, value in change["spec"].items()]
    refused(protected.send("PATCH", path, operations, JSON_PATCH))
    whole = {key: live[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": name_in(path)}}
    applied = whole | {"spec": live["spec"] | change["spec"]}
    refused(protected.send("PATCH", f"{path}?fieldManager=me&force=true", applied, APPLY))
    for version in ("v1beta1", "v1alpha1"):
        older = path.replace("/v1/", f"/{version}/")
        if protected.send("GET", older).status == 200:
            refused(protected.send("PATCH", older, change, MERGE))
    assert protected.get(path)["spec"] == live["spec"]


@BY_KIND
@pytest.mark.parametrize(("part", "key"), [("labels", MANAGED_BY), ("annotations", REVISION)])
def test_an_administrator_may_not_change_the_marks_that_the_controller_goes_by(
    protected: Ground, path: str, part: str, key: str
) -> None:
    for value in ("another", None):
        refused(protected.send("PATCH", path, {"metadata": {part: {key: value}}}, MERGE))


@BY_KIND
def test_what_changes_other_metadata_passes(protected: Ground, path: str) -> None:
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1"}
    for metadata in (
        {"labels": {"theirs": "1"}},
        {"annotations": {"theirs": "1"}},
        {"finalizers": ["example.com/theirs"]},
        {"ownerReferences": [owner]},
        {"labels": {"theirs": None}, "annotations": {"theirs": None}, "finalizers": None, "ownerReferences": None},
    ):
        expect(protected.send("PATCH", path, {"metadata": metadata}, MERGE), 200)
    live = protected.get(path)
    expect(protected.send("PUT", path, live), 200)


def test_an_administrator_may_not_delete_the_definition_or_change_its_spec(protected: Ground) -> None:
    live = protected.get(CRD)
    refused(protected.send("DELETE", CRD))
    collection = CRD.rpartition("/")[0]
    refused(protected.send("DELETE", f"{collection}?fieldSelector=metadata.name%3D{DEFINITION}"))
    refused(protected.send("PATCH", CRD, cut_schema(live), MERGE))
    refused(protected.send("PUT", CRD, live | {"spec": live["spec"] | cut_schema(live)["spec"]}))
    assert protected.get(CRD)["metadata"].get("deletionTimestamp") is None
    assert protected.get(CRD)["spec"] == live["spec"]


def test_other_metadata_of_the_definition_and_an_unchanged_upgrade_of_the_chart_pass(protected: Ground) -> None:
    for value in ("1", None):
        expect(protected.send("PATCH", CRD, {"metadata": {"labels": {"theirs": value}}}, MERGE), 200)
    protected.installation.install("--set", "replicas=1")


def test_an_upgrade_that_changes_the_definition_needs_the_group(protected: Ground, tmp_path: Path) -> None:
    chart = shutil.copytree(CHART, tmp_path / "residency")
    definition = chart / "files" / "crds" / "residency.dev_dataclassifications.yaml"
    definition.write_text(definition.read_text().replace("categories: [residency]", "categories: [residency, newer]"))
    upgrade = ("upgrade", "residency", "--namespace", NAMESPACE)
    with pytest.raises(CommandError, match=Code.PROTECTED):
        protected.cluster.helm(*upgrade, str(chart))
    broken = ("--kube-as-user=admin", f"--kube-as-group={BREAK_GLASS}", "--kube-as-group=system:masters")
    protected.cluster.helm(*upgrade, str(chart), *broken)
    assert protected.get(CRD)["spec"]["names"]["categories"] == ["residency", "newer"]
    protected.cluster.helm(*upgrade, str(CHART), *broken)
    assert protected.get(CRD)["spec"]["names"]["categories"] == ["residency"]


def test_whoever_is_in_the_group_may_do_all_of_it(protected: Ground) -> None:
    with KeepAlive(breaker(protected.cluster)) as api:
        for path in (*GUARDS.values(), CRD):
            live = protected.get(path)
            change = cut_schema(live) if path == CRD else edit(path)
            collection = path.rpartition("/")[0]
            expect(api.send("DELETE", f"{path}?dryRun=All"), 200)
            only = f"fieldSelector=metadata.name%3D{name_in(path)}"
            expect(api.send("DELETE", f"{collection}?dryRun=All&{only}"), 200)
            expect(api.send("PATCH", f"{path}?dryRun=All", change, MERGE), 200)
            expect(api.send("PUT", f"{path}?dryRun=All", live | {"spec": live["spec"] | change["spec"]}), 200)
            if path != CRD:
                copied = live | {"metadata": {"name": "residency-another"}}
                expect(api.send("POST", f"{collection}?dryRun=All", copied), 201)
                expect(api.send("PATCH", f"{path}?dryRun=All", {"metadata": {"labels": {MANAGED_BY: "x"}}}, MERGE), 200)
        expect(api.send("DELETE", GUARDS["ValidatingAdmissionPolicy"]), 200)


def test_the_group_is_had_by_impersonation_too(protected: Ground) -> None:
    path = GUARDS["MutatingAdmissionPolicyBinding"]
    command = ("delete", "mutatingadmissionpolicybinding", name_in(path), "--as=admin", "--as-group=system:masters")
    with pytest.raises(CommandError, match=f"you are admin.*{BREAK_GLASS}.*{Code.PROTECTED}"):
        protected.cluster.kubectl(*command)
    protected.cluster.kubectl(*command, f"--as-group={BREAK_GLASS}")
    assert protected.send("GET", path).status == 404


def test_the_roles_in_the_document_are_enough_to_break_the_glass_and_no_more(protected: Ground) -> None:
    block = re.search(r"```yaml\n(# Who may break the glass.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    protected.cluster.kubectl("apply", "-f", "-", input=block[1])
    officer = protected.cluster.user_kubeconfig("alice")
    path = GUARDS["ValidatingAdmissionPolicyBinding"]
    command = ("delete", "validatingadmissionpolicybinding", name_in(path))
    broken = ("--as=alice", f"--as-group={BREAK_GLASS}")
    with pytest.raises(CommandError, match="cannot delete resource"):
        protected.cluster.kubectl(*command, kubeconfig=officer)
    with pytest.raises(CommandError, match="cannot impersonate"):
        protected.cluster.kubectl(*command, *broken, "--as-group=system:masters", kubeconfig=officer)
    with pytest.raises(CommandError, match="cannot impersonate"):
        protected.cluster.kubectl(*command, *broken, kubeconfig=protected.cluster.user_kubeconfig("bob"))
    protected.cluster.kubectl(*command, *broken, kubeconfig=officer)
    protected.cluster.kubectl("delete", "crd", DEFINITION, *broken, "--dry-run=server", kubeconfig=officer)


def test_whoever_may_act_as_the_controller_is_the_controller(protected: Ground) -> None:
    path = GUARDS["ValidatingAdmissionPolicyBinding"]
    patch = (
        "patch",
        "validatingadmissionpolicybinding",
        name_in(path),
        "--type=merge",
        f'--patch={{"spec":{OTHER_ACTIONS}}}',
    )
    with pytest.raises(CommandError, match=Code.PROTECTED):
        protected.cluster.kubectl(*patch, "--dry-run=server")
    protected.cluster.kubectl(*patch, "--dry-run=server", f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
    another = f"--as=system:serviceaccount:{NAMESPACE}:another"
    with pytest.raises(CommandError, match=Code.PROTECTED):
        protected.cluster.kubectl(*patch, "--dry-run=server", another, "--as-group=system:masters")


def test_policies_and_definitions_of_others_are_untouched(protected: Ground) -> None:
    for path in GUARDS.values():
        copied = protected.get(path)
        other = f"{path.rpartition('/')[0]}/others-residency"
        copied["metadata"] = {"name": "others-residency", "labels": {MANAGED_BY: "residency", "other": "1"}}
        if "policyName" in copied["spec"]:
            copied["spec"]["policyName"] = "none"
        expect(protected.send("POST", other.rpartition("/")[0], copied), 201)
        expect(protected.send("PATCH", other, edit(other) | {"metadata": {"labels": {MANAGED_BY: None}}}, MERGE), 200)
        expect(protected.send("DELETE", f"{other.rpartition('/')[0]}?labelSelector=other"), 200)
        assert protected.send("GET", other).status == 404
    generated = binding("") | {"metadata": {"generateName": "others-"}}
    made = expect(protected.send("POST", f"{ADMISSION}/validatingadmissionpolicybindings", generated), 201).body
    expect(protected.send("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{made['metadata']['name']}"), 200)
    definition = another_definition(protected.get(CRD))
    root = CRD.rpartition("/")[0]
    expect(protected.send("POST", root, definition), 201)
    expect(protected.send("PATCH", f"{root}/others.example.com", cut_schema(definition), MERGE), 200)
    expect(protected.send("DELETE", f"{root}/others.example.com"), 200)


def another_definition(ours: Json) -> Json:
    names_ = {"plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList"}
    spec = ours["spec"] | {"group": "example.com", "names": names_}
    return {"apiVersion": ours["apiVersion"], "kind": ours["kind"], "metadata": {"name": "others.example.com"}} | {
        "spec": spec
    }


def cut_schema(live: Json) -> Json:
    """The patch that makes a definition accept anything."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"spec": {"versions": [v | {"schema": {"openAPIV3Schema": anything}} for v in live["spec"]["versions"]]}}


def names(ground: Ground, collection: str) -> set[str]:
    return {item["metadata"]["name"] for item in ground.get(collection)["items"]}


def name_in(path: str) -> str:
    return path.rpartition("/")[2]


# Attempts of an administrator to switch Residency off, for docs/security.md


@dataclass(frozen=True)
class Attempt:
    """A request, and whether it had its way."""

    name: str
    run: Callable[[Ground], object]
    has_its_way: Callable[[Ground], bool]


def _request(method: str, path: str, body: object = None) -> Callable[[Ground], object]:
    def run(ground: Ground) -> object:
        answer = ground.send(method, path, body, MERGE if method == "PATCH" else "application/json")
        if answer.status == 403:
            raise Refused(answer)
        return expect(answer, 200)

    return run


def _gone(path: str) -> Callable[[Ground], bool]:
    return lambda ground: bool(wait_for(lambda: ground.send("GET", path).status == 404))


def _contradicting_pod_is_let_in(ground: Ground) -> bool:
    """Whether a pod for abroad is let into a classified namespace, once the API server has seen the change."""
    add_namespace(ground.administrator, "attempt", STRICT)
    path = "/api/v1/namespaces/attempt/pods?dryRun=All"
    return bool(wait_for(lambda: ground.send("POST", path, pod(SELECTING)).status == 201))


ADMINISTRATORS_ATTEMPTS: Final = (
    Attempt(
        "a compiled policy deleted, by an administrator",
        _request("DELETE", GUARDS["ValidatingAdmissionPolicy"]),
        _contradicting_pod_is_let_in,
    ),
    Attempt(
        "a compiled policy edited, by an administrator",
        _request("PATCH", GUARDS["ValidatingAdmissionPolicy"], {"spec": OFF}),
        _contradicting_pod_is_let_in,
    ),
    Attempt(
        "its binding deleted, by an administrator",
        _request("DELETE", GUARDS["ValidatingAdmissionPolicyBinding"]),
        _contradicting_pod_is_let_in,
    ),
    Attempt(
        "its binding edited, by an administrator",
        _request("PATCH", GUARDS["ValidatingAdmissionPolicyBinding"], {"spec": NOWHERE}),
        _contradicting_pod_is_let_in,
    ),
    Attempt(
        "all compiled policies deleted at once, by an administrator",
        _request("DELETE", f"{ADMISSION}/validatingadmissionpolicies?labelSelector={MANAGED_BY}%3Dresidency"),
        _contradicting_pod_is_let_in,
    ),
    Attempt("the CRD deleted, by an administrator", _request("DELETE", CRD), _gone(CRD)),
    Attempt(
        "the CRD's schema cut, by an administrator",
        lambda ground: _request("PATCH", CRD, cut_schema(ground.get(CRD)))(ground),
        lambda ground: "properties" not in ground.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
    ),
)
BY_NAME: Final = [pytest.param(attempt, id=attempt.name) for attempt in ADMINISTRATORS_ATTEMPTS]


@pytest.mark.parametrize("attempt", BY_NAME)
def test_the_attempt_gets_its_way_without_the_static_policy(attempt: Attempt, exposed: Ground) -> None:
    attempt.run(exposed)
    assert attempt.has_its_way(exposed)


@pytest.mark.parametrize("attempt", BY_NAME)
def test_the_attempt_gets_nowhere_with_the_static_policy(attempt: Attempt, protected: Ground) -> None:
    with pytest.raises(Refused, match=f" {Code.PROTECTED}$"):
        attempt.run(protected)
    add_namespace(protected.administrator, "attempt", STRICT)
    answer = expect(protected.send("POST", "/api/v1/namespaces/attempt/pods?dryRun=All", pod(SELECTING)), 403)
    assert Code.CONTRADICTION in answer.message


# The whole set, from the first answer on


# Of storage only the unit tests of rendering speak. Through JSON: a file knows texts only.
FULL: Final[dict[str, Json]] = {
    name: {key: json.loads(json.dumps(said)) for key, said in CATALOGUE[name].items() if key != "storage"}
    for name in (STRICT, LAX)
}
NEW: Final = "eu-new"

# The folder of each of the API server's plugins that read files.
FOLDERS: Final = {"MutatingAdmissionPolicy": "mutating", "ValidatingAdmissionPolicy": "validating"}

# Seconds within which files are read anew: where the API server misses that they changed, it looks once a minute.
RELOAD: Final = 90


@dataclass
class Whole:
    """A cluster whose API server was started with the whole set, and with nothing in etcd."""

    cluster: ControlPlane
    installation: Installation
    folder: Path
    classifications: Path
    administrator: KeepAlive = field(init=False)

    def render(self, specs: Mapping[str, Json]) -> None:
        """Write the set anew, and wait until the API server has read what is new in it.

        What it has not read yet would be lost to the next set that is written; and a set that
        equals the last one that it did read is not counted.
        """
        path = write_classifications(self.classifications, specs)
        before = {plugin: (self._written(plugin), self.reloads("success", plugin)) for plugin in FOLDERS}
        render(self.folder, "--with-policies", "--classifications", str(path))
        for plugin, (text, successes) in before.items():
            if self._written(plugin) != text:
                self.wait_for_reload("success", plugin, successes)

    def _written(self, plugin: str) -> str:
        return (self.folder / FOLDERS[plugin] / "residency.yaml").read_text()

    def create(self, namespace: str, spec: Mapping[str, Any]) -> Answer:
        """Ask for a pod."""
        return self.administrator.send("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod(spec))

    def revision(self) -> str:
        """The revision of the files."""
        policies = yaml.safe_load_all((self.folder / "mutating" / "residency.yaml").read_text())
        by_name = {policy["metadata"]["name"]: policy["metadata"]["annotations"][REVISION] for policy in policies}
        return str(by_name[f"{PolicyName.PLACE_PODS}{STATIC_SUFFIX}"])

    def wait_for_reload(self, status: str, plugin: str, before: float) -> None:
        """Wait until it has read them anew more often than before, with this outcome."""
        wait_for(lambda: self.reloads(status, plugin) > before, RELOAD, saying=f"{plugin} to be read anew: {status}")

    def reloads(self, status: str, plugin: str) -> float:
        """How often the API server has read such policies anew, with this outcome."""
        _, text = self.administrator.exchange("GET", "/metrics", None)
        pattern = rf'^\S*manifest\S*automatic_reloads_total\{{.*plugin="{plugin}".*status="{status}".*\}} (\S+)$'
        return sum(map(float, re.findall(pattern, text.decode(), re.MULTILINE)))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder, classifications = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("classifications")
    render(folder, "--with-policies", "--classifications", str(write_classifications(classifications, FULL)))
    with ExitStack() as stack:
        cluster = stack.enter_context(
            ControlPlane(controller_manager=False, scheduler=False, kwok=False, apiserver_flags=flags_of(folder))
        )
        installation = Installation(cluster, tmp_path_factory.mktemp("logs"))
        stack.callback(installation.close)
        yield Whole(cluster, installation, folder, classifications)


@pytest.fixture
def whole(started: Whole) -> Iterator[Whole]:
    """With a connection of its own, because the API server may have been started anew."""
    with KeepAlive(started.cluster.kubeconfig) as started.administrator:
        yield started


def placement(made: Json) -> list[Json]:
    """What a pod requires of nodes, term by term."""
    required = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[Json] = required["nodeSelectorTerms"]
    return terms


DUTCH_GOVERNMENT: Final = [
    {
        "matchExpressions": [
            {"key": Fact.COUNTRY, "operator": "In", "values": ["NL"]},
            {"key": Fact.DEPLOYMENT_MODEL, "operator": "In", "values": ["government"]},
        ]
    }
]


def test_with_nothing_in_etcd_a_classified_namespace_is_enforced_from_the_start(whole: Whole) -> None:
    add_namespace(whole.administrator, "classified", STRICT)
    made = expect(whole.create("classified", {}), 201).body
    assert placement(made) == DUTCH_GOVERNMENT
    assert Code.CONTRADICTION in expect(whole.create("classified", SELECTING), 403).message
    add_namespace(whole.administrator, "unclassified")
    assert "affinity" not in expect(whole.create("unclassified", {}), 201).body["spec"]
    body = {"metadata": {"name": "unknown", "labels": {CLASSIFICATION: "nl-unknown"}}}
    unknown = expect(whole.administrator.send("POST", "/api/v1/namespaces", body), 403)
    assert Code.UNKNOWN_CLASSIFICATION in unknown.message
    for plural in PLURALS.values():
        assert whole.administrator.send("GET", f"{ADMISSION}/{plural}").body["items"] == []
    assert whole.administrator.send("GET", CRD).status == 404


def test_the_first_pods_that_an_api_server_takes_after_its_start_are_placed(whole: Whole) -> None:
    add_namespace(whole.administrator, "early", STRICT)
    path = "/api/v1/namespaces/early/pods"
    answers: list[tuple[str, int, Json]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            for kind, spec in (("plain", {}), ("contradicting", SELECTING)):
                body = pod(spec) | {"metadata": {"generateName": f"{kind}-"}}
                try:
                    answers.append((kind, 201, whole.cluster.request("POST", path, body)))
                except RequestError as error:
                    answers.append((kind, error.status, {"message": str(error)}))
                except (urllib.error.URLError, OSError):
                    time.sleep(0.01)

    whole.cluster.kill_component("kube-apiserver")
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        whole.cluster.start_component("kube-apiserver")
        wait_for(lambda: sum(status == 201 for _, status, _ in answers) >= 10)
    finally:
        ended.set()
        thread.join()
    created = [body for _, status, body in answers if status == 201]
    assert [placement(body) for body in created] == [DUTCH_GOVERNMENT] * len(created)
    assert {kind for kind, status, _ in answers if status == 201} == {"plain"}
    assert any(Code.CONTRADICTION in body["message"] for _, status, body in answers if status == 403)


@pytest.fixture
def beside(whole: Whole) -> Whole:
    """The operator installed beside the files, with a controller that runs, and files that say the same."""
    if not whole.installation.controllers:
        whole.installation.install()
        whole.installation.controller()
    whole.render(FULL)
    for name, spec in FULL.items():
        whole.installation.classify(name, spec)
    for name in FULL:
        whole.installation.wait_ready(name)
    return whole


def test_beside_the_set_a_controller_becomes_ready_and_placing_twice_changes_nothing(beside: Whole) -> None:
    policies = {name_in(path): expect(beside.administrator.send("GET", path), 200) for path in GUARDS.values()}
    assert PolicyName.PLACE_PODS in policies
    add_namespace(beside.administrator, "twice", STRICT)
    made = expect(beside.create("twice", {}), 201).body
    assert placement(made) == DUTCH_GOVERNMENT
    assert made["metadata"]["annotations"][PLACED_BY] == STRICT
    tolerations = [t for t in made["spec"]["tolerations"] if not t["key"].startswith("node.kubernetes.io/")]
    assert tolerations == CATALOGUE[STRICT]["nodes"]["tolerations"]
    assert Code.CONTRADICTION in expect(beside.create("twice", SELECTING), 403).message


def test_a_set_that_is_older_than_the_catalogue_does_not_answer_the_canary(beside: Whole) -> None:
    old = beside.revision()
    beside.installation.classify(STRICT, FULL[STRICT] | {"title": "Changed since the files were written"})
    beside.installation.wait_ready(STRICT)
    new = beside.installation.classification(STRICT)["status"]["revision"]
    path = f"/api/v1/namespaces/{SETTINGS.canary_namespace}/pods?dryRun=All"
    answer = expect(beside.administrator.send("POST", path, canary_pod()), 403)
    assert seen(answer.message) == Seen(new, new)
    assert beside.revision() == old != new


def test_a_catalogue_that_was_loosened_loosens_nothing_before_the_files_are(beside: Whole) -> None:
    add_namespace(beside.administrator, "loosened", STRICT)
    loose = FULL[STRICT] | {"nodes": {"anyOf": [{"countries": ["NL"]}]}}
    beside.installation.classify(STRICT, loose)
    beside.installation.wait_ready(STRICT)
    assert placement(expect(beside.create("loosened", {}), 201).body) == DUTCH_GOVERNMENT
    beside.render(FULL | {STRICT: loose})
    in_the_netherlands = [{"matchExpressions": DUTCH_GOVERNMENT[0]["matchExpressions"][:1]}]

    def loosened() -> bool:
        # For a moment the new mutations are in force with the old guards, which refuse what those place.
        answer = expect(beside.create("loosened", {}), 201, 403)
        return answer.status == 201 and placement(answer.body) == in_the_netherlands

    wait_for(loosened, 20)


def test_a_classification_that_only_the_catalogue_knows_is_unknown_until_the_files_know_it(beside: Whole) -> None:
    beside.installation.classify(NEW, FULL[LAX])
    beside.installation.wait_ready(NEW)
    body = {"metadata": {"name": "new", "labels": {CLASSIFICATION: NEW}}}
    answer = expect(beside.administrator.send("POST", "/api/v1/namespaces", body), 403)
    assert Code.UNKNOWN_CLASSIFICATION in answer.message
    assert f"{PolicyName.GUARD_NAMESPACES}{STATIC_SUFFIX}" in answer.message
    beside.render(FULL | {NEW: FULL[LAX]})
    wait_for(lambda: beside.administrator.send("POST", "/api/v1/namespaces", body).status == 201, 20)
    wait_for(lambda: beside.create("new", {}).status == 201, 20)


def test_a_broken_file_keeps_the_last_good_set(beside: Whole) -> None:
    add_namespace(beside.administrator, "kept", STRICT)
    plugin = "ValidatingAdmissionPolicy"
    file = beside.folder / FOLDERS[plugin] / "residency.yaml"
    good = file.read_text()
    successes = beside.reloads("success", plugin)
    for broken in ("kind: [", "apiVersion: v1\nkind: ConfigMap\n", good.replace("failurePolicy", "unknown", 1)):
        failures = beside.reloads("failure", plugin)
        # Not in place: an API server that reads a file while it is empty takes the empty set for a good one.
        written = file.with_suffix(".new")
        written.write_text(broken)
        written.replace(file)
        beside.wait_for_reload("failure", plugin, failures)
        refused(beside.administrator.send("DELETE", GUARDS["ValidatingAdmissionPolicy"]))
        assert Code.CONTRADICTION in expect(beside.create("kept", SELECTING), 403).message
    assert beside.reloads("success", plugin) == successes
    beside.render(FULL | {NEW: FULL[LAX]})
    assert beside.reloads("success", plugin) > successes


def test_without_the_policies_that_the_controller_wrote_the_set_holds_alone(beside: Whole) -> None:
    add_namespace(beside.administrator, "alone", STRICT)
    (running,) = beside.installation.controllers
    running.stop()
    with KeepAlive(breaker(beside.cluster)) as api:
        for plural in PLURALS.values():
            expect(api.send("DELETE", f"{ADMISSION}/{plural}?labelSelector={MANAGED_BY}%3Dresidency"), 200)
    canary = f"/api/v1/namespaces/{SETTINGS.canary_namespace}/pods?dryRun=All"
    wait_for(lambda: beside.administrator.send("POST", canary, canary_pod()).status == 201, 20)
    assert placement(expect(beside.create("alone", {}), 201).body) == DUTCH_GOVERNMENT
    assert Code.CONTRADICTION in expect(beside.create("alone", SELECTING), 403).message
