"""The judge in CEL: ``residency.core.judge``, rule by rule, as expressions over the variables of a policy.

Each function returns the text of one expression; its arguments are CEL expressions too. Names follow the judge's.
A requirement of the catalogue is ``[[key], [operator], values]``: nested lists of strings, so that the whole
catalogue is one constant. CEL has no local names: what is used twice is either a variable or short.
"""

from residency.core.messages import KEY_LENGTH, NAME_PATTERN, NOT_A_NAME
from residency.core.requirements import INTEGER_PATTERN, NUMBER_PATTERN
from residency.policy.cel import literal

# A requirement of the catalogue, and an expression of the pod, as (key, operator, values).
Parts = tuple[str, str, str]


def of_catalogue(requirement: str) -> Parts:
    """Key, operator and values of a catalogue's requirement."""
    return f"{requirement}[0][0]", f"{requirement}[1][0]", f"{requirement}[2]"


def of_pod(expression: str) -> Parts:
    """Key, operator and values of a pod's ``NodeSelectorRequirement``."""
    return f"{expression}.key", f"{expression}.operator", f"{expression}.?values.orValue([])"


def expressions(term: str) -> str:
    """The match expressions of a term, none where it has none."""
    return f"{term}.?matchExpressions.orValue([])"


def term_of(expression: str) -> str:
    """A term that says one thing."""
    return f'dyn({{"matchExpressions": [{expression}]}})'


def empty(term: str) -> str:
    """Whether a term says nothing."""
    return f"({expressions(term)}.size() == 0 && {term}.?matchFields.orValue([]).size() == 0)"


def is_integer(text: str) -> str:
    """Whether int() understands it."""
    return f"{text}.matches({literal(INTEGER_PATTERN)})"


def accepts(requirement: Parts, label: str) -> str:
    """Whether a label of this value meets the requirement; for labels that are there."""
    _, operator, values = requirement
    return (
        f"({operator} == 'In' ? {label} in {values} : {operator} == 'NotIn' ? !({label} in {values}) : "
        f"{operator} == 'Exists' ? true : {operator} == 'DoesNotExist' ? false : "
        f"{is_integer(label)} && {is_integer(f'{values}[0]')} && "
        f"({operator} == 'Gt' ? int({label}) > int({values}[0]) : int({label}) < int({values}[0])))"
    )


def implies(one: Parts, other: Parts) -> str:
    """Whether a pod's expression implies a catalogue's requirement; equality first, it is the usual case."""
    key, operator, values = one
    asked_key, asked_operator, asked_values = other
    bounded = f"({operator} in ['Gt', 'Lt'] && {is_integer(f'{values}[0]')})"
    may_pass = f"x.matches({literal(NUMBER_PATTERN)}) && (!{is_integer('x')} || {accepts(one, 'x')})"
    excludes = (
        f"({operator} == 'NotIn' ? {asked_values}.all(x, x in {values}) : {operator} == 'DoesNotExist' || "
        f"({operator} == 'In' ? !{asked_values}.exists(x, x in {values}) : "
        f"{bounded} && !{asked_values}.exists(x, {may_pass})))"
    )
    tighter = (
        f"({operator} == 'In' ? {values}.all(x, {accepts(other, 'x')}) : {operator} == {asked_operator} && "
        f"{bounded} && "
        f"({operator} == 'Gt' ? int({values}[0]) >= int({asked_values}[0]) : int({values}[0]) <= "
        f"int({asked_values}[0])))"
    )
    return (
        f"({key} == {asked_key} && (({operator} == {asked_operator} && {values} == {asked_values}) || "
        f"({asked_operator} == 'In' ? {operator} == 'In' && {values}.all(x, x in {asked_values}) : "
        f"{asked_operator} == 'Exists' ? {operator} in ['In', 'Exists'] || {bounded} : "
        f"{asked_operator} == 'NotIn' ? {excludes} : {tighter})))"
    )


def implied(term: str, requirement: str) -> str:
    """Whether the node selector or one expression of the term implies a catalogue's requirement."""
    asked = of_catalogue(requirement)
    key = asked[0]
    return (
        f"(({key} in variables.selector && {accepts(asked, f'variables.selector[{key}]')}) || "
        f"{expressions(term)}.exists(e, {implies(of_pod('e'), asked)}))"
    )


def satisfied(term: str, alternatives: str) -> str:
    """Whether a term implies one of the alternatives."""
    return f"{alternatives}.exists(a, a.all(r, {implied(term, 'r')}))"


def key_lives(term: str, alternative: str, requirement: str) -> str:
    """Whether some value passes all that is said about the requirement's key.

    Candidates are the node selector's value, an In's values, or, where there is neither, integers within bounds
    (-1 and 10^18 stand for no bound: a label value is never negative).
    """
    key, operator, values = of_catalogue(requirement)
    mine, selector = expressions(term), "variables.selector"
    mentioned = f"{mine}.exists(e, e.key == {key})"
    own_in = f"{mine}.filter(e, e.key == {key} && e.operator == 'In')"
    candidates = f"({key} in {selector} ? [{selector}[{key}]] : {operator} == 'In' ? {values} : {own_in}[0].values)"
    finite = (
        f"{candidates}.exists(v, {mine}.all(e, e.key != {key} || {accepts(of_pod('e'), 'v')}) && "
        f"{alternative}.all(q, q[0][0] != {key} || {accepts(of_catalogue('q'), 'v')}))"
    )
    hopeless = (
        f"{mine}.exists(e, e.key == {key} && (e.operator == 'DoesNotExist' || "
        f"(e.operator in ['Gt', 'Lt'] && !{is_integer('e.values[0]')})))"
    )
    lows = _bounds(mine, alternative, key, "Gt", "-1")
    highs = _bounds(mine, alternative, key, "Lt", "1000000000000000000")
    infinite = f"(!{hopeless} && {lows}.all(l, {highs}.all(h, h - l > 1)))"
    return (
        f"((!({key} in {selector}) && !{mentioned}) || "
        f"({key} in {selector} || {operator} == 'In' || {own_in}.size() > 0 ? {finite} : {infinite}))"
    )


