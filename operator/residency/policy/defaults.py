"""The policy on new namespaces: what nobody classified gets the default classification, where there is one.

The label is there when the namespace is stored, so that no pod can be created before it. Whoever brings a
classification keeps it: this is a default, not a floor. Namespaces that are there already are never touched.

Where the default names nothing in force, the policy does nothing: a cluster in which no namespace can be made is worse
than a namespace without a classification, and ``residency_default_classification_in_force`` tells of it.
"""

from residency.api.names import BY_DEFAULT, CLASSIFICATION, CLASSIFIED_BY, ClassificationName, PolicyName
from residency.core.judge import Catalogue
from residency.core.requirements import Operator, Requirement
from residency.core.selectors import Selector
from residency.policy.cel import literal
from residency.policy.economy import Expressions
from residency.policy.objects import Frame, Pair, Scope, Settings, rule

UNCLASSIFIED = Scope("DoesNotExist", without_excluded=False)
"""A selector for namespaces sees the labels that a new one brings.

Where a name is generated that of the name is one of them, and could say anything: names are looked at themselves.
"""

RESERVED_FOR_KUBERNETES = "kube-"
MADE_BY_THE_API_SERVER = "default"
"""Made without anybody's wish when a cluster first starts, like kube-system, kube-public and kube-node-lease."""


def default_namespaces(frame: Frame, catalogue: Catalogue) -> Pair:
    """Label a new namespace that brings no classification with the default, and with the note that nobody chose it."""
    return frame.mutating(
        PolicyName.DEFAULT_NAMESPACES,
        UNCLASSIFIED,
        _conditions(frame.settings, catalogue),
        rule("", "v1", ["CREATE"], ["namespaces"]),
        (("labelled", "has(object.metadata.labels)"),),
        _patch(frame.settings.default_classification),
    )


def _conditions(settings: Settings, catalogue: Catalogue) -> Expressions:
    """Which new namespaces get it, beyond what the binding says; all in conditions, so that no others are patched."""
    if ClassificationName(settings.default_classification) not in catalogue:
        return (("default-in-force", "false"),)
    name = "object.metadata.?name"
    # A name is generated later.
    begins = f'{name}.or(object.metadata.?generateName).orValue("")'
    ours = literal(sorted({MADE_BY_THE_API_SERVER, settings.canary_namespace, *settings.excluded}))
    reserved = f'{name}.orValue("") in {ours} || {begins}.startsWith({literal(RESERVED_FOR_KUBERNETES)})'
    excepted = " || ".join(f"({met(selector)})" for selector in settings.default_exceptions)
    conditions = [("not-reserved", f"!({reserved})")]
    return [*conditions, ("not-excepted", f"!({excepted})")] if excepted else conditions


def met(selector: Selector) -> str:
    """CEL for whether the labels of the object meet a selector; in Kubernetes NotIn also holds without the label."""
    return " && ".join(map(_met, selector))


def _met(requirement: Requirement) -> str:
    label = f"object.metadata.?labels[?{literal(requirement.key)}]"
    listed = f"{label}.optMap(v, v in {literal(requirement.values)})"
    match requirement.operator:
        case Operator.IN:
            return f"{listed}.orValue(false)"
        case Operator.NOT_IN:
            return f"!{listed}.orValue(false)"
        case Operator.EXISTS:
            return f"{label}.hasValue()"
        case Operator.DOES_NOT_EXIST:
            return f"!{label}.hasValue()"
    raise ValueError(f"labels cannot be selected by {requirement.operator}")


def _patch(name: str) -> str:
    labels = {CLASSIFICATION: name, CLASSIFIED_BY: BY_DEFAULT}
    added = ", ".join(_add("/metadata/labels/" + key.replace("/", "~1"), literal(it)) for key, it in labels.items())
    return f"(variables.labelled ? [] : [{_add('/metadata/labels', '{}')}]) + [{added}]"


def _add(path: str, value: str) -> str:
    return f'JSONPatch{{op: "add", path: {literal(path)}, value: dyn({value})}}'
