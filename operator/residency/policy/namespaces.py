"""The policy on namespaces: what their classification label may become."""

from residency.api.names import CANARY, CLASSIFICATION, PolicyName
from residency.core import messages
from residency.core.judge import Catalogue
from residency.policy.cel import literal, message
from residency.policy.objects import NOT_DELETED, Frame, Pair, rule


def guard_namespaces(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse a label that names nothing in force, or stands where none may."""
    label = f'object.metadata.?labels[?{literal(CLASSIFICATION)}].orValue("")'
    old = f'oldObject.metadata.?labels[?{literal(CLASSIFICATION)}].orValue("")'
    excluded = f"object.metadata.name in {literal(frame.settings.excluded)}"
    own = literal(frame.settings.canary_namespace)
    canary = f"(object.metadata.name == {own} && variables.label == {literal(CANARY)})"
    variables = [("label", label), ("subject", '"namespace " + object.metadata.name')]
    conditions = (
        ("labelled", f"{literal(CLASSIFICATION)} in object.metadata.?labels.orValue({{}})"),
        ("label-changed", f'request.operation == "CREATE" || {label} != {old}'),
        NOT_DELETED,
    )
    known = f"variables.label in {literal(sorted(catalogue))}" if catalogue else "false"
    text = f"{excluded} ? {message(messages.EXCLUDED_NAMESPACE, name='object.metadata.name')} : " + message(
        messages.UNKNOWN_CLASSIFICATION, subject="variables.subject", name="variables.label"
    )
    resource_rule = rule("", "v1", ["CREATE", "UPDATE"], ["namespaces", "namespaces/status", "namespaces/finalize"])
    return frame.validating(
        PolicyName.GUARD_NAMESPACES,
        None,
        conditions,
        [resource_rule],
        variables,
        f"!({excluded}) && ({known} || {canary})",
        text,
    )
