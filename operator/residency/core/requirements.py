"""Node selector requirements as sets of label values: accepts, implies, satisfiable.

The semantics are Kubernetes' own (``k8s.io/component-helpers/scheduling/corev1/nodeaffinity``),
unlabelled nodes included: ``NotIn`` and ``DoesNotExist`` accept a node without the label, all
others do not. One deliberate narrowing: an integer has at most 18 significant digits, so that CEL
can convert it without overflow. A longer one meets no bound here, and no bound is taken to keep it out: both can only
refuse more.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

INTEGER_PATTERN = "^[+-]?0*[0-9]{1,18}$"
"""What counts as an integer, in Python and (RE2) in CEL alike."""

NUMBER_PATTERN = "^[+-]?[0-9]+$"
"""What Kubernetes may take for an integer, however long."""

_INTEGER = re.compile(INTEGER_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_NUMBER = re.compile(NUMBER_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_ABOVE_ALL = 10**18
_MAX_LABEL_LENGTH = 63


class Operator(StrEnum):
    """The operators of a ``NodeSelectorRequirement``."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One ``NodeSelectorRequirement``.

    ``values`` is non-empty for In and NotIn, empty for Exists and DoesNotExist, and one integer for Gt and Lt;
    the API server sees to that, except that Gt and Lt may carry what is no integer and then accept nothing.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    @property
    def bound(self) -> int | None:
        """The integer of Gt or Lt, or None where it is no integer."""
        return parse_integer(self.values[0]) if self.values else None


def parse_integer(text: str) -> int | None:
    """Return the integer that a label or bound says, or None where it says none."""
    return int(text) if _INTEGER.match(text) else None


def accepts(requirement: Requirement, label: str | None) -> bool:
    """Whether a node whose label has this value (None: no such label) meets the requirement."""
    match requirement.operator:
        case Operator.IN:
            return label is not None and label in requirement.values
        case Operator.NOT_IN:
            return label is None or label not in requirement.values
        case Operator.EXISTS:
            return label is not None
        case Operator.DOES_NOT_EXIST:
            return label is None
    if label is None:
        return False
    number, bound = parse_integer(label), requirement.bound
    if number is None or bound is None:
        return False
    return number > bound if requirement.operator is Operator.GT else number < bound


def implies(one: Requirement, other: Requirement) -> bool:
    """Whether every node that meets ``one`` meets ``other``.

    Always sound. Complete where ``one`` accepts something; one that accepts nothing (a bound that is no integer)
    implies nothing here, so that a caller who asks adds the requirement rather than trusts it to be there.
    """
    if one.key != other.key:
        return False
    if one.operator in (Operator.GT, Operator.LT) and one.bound is None:
        return False
    match other.operator:
        case Operator.IN:
            return one.operator is Operator.IN and set(one.values) <= set(other.values)
        case Operator.NOT_IN:
            return _excludes(one, other.values)
        case Operator.EXISTS:
            return one.operator not in (Operator.NOT_IN, Operator.DOES_NOT_EXIST)
        case Operator.DOES_NOT_EXIST:
            return one.operator is Operator.DOES_NOT_EXIST
    if one.operator is Operator.IN:
        return all(accepts(other, value) for value in one.values)
    if one.operator is not other.operator or one.bound is None or other.bound is None:
        return False
    return one.bound >= other.bound if other.operator is Operator.GT else one.bound <= other.bound


def _excludes(one: Requirement, values: tuple[str, ...]) -> bool:
    if one.operator is Operator.EXISTS:
        return False
    if one.operator is Operator.NOT_IN:
        return set(values) <= set(one.values)
    if one.operator in (Operator.GT, Operator.LT):
        return not any(_may_pass(one, value) for value in values)
    return set(values).isdisjoint(one.values)


def _may_pass(bound: Requirement, label: str) -> bool:
    """Whether a label may pass a bound in Kubernetes, which knows longer integers than are known here."""
    return accepts(bound, label) if parse_integer(label) is not None else bool(_NUMBER.match(label))


def satisfiable(requirements: Iterable[Requirement]) -> bool:
    """Whether some node could meet all these requirements on one key: exact.

    Looks for a witness: no label; one of an In's values; or, since exclusions are finite, one of the first
    values that the bounds leave, as many as there are exclusions and one more.
    """
    together = tuple(requirements)
    if all(accepts(requirement, None) for requirement in together):
        return True
    if any(requirement.operator is Operator.DOES_NOT_EXIST for requirement in together):
        return False
    values = common_values(together)
    if values is not None:
        return bool(values)
    excluded = _excluded(together)
    return any(value not in excluded for value in islice(_integers(together), len(excluded) + 1))


def common_values(requirements: Sequence[Requirement]) -> tuple[str, ...] | None:
    """The values that an In among these requirements names and all of them accept; None where there is no In.

    In the order of the first In, each once.
    """
    lists = [r.values for r in requirements if r.operator is Operator.IN]
    if not lists:
        return None
    allowed = set(lists[0]).intersection(*lists[1:]) - _excluded(requirements)
    rest = [r for r in requirements if r.operator not in (Operator.IN, Operator.NOT_IN)]
    values = (value for value in dict.fromkeys(lists[0]) if value in allowed)
    return tuple(value for value in values if all(accepts(r, value) for r in rest))


def _excluded(requirements: Sequence[Requirement]) -> set[str]:
    return {value for r in requirements if r.operator is Operator.NOT_IN for value in r.values}


def _integers(requirements: tuple[Requirement, ...]) -> Iterator[str]:
    """Label values that are integers within all bounds: ascending, each with all its leading zeros."""
    bounds = [(r.operator, r.bound) for r in requirements if r.operator in (Operator.GT, Operator.LT)]
    if any(bound is None for _, bound in bounds):
        return
    lowest = max((bound + 1 for operator, bound in bounds if operator is Operator.GT and bound is not None), default=0)
    beyond = min(
        (bound for operator, bound in bounds if operator is Operator.LT and bound is not None),
        default=_ABOVE_ALL,
    )
    # A label value starts with a letter or digit: there are no negative ones.
    for number in range(max(lowest, 0), min(beyond, _ABOVE_ALL)):
        for width in range(len(str(number)), _MAX_LABEL_LENGTH + 1):
            yield str(number).zfill(width)
