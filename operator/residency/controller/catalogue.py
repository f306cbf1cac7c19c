"""From DataClassifications as they were read to the catalogue that is compiled: pure.

Nothing that one of them says can hurt another: what cannot be read or resolved keeps the placement that was
last in force (its status remembers it), or, never having had one, is left out, so that what names it is
refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from residency.api.classification import (
    DataClassification,
    DataClassificationSpec,
    Eviction,
    ResolvedPlacement,
    ResolvedRequirement,
    ResolvedStorage,
    StorageException,
)
from residency.api.countries import COUNTRY_SETS
from residency.api.names import ClassificationName, Reason, RunningPods
from residency.api.schema import describe
from residency.core.catalogue import Unresolved, resolve, restore
from residency.core.judge import Catalogue
from residency.core.placement import Classification, Placement, Storage, Toleration, normalise
from residency.core.requirements import Operator, Requirement
from residency.core.storage import StorageClass, with_classes
from residency.policy.cel import DoesNotFit
from residency.policy.compile import CompiledPolicies

CLASSES_SHOWN = 64
"""Names of StorageClasses that a status holds."""

Json = Mapping[str, Any]
Compile = Callable[[Catalogue], CompiledPolicies]


@dataclass(frozen=True, slots=True)
class Entry:
    """One DataClassification and what has become of it."""

    name: ClassificationName
    raw: Json
    includes: tuple[str, ...]
    country_sets: tuple[str, ...]
    wanted: Classification | None
    """What its spec says, when that can be resolved."""
    last_good: Classification | None
    """What its status says was in force last."""
    problem: Unresolved | None
    eviction: Eviction | None = None
    """How misplaced pods are to be evicted; None where they are not, or where its spec cannot be read."""

    @property
    def metadata(self) -> Json:
        """The metadata as read."""
        metadata: Json = self.raw["metadata"]
        return metadata

    @property
    def generation(self) -> int:
        """Which version of the spec was read."""
        return int(self.metadata.get("generation") or 0)

    @property
    def status(self) -> Json:
        """The status as read."""
        return _mapping(self.raw.get("status"))

    @property
    def deleting(self) -> bool:
        """Whether somebody has deleted it; it stays compiled until it is gone."""
        return bool(self.metadata.get("deletionTimestamp"))

    @property
    def good_generation(self) -> int:
        """Which generation was in force last; 0 where none ever was."""
        return int(_mapping(self.status.get("placement")).get("generation") or 0) if self.last_good else 0

    @property
    def compiled(self) -> Classification | None:
        """What goes into the policies."""
        return self.last_good if self.problem else self.wanted

    @property
    def changed(self) -> bool:
        """Whether its spec asks for something else than what was in force last."""
        return self.wanted is not None and (self.last_good is None or _demands(self.wanted) != _demands(self.last_good))

    def held_back(self, problem: Unresolved) -> "Entry":
        """Keep to what was in force before, for this reason."""
        return replace(self, problem=problem)


@dataclass(frozen=True, slots=True)
class Plan:
    """What ought to be in force."""

    entries: tuple[Entry, ...]
    compiled: CompiledPolicies | None
    """None where not even what was in force before can be compiled: the policies are left as they are."""

    @property
    def revision(self) -> str:
        """The revision of what is compiled; empty where nothing is."""
        return self.compiled.revision if self.compiled else ""

    @property
    def catalogue(self) -> Catalogue:
        """The classifications that are compiled in."""
        return _catalogue(self.entries)


def plan(objects: Iterable[Json], compile_: Compile, storage_classes: Sequence[StorageClass] = ()) -> Plan:
    """Resolve and compile all that can be, for a cluster that has these StorageClasses."""
    entries = read(objects, storage_classes)
    try:
        return Plan(entries, compile_(_catalogue(entries)))
    except DoesNotFit as error:
        return hold_back(entries, str(error), compile_)


def hold_back(entries: Sequence[Entry], why: str, compile_: Compile) -> Plan:
    """Compile what was in force before, without what has been changed since or is new."""
    problem = Unresolved(Reason.DOES_NOT_FIT, f"It does not fit into the admission policies: {why}")
    kept = tuple(entry.held_back(problem) if entry.changed else entry for entry in entries)
    try:
        return Plan(kept, compile_(_catalogue(kept)))
    except DoesNotFit:
        return nothing(kept, why)


def nothing(entries: Sequence[Entry], why: str) -> Plan:
    """Leave the policies as they are, whatever they are."""
    problem = Unresolved(Reason.DOES_NOT_FIT, f"It does not fit into the admission policies: {why}")
    return Plan(tuple(entry if entry.problem else entry.held_back(problem) for entry in entries), None)


def read(objects: Iterable[Json], storage_classes: Sequence[StorageClass] = ()) -> tuple[Entry, ...]:
    """Parse and resolve, each for itself; sorted by name."""
    raws = {ClassificationName(raw["metadata"]["name"]): raw for raw in objects}
    parsed = {name: _parse(raw) for name, raw in sorted(raws.items())}
    specs = {name: spec for name, spec in parsed.items() if isinstance(spec, DataClassificationSpec)}
    resolved = resolve(specs)
    entries = []
    for name, spec in parsed.items():
        outcome = spec if isinstance(spec, Unresolved) else resolved[name]
        last_good = _last_good(name, raws[name])
        entries.append(
            Entry(
                name=name,
                raw=raws[name],
                includes=_includes(raws[name]),
                country_sets=() if isinstance(spec, Unresolved) else _country_sets(name, specs),
                wanted=with_classes(outcome, storage_classes) if isinstance(outcome, Classification) else None,
                last_good=last_good and with_classes(last_good, storage_classes),
                problem=outcome if isinstance(outcome, Unresolved) else None,
                eviction=None if isinstance(spec, Unresolved) else _eviction(spec),
            )
        )
    return tuple(entries)


def placement_json(entry: Entry) -> dict[str, Any]:
    """Write the compiled placement as the status has it."""
    compiled = entry.compiled
    if compiled is None:
        raise ValueError(f"{entry.name} is not compiled")
    return {
        "generation": entry.good_generation if entry.problem else entry.generation,
        "alternatives": [{"requirements": [_requirement(r) for r in one]} for one in compiled.placement.alternatives],
        "tolerations": [toleration.to_dict() for toleration in compiled.placement.tolerations],
        "mode": str(compiled.mode),
    } | ({} if compiled.storage is None else {"storage": _storage_json(compiled.storage)})


def country_sets_json(entry: Entry) -> list[dict[str, str]]:
    """Say which version of each country set was used; what is kept from before keeps saying it."""
    if entry.problem:
        before = entry.status.get("countrySets")
        return [dict(item) for item in before if isinstance(item, Mapping)] if isinstance(before, list) else []
    known = {str(name): country_set.version for name, country_set in COUNTRY_SETS.items()}
    return [{"name": name, "version": known[name]} for name in entry.country_sets]


def _catalogue(entries: Sequence[Entry]) -> dict[ClassificationName, Classification]:
    return {entry.name: entry.compiled for entry in entries if entry.compiled is not None}


def _parse(raw: Json) -> DataClassificationSpec | Unresolved:
    # Without the status: rubbish in there is no reason to distrust what people wrote.
    written = {key: raw[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in raw}
    try:
        return DataClassification.parse(written).spec
    except ValidationError as error:
        return Unresolved(Reason.INVALID, describe(error))


def _eviction(spec: DataClassificationSpec) -> Eviction | None:
    return (spec.eviction or Eviction()) if spec.running_pods is RunningPods.EVICT else None


def _includes(raw: Json) -> tuple[str, ...]:
    """Who is included, even by what cannot be read: nobody's rules should be deleted from under it."""
    includes = _mapping(raw.get("spec")).get("includes")
    return tuple(name for name in includes if isinstance(name, str)) if isinstance(includes, list) else ()


