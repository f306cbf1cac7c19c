"""All classifications compiled into a few admission policies with fixed names, as plain objects ready to be applied.

Policies on pods and templates come in two scopes: ``classified`` (selected by the namespace's label) and
``annotated`` (everywhere else, entered only where the annotation is): unclassified pods pay next to nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.api.names import (
    CANARY,
    CLASSIFICATION,
    GROUP,
    MANAGED_BY,
    NAMESPACE_NAME,
    PLURAL,
    REVISION,
    VERSION,
    PolicyName,
)
from residency.core import messages
from residency.core.judge import Catalogue
from residency.policy import denials, patches
from residency.policy.canary import in_force
from residency.policy.cel import DoesNotFit, literal, message
from residency.policy.variables import (
    TOLERATIONS_OF_SPEC,
    Tables,
    Variables,
    annotation_of,
    asked,
    denial,
    lacking,
    terms,
    tolerations,
)

# etcd takes 1.5 MiB; what the API server adds (managedFields) needs room too.
LARGEST_OBJECT = 1_000_000

API_VERSION = "admissionregistration.k8s.io/v1"

_TEMPLATE = (
    'request.kind.kind == "CronJob" ? dyn({0}).spec.?jobTemplate.?spec.?template : '
    'request.kind.kind == "PodTemplate" ? dyn({0}).?template : dyn({0}).spec.?template'
)
_PATH = (
    'request.kind.kind == "CronJob" ? "spec.jobTemplate.spec.template" : '
    'request.kind.kind == "PodTemplate" ? "template" : "spec.template"'
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the policies depend on beside the classifications."""

    own_namespace: str
    canary_namespace: str
    excluded_namespaces: tuple[str, ...] = ("kube-system",)
    reinvocation_policy: str = "Never"

    @property
    def excluded(self) -> tuple[str, ...]:
        """All namespaces that cannot be classified."""
        return tuple(sorted({*self.excluded_namespaces, self.own_namespace, "kube-system"}))


