"""Policies on what passes by the creation of a pod: bindings, and the annotations that pods carry afterwards."""

from residency.api.names import CLASSIFICATION, GROUP, PLACED_BY, PolicyName
from residency.core import messages
from residency.core.judge import Catalogue
from residency.policy import rules
from residency.policy.cel import literal, message
from residency.policy.objects import CLASSIFIED, EVERYWHERE, Frame, Pair, rule
from residency.policy.variables import reasons

_PLACED = (CLASSIFICATION, PLACED_BY)


def guard_bindings(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse bindings in classified namespaces by anybody but the schedulers, and Residency's keys in them.

    A Binding comes in two ways, ``pods/binding`` and the older ``bindings``; its labels and annotations are copied onto
    the pod. In other namespaces nothing is looked at: a binding does not show what its pod is annotated with; there
    the kubelet, which checks required node affinity itself, is the guard.
    """
    schedulers = frame.settings.schedulers
    why = reasons(catalogue)
    label = f"namespaceObject.metadata.labels[{literal(CLASSIFICATION)}]"
    keys = " + ".join(
        f"object.metadata.?{part}.orValue({{}}).map(k, k).filter(k, k.startsWith({literal(GROUP + '/')}))"
        for part in ("labels", "annotations")
    )
    variables = [
        ("allowed", f"request.userInfo.username in {literal(schedulers)}"),
        ("keys", keys),
        ("name", label),
        *why.variables(),
        ("text", f'({why.find("variables.name")}).orValue([string(variables.name), ""])'),
    ]
    binding = message(
        messages.BINDING,
        subject='"namespace " + namespaceObject.metadata.name',
        name="variables.name",
        title="variables.text[0]",
        why="variables.text[1]",
        schedulers=literal(messages.one_line(messages.listing(schedulers, "and"), 160)),
        user=rules.cut("request.userInfo.username"),
    )
    metadata = message(messages.BINDING_METADATA, keys=rules.cut("variables.keys[0]"))
    return frame.validating(
        PolicyName.GUARD_BINDINGS,
        CLASSIFIED,
        (),
        [rule("", "v1", ["CREATE"], ["pods/binding", "bindings"])],
        variables,
        "variables.allowed && variables.keys.size() == 0",
        f"(variables.allowed ? {metadata} : {binding})",
    )


def guard_annotations(frame: Frame) -> Pair:
    """Refuse to change what a pod says it was placed by, through the pod or its status."""
    new, old = "object.metadata.?annotations[?k]", "oldObject.metadata.?annotations[?k]"
    changed = f"{literal(_PLACED)}.filter(k, {new} != {old})"
    text = message(messages.ANNOTATION_CHANGED, keys="variables.changed[0]", name=rules.cut("object.metadata.name"))
    return frame.validating(
        PolicyName.GUARD_ANNOTATIONS,
        EVERYWHERE,
        (("annotations-changed", f"{changed}.size() > 0"),),
        [rule("", "v1", ["UPDATE"], ["pods", "pods/status"])],
        (("changed", changed),),
        "false",
        text,
    )
