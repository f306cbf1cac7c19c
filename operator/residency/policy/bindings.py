"""Policies on what passes by the creation of a pod: bindings, and the annotations that pods carry afterwards."""

from residency.api.names import CLASSIFICATION, GROUP, PLACED_BY, Mode, PolicyName
from residency.core import messages
from residency.core.judge import Catalogue
from residency.policy import rules
from residency.policy.cel import literal, message
from residency.policy.modes import CEILING, Modes
from residency.policy.objects import CLASSIFIED, EVERYWHERE, Frame, Pair, rule
from residency.policy.variables import LABEL, annotation_of, reasons

_PLACED = (CLASSIFICATION, PLACED_BY)
_BINDINGS = rule("", "v1", ["CREATE"], ["pods/binding", "bindings"])
_KEYS = " + ".join(
    f"object.metadata.?{part}.orValue({{}}).map(k, k).filter(k, k.startsWith({literal(GROUP + '/')}))"
    for part in ("labels", "annotations")
)
"""Residency's own, in the metadata of a Binding."""
_METADATA = message(messages.BINDING_METADATA, keys=rules.cut("variables.keys[0]"))


def guard_bindings(
    frame: Frame, catalogue: Catalogue, name: PolicyName = PolicyName.GUARD_BINDINGS, mode: Mode = Mode.ENFORCE
) -> Pair:
    """Refuse bindings in classified namespaces by anybody but the schedulers, and Residency's keys in them.

    A Binding comes in two ways, ``pods/binding`` and the older ``bindings``; its labels and annotations are copied onto
    the pod. In other namespaces only its keys are looked at, by `guard_annotations`: a binding does not show what its
    pod is annotated with; there the kubelet, which checks required node affinity itself, is the guard.
    """
    schedulers = frame.settings.schedulers
    why = reasons(catalogue)
    variables = [
        ("allowed", f"request.userInfo.username in {literal(schedulers)}"),
        ("keys", _KEYS),
        ("label", LABEL),
        ("ceiling", CEILING),
        ("name", "variables.label[0]"),
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
    in_mode = Modes.of(catalogue).of_namespace(mode, "variables.name")
    return frame.validating(
        name,
        CLASSIFIED,
        (),
        [_BINDINGS],
        variables,
        f"!{in_mode} || (variables.allowed && variables.keys.size() == 0)",
        f"(variables.allowed ? {_METADATA} : {binding})",
        mode,
    )


def guard_annotations(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse to change what a pod says it was placed by, through the pod, its status, or a Binding elsewhere.

    Where all that is asked of the pod, before and after, is only warned of or audited, that may change too; but no
    Binding has a reason to.
    """
    names = Modes.of(catalogue).names(Mode.ENFORCE, "variables.label", "variables.own")
    new, old = "object.metadata.?annotations[?k]", "oldObject.metadata.?annotations[?k]"
    changed = f"{literal(_PLACED)}.filter(k, {new} != {old})"
    text = message(messages.ANNOTATION_CHANGED, keys="variables.changed[0]", name=rules.cut("object.metadata.name"))
    binds = 'request.operation == "CREATE"'
    return frame.validating(
        PolicyName.GUARD_ANNOTATIONS,
        EVERYWHERE,
        (("annotations-changed", f"({binds} ? {_KEYS} : {changed}).size() > 0"),),
        [rule("", "v1", ["UPDATE"], ["pods", "pods/status"]), _BINDINGS],
        (
            ("keys", _KEYS),
            ("changed", changed),
            ("label", LABEL),
            ("ceiling", CEILING),
            ("own", f"({annotation_of('object')} + {annotation_of('oldObject')})"),
            ("names", names),
        ),
        # In classified namespaces `guard_bindings` has the say.
        f"{binds} ? variables.label.size() > 0 : "
        "(variables.label.size() + variables.own.size() > 0 && variables.names.size() == 0)",
        f"({binds} ? {_METADATA} : {text})",
    )
