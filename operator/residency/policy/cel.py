"""Writing CEL: literals, message templates, and lookups in catalogues too long for one expression.

Knows the language, nothing of residency.
"""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

# The API server refuses expressions over 100,000 code points; a chunk leaves room for what surrounds it.
CHUNK_LENGTH = 60_000


class DoesNotFit(Exception):
    """What is to be compiled is too large for the API server; the message says what, and what would help."""


def literal(value: Any) -> str:
    """Write strings, numbers, lists and mappings as a CEL literal.

    Lists and mappings of one type, without calls inside, are folded once when the API server compiles the
    expression and cost nothing when it is evaluated: that is why catalogues are nested lists of strings. Mixed ones,
    with ``dyn()``, would be folded too, but the time to compile them grows with the square of their number.
    """
    match value:
        case Mapping():
            return "{" + ",".join(f"{literal(key)}:{literal(item)}" for key, item in value.items()) + "}"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case Sequence():
            return "[" + ",".join(map(literal, value)) + "]"
    return json.dumps(value)


def message(template: str, **fields: str) -> str:
    """Turn a ``str.format`` template into a CEL concatenation; ``fields`` are CEL expressions of type string."""
    parts: list[str] = []
    for text, field, _, _ in string.Formatter().parse(template):
        if text:
            parts.append(literal(text))
        if field:
            parts.append(fields[field])
    return " + ".join(parts)


class Table:
    """A constant mapping from names to values of one type, spread over as many variables as its length needs."""

    def __init__(self, prefix: str, entries: Mapping[str, Any]) -> None:
        """Raises DoesNotFit where a single entry is too long."""
        self._chunks: list[tuple[str, str]] = []
        chunk: list[str] = []
        length = 0
        for name, value in entries.items():
            entry = f"{literal(name)}:{literal(value)}"
            if len(entry) > CHUNK_LENGTH:
                raise DoesNotFit(
                    f"{name} needs {len(entry)} characters once compiled, at most {CHUNK_LENGTH} are possible: "
                    "shorten its lists or split it"
                )
            if length + len(entry) > CHUNK_LENGTH:
                self._close(prefix, chunk)
                chunk, length = [], 0
            chunk.append(entry)
            length += len(entry) + 1
        self._close(prefix, chunk)

    def _close(self, prefix: str, chunk: Sequence[str]) -> None:
        self._chunks.append((f"{prefix}{len(self._chunks)}", "{" + ",".join(chunk) + "}"))

    def variables(self) -> list[tuple[str, str]]:
        """The variables to declare, in order."""
        return list(self._chunks)

    def find(self, name: str) -> str:
        """CEL for the value of a name (a CEL expression), as an optional."""
        first, *others = (f"variables.{variable}[?{name}]" for variable, _ in self._chunks)
        return first + "".join(f".or({other})" for other in others)
