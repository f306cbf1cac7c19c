"""The policy on DataClassifications: none goes while it is in use."""

from residency.api.names import GROUP, PLURAL, VERSION, PolicyName
from residency.core import messages
from residency.policy.cel import literal, message
from residency.policy.objects import Frame, Pair, rule

# All ten names that a status holds, twice, at 63 characters each, would be more than a message takes.
_NAMES_SHOWN = 4

_AS_DEFAULT = "new namespaces (it is their default)"


def guard_classifications(frame: Frame) -> Pair:
    """Refuse to delete a classification that is in use, be it as the default for namespaces to come."""
    default, name = frame.settings.default_classification, "oldObject.metadata.name"
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
            f'{_some_of("variables.including", "variables.including.size()")} + " (includes it)"] : [])'
            + (f" + ({name} == {literal(default)} ? {literal([_AS_DEFAULT])} : [])" if default else ""),
        ),
    ]
    text = message(messages.CLASSIFICATION_IN_USE, name=name, users='variables.users.join("; ")')
    resource_rule = rule(GROUP, VERSION, ["DELETE"], [PLURAL])
    return frame.validating(
        PolicyName.GUARD_CLASSIFICATIONS, None, (), [resource_rule], variables, "variables.users.size() == 0", text
    )


def _some_of(names: str, count: str) -> str:
    shown = f"({names}.size() > {_NAMES_SHOWN} ? {names}.slice(0, {_NAMES_SHOWN}) : {names})"
    more = f'({count} > {shown}.size() ? " and " + string({count} - {shown}.size()) + " more" : "")'
    return f'{shown}.join(", ") + {more}'
