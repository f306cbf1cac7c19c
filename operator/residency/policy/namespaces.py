"""The policy on namespaces: what their classification may become, and by whom it may be loosened.

It has no namespaceSelector on purpose: selectors see the new labels, so that taking the label away would take the
namespace out of the policy's sight. Old and new are compared in CEL instead, on every route that carries metadata.
"""

from collections.abc import Mapping
from dataclasses import replace

from residency.api.names import CANARY, CLASSIFICATION, GROUP, PLURAL, PolicyName, Right
from residency.core import messages
from residency.core.judge import Catalogue
from residency.core.placement import Alternative, Classification, Placement, Storage, placement_implies, storage_implies
from residency.policy import rules
from residency.policy.cel import Table, literal, message
from residency.policy.objects import Frame, Pair, rule
from residency.policy.variables import reasons


def guard_namespaces(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse a label that names nothing in force or stands where none may, and to loosen one without the right."""
    groups = _groups(catalogue)
    group_of = Table("groups", {name: groups[_demands(c)] for name, c in sorted(catalogue.items())})
    free = Table("free", _free_moves(groups))
    why = reasons(catalogue)
    own = literal(frame.settings.canary_namespace)
    classification = f"authorizer.group({literal(GROUP)}).resource({literal(PLURAL)}).name(variables.old[0])"
    may = f"{classification}.check({literal(str(Right.DECLASSIFY))})"
    variables = [
        ("new", _label("object")),
        ("old", f'request.operation == "CREATE" ? [] : {_label("oldObject")}'),
        *group_of.variables(),
        *free.variables(),
        *why.variables(),
        ("excluded", f"object.metadata.name in {literal(frame.settings.excluded)} && variables.new.size() > 0"),
        ("canary", f"object.metadata.name == {own} && variables.new == {literal([CANARY])}"),
        ("previous", 'variables.old.size() == 0 ? "" : string(variables.old[0])'),
        ("next", 'variables.new.size() == 0 ? "" : string(variables.new[0])'),
        (
            "unknown",
            f"variables.new.size() > 0 && !({group_of.find('variables.next')}).hasValue() && !variables.canary",
        ),
        ("from", f'({group_of.find("variables.previous")}).orValue("")'),
        ("to", f'({group_of.find("variables.next")}).orValue("")'),
        ("free", f"variables.old.size() == 0 || variables.to in ({free.find('variables.from')}).orValue([])"),
        ("text", f'({why.find("variables.previous")}).orValue([variables.previous, ""])'),
    ]
    declassification = message(
        messages.DECLASSIFICATION,
        name="object.metadata.name",
        old="variables.previous",
        title="variables.text[0]",
        why="variables.text[1]",
        new='(variables.new.size() == 0 ? "no classification" : variables.new[0])',
    )
    unknown = message(
        messages.UNKNOWN_CLASSIFICATION,
        subject='"namespace " + object.metadata.name',
        name=rules.said("variables.new[0]"),
    )
    text = (
        f"variables.excluded ? {message(messages.EXCLUDED_NAMESPACE, name='object.metadata.name')} : "
        f"variables.unknown ? {unknown} : {declassification}"
    )
    new, old = _label("object"), _label("oldObject")
    conditions = (("label-changed", f'request.operation == "CREATE" ? {new}.size() > 0 : {new} != {old}'),)
    routes = rule("", "v1", ["CREATE", "UPDATE"], ["namespaces", "namespaces/status", "namespaces/finalize"])
    return frame.validating(
        PolicyName.GUARD_NAMESPACES,
        None,
        conditions,
        [routes],
        variables,
        f"!variables.excluded && !variables.unknown && (variables.free || {may}.allowed())",
        text,
    )


def _label(thing: str) -> str:
    """The classification label, as a list of none or one."""
    return f"{thing}.metadata.?labels[?{literal(CLASSIFICATION)}].optMap(v, [v]).orValue([])"


_Demands = tuple[tuple[Alternative, ...], Storage | None]


def _demands(classification: Classification) -> _Demands:
    """What counts when a namespace moves: what is asked, whichever StorageClasses meet it just now."""
    storage = classification.storage
    return classification.placement.alternatives, None if storage is None else replace(storage, classes=())


def _groups(catalogue: Catalogue) -> dict[_Demands, str]:
    """A short name for each different set of demands: many classifications ask the same."""
    different = dict.fromkeys(_demands(c) for _, c in sorted(catalogue.items()))
    return {demands: str(number) for number, demands in enumerate(different)}


def _free_moves(groups: Mapping[_Demands, str]) -> dict[str, list[str]]:
    """For each group those that a namespace may move to without any right: those that imply it."""
    return {
        current: [other for target, other in groups.items() if other == current or _implies(target, demands)]
        for demands, current in groups.items()
    }


def _implies(one: _Demands, other: _Demands) -> bool:
    (alternatives, storage), (its_alternatives, its_storage) = one, other
    return placement_implies(Placement(alternatives), Placement(its_alternatives)) and storage_implies(
        storage, its_storage
    )
