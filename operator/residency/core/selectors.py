"""Label selectors as people write them for kubectl: the part of Kubernetes' grammar that speaks of sets.

``key``, ``!key``, ``key=value``, ``key==value``, ``key!=value``, ``key in (a, b)`` and ``key notin (a, b)``, with
commas between them; all must hold. As in Kubernetes, ``!=`` and ``notin`` also hold where the label is absent. Not
taken: ``<`` and ``>``, lists with an empty value, and no requirement at all, which in Kubernetes selects everything.
"""

import re
from typing import Final

from residency.core.requirements import Operator, Requirement

Selector = tuple[Requirement, ...]
"""Requirements on the labels of one object, all of which must hold; In and NotIn have values, the others none."""

EXAMPLE: Final = "team in (ci, sandbox),!tenant"
FORMS: Final = "key, !key, key=value, key!=value, key in (a, b), key notin (a, b)"

_WORD: Final = r"[^ ,()!=<>]+"
_ONE: Final = re.compile(
    rf"! *(?P<absent>{_WORD})"
    rf"|(?P<key>{_WORD})(?: *(?P<sign>==?|!=) *(?P<value>{_WORD})?| +(?P<set>in|notin) *\((?P<values>[^()]*)\))?"
)
_SEPARATOR: Final = re.compile(r",(?![^()]*\))")
_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY: Final = re.compile(rf"((?=.{{1,253}}/){_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_NAME}")
_VALUE: Final = re.compile(f"({_NAME})?")


class BadSelector(ValueError):
    """The text is not such a selector; says what of it is wrong, and what would be right."""


def parse_selector(text: str) -> Selector:
    """Read a selector.

    Raises:
        BadSelector: it is none.
    """
    try:
        return tuple(_requirement(part.strip(" ")) for part in _SEPARATOR.split(text))
    except BadSelector as error:
        raise BadSelector(f"{text!r} is not a label selector, such as {EXAMPLE}: {error}") from None


def _requirement(part: str) -> Requirement:
    found = _ONE.fullmatch(part)
    if not found:
        raise BadSelector(f"{part!r} is none of {FORMS}")
    if found["absent"]:
        return Requirement(_key(found["absent"]), Operator.DOES_NOT_EXIST)
    key = _key(found["key"])
    if found["sign"]:
        operator = Operator.NOT_IN if found["sign"] == "!=" else Operator.IN
        return Requirement(key, operator, (_value(found["value"] or ""),))
    if found["set"]:
        operator = Operator.IN if found["set"] == "in" else Operator.NOT_IN
        values = (_listed(value.strip(" "), part) for value in found["values"].split(","))
        return Requirement(key, operator, tuple(values))
    return Requirement(key, Operator.EXISTS)


def _key(word: str) -> str:
    if not _KEY.fullmatch(word):
        raise BadSelector(f"{word!r} is not the key of a label, such as team or example.com/team")
    return word


def _value(word: str) -> str:
    if not _VALUE.fullmatch(word):
        raise BadSelector(f"{word!r} is not the value of a label, such as ci")
    return word


def _listed(word: str, part: str) -> str:
    if not word:
        raise BadSelector(f"{part!r} lists an empty value")
    return _value(word)
