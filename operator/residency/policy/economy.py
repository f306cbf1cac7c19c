"""Which of the variables that a policy is written with it declares, and which it says where they are used.

The API server prepares every variable that is declared for every request that comes to the conditions of a policy,
whether it is used or not, and evaluates each that is used as a program of its own. So one that is not used is left
out, and one that is used once, or is short, is put in the place of its name. What it means stays the same: variables
are evaluated when they are first used, and so is what stands in their place.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

Expressions = Sequence[tuple[str, str]]
"""Named CEL expressions."""

LONGEST: Final = 3000
"""Characters of what is said in the one place where it is used; an expression may have 100,000."""
SHORT: Final = 120
"""Characters of what is rather said, and worked out, in several places."""

_TOKEN: Final = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\bvariables\.(?P<name>\w+)|(?P<open>(?:\.\w+)?\(|[\[{])|[)\]}]"""
)
_LOOPS: Final = frozenset(
    f".{macro}(" for macro in ("all", "exists", "exists_one", "existsOne", "filter", "map", "transformList")
)
_ROOT: Final = r"(?:dyn\(\w+\)|[a-z]\w*)"
_PATH: Final = re.compile(rf'{_ROOT}(?:\.\??[a-zA-Z]\w*|\[(?:\d+|[a-z][\w.]*)\])+|true|false|\[(?:"")?\]')
"""Fields and elements of something, or what costs even less: cheap however often it is looked at."""


class Use(NamedTuple):
    """Where an expression names a variable."""

    name: str
    start: int
    end: int
    repeated: bool
    """Whether it stands where an element of a list is looked at, which may be any number of times."""


@functools.lru_cache(maxsize=512)
def uses(expression: str) -> tuple[Use, ...]:
    """The variables that an expression names, in order; what stands in strings is none."""
    if "variables." not in expression:  # a catalogue, which is long
        return ()
    found: list[Use] = []
    around: list[str] = []
    for token in _TOKEN.finditer(expression):
        if token["name"]:
            found.append(Use(token["name"], *token.span(), repeated=any(opened in _LOOPS for opened in around)))
        elif token["open"]:
            around.append(token["open"])
        elif not token["text"]:
            around.pop()
    return tuple(found)


def economical(variables: Expressions, *programs: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The variables to declare, each of which uses only those before it, and the programs as they are said then."""
    meanings, said = dict(variables), list(programs)
    names = _needed(meanings, said)
    for name in names:
        meaning = meanings.pop(name)
        if _spared(meaning, [use for text in (*meanings.values(), *said) for use in uses(text) if use.name == name]):
            put = _in_place(name, meaning)
            meanings = {other: put(text) for other, text in meanings.items()}
            said = [put(text) for text in said]
        else:
            # Back, behind those that were not looked at yet: nothing before it uses it.
            meanings[name] = meaning
    return list(meanings.items()), said


def _needed(meanings: dict[str, str], programs: Sequence[str]) -> list[str]:
    """The variables that the programs use, or that those use, in order; all others are forgotten."""
    needed = {use.name for program in programs for use in uses(program)}
    for name in reversed(list(meanings)):
        if name in needed:
            needed.update(use.name for use in uses(meanings[name]))
        else:
            del meanings[name]
    return list(meanings)


def _spared(meaning: str, used: Sequence[Use]) -> bool:
    if len(meaning) > LONGEST:
        return False
    if _PATH.fullmatch(meaning):
        return True
    if any(use.repeated for use in used):
        return False
    return len(used) == 1 or (len(meaning) <= SHORT and not _loops(meaning))


def _loops(meaning: str) -> bool:
    return any(token["open"] in _LOOPS for token in _TOKEN.finditer(meaning))


def _in_place(name: str, meaning: str) -> Callable[[str], str]:
    said = meaning if _PATH.fullmatch(meaning) else f"({meaning})"

    def put(text: str) -> str:
        parts, end = [], 0
        for use in uses(text):
            if use.name == name:
                parts += [text[end : use.start], said]
                end = use.end
        return "".join([*parts, text[end:]])

    return put
