"""The policy on namespaces: what their classification may become, and by whom it may be loosened.

It has no namespaceSelector on purpose: selectors see the new labels, so that taking the label away would take the
namespace out of the policy's sight. Old and new are compared in CEL instead, on every route that carries metadata.
"""

from collections.abc import Mapping

from residency.api.names import (
    BY_DEFAULT,
    CANARY,
    CLASSIFICATION,
    CLASSIFIED_BY,
    ENFORCEMENT,
    GROUP,
    PLURAL,
    Mode,
    PolicyName,
    Right,
)
from residency.core import messages
from residency.core.judge import MODES, Catalogue
from residency.core.placement import Alternative, Classification, Placement, Storage, placement_implies, storage_implies
from residency.policy import rules
from residency.policy.cel import Table, literal, message
from residency.policy.modes import Modes, rank_of_ceiling
from residency.policy.objects import Frame, Pair, rule
from residency.policy.variables import reasons


def guard_namespaces(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse a label that names nothing in force or stands where none may, and to loosen one without the right."""
    groups = _groups(catalogue)
    group_of = Table("groups", {name: groups[_demands(c)] for name, c in sorted(catalogue.items())})
    free = Table("free", _free_moves(groups))
    why = reasons(catalogue)
    own = literal(frame.settings.canary_namespace)
    classification = f"authorizer.group({literal(GROUP)}).resource({literal(PLURAL)}).name(variables.held)"
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
            f"variables.new.size() > 0 && !({group_of.find('variables.next')}).hasValue() && !variables.canary"
            + _not_by(frame.settings.default_classification),
        ),
        ("from", f'({group_of.find("variables.previous")}).orValue("")'),
        ("to", f'({group_of.find("variables.next")}).orValue("")'),
        ("implied", f"variables.old.size() == 0 || variables.to in ({free.find('variables.from')}).orValue([])"),
        *_lowering(catalogue),
        ("free", "variables.implied && !variables.lowered"),
        ("held", "variables.old.size() == 0 ? variables.next : variables.previous"),
        ("text", f'({why.find("variables.held")}).orValue([variables.held, ""])'),
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
        f"variables.unknown ? {unknown} : variables.noMode ? {_no_mode()} : "
        f"variables.implied ? {_lowered()} : {declassification}"
    )
    new, old = (
        f"({_label(thing)} + {_label(thing, ENFORCEMENT)}.map(v, {literal(ENFORCEMENT + '=')} + v))"
        for thing in ("object", "oldObject")
    )
    conditions = (("labels-changed", f'request.operation == "CREATE" ? {new}.size() > 0 : {new} != {old}'),)
    routes = rule("", "v1", ["CREATE", "UPDATE"], ["namespaces", "namespaces/status", "namespaces/finalize"])
    return frame.validating(
        PolicyName.GUARD_NAMESPACES,
        None,
        conditions,
        [routes],
        variables,
        f"!variables.excluded && !variables.unknown && !variables.noMode && (variables.free || {may}.allowed())",
        text,
    )


def _lowering(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Whether a namespace that is classified would be enforced less: by its own label, or by what it moves to.

    Each counts by itself too: a classification, or a namespace, may be on its way from Audit to Enforce.
    """
    modes = Modes.of(catalogue)
    new, old = _label("object", ENFORCEMENT), _label("oldObject", ENFORCEMENT)
    # What was not classified was as enforced as it could be: nobody has decided yet that it should be less.
    unclassified = "variables.old.size() == 0"
    ranks = [
        ("newCeiling", rank_of_ceiling("variables.newEnforcement")),
        ("newOwn", modes.rank("variables.next")),
        ("oldCeiling", f"{unclassified} ? {MODES.index(Mode.ENFORCE)} : {rank_of_ceiling('variables.oldEnforcement')}"),
        ("oldOwn", f"{unclassified} ? variables.newOwn : {modes.rank('variables.previous')}"),
    ]
    return [
        ("newEnforcement", f'{new}.join("")'),
        ("oldEnforcement", f'request.operation == "CREATE" ? "" : {old}.join("")'),
        (
            "noMode",
            f'(request.operation == "CREATE" || {new} != {old}) && '
            f"{new}.exists(v, !(v in {literal(list(map(str, Mode)))}))",
        ),
        *ranks,
        *(
            (
                f"{when}Rank",
                f"variables.{when}Own < variables.{when}Ceiling ? variables.{when}Own : variables.{when}Ceiling",
            )
            for when in ("new", "old")
        ),
        ("lessInEffect", "variables.newRank < variables.oldRank"),
        (
            "lowered",
            "variables.new.size() > 0 && "
            "(variables.newOwn < variables.oldOwn || variables.newCeiling < variables.oldCeiling)",
        ),
    ]


def _lowered() -> str:
    """Says from which mode to which."""
    before, after = (
        f"{literal(list(map(str, MODES)))}[variables.lessInEffect ? variables.{when}Rank : "
        f"variables.newCeiling < variables.oldCeiling ? variables.{when}Ceiling : variables.{when}Own]"
        for when in ("old", "new")
    )
    return message(
        messages.ENFORCEMENT_LOWERED,
        name="object.metadata.name",
        old="variables.held",
        title="variables.text[0]",
        why="variables.text[1]",
        before=before,
        after=after,
    )


def _no_mode() -> str:
    """Says what stands where a mode should."""
    return message(messages.NO_MODE, name="object.metadata.name", said=rules.said("variables.newEnforcement"))


def _label(thing: str, key: str = CLASSIFICATION) -> str:
    """A label, as a list of none or one."""
    return f"{thing}.metadata.?labels[?{literal(key)}].optMap(v, [v]).orValue([])"


def _not_by(default: str) -> str:
    """Let pass what the default writes, also where an API server has taken that policy up sooner than this one.

    Whoever forges it has a namespace in which nothing may run until the classification is in force.
    """
    if not default:
        return ""
    note = f"object.metadata.?labels[?{literal(CLASSIFIED_BY)}].orValue({literal('')}) == {literal(BY_DEFAULT)}"
    return f' && !(request.operation == "CREATE" && variables.next == {literal(default)} && {note})'


_Demands = tuple[tuple[Alternative, ...], Storage | None]


def _demands(classification: Classification) -> _Demands:
    """What counts when a namespace moves: what is asked, whichever StorageClasses meet it just now."""
    storage = classification.storage
    return classification.placement.alternatives, storage and storage.demand


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
