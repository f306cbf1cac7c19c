"""Policies on pods: placed when they are created, guarded as they are about to be stored."""

from residency.api.names import Mode, PolicyName
from residency.policy import denials, patches
from residency.policy.canary import in_force
from residency.policy.cel import literal
from residency.policy.objects import Frame, Pair, Scope, rule
from residency.policy.storage import ELSEWHERE, storage_denial, storing
from residency.policy.variables import (
    IMPLICIT,
    TOLERATIONS_OF_SPEC,
    Tables,
    admitted,
    annotation_of,
    asked,
    denial,
    free,
    lacking,
    terms,
    tolerations,
)

# A gated pod cannot be bound; it is checked when its last gate goes. Other updates are never judged.
RELEASED = (
    'request.operation == "CREATE" || (!has(object.metadata.deletionTimestamp) && '
    "oldObject.spec.?schedulingGates.orValue([]).size() > 0 && object.spec.?schedulingGates.orValue([]).size() == 0)"
)
# The kubelet's image of a static pod: only a node may make one, and only of itself.
MIRROR = (
    '"kubernetes.io/config.mirror" in object.metadata.?annotations.orValue({}) && "system:nodes" in '
    "request.userInfo.?groups.orValue([]) && "
    'object.spec.?nodeName.orValue("") != "" && request.userInfo.?username.orValue("") == "system:node:" + '
    "object.spec.nodeName"
)
# Who names a node is refused by the guard and never placed. Besides, mutating policies that have a condition read a pod
# as it lies in the API server's memory, and not from a copy of the whole.
UNBOUND = ("unbound", 'object.spec.?nodeName.orValue("") == ""')


def place_pods(frame: Frame, tables: Tables, name: PolicyName, scope: Scope) -> Pair:
    """Write the placement into a pod."""
    variables = [
        ("spec", "object.spec"),
        ("own", annotation_of("object")),
        *asked(tables),
        *terms(tables, IMPLICIT, to_write=True),
        *free(),
        *tolerations(tables),
        ("missing", lacking(TOLERATIONS_OF_SPEC)),
    ]
    resource_rule = rule("", "v1", ["CREATE"], ["pods"])
    conditions = scope.of_pods or (UNBOUND,)
    return frame.mutating(name, scope, conditions, resource_rule, variables, patches.place_pod(frame.revision))


def guard_pods(frame: Frame, tables: Tables, name: PolicyName, scope: Scope, mode: Mode = Mode.ENFORCE) -> Pair:
    """Refuse a pod that could run elsewhere; in lower modes tell of one that would not be placed but refused."""
    path = literal("spec")
    variables = [
        ("spec", "dyn(object).spec"),
        ("own", annotation_of("object")),
        *asked(tables, mode),
        *terms(tables, IMPLICIT, to_write=False),
        *admitted(),
        *storing(tables, scope),
        *denial(tables, path),
        *storage_denial(tables, path),
    ]
    enforced = mode is Mode.ENFORCE
    text = f"variables.placeable ? {denials.not_placed(path)} : {denials.refusal(path)}"
    placed = "variables.admitted" if enforced else "variables.placeable"
    passes = placed
    if tables.storage is not None:
        text = f"{placed} ? {ELSEWHERE} : {text}"
        passes = f"({placed} && variables.stored)"
    resource_rule = rule("", "v1", ["CREATE", "UPDATE"], ["pods"])
    return frame.validating(
        name,
        scope,
        scope.of_pods,
        [resource_rule],
        variables,
        # Not as match conditions, each of which costs as much as the usual judgement. A canary is not admitted: its
        # classification is unknown.
        f"!({RELEASED}) || ({MIRROR}) || variables.names.size() == 0 || {passes}",
        f"variables.canary ? {in_force(frame.revision)} : {text}",
        mode,
    )
