"""The requirement algebra and the crossing of terms in CEL: ``residency.core.judge``, rule by rule.

Each method returns the text of one expression; its arguments are CEL expressions too. Names follow the judge's.
A requirement of the catalogue is a map as it stands in a pod, ``values`` always there, so that it can be compared
with a pod's and written into one as it is. CEL has no local names: what is used twice is either a variable or short.

Only the operators that a catalogue uses are written out. Most use In alone; what the API server has to compile at
every change, and to evaluate for every pod, is then a fraction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from residency.core.judge import Catalogue
from residency.core.requirements import NUMBER_PATTERN, Operator
from residency.policy.rules import empty, expressions, is_integer, living, of_catalogue, of_pod


def operators_of(catalogue: Catalogue) -> frozenset[Operator]:
    """The operators that occur in a catalogue."""
    return frozenset(
        requirement.operator
        for classification in catalogue.values()
        for requirement in classification.placement.requirements
    )


@dataclass(frozen=True, slots=True)
class Algebra:
    """CEL for a catalogue that uses these operators (never DoesNotExist: unknown is never compliant)."""

    operators: frozenset[Operator]

    def accepts(self, requirement: str, label: str) -> str:
        """Whether a label of this value meets a catalogue's requirement."""
        _, operator, values = of_catalogue(requirement)
        bound = f"int({values}[0])"
        return self._by_operator(
            operator,
            {
                Operator.IN: f"{label} in {values}",
                Operator.NOT_IN: f"!({label} in {values})",
                Operator.EXISTS: "true",
                Operator.GT: f"{is_integer(label)} && int({label}) > {bound}",
                Operator.LT: f"{is_integer(label)} && int({label}) < {bound}",
            },
        )

    def implies(self, expression: str, requirement: str) -> str:
        """Whether a pod's expression implies a catalogue's requirement; equality first, it is the usual case."""
        key, operator, values = of_pod(expression)
        asked_key, asked_operator, asked_values = of_catalogue(requirement)
        bounded = f"({operator} in ['Gt', 'Lt'] && {is_integer(f'{values}[0]')})"
        all_accepted = f"{operator} == 'In' && {values}.all(x, {self.accepts(requirement, 'x')})"

        def tighter(comparison: str) -> str:
            return (
                f"({all_accepted}) || ({operator} == {asked_operator} && {is_integer(f'{values}[0]')} && "
                f"int({values}[0]) {comparison} int({asked_values}[0]))"
            )

        implied = self._by_operator(
            asked_operator,
            {
                Operator.IN: f"{operator} == 'In' && {values}.all(x, x in {asked_values})",
                Operator.NOT_IN: _excludes(operator, values, asked_values, bounded),
                Operator.EXISTS: f"{operator} in ['In', 'Exists'] || {bounded}",
                Operator.GT: tighter(">="),
                Operator.LT: tighter("<="),
            },
        )
        same = f"({operator} == {asked_operator} && {values} == {asked_values})"
        return f"({key} == {asked_key} && ({same} || {implied}))"

    def implied(self, term: str, requirement: str) -> str:
        """Whether the node selector or one expression of the term implies a catalogue's requirement."""
        key, _, _ = of_catalogue(requirement)
        return (
            f"(({key} in variables.selector && {self.accepts(requirement, f'variables.selector[{key}]')}) || "
            f"{expressions(term)}.exists(e, {self.implies('e', requirement)}))"
        )

    def satisfied(self, term: str, alternatives: str) -> str:
        """Whether a term implies one of the alternatives."""
        return f"{alternatives}.exists(a, a.all(r, {self.implied(term, 'r')}))"

    def key_lives(self, term: str, alternative: str, requirement: str) -> str:
        """Whether some value passes all that is said about the requirement's key.

        Candidates are an In's values, the node selector's value, or, where there is neither, integers within
        bounds (-1 and 10^18 stand for no bound: a label value is never negative).
        """
        key, operator, values = of_catalogue(requirement)
        mine, selector = expressions(term), "variables.selector"
        passes = f"{mine}.all(e, e.key != {key} || {_accepts_own('e', 'v')})"
        # In normal form an In is all that is said of its key.
        among = f"{values}.exists(v, (!({key} in {selector}) || {selector}[{key}] == v) && {passes})"
        mentioned = f"{mine}.exists(e, e.key == {key})"
        own_in = f"{mine}.filter(e, e.key == {key} && e.operator == 'In')"
        candidates = f"({key} in {selector} ? [{selector}[{key}]] : {own_in}[0].values)"
        finite = f"{candidates}.exists(v, {passes} && {alternative}.all(q, q.key != {key} || {self.accepts('q', 'v')}))"
        other = (
            f"(!({key} in {selector}) && !{mentioned}) || "
            f"({key} in {selector} || {own_in}.size() > 0 ? {finite} : {_within_bounds(mine, alternative, key)})"
        )
        others = {o: other for o in Operator if o is not Operator.IN}
        return self._by_operator(operator, {Operator.IN: among} | others)

    def cross(self, terms: str, alternatives: str) -> str:
        """Cross terms with alternatives; ``variables.implicit``: the one empty term stands for no affinity."""
        lacking = f"a.filter(r, !{self.implied('t', 'r')})"
        added = (
            f'{{"matchExpressions": dyn({expressions("t")} + {lacking}), '
            f'"matchFields": dyn(t.?matchFields.orValue([]))}}'
        )
        lives = f"a.all(r, {self.key_lives('t', 'a', 'r')})"
        return (
            f"{terms}.map(t, (!variables.implicit && {empty('t')}) || {self.satisfied('t', alternatives)} ? [t] : "
            f"{alternatives}.filter(a, {lives}).map(a, {added})).flatten()"
        )

    def kept(self, terms: str, alternatives_of_all: str) -> str:
        """Whether nothing is to be added to any term, and one of them lives."""
        satisfied = f"{alternatives_of_all}.all(c, {self.satisfied('t', 'c')})"
        return f"({terms}.all(t, (!variables.implicit && {empty('t')}) || {satisfied}) && {living(terms)})"

    def _by_operator(self, operator: str, branches: Mapping[Operator, str]) -> str:
        """Choose by operator, among those that occur; branches that say the same are one."""
        grouped: dict[str, list[Operator]] = {}
        for candidate, branch in branches.items():
            if candidate in self.operators:
                grouped.setdefault(branch, []).append(candidate)
        if not grouped:
            return "false"
        *conditional, last = grouped
        chosen = "".join(f"{_is_one_of(operator, grouped[branch])} ? ({branch}) : " for branch in conditional)
        return f"({chosen}({last}))"


