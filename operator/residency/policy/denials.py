"""The messages of the guards: one CEL expression that says the first thing that is wrong, as the judge does."""

from residency.core import messages
from residency.core.placement import MAX_TERMS
from residency.policy import rules
from residency.policy.cel import literal, message


def class_fields(index: str) -> dict[str, str]:
    """Who asks for what, and why, for the classification at an index of ``variables.names``."""
    return {
        "subject": f"variables.subjects[{index}]",
        "name": f"variables.names[{index}]",
        "title": f'variables.texts[{index}]["title"]',
        "why": f'variables.texts[{index}]["why"]',
    }


def unknown_classification() -> str:
    """Names what is asked for and not in force."""
    fields = class_fields("variables.names.indexOf(variables.unknown[0])")
    return message(messages.UNKNOWN_CLASSIFICATION, **fields | {"name": rules.said(fields["name"])})


def refusal(path: str) -> str:
    """Why a pod or template of which ``variables.placeable`` is false is refused."""
    first, contradicted = class_fields("0"), class_fields("variables.contradicted")
    only_empty = message(messages.ONLY_EMPTY_TERMS, path=path, name=first["name"])
    allows = "variables.texts[variables.contradicted][variables.key]"
    contradiction = message(messages.CONTRADICTION, asks="variables.asks", allows=allows, **contradicted)
    conflicting = message(messages.CONFLICTING_CLASSIFICATIONS, path=path, other="variables.names[1]", **first)
    count = "string(variables.placed.size())"
    too_many = message(messages.TOO_MANY_TERMS, path=path, count=count, most=literal(str(MAX_TERMS)), **first)
    return (
        f"(variables.unknown.size() > 0 ? {unknown_classification()} : "
        f'variables.named != "" ? {message(messages.NODE_NAME, path=path, node="variables.named", **first)} : '
        f"{rules.living('variables.placed')} ? {too_many} : "
        f"!{rules.living('variables.terms')} ? {only_empty} : "
        f"variables.contradicted < 0 ? {conflicting} : {contradiction})"
    )


def not_placed(path: str) -> str:
    """Why a pod is refused that could have been placed and was not."""
    return message(messages.NOT_PLACED, path=path, **class_fields("0"))


def daemonset_affinity() -> str:
    """What a DaemonSet with an affinity of its own has to require."""
    fields = class_fields("variables.unkept")
    return message(
        messages.DAEMONSET_AFFINITY,
        path=literal("spec.template.spec"),
        requires='variables.texts[variables.unkept]["requires"]',
        **fields,
    )


def daemonset_tolerations() -> str:
    """What a DaemonSet with tolerations of its own has to tolerate."""
    fields = class_fields("variables.untolerating")
    requires = 'variables.texts[variables.untolerating]["tolerates"]'
    return message(messages.DAEMONSET_TOLERATIONS, path=literal("spec.template.spec"), requires=requires, **fields)


def misplaced_annotation(path: str) -> str:
    """Which annotation stands where it has no effect, and where it belongs."""
    return message(
        messages.MISPLACED_ANNOTATION,
        kind="request.kind.kind",
        workload='object.metadata.?name.orValue("")',
        name=rules.said("variables.outer[0]"),
        found=f'(variables.own.size() == 0 ? "nothing" : {rules.said("variables.own[0]")})',
        path=path,
    )
