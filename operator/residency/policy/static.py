"""Policies as files that an API server reads when it starts (``*.static.k8s.io``): pure, whatever the policies say.

Such policies are in force from the first answered request, need nothing in etcd, and cannot be changed through the
API. They may not have parameters, and a binding and its policy have to be in one folder, of which each of the
two kinds has its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from residency.api.names import NAMESPACE_NAME, STATIC_SUFFIX
from residency.policy.objects import Settings
from residency.policy.protection import self_protection

Json = dict[str, Any]

VALIDATING = "validating"
MUTATING = "mutating"
"""The folders."""

_GROUP = "apiserver.config.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class StaticSet:
    """What goes into the two folders."""

    validating: tuple[Json, ...]
    mutating: tuple[Json, ...]


def static_set(settings: Settings, service_account: str, compiled: Iterable[Json] = ()) -> StaticSet:
    """Make the self-protection of a controller with this ServiceAccount, and static twins of compiled objects."""
    controller = f"system:serviceaccount:{settings.own_namespace}:{service_account}"
    twins = [_twin(item, settings.canary_namespace) for item in compiled]
    return StaticSet(
        (*self_protection(controller), *(item for item in twins if _folder(item) == VALIDATING)),
        tuple(item for item in twins if _folder(item) == MUTATING),
    )


def admission_configuration(folder: str) -> Json:
    """Tell an API server to read what is in the two folders below this one (an absolute path)."""
    plugins = {VALIDATING: "ValidatingAdmissionPolicy", MUTATING: "MutatingAdmissionPolicy"}
    return {
        "apiVersion": _GROUP,
        "kind": "AdmissionConfiguration",
        "plugins": [
            {
                "name": plugin,
                "configuration": {
                    "apiVersion": _GROUP,
                    "kind": f"{plugin}Configuration",
                    "staticManifestsDir": f"{folder.rstrip('/')}/{subfolder}",
                },
            }
            for subfolder, plugin in plugins.items()
        ],
    }


def _folder(item: Mapping[str, Any]) -> str:
    return MUTATING if item["kind"].startswith("Mutating") else VALIDATING


def _twin(item: Json, canary_namespace: str) -> Json:
    """The same under a static name."""
    twin = item | {"metadata": item["metadata"] | {"name": item["metadata"]["name"] + STATIC_SUFFIX}}
    if item["kind"].endswith("Binding"):
        twin["spec"] = _bound(item["spec"], canary_namespace)
    return twin


def _bound(spec: Json, canary_namespace: str) -> Json:
    """The same binding, of a static policy, and not in the canary namespace.

    The canary has to be answered by the policies that the controller wrote. A file that is older than the catalogue
    would answer in their place, and nothing would ever be Ready.
    """
    bound = spec | {"policyName": spec["policyName"] + STATIC_SUFFIX}
    if "matchResources" in spec:
        resources = spec["matchResources"]
        selector = resources.get("namespaceSelector", {})
        outside = {"key": NAMESPACE_NAME, "operator": "NotIn", "values": [canary_namespace]}
        expressions = [*selector.get("matchExpressions", []), outside]
        bound["matchResources"] = resources | {"namespaceSelector": selector | {"matchExpressions": expressions}}
    return bound
