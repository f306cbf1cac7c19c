"""What Kubernetes itself says: does a node match? Written from its Go code, node by node, without any algebra.

Follows ``k8s.io/component-helpers/scheduling/corev1/nodeaffinity`` and ``labels.Requirement`` in
``k8s.io/apimachinery`` at v0.37.2. Of Residency's core it uses the data types alone, so that nothing here can
share a mistake with what it is held against.

A ``World`` evaluates the same over a fixed set of nodes at once: the nodes that match are the bits of a number.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from residency.core.placement import Alternative
from residency.core.requirements import Operator, Requirement
from residency.core.workload import Term

Labels = Mapping[str, str]

_INT64 = range(-(2**63), 2**63)
_DECIMAL = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", re.ASCII)
_LONGEST_VALUE = 63


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler's affinity filter sees it."""

    labels: Labels
    name: str = "node-1"


def parse_int(text: str) -> int | None:
    """``strconv.ParseInt(text, 10, 64)``: a sign or none, decimal digits, no underscores, within 64 bits."""
    if not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None


def is_label_value(text: str) -> bool:
    """Whether a node can have the value: ``validation.IsValidLabelValue``, which the empty one passes."""
    return len(text) <= _LONGEST_VALUE and _LABEL_VALUE.fullmatch(text) is not None


@cache
def parses(requirement: Requirement) -> bool:
    """Whether ``labels.NewRequirement`` takes it; a term with one that it does not take matches nothing."""
    count = len(requirement.values)
    match requirement.operator:
        case Operator.IN | Operator.NOT_IN:
            fits = count > 0
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            fits = count == 0
        case Operator.GT | Operator.LT:
            fits = count == 1 and parse_int(requirement.values[0]) is not None
    return fits and all(map(is_label_value, requirement.values))


def matches_requirement(requirement: Requirement, labels: Labels) -> bool:
    """``labels.Requirement.Matches``."""
    if not parses(requirement):
        return False
    there = requirement.key in labels
    match requirement.operator:
        case Operator.IN:
            return there and labels[requirement.key] in requirement.values
        case Operator.NOT_IN:
            return not there or labels[requirement.key] not in requirement.values
        case Operator.EXISTS:
            return there
        case Operator.DOES_NOT_EXIST:
            return not there
    number = parse_int(labels[requirement.key]) if there else None
    bound = parse_int(requirement.values[0])
    if number is None or bound is None:
        return False
    return number > bound if requirement.operator is Operator.GT else number < bound


def matches_alternative(alternative: Alternative, labels: Labels) -> bool:
    """Whether a node meets every requirement."""
    return all(matches_requirement(requirement, labels) for requirement in alternative)


def matches_field(requirement: Requirement, node: Node) -> bool:
    """``fields.OneTermEqualSelector`` and its opposite; the name is the only field there is."""
    if len(requirement.values) != 1 or requirement.operator not in (Operator.IN, Operator.NOT_IN):
        return False
    same = {"metadata.name": node.name}.get(requirement.key, "") == requirement.values[0]
    return same if requirement.operator is Operator.IN else not same


def matches_term(term: Term, node: Node) -> bool:
    """``nodeSelectorTerm.match``; a term that says nothing is left out before, and so matches nothing."""
    if not term.expressions and not term.fields:
        return False
    return matches_alternative(term.expressions, node.labels) and all(matches_field(f, node) for f in term.fields)


def matches_pod(selector: Labels, terms: Sequence[Term] | None, node: Node) -> bool:
    """``RequiredNodeAffinity.Match``: the nodeSelector, and any one term where there is a required affinity."""
    selected = all(key in node.labels and node.labels[key] == value for key, value in selector.items())
    return selected and (terms is None or any(matches_term(term, node) for term in terms))


class World:
    """All nodes that can be made of some labels and names; which of them match is a number, a bit for each node."""

    def __init__(self, values: Mapping[str, Sequence[str | None]], names: Sequence[str] = ("node-1",)) -> None:
        """``values`` are the labels a key can have; None is a node without the label."""
        choices = [[(key, value) for value in some] for key, some in values.items()]
        self.nodes = [
            Node({key: value for key, value in chosen if value is not None}, name)
            for chosen in product(*choices)
            for name in names
        ]
        self.everywhere = (1 << len(self.nodes)) - 1
        self._required: dict[Requirement, int] = {}
        self._fields: dict[Requirement, int] = {}
        self._selected: dict[tuple[str, str], int] = {}
        self.labelled = {
            key: self._bits(key in node.labels for node in self.nodes)  # a bit for each node that has the label
            for key in values
        }

    @staticmethod
    def _bits(matches: Iterable[bool]) -> int:
        return sum(1 << position for position, match in enumerate(matches) if match)

    def requirement(self, requirement: Requirement) -> int:
        """The nodes that match a requirement."""
        if requirement not in self._required:
            self._required[requirement] = self._bits(matches_requirement(requirement, n.labels) for n in self.nodes)
        return self._required[requirement]

    def alternative(self, requirements: Iterable[Requirement]) -> int:
        """The nodes that match all of some requirements; all nodes where there is none."""
        found = self.everywhere
        for requirement in requirements:
            found &= self.requirement(requirement)
        return found

    def alternatives(self, alternatives: Iterable[Alternative]) -> int:
        """The nodes that match any alternative."""
        found = 0
        for alternative in alternatives:
            found |= self.alternative(alternative)
        return found

    def term(self, term: Term) -> int:
        """The nodes that match a term."""
        if not term.expressions and not term.fields:
            return 0
        found = self.alternative(term.expressions)
        for field in term.fields:
            if field not in self._fields:
                self._fields[field] = self._bits(matches_field(field, node) for node in self.nodes)
            found &= self._fields[field]
        return found

    def selector(self, selector: Labels) -> int:
        """The nodes that match a nodeSelector."""
        found = self.everywhere
        for key, value in selector.items():
            if (key, value) not in self._selected:
                self._selected[key, value] = self._bits(matches_pod({key: value}, None, node) for node in self.nodes)
            found &= self._selected[key, value]
        return found

    def pod(self, selector: Labels, terms: Sequence[Term] | None) -> int:
        """The nodes that a pod may run on."""
        selected = self.selector(selector)
        if terms is None:
            return selected
        found = 0
        for term in terms:
            found |= self.term(term)
        return selected & found
