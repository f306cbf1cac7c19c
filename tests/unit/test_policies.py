"""Bringing policies into force at a pretended API server: order, repairs, and what counts as one."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any, cast

import pytest

from residency.api import names
from residency.cluster.client import Client
from residency.cluster.errors import ApiError
from residency.cluster.resources import Resource, name_of
from residency.controller.canary import Canary, Proof
from residency.controller.policies import Policies, replacement, same
from residency.controller.rollout import Rollout
from residency.policy.compile import CompiledPolicies
from residency.reporting.metrics import Metrics

Object = dict[str, Any]
KINDS = {
    "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
    "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    "mutatingadmissionpolicies": "MutatingAdmissionPolicy",
}


class Store:
    """Keeps objects, and versions that only change when an object does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.written: list[str] = []
        self.read: list[str] = []
        self.refuses: set[str] = set()
        self._versions: Iterator[int] = itertools.count(1)

    async def find(self, resource: Resource, *, metadata_only: bool) -> list[Object]:
        assert metadata_only
        return [
            {"metadata": item["metadata"]} for (plural, _), item in self.objects.items() if plural == resource.plural
        ]

    async def get(self, resource: Resource, name: str) -> Object:
        self.read.append(f"{KINDS[resource.plural]}/{name}")
        if (resource.plural, name) not in self.objects:
            raise ApiError(404, "NotFound", name)
        return copy.deepcopy(self.objects[resource.plural, name])

    async def apply(self, resource: Resource, body: Object) -> Object:
        return self._store(resource, body)

    async def replace(self, resource: Resource, body: Object) -> Object:
        live = await self.get(resource, name_of(body))
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "changed meanwhile")
        return live if body == live else self._store(resource, body)

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        item = self.objects[next(plural for plural, known in KINDS.items() if known == kind), name]
        item["spec"] |= spec
        item["metadata"]["resourceVersion"] = str(next(self._versions))

    def _store(self, resource: Resource, body: Object) -> Object:
        if name_of(body) in self.refuses:
            raise ApiError(422, "Invalid", f"{name_of(body)} is invalid")
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[resource.plural, name_of(body)] = stored
        self.written.append(f"{KINDS[resource.plural]}/{name_of(body)}")
        return copy.deepcopy(stored)


def body(kind: str, name: str, revision: str = "r1", **spec: Any) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {names.MANAGED_BY: "residency"},
            "annotations": {names.REVISION: revision},
        },
        "spec": {"failurePolicy": "Fail", "message": f"revision {revision}", **spec},
    }


def compiled(revision: str = "r1") -> CompiledPolicies:
    return CompiledPolicies(
        revision,
        (
            body("ValidatingAdmissionPolicyBinding", "a", revision),
            body("ValidatingAdmissionPolicy", "a", revision),
            body("ValidatingAdmissionPolicy", "pods", revision),
            body("MutatingAdmissionPolicy", "b", revision),
            body("MutatingAdmissionPolicy", "pods", revision),
        ),
    )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


class Sight:
    """Sees what is stored, or nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.blind = False
        self.asked: list[str] = []

    async def prove(self, revision: str, *_: object) -> Proof:
        self.asked.append(revision)
        shown = self.store.objects["validatingadmissionpolicies", "pods"]["metadata"]["annotations"][names.REVISION]
        assert shown == revision, "the canary is asked for what was written"
        return Proof(revision, proven=() if self.blind else ("https://host",))


class Controller:
    """One process that brings revisions into force."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self.sight = Sight(store)
        self.policies = Policies(cast(Client, store), metrics)
        self.rollout = Rollout(self.policies, cast(Canary, self.sight))

    async def ensure(self, wanted: CompiledPolicies, *, known_revision: str = "") -> Proof:
        return await self.rollout.put_in_force(wanted, was_in_force=known_revision == wanted.revision)


@pytest.fixture
def policies(store: Store, metrics: Metrics) -> Controller:
    return Controller(store, metrics)


def repairs(metrics: Metrics) -> list[tuple[str, str]]:
    samples = [sample for family in metrics.repairs.collect() for sample in family.samples]
    return [(s.labels["policy"], s.labels["cause"]) for s in samples if s.name.endswith("_total") and s.value]


