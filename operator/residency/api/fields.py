"""The checked strings that custom resources are made of."""

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, Field

from residency.api.countries import ISO_3166_1, correction
from residency.api.names import RESERVED_PREFIX
from residency.api.schema import rule_broken

_Items = TypeVar("_Items", bound=Sequence[Hashable])

_LABEL_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME: Final = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"

# `re.fullmatch` with these says what `matches('^...$')` says in the custom resource definition.
SLUG: Final = re.compile(_DNS_LABEL)
SUBDIVISION: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
NUMBER: Final = re.compile(r"[0-9]{1,18}")
_NAME: Final = re.compile(_DNS_NAME)
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TAINT_KEY: Final = re.compile(rf"({_DNS_NAME}/)?{_LABEL_NAME}")
_RESTRICTED_KEY: Final = re.compile(rf"({_DNS_LABEL}\.)*node-restriction\.kubernetes\.io/{_LABEL_NAME}")
_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+([/?#][!-~]*)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _matching(pattern: re.Pattern[str], otherwise: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise rule_broken(otherwise)
        return text

    return AfterValidator(check)


def _one_line(text: str) -> str:
    if _CONTROL.search(text) or text != text.strip():
        raise rule_broken("must be one line of text, without spaces around it and without control characters")
    return text


def _not_reserved(name: str) -> str:
    if name.startswith(RESERVED_PREFIX):
        raise rule_broken(
            f"names that start with {RESERVED_PREFIX} are Residency's own; choose another, such as nl-depv"
        )
    return name


def _in_iso_3166_1(sets_field: str) -> Callable[[str], str]:
    def check(code: str) -> str:
        if code not in ISO_3166_1:
            raise rule_broken(correction(code, sets_field))
        return code

    return check


def _distinct(items: _Items) -> _Items:
    if len(set(items)) != len(items):
        raise rule_broken("duplicate value; write each item once")
    return items


DISTINCT: Final = AfterValidator(_distinct)

_ONE_LINE: Final = AfterValidator(_one_line)
Title = Annotated[str, Field(min_length=1, max_length=120), _ONE_LINE]
Clause = Annotated[str, Field(min_length=1, max_length=40), _ONE_LINE]
Url = Annotated[
    str,
    Field(max_length=300),
    _matching(_URL, "must be an http or https address, such as https://www.example.com/policy"),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    _matching(_NAME, "must be lower-case letters, digits, '-' and '.', such as nl-depv"),
    AfterValidator(_not_reserved),
]
Country = Annotated[str, Field(max_length=32), AfterValidator(_in_iso_3166_1("countrySets"))]
ControllingCountry = Annotated[str, Field(max_length=32), AfterValidator(_in_iso_3166_1("controlledFromSets"))]
Provider = Annotated[
    str,
    Field(max_length=63),
    _matching(SLUG, "must be lower-case letters, digits and '-', such as odc-noord"),
]
RestrictedKey = Annotated[
    str,
    Field(max_length=253),
    _matching(
        _RESTRICTED_KEY,
        "must be a label that a kubelet cannot set on its own node: its prefix must be or end with "
        "node-restriction.kubernetes.io, such as example.node-restriction.kubernetes.io/rack",
    ),
]
TaintKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_TAINT_KEY, "must be the key of a taint, such as residency.dev/sovereign"),
]
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_TAINT_KEY, "must be the key of a label, such as residency.node-restriction.kubernetes.io/country"),
]
DriverName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    _matching(_NAME, "must be the name of a CSI driver, such as secrets-store.csi.k8s.io"),
]
LabelValue = Annotated[
    str,
    Field(min_length=1, max_length=63),
    _matching(_LABEL_VALUE, "must be a label value: letters, digits, '-', '_' and '.', such as rack-12"),
]
