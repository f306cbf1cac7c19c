"""What the controller reads of storage: as little as it can, and nothing where nobody asks for it."""

from typing import Any, cast

import msgspec
import pytest

from residency.api.names import BOUND_BY_CONTROLLER, DEFAULT_CLASS, STORAGE_CLASS_ANNOTATION, ClassificationName
from residency.cluster.client import Client
from residency.cluster.resources import CLAIMS, Resource
from residency.controller.storage import StorageFound, find_storage
from residency.core.judge import NamespaceLabels
from residency.core.placement import ANYWHERE, Classification, Storage
from residency.core.requirements import Operator, Requirement

Object = dict[str, Any]

DEMANDING: Object = {"spec": {"storage": {"classSelector": {}}}}
REMEMBERED: Object = {"spec": {}, "status": {"placement": {"storage": {"requirements": []}}}}
NL = ClassificationName("nl")
STORED = Classification(
    NL, "NL", ANYWHERE, "", (), Storage((Requirement("disk", Operator.IN, ("nl",)),), classes=("nl-disk",))
)


def claim(name: str, namespace: str, storage_class: str, **annotations: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "annotations": annotations, "labels": {"not": "read"}}
    return {"metadata": metadata, "spec": {"storageClassName": storage_class, "resources": {}}, "status": {}}


class Cluster:
    """Has one StorageClass, and claims; notes whether it was asked for them."""

    def __init__(self, *claims: Object) -> None:
        self.claims = claims
        self.asked = False

    async def find(self, resource: Resource, *, metadata_only: bool) -> list[Object]:
        assert metadata_only
        assert resource.plural == "storageclasses"
        return [{"metadata": {"name": "nl-disk", "annotations": {DEFAULT_CLASS[0]: "true"}}}]

    async def find_as(self, item: type[Any], resource: Resource) -> list[Any]:
        assert resource is CLAIMS
        self.asked = True
        return [msgspec.convert(found, item) for found in self.claims]


async def found_in(cluster: Cluster, objects: list[Object], labels: dict[str, str]) -> StorageFound:
    classified = {namespace: NamespaceLabels(name) for namespace, name in labels.items()}
    return await find_storage(cast(Client, cluster), objects, classified)


@pytest.mark.parametrize("objects", [[], [{"spec": {}}], [{"spec": None, "status": "rubbish"}]])
async def test_where_nothing_is_asked_of_storage_no_claim_is_read(objects: list[Object]) -> None:
    cluster = Cluster(claim("a", "payments", "us-disk"))
    found = await found_in(cluster, objects, {"payments": "nl"})
    assert not cluster.asked
    assert found.claims == ()
    assert found.surroundings({NL: STORED}).default_class == "nl-disk"


async def test_where_nothing_is_classified_no_claim_is_read() -> None:
    cluster = Cluster(claim("a", "payments", "us-disk"))
    await found_in(cluster, [DEMANDING], {})
    assert not cluster.asked


@pytest.mark.parametrize("item", [DEMANDING, REMEMBERED])
async def test_of_claims_in_classified_namespaces_what_counts_is_kept(item: Object) -> None:
    cluster = Cluster(
        claim("abroad", "payments", "us-disk", other="annotation"),
        claim("annotated", "payments", "nl-disk", **{STORAGE_CLASS_ANNOTATION: "us-disk", BOUND_BY_CONTROLLER: "yes"}),
        claim("at-home", "payments", "nl-disk"),
        claim("abroad", "elsewhere", "us-disk"),
    )
    found = await found_in(cluster, [item], {"payments": "nl"})
    assert [kept["metadata"]["name"] for kept in found.claims] == ["abroad", "annotated", "at-home"]
    assert "annotations" not in found.claims[0]["metadata"]
    assert found.surroundings({NL: STORED}).foreign_claims == {"payments": ("abroad", "annotated")}