def _is_one_of(operator: str, candidates: Iterable[Operator]) -> str:
    return f"{operator} in [{', '.join(repr(str(candidate)) for candidate in candidates)}]"


def _accepts_own(expression: str, label: str) -> str:
    """Whether a label of this value meets a pod's expression."""
    _, operator, values = of_pod(expression)
    bound = f"{values}[0]"
    return (
        f"({operator} == 'In' ? {label} in {values} : {operator} == 'NotIn' ? !({label} in {values}) : "
        f"{operator} == 'Exists' || ({operator} in ['Gt', 'Lt'] && {is_integer(label)} && {is_integer(bound)} && "
        f"({operator} == 'Gt' ? int({label}) > int({bound}) : int({label}) < int({bound}))))"
    )


def _excludes(operator: str, values: str, asked_values: str, bounded: str) -> str:
    """Whether a pod's expression accepts none of the values that a NotIn excludes."""
    # A number too long for int() may be within bounds for Kubernetes.
    passes = f"(!{is_integer('x')} || ({operator} == 'Gt' ? int(x) > int({values}[0]) : int(x) < int({values}[0])))"
    return (
        f"({operator} == 'NotIn' ? {asked_values}.all(x, x in {values}) : {operator} == 'DoesNotExist' || "
        f"({operator} == 'In' ? !{asked_values}.exists(x, x in {values}) : "
        f"{bounded} && !{asked_values}.exists(x, x.matches({_quoted(NUMBER_PATTERN)}) && {passes})))"
    )


def _quoted(pattern: str) -> str:
    return f"'{pattern}'"


def _within_bounds(mine: str, alternative: str, key: str) -> str:
    """Whether integers are left where a pod says neither In nor a node selector of a key."""
    hopeless = (
        f"{mine}.exists(e, e.key == {key} && (e.operator == 'DoesNotExist' || "
        f"(e.operator in ['Gt', 'Lt'] && !{is_integer('e.values[0]')})))"
    )

    def bounds(operator: Operator, none: str) -> str:
        own = f"{mine}.filter(e, e.key == {key} && e.operator == '{operator}').map(e, int(e.values[0]))"
        asked = f"{alternative}.filter(q, q.key == {key} && q.operator == '{operator}').map(q, int(q.values[0]))"
        return f"([{none}] + {own} + {asked})"

    lows, highs = bounds(Operator.GT, "-1"), bounds(Operator.LT, "1000000000000000000")
    return f"(!{hopeless} && {lows}.all(l, {highs}.all(h, h - l > 1)))"
