"""What the expressions of all policies are made of: reading pods and the catalogue, texts, tolerations.

Each function returns the text of one CEL expression; its arguments are CEL expressions too.
"""

from residency.core.messages import KEY_LENGTH, NAME_PATTERN, NOT_A_NAME, SHOWN_PATTERN
from residency.core.requirements import INTEGER_PATTERN
from residency.policy.cel import literal

# A requirement of the catalogue, and an expression of the pod, as (key, operator, values).
Parts = tuple[str, str, str]


def of_catalogue(requirement: str) -> Parts:
    """Key, operator and values of a catalogue's requirement."""
    return f"{requirement}.key", f"{requirement}.operator", f"{requirement}.values"


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


def written(requirement: Parts) -> str:
    """A requirement as it stands in a patch."""
    key, operator, values = requirement
    return f'{{"key": dyn({key}), "operator": dyn({operator}), "values": dyn({values})}}'


def plain(terms: str) -> str:
    """Terms as maps and lists of CEL's own: what came with the object cannot be written into a patch."""
    key, operator, values = of_pod("e")
    copied = written((key, operator, f"{values}.map(v, v)"))
    return (
        f'{terms}.map(t, {{"matchExpressions": {expressions("t")}.map(e, {copied}), '
        f'"matchFields": t.?matchFields.orValue([]).map(e, {copied})}})'
    )


def living(terms: str) -> str:
    """Whether some term can match a node at all."""
    return f"{terms}.exists(t, variables.implicit || !{empty('t')})"


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


def cut(text: str, length: int = KEY_LENGTH) -> str:
    """A text cut as ``residency.core.messages.short`` cuts a label key."""
    return f'({text}.size() <= {length} ? {text} : {text}.substring(0, {length - 1}) + "…")'


def shown(name: str) -> str:
    """The name of something that somebody chose, as ``residency.core.messages.shown`` shows it."""
    return f"({name}.matches({literal(SHOWN_PATTERN)}) ? {cut(name)} : {literal(NOT_A_NAME)})"
