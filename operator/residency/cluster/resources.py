"""The kinds that Residency reads or writes, and their paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from residency.api import names


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the Kubernetes API."""

    api_version: str
    plural: str

    def path(self, name: str = "", *, namespace: str = "", subresource: str = "") -> str:
        """Spell the path of the collection or, with a name, of one object."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = (root + scope, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


CLASSIFICATIONS: Final = Resource(f"{names.GROUP}/{names.VERSION}", names.PLURAL)
FINDINGS: Final = Resource(f"{names.GROUP}/{names.VERSION}", names.FINDINGS)
NAMESPACES: Final = Resource("v1", "namespaces")
PODS: Final = Resource("v1", "pods")
CLAIMS: Final = Resource("v1", "persistentvolumeclaims")
VOLUMES: Final = Resource("v1", "persistentvolumes")
STORAGE_CLASSES: Final = Resource("storage.k8s.io/v1", "storageclasses")
NODES: Final = Resource("v1", "nodes")
REPLICA_SETS: Final = Resource("apps/v1", "replicasets")
JOBS: Final = Resource("batch/v1", "jobs")
EVENTS: Final = Resource("events.k8s.io/v1", "events")
REPORTS: Final = Resource(names.REPORTS_VERSION, "reports")
DAEMON_SETS: Final = Resource("apps/v1", "daemonsets")
ACCESS_REVIEWS: Final = Resource("authorization.k8s.io/v1", "selfsubjectaccessreviews")
LEASES: Final = Resource("coordination.k8s.io/v1", "leases")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io/v1", "endpointslices")

_ADMISSION: Final = "admissionregistration.k8s.io/v1"
POLICIES: Final[Mapping[str, Resource]] = {
    "MutatingAdmissionPolicy": Resource(_ADMISSION, "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": Resource(_ADMISSION, "mutatingadmissionpolicybindings"),
    "ValidatingAdmissionPolicy": Resource(_ADMISSION, "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": Resource(_ADMISSION, "validatingadmissionpolicybindings"),
}
"""The kinds of the compiled policies, by ``kind``."""


def name_of(item: Mapping[str, Any]) -> str:
    """Read ``metadata.name``."""
    return str(item["metadata"]["name"])
