"""What all models of custom resources have in common, and how their errors are told."""

import json
from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

_LONGEST_QUOTE: Final = 60


def _alias(name: str) -> str:
    return to_camel(name).replace("Seal", "SEAL")


class ApiModel(BaseModel):
    """A part of a custom resource: immutable, camelCase outside, and nothing unknown in it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_alias,
        validate_by_name=True,
        serialize_by_alias=True,
    )

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Read what the API server holds: camelCase keys only; raises pydantic's ValidationError."""
        return cls.model_validate(raw, by_alias=True, by_name=False)

    def as_json(self) -> dict[str, Any]:
        """Return what the API server is sent: JSON by camelCase keys, without what was left out."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


def rule_broken(message: str, at: str = "") -> PydanticCustomError:
    """Make the error of a broken rule; `at` is the field to blame, below the one that is being read."""
    return PydanticCustomError("rule_broken", "{message}", {"message": message, "at": at})


def describe(error: ValidationError, under: str = "") -> str:
    """Say in one line which fields are wrong and what would be right.

    `under` is the path of what was read, when that was not the whole resource: "spec", say.
    """
    all_details = error.errors(include_url=False)
    return "; ".join(_describe_one(one, under) for one in all_details if not _follows_from(one, all_details))


def _follows_from(details: ErrorDetails, all_details: list[ErrorDetails]) -> bool:
    """Say whether a list is only too short because pydantic did not count its invalid items."""
    place = details["loc"]
    return details["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in all_details
    )


def _describe_one(details: ErrorDetails, under: str) -> str:
    path = under
    for part in (*details["loc"], details.get("ctx", {}).get("at", "")):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part:
            path += f".{part}" if path else part
    problem = _problem(details)
    return f"{path}: {problem}" if path else problem


def _problem(details: ErrorDetails) -> str:
    context: Mapping[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "rule_broken":
            return f"{_quote(details['input'])}{context['message']}"
        case "missing":
            return "required, and missing"
        case "extra_forbidden":
            return "unknown field; leave it out"
        case "string_too_long":
            return f"must be at most {context['max_length']} characters long"
        case "string_too_short":
            return f"must be at least {context['min_length']} characters long"
        case "too_long":
            return f"must have at most {context['max_length']} item(s)"
        case "too_short":
            return f"must have at least {context['min_length']} item(s)"
        case "enum" | "literal_error":
            return f"{_quote(details['input'])}must be one of {context['expected'].replace(' or ', ', ')}"
        case "greater_than_equal":
            return f"{_quote(details['input'])}must be at least {context['ge']}"
        case "less_than_equal":
            return f"{_quote(details['input'])}must be at most {context['le']}"
        case "string_type":
            return f"{_quote(details['input'])}must be a string"
        case "int_type":
            return f"{_quote(details['input'])}must be an integer"
        case "bool_type":
            return f"{_quote(details['input'])}must be true or false"
        case "tuple_type":
            return f"{_quote(details['input'])}must be a list"
        case "model_type":
            return f"{_quote(details['input'])}must be an object"
        case _:
            return f"{_quote(details['input'])}{details['msg']}"


def _quote(value: object) -> str:
    """Quote a short scalar; a whole object or list would hide the message."""
    if isinstance(value, dict | list | tuple | BaseModel):
        return ""
    # JSON escapes line ends, so that a hostile value cannot break the line.
    quoted = json.dumps(value, default=str)
    return f"{quoted if len(quoted) <= _LONGEST_QUOTE else quoted[:_LONGEST_QUOTE] + '...'}: "
