"""The policy on Residency's own policies: only the controller writes them, and whoever breaks the glass.

It works as a static policy only. The API server never asks policies that are stored through its API about admission
policies, so that nobody can lock himself out; those that it reads from files it does ask.
"""

from typing import Any

from residency.api.names import (
    BREAK_GLASS,
    DEFINITION,
    MANAGED_BY,
    RESERVED_PREFIX,
    REVISION,
    SELF_PROTECTION,
)
from residency.core import messages
from residency.policy import rules
from residency.policy.cel import literal, message
from residency.policy.objects import API_VERSION, Pair, named, rule

_DEFINITIONS = "customresourcedefinitions"
_IS_DEFINITION = f"request.resource.resource == {literal(_DEFINITIONS)}"
# Of many that are deleted at once, the request names none; the objects do.
_NAME = "(oldObject != null ? oldObject : object).metadata.name"


def self_protection(controller: str) -> Pair:
    """Refuse what would weaken the policies to everybody but the controller (its user name) and the group.

    What changes nothing but metadata passes: finalizers and owners belong to Kubernetes' own controllers. The two
    marks by which Residency knows its policies are the exception.
    """
    own = f"{_IS_DEFINITION} ? {_NAME} == {literal(DEFINITION)} : {_NAME}.startsWith({literal(RESERVED_PREFIX)})"
    marked = f"{_changed('labels', MANAGED_BY)} || {_changed('annotations', REVISION)}"
    # Nobody goes by the marks of the definition; Helm puts its own there when it takes one over.
    changes = f'request.operation != "UPDATE" || object.?spec != oldObject.?spec || (!({_IS_DEFINITION}) && ({marked}))'
    user = "request.userInfo.username"
    allowed = f"{user} == {literal(controller)} || {literal(BREAK_GLASS)} in request.userInfo.?groups.orValue([])"
    text = message(
        messages.PROTECTED,
        operation="request.operation.lowerAscii()",
        kind="request.kind.kind",
        name=rules.cut("variables.name"),
        controller=literal(messages.one_line(controller, messages.KEY_LENGTH)),
        user=rules.cut(user),
    )
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                rule("admissionregistration.k8s.io", "*", ["CREATE", "UPDATE", "DELETE"], _RESOURCES),
                rule("apiextensions.k8s.io", "*", ["UPDATE", "DELETE"], [_DEFINITIONS]),
            ]
        },
        "matchConditions": named([("residencys-own", own), ("weakens", changes)]),
        "variables": named([("name", _NAME), ("allowed", allowed)]),
        "validations": [
            {
                "expression": "variables.allowed",
                # The API server works out the message also where nothing is refused.
                "messageExpression": f'variables.allowed ? "" : {text}',
                "reason": "Forbidden",
            }
        ],
    }
    binding = {"policyName": SELF_PROTECTION, "validationActions": ["Deny"]}
    return Pair(_object("ValidatingAdmissionPolicy", spec), _object("ValidatingAdmissionPolicyBinding", binding))


_RESOURCES = (
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)


def _changed(part: str, key: str) -> str:
    new, old = (f"{thing}.metadata.?{part}[?{literal(key)}]" for thing in ("object", "oldObject"))
    return f"{new} != {old}"


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": SELF_PROTECTION, "labels": {MANAGED_BY: "residency"}}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