@dataclass(frozen=True, slots=True)
class CompiledPolicies:
    """Policies and bindings in the order in which they are to be applied, and the revision they carry.

    Those that the canary proves come last of their kind: API servers see the changes of a kind in order.
    """

    revision: str
    objects: tuple[dict[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes of all objects as JSON."""
        return sum(len(json.dumps(item)) for item in self.objects)


@dataclass(frozen=True)
class _Scope:
    """Where a pair of policies applies: selector of the binding, condition on the object."""

    label_operator: str
    conditions: tuple[tuple[str, str], ...] = ()
    template_conditions: tuple[tuple[str, str], ...] = ()


_HAS_ANNOTATION = f"{literal(CLASSIFICATION)} in dyn({{0}}).?metadata.?annotations.orValue({{{{}}}})"
_CLASSIFIED = _Scope("Exists")
_ANNOTATED = _Scope(
    "DoesNotExist",
    (("annotated", _HAS_ANNOTATION.format("object")),),
    (
        (
            "annotated",
            f"{_HAS_ANNOTATION.format('object')} || "
            f"{literal(CLASSIFICATION)} in ({_TEMPLATE.format('object')}).?metadata.?annotations.orValue({{}}) || "
            f'(request.kind.kind == "CronJob" && {literal(CLASSIFICATION)} in '
            "dyn(object).spec.?jobTemplate.?metadata.?annotations.orValue({}))",
        ),
    ),
)


def compile_policies(catalogue: Catalogue, settings: Settings) -> CompiledPolicies:
    """Compile a catalogue.

    Raises:
        DoesNotFit: the result is too large for the API server; the message says what would help.
    """
    tables = Tables.of(catalogue)
    blank = _Compiler(tables, catalogue, settings, revision="")
    revision = hashlib.sha256(json.dumps(blank.objects(), sort_keys=True).encode()).hexdigest()[:12]
    objects = _Compiler(tables, catalogue, settings, revision).objects()
    for item in objects:
        size = len(json.dumps(item))
        if size > LARGEST_OBJECT:
            raise DoesNotFit(
                f"{len(catalogue)} classifications compile to a policy of {size} bytes, at most "
                f"{LARGEST_OBJECT} are possible: "
                "delete classifications that are not in use, or shorten their lists"
            )
    return CompiledPolicies(revision, tuple(objects))


@dataclass(frozen=True)
class _Compiler:
    tables: Tables
    catalogue: Catalogue
    settings: Settings
    revision: str

    def objects(self) -> list[dict[str, Any]]:
        """Bindings first, so that a policy is in force once it is there; pods last, because the canary is one."""
        names = PolicyName
        mutating = [
            self._place_daemonsets(names.PLACE_DAEMONSETS, _CLASSIFIED),
            self._place_daemonsets(names.PLACE_ANNOTATED_DAEMONSETS, _ANNOTATED),
            self._place_pods(names.PLACE_ANNOTATED_PODS, _ANNOTATED),
            self._place_pods(names.PLACE_PODS, _CLASSIFIED),
        ]
        guards = [
            self._guard_namespaces(),
            self._guard_classifications(),
            self._guard_templates(names.GUARD_TEMPLATES, _CLASSIFIED),
            self._guard_templates(names.GUARD_ANNOTATED_TEMPLATES, _ANNOTATED),
            self._guard_pods(names.GUARD_ANNOTATED_PODS, _ANNOTATED),
            self._guard_pods(names.GUARD_PODS, _CLASSIFIED),
        ]
        pairs = [*guards, *mutating]
        return [binding for _, binding in pairs] + [policy for policy, _ in pairs]

    def _place_pods(self, name: PolicyName, scope: _Scope) -> tuple[dict[str, Any], dict[str, Any]]:
        variables = [
            ("spec", "object.spec"),
            ("own", annotation_of("object")),
            *asked(self.tables),
            *terms(self.tables, _IMPLICIT, to_write=True),
            *tolerations(self.tables),
            ("missing", lacking(TOLERATIONS_OF_SPEC)),
        ]
        rule = _rule("", "v1", ["CREATE"], ["pods"])
        return self._mutating(name, scope, scope.conditions, rule, variables, patches.place_pod(self.revision))

    def _place_daemonsets(self, name: PolicyName, scope: _Scope) -> tuple[dict[str, Any], dict[str, Any]]:
        template = "object.spec.template"
        variables = [
            ("spec", f"{template}.spec"),
            ("own", annotation_of(template)),
            *asked(self.tables),
            *tolerations(self.tables),
            *patches.daemonset_variables(),
            *terms(self.tables, "!variables.ownTerms", to_write=True),
            *patches.rewriting(),
        ]
        rule = _rule("apps", "v1", ["CREATE", "UPDATE"], ["daemonsets"])
        conditions = (*_OWNERLESS, *scope.template_conditions)
        return self._mutating(name, scope, conditions, rule, variables, patches.place_daemonset())

    def _guard_pods(self, name: PolicyName, scope: _Scope) -> tuple[dict[str, Any], dict[str, Any]]:
        path = literal("spec")
        variables = [
            ("spec", "dyn(object).spec"),
            ("own", annotation_of("object")),
            *asked(self.tables),
            *terms(self.tables, _IMPLICIT, to_write=False),
            *denial(self.tables, path),
        ]
        conditions = (
            ("created-or-released", _RELEASED),
            ("not-mirrored", f"!({_MIRROR})"),
            *scope.conditions,
        )
        text = f"variables.placeable ? {denials.not_placed(path)} : {denials.refusal(path)}"
        expression = 'variables.unknown.size() == 0 && variables.named == "" && variables.kept'
        rule = _rule("", "v1", ["CREATE", "UPDATE"], ["pods"])
        return self._validating(
            name,
            scope,
            conditions,
            [rule],
            variables,
            f"!variables.canary && {expression}",
            f"variables.canary ? {in_force(self.revision)} : {text}",
        )

    def _guard_templates(self, name: PolicyName, scope: _Scope) -> tuple[dict[str, Any], dict[str, Any]]:
        path = 'variables.path + ".spec"'
        variables = [
            ("path", _PATH),
            ("template", f"({_TEMPLATE.format('object')}).orValue({{}})"),
            ("spec", "variables.template.?spec.orValue({})"),
            ("own", annotation_of("variables.template")),
            (
                "outer",
                f'{annotation_of("object")} + (request.kind.kind == "CronJob" ? '
                f"{annotation_of('dyn(object).spec.?jobTemplate')} : [])",
            ),
            (
                "misplaced",
                "variables.outer.size() > 0 && (variables.own.size() == 0 || variables.own[0] != variables.outer[0])",
            ),
            *asked(self.tables),
            *tolerations(self.tables),
            *patches.daemonset_variables(),
            *terms(self.tables, _IMPLICIT, to_write=False),
            *denial(self.tables, path),
            ("ofDaemonSet", 'request.kind.kind == "DaemonSet"'),
            (
                "untolerating",
                f"variables.tolerated.size() > 1 && "
                f"{lacking(TOLERATIONS_OF_SPEC, 'variables.tolerated[0]')}.size() == 0 ? 1 : 0",
            ),
        ]
        conditions = (
            *_OWNERLESS,
            ("judged-part-changed", _judged_part_changed()),
            *scope.template_conditions,
        )
        untolerating = "(variables.ownTolerations && variables.missing.size() > 0)"
        daemonset = f"variables.kept && !{untolerating}"
        expression = (
            "!variables.misplaced && (variables.names.size() == 0 || "
            f"(variables.placeable && (!variables.ofDaemonSet || ({daemonset}))))"
        )
        text = (
            f"variables.misplaced ? {denials.misplaced_annotation('variables.path')} : "
            f"!variables.placeable ? {denials.refusal(path)} : "
            f"variables.ownTerms && !variables.kept ? {denials.daemonset_affinity()} : "
            f"{untolerating} ? {denials.daemonset_tolerations()} : {denials.not_placed(path)}"
        )
        rules_ = [
            _rule(
                "apps",
                "v1",
                ["CREATE", "UPDATE"],
                ["deployments", "statefulsets", "daemonsets", "replicasets"],
            ),
            _rule("batch", "v1", ["CREATE", "UPDATE"], ["jobs", "cronjobs"]),
            _rule("", "v1", ["CREATE", "UPDATE"], ["replicationcontrollers", "podtemplates"]),
        ]
        return self._validating(name, scope, conditions, rules_, variables, f"variables.canary || {expression}", text)

    def _guard_namespaces(self) -> tuple[dict[str, Any], dict[str, Any]]:
        label = f'object.metadata.?labels[?{literal(CLASSIFICATION)}].orValue("")'
        old = f'oldObject.metadata.?labels[?{literal(CLASSIFICATION)}].orValue("")'
        excluded = f"object.metadata.name in {literal(self.settings.excluded)}"
        own = literal(self.settings.canary_namespace)
        canary = f"(object.metadata.name == {own} && variables.label == {literal(CANARY)})"
        variables = [("label", label), ("subject", '"namespace " + object.metadata.name')]
        conditions = (
            ("labelled", f"{literal(CLASSIFICATION)} in object.metadata.?labels.orValue({{}})"),
            ("label-changed", f'request.operation == "CREATE" || {label} != {old}'),
            _NOT_DELETED,
        )
        known = f"variables.label in {literal(sorted(self.catalogue))}" if self.catalogue else "false"
        text = f"{excluded} ? {message(messages.EXCLUDED_NAMESPACE, name='object.metadata.name')} : " + message(
            messages.UNKNOWN_CLASSIFICATION, subject="variables.subject", name="variables.label"
        )
        rule = _rule("", "v1", ["CREATE", "UPDATE"], ["namespaces", "namespaces/status", "namespaces/finalize"])
        return self._validating(
            PolicyName.GUARD_NAMESPACES,
            None,
            conditions,
            [rule],
            variables,
            f"!({excluded}) && ({known} || {canary})",
            text,
        )

    def _guard_classifications(self) -> tuple[dict[str, Any], dict[str, Any]]:
        used = "oldObject.?status.?usedBy"
        count = f"{used}.?namespaces.orValue(0)"
        variables = [
            ("names", f"{used}.?namespaceNames.orValue([])"),
            ("namespaces", f"{count} > variables.names.size() ? {count} : variables.names.size()"),
            ("including", f"{used}.?classifications.orValue([])"),
            (
                "users",
                '(variables.namespaces > 0 ? ["namespace " + '
                f"{_some_of('variables.names', 'variables.namespaces')}] : []) + "
                '(variables.including.size() > 0 ? ["classification " + '
                f'{_some_of("variables.including", "variables.including.size()")} + " (includes it)"] : [])',
            ),
        ]
        text = message(
            messages.CLASSIFICATION_IN_USE, name="oldObject.metadata.name", users='variables.users.join("; ")'
        )
        rule = _rule(GROUP, VERSION, ["DELETE"], [PLURAL])
        return self._validating(
            PolicyName.GUARD_CLASSIFICATIONS, None, (), [rule], variables, "variables.users.size() == 0", text
        )

    def _mutating(
        self,
        name: PolicyName,
        scope: _Scope,
        conditions: tuple[tuple[str, str], ...],
        rule: dict[str, Any],
        variables: Variables,
        patch: str,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        spec = {
            "failurePolicy": "Fail",
            "reinvocationPolicy": self.settings.reinvocation_policy,
            "matchConstraints": {"resourceRules": [rule]},
            "variables": _named(variables),
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        }
        if conditions:
            spec["matchConditions"] = _named(conditions)
        policy = self._object("MutatingAdmissionPolicy", name, spec)
        return policy, self._object("MutatingAdmissionPolicyBinding", name, self._binding(name, scope))

    def _validating(
        self,
        name: PolicyName,
        scope: _Scope | None,
        conditions: tuple[tuple[str, str], ...],
        resource_rules: list[dict[str, Any]],
        variables: Variables,
        expression: str,
        text: str,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": resource_rules},
            "variables": _named(variables),
            "validations": [{"expression": expression, "messageExpression": text, "reason": "Forbidden"}],
        }
        if conditions:
            spec["matchConditions"] = _named(conditions)
        policy = self._object("ValidatingAdmissionPolicy", name, spec)
        binding = self._binding(name, scope) | {"validationActions": ["Deny"]}
        return policy, self._object("ValidatingAdmissionPolicyBinding", name, binding)

    def _binding(self, name: PolicyName, scope: _Scope | None) -> dict[str, Any]:
        if scope is None:
            return {"policyName": str(name)}
        selector = [
            {"key": CLASSIFICATION, "operator": scope.label_operator},
            {"key": NAMESPACE_NAME, "operator": "NotIn", "values": list(self.settings.excluded)},
        ]
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


_IMPLICIT = "!variables.spec.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.hasValue()"
# A gated pod cannot be bound; it is checked when its last gate goes. Other updates are never judged.
_RELEASED = (
    'request.operation == "CREATE" || (!has(object.metadata.deletionTimestamp) && '
    "oldObject.spec.?schedulingGates.orValue([]).size() > 0 && object.spec.?schedulingGates.orValue([]).size() == 0)"
)
# The kubelet's image of a static pod: only a node may make one, and only of itself.
_MIRROR = (
    '"kubernetes.io/config.mirror" in object.metadata.?annotations.orValue({}) && "system:nodes" in '
    "request.userInfo.?groups.orValue([]) && "
    'object.spec.?nodeName.orValue("") != "" && request.userInfo.?username.orValue("") == "system:node:" + '
    "object.spec.nodeName"
)
_NOT_DELETED = ("not-deleted", "!has(object.metadata.deletionTimestamp)")
_OWNERLESS = (
    _NOT_DELETED,
    (
        "not-controlled",
        "!object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false))",
    ),
)


# All ten names that a status holds, twice, at 63 characters each, would be more than a message takes.
_NAMES_SHOWN = 4


def _some_of(names: str, count: str) -> str:
    shown = f"({names}.size() > {_NAMES_SHOWN} ? {names}.slice(0, {_NAMES_SHOWN}) : {names})"
    more = f'({count} > {shown}.size() ? " and " + string({count} - {shown}.size()) + " more" : "")'
    return f'{shown}.join(", ") + {more}'


def _judged_part_changed() -> str:
    def part(thing: str) -> list[str]:
        template = f"({_TEMPLATE.format(thing)})"
        return [
            f"{template}.?spec.?{name}"
            for name in (
                "nodeSelector",
                "affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution",
                "nodeName",
                "tolerations",
            )
        ] + [
            f"{template}.?metadata.?annotations[?{literal(CLASSIFICATION)}]",
            f"dyn({thing}).?metadata.?annotations[?{literal(CLASSIFICATION)}]",
        ]

    changes = " || ".join(f"{new} != {old}" for new, old in zip(part("object"), part("oldObject"), strict=True))
    return f'request.operation == "CREATE" || {changes}'


def _rule(group: str, version: str, operations: list[str], resources: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": resources}


def _named(expressions: Variables | tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"name": name, "expression": expression} for name, expression in expressions]