def _country_sets(
    name: ClassificationName, specs: Mapping[ClassificationName, DataClassificationSpec]
) -> tuple[str, ...]:
    used: set[str] = set()
    seen: set[ClassificationName] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen or current not in specs:
            continue
        seen.add(current)
        waiting += map(ClassificationName, specs[current].includes)
        nodes = specs[current].nodes
        for alternative in nodes.any_of if nodes is not None else ():
            used.update(map(str, (*alternative.country_sets, *alternative.controlled_from_sets)))
    return tuple(sorted(used))


def _last_good(name: ClassificationName, raw: Json) -> Classification | None:
    """Read the placement that the status remembers; rubbish is no memory at all."""
    try:
        remembered = ResolvedPlacement.parse(_mapping(raw.get("status")).get("placement"))
        placement = Placement(
            tuple(_requirements(one.requirements) for one in remembered.alternatives),
            tuple(
                Toleration(t.key, str(t.operator), t.value or "", str(t.effect or "")) for t in remembered.tolerations
            ),
        )
        storage = _remembered_storage(remembered.storage)
    except ValueError:  # pydantic's ValidationError is one, and so is an operator that there is not
        return None
    # Anything but the normal form in which placements are resolved was not written by us.
    # A toleration without a key would tolerate everything.
    resolved = all(normalise(one) == one for one in placement.alternatives)
    if not placement.alternatives or not resolved or not all(t.key for t in placement.tolerations):
        return None
    title = _mapping(raw.get("spec")).get("title")
    return restore(name, title if isinstance(title, str) else str(name), (), placement, storage, remembered.mode)


def _remembered_storage(remembered: ResolvedStorage | None) -> Storage | None:
    """Read what the status remembers of storage; raises ValueError where it was not written by us."""
    if remembered is None:
        return None
    requirements = _requirements(remembered.requirements)
    if not requirements or normalise(requirements) != requirements:
        raise ValueError("not in normal form")
    return Storage(
        requirements,
        StorageException.STATIC_VOLUMES in remembered.allow,
        StorageException.DATA_SOURCES in remembered.allow,
        tuple(remembered.inline_drivers),
    )


def _requirements(resolved: Iterable[ResolvedRequirement]) -> tuple[Requirement, ...]:
    return tuple(Requirement(r.key, Operator(r.operator), tuple(r.values)) for r in resolved)


def _storage_json(storage: Storage) -> dict[str, Any]:
    allowed = {
        StorageException.STATIC_VOLUMES: storage.static_volumes,
        StorageException.DATA_SOURCES: storage.data_sources,
    }
    lists = {
        "requirements": [_requirement(r) for r in storage.requirements],
        "allow": [str(exception) for exception, holds in allowed.items() if holds],
        "inlineDrivers": list(storage.drivers),
        "classes": sorted(storage.classes)[:CLASSES_SHOWN],
    }
    return {name: items for name, items in lists.items() if items}


def _demands(classification: Classification) -> tuple[object, ...]:
    """What of a classification is compiled and remembered."""
    storage = classification.storage
    return classification.placement, storage and storage.demand, classification.mode


def _requirement(requirement: Requirement) -> dict[str, Any]:
    written: dict[str, Any] = {"key": requirement.key, "operator": str(requirement.operator)}
    return written | {"values": list(requirement.values)} if requirement.values else written


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}
