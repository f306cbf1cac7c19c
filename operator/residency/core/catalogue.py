"""From DataClassification specs to resolved classifications: facts to requirements, includes conjoined.

Pure and total: whatever cannot be resolved becomes an ``Unresolved`` with the reason; nothing raises.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from residency.api.classification import Alternative as AlternativeSpec
from residency.api.classification import DataClassificationSpec, Reference
from residency.api.countries import expand
from residency.api.names import ClassificationName, Fact, Reason
from residency.core import messages
from residency.core.placement import (
    ANYWHERE,
    MAX_TERMS,
    Classification,
    Placement,
    Toleration,
    conjoin,
    normalise,
)
from residency.core.requirements import Operator, Requirement

HIGHEST_SEAL = 4

Specs = Mapping[ClassificationName, DataClassificationSpec]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A classification that cannot be resolved: a condition reason, and one line that says what would help."""

    reason: Reason
    message: str


class _Unresolvable(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.unresolved = Unresolved(reason, message)


def resolve(specs: Specs) -> dict[ClassificationName, Classification | Unresolved]:
    """Resolve every classification with what it includes; the result has a key for each of ``specs``, sorted."""
    return {name: _resolve_one(name, specs) for name in sorted(specs)}


def _resolve_one(name: ClassificationName, specs: Specs) -> Classification | Unresolved:
    try:
        names = _included(name, specs)
        placement = _conjoin_all(names, specs)
    except _Unresolvable as problem:
        return problem.unresolved
    references = (_cite(reference) for included in names for reference in specs[included].references)
    return Classification(
        name=name,
        title=specs[name].title,
        placement=placement,
        why=messages.because(tuple(dict.fromkeys(references))),
        allows=tuple(allowances(placement)),
    )


def _included(name: ClassificationName, specs: Specs) -> tuple[ClassificationName, ...]:
    """A classification and all that it includes, directly or not: itself first, each once."""
    found: dict[ClassificationName, None] = {}

    def visit(current: ClassificationName, path: tuple[ClassificationName, ...]) -> None:
        if current in path:
            circle = " -> ".join((*path[path.index(current) :], current))
            raise _Unresolvable(Reason.INCLUDE_CYCLE, f"includes go in a circle: {circle}; take one of them out")
        if current not in specs:
            raise _Unresolvable(
                Reason.UNKNOWN_INCLUDE,
                f'{path[-1]} includes "{current}", which is not there or cannot be read; create it or take it '
                f"out of spec.includes",
            )
        if current in found:
            return
        found[current] = None
        for included in specs[current].includes:
            visit(ClassificationName(included), (*path, current))

    visit(name, ())
    return tuple(found)


def _conjoin_all(names: tuple[ClassificationName, ...], specs: Specs) -> Placement:
    whole = ANYWHERE
    for name in names:
        own = _own_placement(specs[name])
        if not own.alternatives:
            raise _Unresolvable(
                Reason.CONTRADICTORY,
                f"no node can satisfy any alternative in spec.nodes.anyOf of {name}: each contradicts itself; "
                f"see its matchExpressions",
            )
        whole = conjoin(whole, own)
        if not whole.alternatives:
            raise _Unresolvable(
                Reason.CONTRADICTORY,
                f"no node can satisfy both {name} and what includes it ({', '.join(names[: names.index(name)])}); "
                "change one of them or the includes",
            )
        if len(whole.alternatives) > MAX_TERMS:
            raise _Unresolvable(
                Reason.TOO_MANY_ALTERNATIVES,
                f"with its includes (up to {name}) it comes to {len(whole.alternatives)} alternatives; at most "
                f"{MAX_TERMS} are possible: "
                "write fewer in spec.nodes.anyOf",
            )
    return whole


def _own_placement(spec: DataClassificationSpec) -> Placement:
    """What a classification asks by itself; no alternatives where each contradicts itself."""
    if spec.nodes is None:
        return ANYWHERE
    tolerations = tuple(
        Toleration(t.key, str(t.operator), t.value or "", str(t.effect or "")) for t in spec.nodes.tolerations
    )
    if not spec.nodes.any_of:
        return Placement(ANYWHERE.alternatives, tolerations)
    alternatives = (normalise(_requirements(alternative)) for alternative in spec.nodes.any_of)
    return Placement(tuple(a for a in alternatives if a is not None), tolerations)


def _requirements(spec: AlternativeSpec) -> Iterator[Requirement]:
    fact_values: Mapping[Fact, tuple[str, ...]] = {
        Fact.COUNTRY: expand(spec.countries, spec.country_sets),
        Fact.CONTROLLED_FROM: expand(spec.controlled_from, spec.controlled_from_sets),
        Fact.DEPLOYMENT_MODEL: tuple(map(str, spec.deployment_models)),
        Fact.PROVIDER: tuple(spec.providers),
        Fact.SEAL: ()
        if spec.min_seal is None
        else tuple(str(level) for level in range(spec.min_seal, HIGHEST_SEAL + 1)),
    }
    for fact, values in fact_values.items():
        if values:
            yield Requirement(fact.value, Operator.IN, values)
    for expression in spec.match_expressions:
        yield Requirement(expression.key, Operator(str(expression.operator)), tuple(expression.values))


def _cite(reference: Reference) -> str:
    return f"{reference.title}, {reference.clause}" if reference.clause else reference.title


def allowances(placement: Placement) -> Iterator[tuple[str, str]]:
    """What a placement allows of each key it speaks of, readably."""
    by_key: dict[str, list[list[Requirement]]] = {}
    for alternative in placement.alternatives:
        for key in dict.fromkeys(requirement.key for requirement in alternative):
            by_key.setdefault(key, []).append([r for r in alternative if r.key == key])
    for key, together in by_key.items():
        yield key, messages.allowance(together)


def restore(name: ClassificationName, title: str, references: tuple[str, ...], placement: Placement) -> Classification:
    """Make a classification from a placement that was resolved before (the last good one in a status)."""
    return Classification(name, title, placement, messages.because(references), tuple(allowances(placement)))