def _bounds(mine: str, alternative: str, key: str, operator: str, none: str) -> str:
    own = f"{mine}.filter(e, e.key == {key} && e.operator == '{operator}').map(e, int(e.values[0]))"
    asked = f"{alternative}.filter(q, q[0][0] == {key} && q[1][0] == '{operator}').map(q, int(q[2][0]))"
    return f"([{none}] + {own} + {asked})"


def cross(terms: str, alternatives: str) -> str:
    """Cross terms with alternatives; ``variables.implicit`` says that the one empty term stands for no affinity."""
    lacking = f"a.filter(r, !{implied('t', 'r')}).map(r, {_written(of_catalogue('r'))})"
    added = (
        f'{{"matchExpressions": dyn({expressions("t")} + {lacking}), "matchFields": dyn(t.?matchFields.orValue([]))}}'
    )
    lives = f"a.all(r, {key_lives('t', 'a', 'r')})"
    return (
        f"{terms}.map(t, (!variables.implicit && {empty('t')}) || {satisfied('t', alternatives)} ? [t] : "
        f"{alternatives}.filter(a, {lives}).map(a, {added})).flatten()"
    )


def _written(requirement: Parts) -> str:
    key, operator, values = requirement
    return f'{{"key": dyn({key}), "operator": dyn({operator}), "values": dyn({values})}}'


def plain(terms: str) -> str:
    """Terms as maps and lists of CEL's own: what came with the object cannot be written into a patch."""
    key, operator, values = of_pod("e")
    copied = _written((key, operator, f"{values}.map(v, v)"))
    return (
        f'{terms}.map(t, {{"matchExpressions": {expressions("t")}.map(e, {copied}), '
        f'"matchFields": t.?matchFields.orValue([]).map(e, {copied})}})'
    )


def living(terms: str) -> str:
    """Whether some term can match a node at all."""
    return f"{terms}.exists(t, variables.implicit || !{empty('t')})"


def kept(terms: str, alternatives_of_all: str) -> str:
    """Whether nothing is to be added to any term, and one of them lives."""
    return (
        f"({terms}.all(t, (!variables.implicit && {empty('t')}) || {alternatives_of_all}.all(c, "
        f"{satisfied('t', 'c')})) && "
        f"{living(terms)})"
    )


def covers(toleration: str, needed: str) -> str:
    """Whether a pod's toleration tolerates, for ever, all that a catalogue's (key, operator, value, effect) does."""
    key, operator = f'{toleration}.?key.orValue("")', f'{toleration}.?operator.orValue("Equal")'
    value, effect = f'{toleration}.?value.orValue("")', f'{toleration}.?effect.orValue("")'
    return (
        f'(({key} == {needed}[0] || ({key} == "" && {operator} == "Exists")) && '
        f'({operator} == "Exists" || ({operator} == {needed}[1] && {value} == {needed}[2])) && '
        f'({effect} == "" || {effect} == {needed}[3]) && !has({toleration}.tolerationSeconds))'
    )


def canonical_terms(terms: str) -> str:
    """Terms as one line of text, as ``residency.core.templates.canonical_terms`` writes it."""
    requirements = f"({expressions('t')} + t.?matchFields.orValue([]))"
    text = 'r.key + " " + r.operator + " " + r.?values.orValue([]).join(",")'
    return f'{terms}.map(t, {requirements}.map(r, {text}).join(" & ")).join(" | ")'


def canonical_tolerations(tolerations: str) -> str:
    """Tolerations as one line of text, as ``residency.core.templates.canonical_tolerations`` writes it."""
    defaults = {"key": "", "operator": "Equal", "value": "", "effect": ""}
    fields = ' + " " + '.join(f"p.?{name}.orValue({literal(default)})" for name, default in defaults.items())
    return f'{tolerations}.map(p, {fields}).join(" | ")'


def listing(values: str) -> str:
    """``NL``, ``NL or DE``, ``NL, DE and 29 more``, as ``residency.core.messages.listing`` writes it."""
    return (
        f'({values}.size() < 3 ? {values}.join(" or ") : '
        f'{values}[0] + ", " + {values}[1] + " and " + string({values}.size() - 2) + " more")'
    )


def said(name: str) -> str:
    """What somebody called a classification, as ``residency.core.messages.said`` shows it."""
    return f"({name}.matches({literal(NAME_PATTERN)}) ? {name} : {literal(NOT_A_NAME)})"


def cut(key: str) -> str:
    """A label key without the facts' prefix, as ``residency.core.messages.short`` cuts it."""
    return f'({key}.size() <= {KEY_LENGTH} ? {key} : {key}.substring(0, {KEY_LENGTH - 1}) + "…")'
