"""Policies on workloads that make pods: templates are judged, those of DaemonSets placed."""

from residency.api.names import CLASSIFICATION, Mode, PolicyName
from residency.policy import denials, patches
from residency.policy.cel import literal
from residency.policy.objects import OWNERLESS, TEMPLATE, Frame, Pair, Scope, rule
from residency.policy.storage import ELSEWHERE, storage_denial, storing
from residency.policy.variables import (
    IMPLICIT,
    TOLERATIONS_OF_SPEC,
    Tables,
    annotation_of,
    asked,
    denial,
    lacking,
    terms,
    tolerations,
)

_PATH = (
    'request.kind.kind == "CronJob" ? "spec.jobTemplate.spec.template" : '
    'request.kind.kind == "PodTemplate" ? "template" : "spec.template"'
)

# The claims that a StatefulSet makes for its pods.
_CLAIMS = 'request.kind.kind == "StatefulSet" ? dyn(object).spec.?volumeClaimTemplates.orValue([]) : []'


def _misplaced(tables: Tables, mode: Mode) -> str:
    """Whether the annotation of a classification of this mode stands where it has no effect."""
    modes, name = tables.modes, "variables.outer[0]"
    in_mode = f"({name} in variables.label ? {modes.of_namespace(mode, name)} : {modes.own(mode, name)})"
    other = "(variables.own.size() == 0 || variables.own[0] != variables.outer[0])"
    return f"variables.outer.size() > 0 && {other} && {in_mode}"


def place_daemonsets(frame: Frame, tables: Tables, name: PolicyName, scope: Scope) -> Pair:
    """Write the placement into a DaemonSet's template, where its author wrote nothing."""
    template = "object.spec.template"
    variables = [
        ("spec", f"{template}.spec"),
        ("own", annotation_of(template)),
        ("outer", annotation_of("object")),
        ("changed", _judged_part_changed()),
        *asked(tables),
        ("misplaced", _misplaced(tables, Mode.ENFORCE)),
        *tolerations(tables),
        *patches.daemonset_variables(),
        *terms(tables, "!variables.ownTerms", to_write=True),
        *patches.rewriting(),
    ]
    resource_rule = rule("apps", "v1", ["CREATE", "UPDATE"], ["daemonsets"])
    conditions = (*OWNERLESS, *scope.of_templates)
    return frame.mutating(name, scope, conditions, resource_rule, variables, patches.place_daemonset())


def guard_templates(frame: Frame, tables: Tables, name: PolicyName, scope: Scope, mode: Mode = Mode.ENFORCE) -> Pair:
    """Refuse a workload whose pods could never run, or would run elsewhere."""
    enforced = mode is Mode.ENFORCE
    path = 'variables.path + ".spec"'
    variables = [
        ("path", _PATH),
        ("template", f"({TEMPLATE.format('object')}).orValue({{}})"),
        ("spec", "variables.template.?spec.orValue({})"),
        ("own", annotation_of("variables.template")),
        (
            "outer",
            f'{annotation_of("object")} + (request.kind.kind == "CronJob" ? '
            f"{annotation_of('dyn(object).spec.?jobTemplate')} : [])",
        ),
        *asked(tables, mode),
        ("misplaced", _misplaced(tables, mode)),
        *tolerations(tables),
        *patches.daemonset_variables(),
        ("ofDaemonSet", 'request.kind.kind == "DaemonSet"'),
        # Where nothing is written, a DaemonSet is judged as it would be before something was.
        *terms(
            tables,
            IMPLICIT if enforced else f"variables.ofDaemonSet ? !variables.ownTerms : {IMPLICIT}",
            to_write=False,
        ),
        *denial(tables, path),
        (
            "untolerating",
            f"variables.tolerated.size() > 1 && "
            f"{lacking(TOLERATIONS_OF_SPEC, 'variables.tolerated[0]')}.size() == 0 ? 1 : 0",
        ),
        *storing(tables, scope, _CLAIMS),
        *storage_denial(tables, path, _CLAIMS),
    ]
    untolerating = patches.UNTOLERATING
    kept = "variables.kept" if enforced else "(variables.kept || !variables.ownTerms)"
    daemonset = f"{kept} && !{untolerating}"
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
    changed = _judged_part_changed()
    if tables.storage is not None:
        # Each part is judged when it changes, and only then: what is wrong with the other is from before.
        variables += [("placed_anew", changed), ("stored_anew", _storage_changed()), ("fit", expression)]
        text = f"variables.placed_anew && !variables.fit ? ({text}) : {ELSEWHERE}"
        expression = (
            "(!variables.placed_anew || variables.fit) && "
            "(!variables.stored_anew || variables.unknown.size() > 0 || variables.stored)"
        )
        changed = f"{changed} || {_storage_changed()}"
    conditions = (*OWNERLESS, ("judged-part-changed", changed), *scope.of_templates)
    rules_ = [
        rule(
            "apps",
            "v1",
            ["CREATE", "UPDATE"],
            ["deployments", "statefulsets", "daemonsets", "replicasets"],
        ),
        rule("batch", "v1", ["CREATE", "UPDATE"], ["jobs", "cronjobs"]),
        rule("", "v1", ["CREATE", "UPDATE"], ["replicationcontrollers", "podtemplates"]),
    ]
    passes = f"variables.canary || {expression}"
    return frame.validating(name, scope, conditions, rules_, variables, passes, text, mode)


def _judged_part_changed() -> str:
    return _changed(
        *(
            f"({TEMPLATE}).?spec.?{name}"
            for name in (
                "nodeSelector",
                "affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution",
                "nodeName",
                "tolerations",
            )
        ),
        f"({TEMPLATE}).?metadata.?annotations[?{literal(CLASSIFICATION)}]",
        f"dyn({{0}}).?metadata.?annotations[?{literal(CLASSIFICATION)}]",
    )


def _storage_changed() -> str:
    return _changed(
        f"({TEMPLATE}).?spec.?volumes",
        f"({TEMPLATE}).?metadata.?annotations[?{literal(CLASSIFICATION)}]",
        "dyn({0}).?spec.?volumeClaimTemplates",
    )


def _changed(*parts: str) -> str:
    """Whether one of these, written with {0} for the object, is not as it was."""
    changes = " || ".join(f"{part.format('object')} != {part.format('oldObject')}" for part in parts)
    return f'request.operation == "CREATE" || {changes}'