async def test_bindings_come_first_and_what_the_canary_proves_comes_last(store: Store, policies: Controller) -> None:
    await policies.ensure(compiled())
    assert store.written[0] == "ValidatingAdmissionPolicyBinding/a"
    assert set(store.written[1:3]) == {"ValidatingAdmissionPolicy/a", "MutatingAdmissionPolicy/b"}
    shown = {"ValidatingAdmissionPolicy/pods", "MutatingAdmissionPolicy/pods"}
    assert set(store.written[3:5]) == set(store.written[5:]) == shown
    assert policies.sight.asked == ["r1_provisional", "r1"]


async def test_nothing_is_final_before_the_provisional_revision_was_seen(
    store: Store, policies: Controller, metrics: Metrics
) -> None:
    policies.sight.blind = True
    for _ in range(2):
        assert not (await policies.ensure(compiled())).holds
    assert policies.sight.asked == ["r1_provisional", "r1_provisional"]
    assert len(store.written) == 5, "what is provisional is not written again"
    policies.sight.blind = False
    assert (await policies.ensure(compiled())).holds
    assert repairs(metrics) == []


async def test_a_rollout_that_another_process_began_is_finished(store: Store, metrics: Metrics) -> None:
    first = Controller(store, metrics)
    first.sight.blind = True
    await first.ensure(compiled())
    second = Controller(store, metrics)
    await second.ensure(compiled())
    assert second.sight.asked == ["r1_provisional", "r1"]
    assert repairs(metrics) == []


async def test_after_a_repair_of_what_the_canary_does_not_show_it_is_proved_again(
    store: Store, policies: Controller
) -> None:
    await policies.ensure(compiled())
    policies.sight.asked.clear()
    del store.objects["mutatingadmissionpolicies", "b"]
    await policies.ensure(compiled())
    assert policies.sight.asked == ["r1_provisional", "r1"]


async def test_what_the_canary_shows_is_repaired_at_once(store: Store, policies: Controller) -> None:
    await policies.ensure(compiled())
    policies.sight.asked.clear()
    del store.objects["mutatingadmissionpolicies", "pods"]
    await policies.ensure(compiled())
    assert policies.sight.asked == ["r1"]


async def test_nothing_is_written_twice_and_the_first_time_is_no_repair(
    store: Store, policies: Controller, metrics: Metrics
) -> None:
    await policies.ensure(compiled())
    written = list(store.written)
    await policies.ensure(compiled())
    assert store.written == written
    assert repairs(metrics) == []


async def test_what_another_process_wrote_is_found_right_without_writing(store: Store, metrics: Metrics) -> None:
    await Controller(store, metrics).ensure(compiled())
    store.written.clear()
    await Controller(store, metrics).ensure(compiled())
    assert store.written == []


async def test_a_new_revision_is_no_repair(store: Store, policies: Controller, metrics: Metrics) -> None:
    await policies.ensure(compiled())
    written = len(store.written)
    await policies.ensure(compiled("r2"))
    assert len(store.written) == 2 * written
    assert repairs(metrics) == []


async def test_what_a_new_revision_leaves_as_it_was_is_neither_read_nor_written(
    store: Store, policies: Controller, metrics: Metrics
) -> None:
    before, after = compiled("r1"), compiled("r2")
    kept = before.objects[:2]
    await policies.ensure(before)
    known = store.objects["validatingadmissionpolicies", "a"]["metadata"]["resourceVersion"]
    store.written.clear()
    store.read.clear()
    await policies.ensure(CompiledPolicies("r2", (*kept, *after.objects[2:])))
    assert not {"ValidatingAdmissionPolicyBinding/a", "ValidatingAdmissionPolicy/a"} & {*store.written, *store.read}
    assert set(store.written) == {
        "MutatingAdmissionPolicy/b",
        "ValidatingAdmissionPolicy/pods",
        "MutatingAdmissionPolicy/pods",
    }
    assert policies.policies.knows("ValidatingAdmissionPolicy", "a", known)
    assert repairs(metrics) == []
    store.edit("ValidatingAdmissionPolicy", "a", failurePolicy="Ignore")
    await policies.ensure(CompiledPolicies("r3", (*kept, *compiled("r3").objects[2:])))
    assert repairs(metrics) == [("a", "edited")], "also where the next change comes at the same time"


