"""Storage: which classes are allowed, what claims and volumes may be, and which claims from before may be mounted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.api.names import (
    BOUND_BY_CONTROLLER,
    CLASSIFICATION,
    DEFAULT_CLASS,
    STORAGE_CLASS_ANNOTATION,
    ClassificationName,
    Code,
)
from residency.core.judge import Catalogue, Denied, Untouched, asks, guard_pod, judge_claim, judge_pod
from residency.core.placement import ANYWHERE, Classification, Placement, Storage
from residency.core.requirements import Operator, Requirement
from residency.core.storage import (
    HARMLESS,
    MOST_NAMES_IN_ALL,
    ClaimView,
    Source,
    StorageClass,
    Volume,
    claim_trouble,
    default_class,
    foreign_claims,
    with_classes,
)
from residency.core.surroundings import ALL_CLAIMS, Surroundings
from residency.core.templates import judge_workload
from residency.core.workload import PodView
from workload_strategies import STORAGE_CLASSES, claims, storages

Json = dict[str, Any]
DUTCH = (Requirement("country", Operator.IN, ("NL",)), Requirement("disk", Operator.EXISTS))
NL, NEAR, FREE = map(ClassificationName, ("nl", "near", "free"))


def classification(name: str, storage: Storage | None, placement: Placement = ANYWHERE) -> Classification:
    return Classification(ClassificationName(name), name.upper(), placement, "", (), storage)


STRICT = Storage(DUTCH, classes=("nl-disk",), drivers=("secrets",))
CATALOGUE: Catalogue = {
    NL: classification("nl", STRICT),
    NEAR: classification("near", Storage(DUTCH, classes=("nl-disk", "de-disk"))),
    FREE: classification("free", None),
}


# StorageClasses


def test_only_classes_that_have_every_label_are_allowed_in_the_order_of_their_names() -> None:
    found = [
        StorageClass("z", {"country": "NL", "disk": "ssd"}),
        StorageClass("a", {"country": "NL", "disk": "hdd", "other": "label"}),
        StorageClass("unlabelled"),
        StorageClass("half", {"country": "NL"}),
        StorageClass("elsewhere", {"country": "US", "disk": "ssd"}),
    ]
    filled = with_classes(classification("nl", Storage(DUTCH, classes=("stale",))), found)
    assert filled.storage is not None
    assert filled.storage.classes == ("a", "z")
    assert with_classes(CATALOGUE[FREE], found) == CATALOGUE[FREE]


def test_the_newest_default_is_the_default_and_the_first_name_of_those_as_new() -> None:
    def named(name: str, created: str, annotation: str = DEFAULT_CLASS[0], value: str = "true") -> StorageClass:
        metadata = {"name": name, "creationTimestamp": created, "annotations": {annotation: value}}
        return StorageClass.from_metadata(metadata)

    old = named("old", "2026-01-01T00:00:00Z")
    assert default_class([old, named("b", "2026-02-01T00:00:00Z"), named("a", "2026-02-01T00:00:00Z")]) == "a"
    assert default_class([old, named("beta", "2026-02-01T00:00:00Z", DEFAULT_CLASS[1])]) == "beta"
    assert default_class([old, named("not", "2026-02-01T00:00:00Z", value="false")]) == "old"
    assert default_class([StorageClass("a")]) is None


# Claims


def trouble_of(storage: Storage = STRICT, default: str | None = None, /, **spec: Any) -> str | None:
    found = claim_trouble(ClaimView.from_claim({"spec": spec}), storage, "the claim", default)
    return None if found is None else found.asks


BY_HAND = Storage(DUTCH, static_volumes=True, classes=("nl-disk",))
FILLED = Storage(DUTCH, data_sources=True, classes=("nl-disk",))
BUCKET = {"apiGroup": "example.com", "kind": "Bucket", "name": "b"}


@pytest.mark.parametrize(
    ("storage", "spec"),
    [
        (STRICT, {"storageClassName": "nl-disk"}),
        (STRICT, {"storageClassName": "nl-disk", "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}),
        (
            STRICT,
            {
                "storageClassName": "nl-disk",
                "dataSourceRef": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "x"},
            },
        ),
        (BY_HAND, {"storageClassName": ""}),
        (BY_HAND, {"storageClassName": "", "volumeName": "v"}),
        (BY_HAND, {"storageClassName": "nl-disk", "volumeName": "v"}),
        (FILLED, {"storageClassName": "nl-disk", "dataSourceRef": BUCKET}),
    ],
)
def test_a_claim_that_is_allowed_is(storage: Storage, spec: Json) -> None:
    assert trouble_of(storage, **spec) is None


@pytest.mark.parametrize(
    ("storage", "spec"),
    [
        (STRICT, {"storageClassName": "us-disk"}),
        (STRICT, {"storageClassName": ""}),
        (STRICT, {}),
        (BY_HAND, {}),
        (BY_HAND, {"storageClassName": "us-disk", "volumeName": "v"}),
        (FILLED, {"storageClassName": "nl-disk", "volumeName": "v"}),
        (FILLED, {"storageClassName": "us-disk", "dataSourceRef": BUCKET}),
        (STRICT, {"storageClassName": "nl-disk", "volumeName": "v"}),
        (BY_HAND, {"storageClassName": "nl-disk", "dataSourceRef": BUCKET}),
        (
            STRICT,
            {
                "storageClassName": "nl-disk",
                "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "x", "namespace": "other"},
            },
        ),
        (
            STRICT,
            {
                "storageClassName": "nl-disk",
                "dataSourceRef": {"apiGroup": "example.com", "kind": "PersistentVolumeClaim", "name": "x"},
            },
        ),
        (STRICT, {"storageClassName": "nl-disk", "dataSource": {"kind": "VolumeSnapshot", "name": "x"}}),
    ],
)
def test_a_claim_that_is_not_is_refused(storage: Storage, spec: Json) -> None:
    assert trouble_of(storage, **spec) is not None


def test_the_older_annotation_overrules_the_field() -> None:
    claim = {
        "metadata": {"annotations": {STORAGE_CLASS_ANNOTATION: "us-disk"}},
        "spec": {"storageClassName": "nl-disk"},
    }
    assert ClaimView.from_claim(claim).storage_class == "us-disk"


def test_a_template_without_a_class_is_judged_by_the_default() -> None:
    assert trouble_of(STRICT, "nl-disk") is None
    assert trouble_of(STRICT, "us-disk") == "the claim names no StorageClass and the cluster's default is us-disk"
    assert trouble_of(STRICT, "nl-disk", storageClassName="") is not None, "the empty class is not no class"


@given(claims(), storages().filter(bool), st.sampled_from([*STORAGE_CLASSES, None]))
def test_whatever_is_allowed_is_of_a_class_that_is_or_made_by_hand_where_that_is(
    claim: Json, storage: Storage, default: str | None
) -> None:
    view = ClaimView.from_claim(claim)
    if claim_trouble(view, storage, "the claim", default) is None:
        named = (
            claim["metadata"]
            .get("annotations", {})
            .get(STORAGE_CLASS_ANNOTATION, claim["spec"].get("storageClassName"))
        )
        wanted = default if named is None else named
        assert wanted in storage.classes or (named == "" and storage.static_volumes)
        assert storage.static_volumes or "volumeName" not in claim["spec"]
        assert storage.data_sources or claim["spec"].get("dataSourceRef", {}).get("apiGroup") != "example.com"


def test_an_unknown_classification_lets_no_claim_be_made() -> None:
    denied = judge_claim(ClaimView("nl-disk"), asks("payments", "nowhere", None), CATALOGUE)
    assert denied is not None
    assert denied.code == Code.UNKNOWN_CLASSIFICATION


# Volumes


def pod(*sources: Json, annotation: str | None = None) -> PodView:
    metadata = {"annotations": {CLASSIFICATION: annotation}} if annotation else {}
    volumes = [{"name": f"v{number}", **source} for number, source in enumerate(sources)]
    return PodView.from_template({"metadata": metadata, "spec": {"volumes": volumes}})


def code_of(view: PodView, label: str | None = "nl", around: Surroundings | None = None) -> Code | None:
    asked = asks("payments", label, view.classification)
    verdict = judge_pod(view, asked, CATALOGUE, surroundings=around or Surroundings())
    guard = guard_pod(view, asked, CATALOGUE, surroundings=around or Surroundings())
    assert (verdict if isinstance(verdict, Denied) else None) == guard
    return guard.code if guard else None


@pytest.mark.parametrize("type_", HARMLESS)
def test_what_kubernetes_makes_or_the_node_has_may_be_mounted(type_: str) -> None:
    assert code_of(pod({type_: {}})) is None


@pytest.mark.parametrize(
    "type_", ["nfs", "iscsi", "cephfs", "rbd", "fc", "flexVolume", "awsElasticBlockStore", "gitRepo", "invented"]
)
def test_any_other_type_may_not_also_one_that_nobody_knows(type_: str) -> None:
    assert code_of(pod({"emptyDir": {}}, {type_: {}})) == Code.VOLUME
    assert code_of(pod({type_: {}}), "free") is None
    assert code_of(pod({type_: {}}), None) is None


def test_a_volume_that_says_no_type_is_an_emptydir() -> None:
    assert Volume.from_volume({"name": "a"}) == Volume("a", "emptyDir")


def test_inline_csi_is_allowed_by_driver() -> None:
    assert code_of(pod({"csi": {"driver": "secrets"}})) is None
    assert code_of(pod({"csi": {"driver": "other"}})) == Code.VOLUME


def test_both_classifications_have_to_allow_it() -> None:
    of_de = {"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "de-disk"}}}}
    assert code_of(pod(of_de), "near") is None
    assert code_of(pod(of_de, annotation="nl"), "near") == Code.STORAGE_CLAIM
    assert code_of(pod(of_de, annotation="nl"), None) == Code.STORAGE_CLAIM


def test_a_claim_is_foreign_in_its_own_namespace_and_to_its_classification_alone() -> None:
    mounts = {"persistentVolumeClaim": {"claimName": "old"}}
    assert code_of(pod(mounts), around=Surroundings(None, {"payments": ("older", "old")})) == Code.VOLUME
    assert code_of(pod(mounts), around=Surroundings(None, {"payments": ("older",)})) is None
    assert code_of(pod(mounts), around=Surroundings(None, {"other": ("old",)})) is None
    assert code_of(pod(mounts), around=Surroundings(None, {"payments": (ALL_CLAIMS,)})) == Code.VOLUME
    assert code_of(pod(mounts, annotation="nl"), None, Surroundings(None, {"payments": ("old",)})) is None


def test_where_it_runs_is_said_before_where_its_data_is() -> None:
    placement = Placement(((Requirement("country", Operator.IN, ("NL",)),),))
    catalogue = {NL: classification("nl", STRICT, placement)}
    asked = asks("payments", "nl", None)
    verdict = judge_pod(PodView({}, None, node_name="n", volumes=(Volume("a", "nfs"),)), asked, catalogue)
    assert isinstance(verdict, Denied)
    assert verdict.code == Code.NODE_NAME
    guard = guard_pod(PodView({}, None, volumes=(Volume("a", "nfs"),)), asked, catalogue)
    assert guard is not None
    assert guard.code == Code.NOT_PLACED


def test_the_claims_of_a_statefulset_are_judged_and_those_of_others_are_not_theirs() -> None:
    templates = [{"metadata": {"name": "data"}, "spec": {"storageClassName": "us-disk"}}]
    spec = {"template": {"spec": {}}, "volumeClaimTemplates": templates}
    refused = judge_workload("StatefulSet", {"spec": spec}, "payments", "nl", CATALOGUE)
    assert isinstance(refused, Denied)
    assert "spec.volumeClaimTemplates[data] asks StorageClass us-disk" in refused.message
    assert judge_workload("Deployment", {"spec": spec}, "payments", "nl", CATALOGUE) == Untouched()


# Claims from before


def existing(name: str, namespace: str = "payments", bound: bool = False, **spec: Any) -> Json:
    annotations = {BOUND_BY_CONTROLLER: "yes"} if bound else {}
    return {"metadata": {"name": name, "namespace": namespace, "annotations": annotations}, "spec": spec}


LABELS = {"payments": "nl", "open": "free", "typo": "nowhere"}


def test_claims_that_would_be_refused_today_are_known_by_name() -> None:
    found = foreign_claims(
        [
            existing("good", storageClassName="nl-disk"),
            existing("found", bound=True, storageClassName="nl-disk", volumeName="pv"),
            existing("chosen", storageClassName="nl-disk", volumeName="pv"),
            existing("abroad", bound=True, storageClassName="us-disk", volumeName="pv"),
            existing("abroad", "open", storageClassName="us-disk"),
            existing("abroad", "typo", storageClassName="us-disk"),
            existing("abroad", "unclassified", storageClassName="us-disk"),
        ],
        LABELS,
        CATALOGUE,
    )
    assert found == {"payments": ("abroad", "chosen")}


def test_so_many_that_their_names_do_not_fit_close_their_namespace_and_no_other() -> None:
    many = [existing(f"{'n' * 60}-{number}", "many") for number in range(1000)]
    found = foreign_claims([*many, existing("one")], LABELS | {"many": "nl"}, CATALOGUE)
    assert found == {"many": (ALL_CLAIMS,), "payments": ("one",)}


def test_so_many_namespaces_that_they_do_not_fit_together_close_the_fullest() -> None:
    spaces = {f"of-{number:02}": "nl" for number in range(12)}
    found = foreign_claims(
        [existing(f"{'n' * 60}-{n:03}", space) for space in spaces for n in range(400)], spaces, CATALOGUE
    )
    closed = {space for space, names in found.items() if names == (ALL_CLAIMS,)}
    assert set(found) == set(spaces)
    assert 0 < len(closed) < len(spaces)
    assert sum(len(name) for names in found.values() for name in names) <= MOST_NAMES_IN_ALL


def test_a_source_is_near_only_when_it_is_known_and_of_the_same_namespace() -> None:
    assert Source("PersistentVolumeClaim", "a").near
    assert not Source("PersistentVolumeClaim", "a", namespace="b").near
