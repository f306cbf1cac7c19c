"""From DataClassification specs to resolved classifications: facts to requirements, includes conjoined.

Pure and total: whatever cannot be resolved becomes an ``Unresolved`` with the reason; nothing raises.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from residency.api.classification import Alternative as AlternativeSpec
from residency.api.classification import DataClassificationSpec, Reference, StorageException
from residency.api.countries import expand
from residency.api.names import ClassificationName, Fact, Mode, Reason
from residency.core import messages
from residency.core.placement import (
    ANYWHERE,
    MAX_TERMS,
    Classification,
    Contradiction,
    Placement,
    Storage,
    Toleration,
    conjoin,
    conjoin_storage,
    normalise,
)
from residency.core.requirements import Operator, Requirement

HIGHEST_SEAL = 4

LARGEST_PLACEMENT = 50_000
"""Characters of a resolved placement: what one expression of an admission policy takes, with room for the rest."""

# Of the names in a circle of includes.
_SHOWN = 6

Specs = Mapping[ClassificationName, DataClassificationSpec]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A classification that cannot be resolved: a condition reason, and one line that says what would help."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class _Whole:
    """What a classification asks with all that it includes, and whose law that is."""

    placement: Placement
    storage: Storage | None
    citations: tuple[str, ...]


_Outcomes = dict[ClassificationName, _Whole | Unresolved]


def resolve(specs: Specs) -> dict[ClassificationName, Classification | Unresolved]:
    """Resolve every classification with what it includes; the result has a key for each of ``specs``, sorted."""
    resolved: _Outcomes = {}
    for name in sorted(specs):
        _resolve_below(name, specs, resolved)
    return {name: _classification(name, specs[name], resolved[name]) for name in sorted(specs)}


def _classification(
    name: ClassificationName, spec: DataClassificationSpec, whole: _Whole | Unresolved
) -> Classification | Unresolved:
    if isinstance(whole, Unresolved):
        return whole
    return restore(name, spec.title, whole.citations, whole.placement, whole.storage, spec.mode)


def _resolve_below(start: ClassificationName, specs: Specs, resolved: _Outcomes) -> None:
    """Resolve what a classification includes, and then itself; each once, however many include it.

    Depth first on a path of our own: a chain of includes may be longer than Python's stack.
    """
    path = {} if start in resolved else {start: _includes(specs[start])}
    while path:
        current = next(reversed(path))
        following = next(path[current], None)
        if following is None:
            resolved[current] = _whole(current, specs, resolved)
        elif following in path:
            names = list(path)
            resolved[current] = _in_a_circle((*names[names.index(following) :], following))
        elif following not in specs:
            resolved[current] = _unknown(current, following)
        elif following not in resolved:
            path[following] = _includes(specs[following])
        if current in resolved:
            del path[current]


def _includes(spec: DataClassificationSpec) -> Iterator[ClassificationName]:
    return map(ClassificationName, spec.includes)


def _in_a_circle(circle: Sequence[ClassificationName]) -> Unresolved:
    first, last = circle[:_SHOWN], circle[max(_SHOWN, len(circle) - 1) :]
    between = len(circle) - len(first) - len(last)
    steps = (*first, *([f"{between} more"] if between else []), *last)
    return Unresolved(
        Reason.INCLUDE_CYCLE, f"includes go in a circle: {' -> '.join(steps)}; take one of them out of spec.includes"
    )


def _unknown(name: ClassificationName, included: ClassificationName) -> Unresolved:
    return Unresolved(
        Reason.UNKNOWN_INCLUDE,
        f'{name} includes "{included}", which is not there or cannot be read; create it, or take it out of '
        "spec.includes",
    )


def _whole(name: ClassificationName, specs: Specs, resolved: _Outcomes) -> _Whole | Unresolved:
    spec = specs[name]
    placement = conjoin(ANYWHERE, _own_placement(spec))
    if not placement.alternatives:
        return Unresolved(
            Reason.CONTRADICTORY,
            f"no node can satisfy any alternative in spec.nodes.anyOf of {name}: each contradicts itself; "
            "see its matchExpressions",
        )
    citations = [_cite(reference) for reference in spec.references]
    for included in _includes(spec):
        its = resolved[included]
        if isinstance(its, Unresolved):
            return its
        placement = conjoin(placement, its.placement)
        citations += its.citations
        problem = _trouble(name, included, placement)
        if problem:
            return problem
    try:
        storage = _whole_storage(name, spec, resolved)
    except Contradiction as contradiction:
        return Unresolved(Reason.CONTRADICTORY, str(contradiction))
    return _trouble(name, name, placement) or _Whole(placement, storage, tuple(dict.fromkeys(citations)))


def _whole_storage(name: ClassificationName, spec: DataClassificationSpec, resolved: _Outcomes) -> Storage | None:
    """What a classification and its includes ask of storage together; raises Contradiction."""
    storage = _own_storage(name, spec)
    for included in _includes(spec):
        its = resolved[included]
        try:
            storage = conjoin_storage(storage, its.storage if isinstance(its, _Whole) else None)
        except Contradiction as contradiction:
            raise Contradiction(
                f"no StorageClass can satisfy both {included}, which {name} includes, and what else {name} asks, "
                "itself or by its other includes; change one of them or take one out of spec.includes"
            ) from contradiction
    return storage


def _trouble(name: ClassificationName, included: ClassificationName, placement: Placement) -> Unresolved | None:
    """What is wrong with a placement once an include is conjoined."""
    if not placement.alternatives:
        return Unresolved(
            Reason.CONTRADICTORY,
            f"no node can satisfy both {included}, which {name} includes, and what else {name} asks, itself or by its "
            "other includes; change one of them or take one out of spec.includes",
        )
    if len(placement.alternatives) > MAX_TERMS:
        return Unresolved(
            Reason.TOO_MANY_ALTERNATIVES,
            f"{name} comes to {len(placement.alternatives)} alternatives with {included}, which it includes; "
            f"at most {MAX_TERMS} are possible: write fewer in spec.nodes.anyOf",
        )
    size = _size(placement)
    if size > LARGEST_PLACEMENT:
        return Unresolved(
            Reason.DOES_NOT_FIT,
            f"with all that {name} includes, its labels and their values come to {size} characters, "
            f"at most {LARGEST_PLACEMENT} are possible: shorten its lists or split it",
        )
    return None


def _size(placement: Placement) -> int:
    """Characters, about, once compiled: a few around each value, more around each requirement."""
    requirements = list(placement.requirements)
    values = sum(len(value) + 3 for r in requirements for value in r.values)
    tolerations = sum(len(t.key) + len(t.value) + len(t.effect) + 24 for t in placement.tolerations)
    return values + sum(len(r.key) + 44 for r in requirements) + tolerations


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


def _own_storage(name: ClassificationName, spec: DataClassificationSpec) -> Storage | None:
    """What a classification asks of storage by itself; raises Contradiction."""
    if spec.storage is None:
        return None
    selector = spec.storage.class_selector
    demands = [
        *(Requirement(key, Operator.IN, (value,)) for key, value in sorted(selector.match_labels.items())),
        *(Requirement(e.key, Operator(str(e.operator)), tuple(e.values)) for e in selector.match_expressions),
    ]
    requirements = normalise(demands)
    if requirements is None:
        raise Contradiction(f"no StorageClass can satisfy spec.storage.classSelector of {name}: it contradicts itself")
    return Storage(
        requirements,
        StorageException.STATIC_VOLUMES in spec.storage.allow,
        StorageException.DATA_SOURCES in spec.storage.allow,
        tuple(spec.storage.inline_drivers),
    )


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


def restore(
    name: ClassificationName,
    title: str,
    references: tuple[str, ...],
    placement: Placement,
    storage: Storage | None = None,
    mode: Mode = Mode.ENFORCE,
) -> Classification:
    """Make a classification from what was resolved before (the last good one in a status)."""
    why = messages.because(references)
    return Classification(name, title, placement, why, tuple(allowances(placement)), storage, mode)