async def test_what_was_edited_is_replaced_and_counted(store: Store, policies: Controller, metrics: Metrics) -> None:
    await policies.ensure(compiled())
    store.edit("ValidatingAdmissionPolicy", "pods", matchConditions=[{"name": "off", "expression": "false"}])
    await policies.ensure(compiled())
    assert "matchConditions" not in store.objects["validatingadmissionpolicies", "pods"]["spec"]
    assert repairs(metrics) == [("pods", "edited")]


async def test_what_was_edited_while_nobody_was_there_is_counted_too(store: Store, metrics: Metrics) -> None:
    await Controller(store, metrics).ensure(compiled())
    store.edit("ValidatingAdmissionPolicy", "pods", failurePolicy="Ignore")
    await Controller(store, metrics).ensure(compiled())
    assert repairs(metrics) == [("pods", "edited")]


async def test_an_edit_that_hides_behind_another_revision_is_counted(
    store: Store, policies: Controller, metrics: Metrics
) -> None:
    await policies.ensure(compiled())
    store.objects["validatingadmissionpolicies", "pods"]["metadata"]["annotations"][names.REVISION] = "r0"
    store.edit("ValidatingAdmissionPolicy", "pods", failurePolicy="Ignore")
    await policies.ensure(compiled())
    assert repairs(metrics) == [("pods", "edited")]


async def test_what_was_deleted_is_made_again_and_counted(store: Store, policies: Controller, metrics: Metrics) -> None:
    await policies.ensure(compiled())
    del store.objects["validatingadmissionpolicybindings", "a"]
    await policies.ensure(compiled())
    assert ("validatingadmissionpolicybindings", "a") in store.objects
    assert repairs(metrics) == [("a", "deleted")]


async def test_what_was_deleted_while_nobody_was_there_is_counted_when_a_status_knew_it(
    policies: Controller, metrics: Metrics
) -> None:
    await policies.ensure(compiled(), known_revision="r1")
    assert {cause for _, cause in repairs(metrics)} == {"deleted"}


async def test_labels_and_annotations_of_others_are_kept(store: Store, policies: Controller) -> None:
    await policies.ensure(compiled())
    metadata = store.objects["validatingadmissionpolicies", "pods"]["metadata"]
    metadata["labels"] = {"theirs": "1"}
    metadata["resourceVersion"] = "edited"
    store.edit("ValidatingAdmissionPolicy", "pods", failurePolicy="Ignore")
    await policies.ensure(compiled())
    kept = store.objects["validatingadmissionpolicies", "pods"]["metadata"]["labels"]
    assert kept == {"theirs": "1", names.MANAGED_BY: "residency"}


async def test_a_refused_policy_is_an_error_that_says_so(store: Store, policies: Controller) -> None:
    store.refuses.add("b")
    with pytest.raises(ApiError) as caught:
        await policies.ensure(compiled())
    assert caught.value.invalid


def test_only_what_we_wrote_is_known(policies: Controller) -> None:
    assert not policies.policies.knows("ValidatingAdmissionPolicy", "pods", "")


def test_what_the_api_server_fills_in_is_the_same() -> None:
    ours = {"matchConstraints": {"resourceRules": [{"resources": ["pods"]}]}}
    live = {
        "matchConstraints": {
            "resourceRules": [{"resources": ["pods"], "scope": "*"}],
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
        }
    }
    assert same(ours, live)
    assert not same(live, ours)


@pytest.mark.parametrize(
    "live",
    [
        {"rules": [{"resources": ["pods"], "scope": "Cluster"}]},
        {"rules": [{"resources": ["pods"]}], "objectSelector": {"matchLabels": {"never": "there"}}},
        {"rules": [{"resources": ["pods"], "resourceNames": ["one"]}]},
        {"rules": [{"resources": ["pods"]}, {"resources": ["pods"]}]},
        {"rules": [{"resources": ["pods"]}], "matchConditions": []},
        {"rules": []},
        {},
    ],
)
def test_anything_else_beside_ours_is_not_the_same(live: Object) -> None:
    assert not same({"rules": [{"resources": ["pods"]}]}, live)


def test_a_replacement_carries_the_live_version_and_none_of_the_managed_fields() -> None:
    live = {"metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "managedFields": [{}]}, "spec": {}}
    written = replacement(body("ValidatingAdmissionPolicy", "a"), live)
    assert written["metadata"]["resourceVersion"] == "7"
    assert written["metadata"]["uid"] == "u"
    assert "managedFields" not in written["metadata"]
    assert written["spec"] == body("ValidatingAdmissionPolicy", "a")["spec"]
