"""The shape of the compiled admission policies: names, scopes, rules, conditions; nothing of what they say.

Policies on pods and templates come in two scopes: ``classified`` (selected by the namespace's label) and
``annotated`` (everywhere else, entered only where the annotation is): unclassified pods pay next to nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from residency.api.names import CLASSIFICATION, MANAGED_BY, NAMESPACE_NAME, REVISION, Mode, PolicyName
from residency.core.selectors import Selector
from residency.policy.cel import literal
from residency.policy.economy import Expressions, economical

SCHEDULERS = ("system:kube-scheduler",)
"""Who may bind pods in classified namespaces unless told otherwise."""

API_VERSION = "admissionregistration.k8s.io/v1"


class Pair(NamedTuple):
    """A policy and its binding."""

    policy: dict[str, Any]
    binding: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the policies depend on beside the classifications."""

    own_namespace: str
    canary_namespace: str
    excluded_namespaces: tuple[str, ...] = ("kube-system",)
    reinvocation_policy: str = "Never"
    schedulers: tuple[str, ...] = SCHEDULERS
    default_classification: str = ""
    """What new namespaces are that nobody classified; empty: nothing."""
    default_exceptions: tuple[Selector, ...] = ()
    """New namespaces whose labels meet one of these get no default."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """All namespaces that cannot be classified."""
        return tuple(sorted({*self.excluded_namespaces, self.own_namespace, "kube-system"}))


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a policy on pods or templates applies: the selector of its binding, the condition on its objects."""

    label_operator: str
    of_pods: Expressions = ()
    of_templates: Expressions = ()
    without_excluded: bool = True
    """Whether the selector leaves the excluded namespaces out."""


TEMPLATE = (
    'request.kind.kind == "CronJob" ? dyn({0}).spec.?jobTemplate.?spec.?template : '
    'request.kind.kind == "PodTemplate" ? dyn({0}).?template : dyn({0}).spec.?template'
)
"""The pod template of an object of any workload kind, as an optional."""

_HAS_ANNOTATION = f"{literal(CLASSIFICATION)} in {{0}}.?metadata.?annotations.orValue({{{{}}}})"
_ANY_HAS_ANNOTATION = " || ".join(
    (
        _HAS_ANNOTATION.format("dyn(object)"),
        _HAS_ANNOTATION.format(f"({TEMPLATE.format('object')})"),
        f'(request.kind.kind == "CronJob" && {_HAS_ANNOTATION.format("dyn(object).spec.?jobTemplate")})',
    )
)
CLASSIFIED = Scope("Exists")
EVERYWHERE = Scope("")
"""Every namespace but the excluded ones."""
ANNOTATED = Scope(
    "DoesNotExist",
    # What every pod that nobody classified is asked: in the cheapest words.
    (("annotated", f"has(object.metadata.annotations) && {literal(CLASSIFICATION)} in object.metadata.annotations"),),
    (("annotated", _ANY_HAS_ANNOTATION),),
)

OWNERLESS = (
    # What ends must be able to end.
    ("not-deleted", "!has(object.metadata.deletionTimestamp)"),
    (
        "not-controlled",
        "!object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false))",
    ),
)
"""What a controller makes was judged with its owner."""


# No namespace has a label and has it not: what is bound so costs no request anything.
_NOWHERE = [{"key": CLASSIFICATION, "operator": operator} for operator in ("Exists", "DoesNotExist")]
_ACTIONS = {Mode.ENFORCE: ("Deny",), Mode.WARN: ("Warn", "Audit"), Mode.AUDIT: ("Audit",)}


@dataclass(frozen=True, slots=True)
class Frame:
    """Makes policies with their bindings."""

    settings: Settings
    revision: str

    def mutating(
        self,
        name: PolicyName,
        scope: Scope,
        conditions: Expressions,
        resource_rule: dict[str, Any],
        variables: Expressions,
        patch: str,
    ) -> Pair:
        """A policy that changes what is created, and its binding."""
        declared, (patch,) = economical(variables, patch)
        spec = {
            "failurePolicy": "Fail",
            "reinvocationPolicy": self.settings.reinvocation_policy,
            "matchConstraints": {"resourceRules": [resource_rule]},
            "variables": named(declared),
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        }
        if conditions:
            spec["matchConditions"] = named(conditions)
        policy = self._object("MutatingAdmissionPolicy", name, spec)
        return Pair(policy, self._object("MutatingAdmissionPolicyBinding", name, self._binding(name, scope)))

    def validating(
        self,
        name: PolicyName,
        scope: Scope | None,
        conditions: Expressions,
        resource_rules: list[dict[str, Any]],
        variables: Expressions,
        expression: str,
        text: str,
        mode: Mode = Mode.ENFORCE,
    ) -> Pair:
        """A policy that refuses what does not meet the expression, with the text as its message, and its binding.

        In a lower mode it warns of it, or notes it, instead.
        """
        declared, (expression, text) = economical(variables, expression, text)
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": resource_rules},
            "variables": named(declared),
            "validations": [
                {
                    "expression": expression,
                    "messageExpression": _only_where_refused(expression, text),
                    "reason": "Forbidden",
                }
            ],
        }
        if conditions:
            spec["matchConditions"] = named(conditions)
        policy = self._object("ValidatingAdmissionPolicy", name, spec)
        binding = self._binding(name, scope) | {"validationActions": list(_ACTIONS[mode])}
        return Pair(policy, self._object("ValidatingAdmissionPolicyBinding", name, binding))

    def idle(self, pair: Pair) -> Pair:
        """The same policy where nothing is in its mode: there, and matching nothing."""
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": pair.policy["spec"]["matchConstraints"],
            "matchConditions": named((("in-use", "false"),)),
            "validations": [{"expression": "true"}],
        }
        binding = pair.binding["spec"] | {"matchResources": {"namespaceSelector": {"matchExpressions": _NOWHERE}}}
        return Pair(pair.policy | {"spec": spec}, pair.binding | {"spec": binding})

    def _binding(self, name: PolicyName, scope: Scope | None) -> dict[str, Any]:
        if scope is None:
            return {"policyName": str(name)}
        selector: list[dict[str, Any]] = []
        if scope.label_operator:
            selector.append({"key": CLASSIFICATION, "operator": scope.label_operator})
        if scope.without_excluded:
            excluded = list(self.settings.excluded)
            selector.append({"key": NAMESPACE_NAME, "operator": "NotIn", "values": excluded})
        return {
            "policyName": str(name),
            "matchResources": {"namespaceSelector": {"matchExpressions": selector}},
        }

    def _object(self, kind: str, name: PolicyName, spec: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {
            "name": str(name),
            "labels": {MANAGED_BY: "residency"},
            "annotations": {REVISION: self.revision},
        }
        return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _only_where_refused(expression: str, text: str) -> str:
    """The API server works out the message also where nothing is refused; a message cannot ask for rights."""
    return text if "authorizer" in expression else f'({expression}) ? "" : {text}'


def rule(group: str, version: str, operations: Iterable[str], resources: Iterable[str]) -> dict[str, Any]:
    """Match operations on resources of one API group."""
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations),
        "resources": list(resources),
    }


def named(expressions: Expressions) -> list[dict[str, str]]:
    """Named expressions as the API writes them."""
    return [{"name": name, "expression": expression} for name, expression in expressions]
