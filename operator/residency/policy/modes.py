"""Modes in CEL: which classifications a policy of one mode goes by, and what is in use at all.

A classification goes as far as it says itself, the one that a namespace is labelled with besides at most as far as
the namespace's ``residency.dev/enforcement`` says: ``residency.core.judge.in_mode``, rule by rule.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from residency.api.names import ENFORCEMENT, Mode
from residency.core.judge import MODES, Catalogue
from residency.policy.cel import literal

CEILING = f'namespaceObject.?metadata.?labels[?{literal(ENFORCEMENT)}].orValue("")'
"""What the namespace says."""


@dataclass(frozen=True, slots=True)
class Modes:
    """The classifications of a catalogue that are not enforced."""

    warned: tuple[str, ...]
    audited: tuple[str, ...]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Self:
        """Read them from a catalogue."""
        by_mode = {mode: tuple(sorted(n for n, c in catalogue.items() if c.mode is mode)) for mode in Mode}
        return cls(by_mode[Mode.WARN], by_mode[Mode.AUDIT])

    @property
    def used(self) -> frozenset[Mode]:
        """The lower modes that some classification has."""
        return frozenset(mode for mode, names in ((Mode.WARN, self.warned), (Mode.AUDIT, self.audited)) if names)

    def own(self, mode: Mode, name: str) -> str:
        """CEL for whether a classification by itself has the mode; one that is not in force is enforced."""
        match mode:
            case Mode.WARN:
                return _among(name, self.warned)
            case Mode.AUDIT:
                return _among(name, self.audited)
        return _not(_among(name, (*self.warned, *self.audited)))

    def of_namespace(self, mode: Mode, name: str) -> str:
        """CEL for whether the classification that a namespace is labelled with has the mode there."""
        ceiling = "variables.ceiling"
        match mode:
            case Mode.WARN:
                audited = _not(_among(name, self.audited))
                return f'({ceiling} == "Warn" ? {audited} : {ceiling} != "Audit" && {_among(name, self.warned)})'
            case Mode.AUDIT:
                return f'({ceiling} == "Audit" || {_among(name, self.audited)})'
        return f'(!({ceiling} in ["Warn", "Audit"]) && {self.own(mode, name)})'

    def names(self, mode: Mode, label: str, own: str) -> str:
        """CEL for the classifications that a policy of a mode goes by, of two lists of names."""
        of_label = f"{label}.filter(n, {self.of_namespace(mode, 'n')})"
        other = f"{own}.filter(n, !(n in {label}) && {self.own(mode, 'n')})"
        return f"{own}.size() == 0 ? {of_label} : {of_label} + {other}"

    def rank(self, name: str) -> str:
        """CEL for how far a classification goes by itself, as a number; the higher the further."""
        return _rank({mode: self.own(mode, name) for mode in (Mode.WARN, Mode.AUDIT)})


def rank_of_ceiling(ceiling: str) -> str:
    """CEL for how far a namespace that says this goes at the most, as a number."""
    return _rank({mode: f'{ceiling} == "{mode}"' for mode in (Mode.WARN, Mode.AUDIT)})


def _rank(lower: Mapping[Mode, str]) -> str:
    """The number of the first mode of which the condition holds, Enforce's where none does."""
    asked = "".join(f"{holds} ? {MODES.index(mode)} : " for mode, holds in lower.items() if holds != "false")
    return f"({asked}{MODES.index(Mode.ENFORCE)})"


def _among(name: str, names: Iterable[str]) -> str:
    known = list(names)
    return f"{name} in {literal(known)}" if known else "false"


def _not(condition: str) -> str:
    return "true" if condition == "false" else f"!({condition})"
