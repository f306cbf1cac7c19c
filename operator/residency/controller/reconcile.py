"""One pass over everything: read afresh, decide, put right, prove, say so.

Level-triggered: what woke it does not matter, and a pass that finds all as it should be writes nothing. A
step that fails is counted and makes the pass fail, but no later step that can do without it: statuses are
always written.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from residency.api import names
from residency.api.classification import Eviction
from residency.api.names import ClassificationName, Mode, Reason
from residency.audit.eviction import Order
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import CLASSIFICATIONS, NAMESPACES, name_of
from residency.controller.auditing import Audit
from residency.controller.canary import Canary, Proof
from residency.controller.catalogue import (
    Entry,
    Plan,
    country_sets_json,
    hold_back,
    nothing,
    placement_json,
    plan,
)
from residency.controller.defaults import Default
from residency.controller.evicting import Evictor, Orders
from residency.controller.policies import Policies
from residency.controller.rollout import Rollout
from residency.controller.storage import StorageFound, find_storage
from residency.controller.workloads import Labels, Workloads
from residency.core.judge import Ask, Catalogue, NamespaceLabels, ceiling, effective
from residency.core.surroundings import Surroundings
from residency.policy.compile import CompiledPolicies, Settings, compile_policies
from residency.reporting.audit import Told, say
from residency.reporting.eviction import LOWER_MODE, NOT_IN_FORCE, Says
from residency.reporting.metrics import Metrics
from residency.reporting.status import Judgement, Standing, Usage, change, enforced, in_lower_mode, not_enforced_yet

log = logging.getLogger(__name__)

T = TypeVar("T")

SOON: Final = 10.0
"""Seconds until the next look where something is known not to be well yet."""

Waiting = Mapping[ClassificationName, Sequence[str]]


@dataclass(slots=True)
class Pass:
    """What one pass has found out."""

    failed: dict[str, str] = field(default_factory=dict)
    """What went wrong, by step."""
    unwell: bool = False
    """Whether to look again soon although nothing failed."""
    interrupted: bool = False
    """Whether it ended early, because something had changed since it began."""


@dataclass
class Reconciler:
    """Makes the cluster what the DataClassifications say."""

    client: Client
    settings: Settings
    canary: Canary
    metrics: Metrics
    audit: Audit
    evictor: Evictor
    policies: Policies = field(init=False)
    rollout: Rollout = field(init=False)
    workloads: Workloads = field(init=False)
    default: Default = field(init=False)
    _storage: StorageFound = field(default_factory=StorageFound)
    """What the pass under way compiles for."""
    _compiled: tuple[Catalogue, Surroundings, CompiledPolicies] | None = None
    _refused: str = ""
    """The revision that the API server did not take when it was last tried: nobody is judged by it meanwhile."""
    _placed: tuple[str, Labels] = ("", {})
    """The revision and the labels of namespaces for which DaemonSets have been looked at."""

    def __post_init__(self) -> None:
        self.policies = Policies(self.client, self.metrics)
        self.rollout = Rollout(self.policies, self.canary)
        self.workloads = Workloads(self.client, (*self.settings.excluded, self.settings.canary_namespace))
        self.default = Default(self.settings.default_classification, self.metrics)

    async def reconcile(self, interrupted: Callable[[], bool] = lambda: False) -> Pass:
        """Do one pass; raise only when nothing could be read.

        ``interrupted`` says that something has changed since it began, so that it need not wait for what it wrote
        to be in force: the next pass will.
        """
        done = Pass()
        # What it is carried out by may not be so any more; without a whole pass nothing is evicted.
        self.evictor.pause()
        objects = await self.client.find(CLASSIFICATIONS)
        labels = await self._labels()
        self._storage = await find_storage(self.client, objects, labels)
        # Compiling is pure Python and takes a while with many classifications: health and Lease must not wait.
        wanted = await asyncio.to_thread(plan, objects, self._compile, self._storage.classes)
        await self._step(done, "finalizers", self._keep_finalizers(wanted.entries))
        if wanted.revision != self._refused:
            self._audit_by(wanted)
        wanted, proof = await self._put_in_force(done, wanted, interrupted)
        self._audit_by(wanted)
        if proof is not None and not proof.holds and interrupted():
            done.interrupted = True
            return done
        waiting = await self._waiting(done, wanted, proof, labels)
        found = _Findings(
            wanted, proof, done.failed, waiting, self.audit.tell(), self.audit.beginning, self.evictor.tell
        )
        usage = _usage(wanted.entries, labels)
        standings = {entry.name: found.standing(entry, usage[entry.name]) for entry in wanted.entries}
        # Before the statuses: once its status is written, the version that was read can no longer be let go.
        await self._step(done, "deletion", self._release(wanted.entries, usage))
        await self._step(done, "status", self._write_statuses(wanted.entries, standings))
        self._measure(found, standings, labels)
        if found.in_force:
            await self._step(done, "daemonsets", self._place_daemonsets(wanted, labels))
        self.evictor.go(self._orders(found), [entry.name for entry in wanted.entries if entry.eviction is not None])
        done.unwell = not all(standing.settled for standing in standings.values())
        return done

    def _audit_by(self, wanted: Plan) -> None:
        """Let the audit go by a plan, at once: what runs is to be told from the facts, not from what is enforced."""
        if wanted.compiled is not None:
            self.audit.judge_by(wanted.catalogue)

    async def _put_in_force(
        self, done: Pass, wanted: Plan, interrupted: Callable[[], bool]
    ) -> tuple[Plan, Proof | None]:
        """Bring the plan into force; what the API server does not take is held back.

        The proof is None where the policies could not be written: what is there stays, and nothing is known of it.
        """
        tried = wanted.revision
        for _ in range(2):
            try:
                proof = await self._roll_out(wanted, interrupted)
                if wanted.revision == tried:
                    self._refused = ""
                return wanted, proof
            except ApiError as error:
                if not error.invalid:
                    self._failed(done, "policies", error)
                    return wanted, None
                self._refused = tried
                log.error("policies refused", extra={"error": str(error)})
                refusal = f"the API server says: {error}"
            except Exception as error:
                self._failed(done, "policies", error)
                return wanted, None
            wanted = await asyncio.to_thread(hold_back, wanted.entries, refusal, self._compile)
        return nothing(wanted.entries, refusal), None

    async def _roll_out(self, wanted: Plan, interrupted: Callable[[], bool]) -> Proof | None:
        if wanted.compiled is None:
            return None
        self.metrics.compiled_bytes.set(wanted.compiled.size)
        proof = await self.rollout.put_in_force(
            wanted.compiled, was_in_force=_was_in_force(wanted), interrupted=interrupted
        )
        if not proof.holds and not interrupted():
            log.warning("not in force", extra={"proof": str(proof)})
        return proof

    def _compile(self, catalogue: Catalogue) -> CompiledPolicies:
        """Compile, unless that was just done: most passes are about namespaces and pods."""
        surroundings = self._storage.surroundings(catalogue)
        if self._compiled is None or self._compiled[:2] != (catalogue, surroundings):
            self._compiled = catalogue, surroundings, compile_policies(catalogue, self.settings, surroundings)
        return self._compiled[2]

    async def _step(self, done: Pass, step: str, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except Exception as error:  # a failure in one step must not keep the others from being done
            self._failed(done, step, error)
        return None

    def _failed(self, done: Pass, step: str, error: Exception) -> None:
        expected = isinstance(error, ApiError | Unreachable)
        done.failed[step] = str(error) if expected else f"{type(error).__name__}: {error}"
        log.warning("step failed", extra={"step": step, "error": str(error)}, exc_info=None if expected else error)
        self.metrics.reconcile_errors.labels(step=step).inc()

    async def _labels(self) -> dict[str, NamespaceLabels]:
        """Read which namespaces are classified.

        Those that no policy applies to never are; those that are going admit no pods and need no rules any more.
        """
        found = await self.client.find(NAMESPACES, labels=names.CLASSIFICATION, metadata_only=True)
        return {
            name_of(item): NamespaceLabels(
                *map(item["metadata"]["labels"].get, (names.CLASSIFICATION, names.ENFORCEMENT))
            )
            for item in found
            if name_of(item) not in (*self.settings.excluded, self.settings.canary_namespace)
            and "deletionTimestamp" not in item["metadata"]
        }

    async def _waiting(self, done: Pass, wanted: Plan, proof: Proof | None, labels: Labels) -> Waiting | None:
        if proof is None or not proof.holds:
            return None
        around = self._storage.surroundings(wanted.catalogue)
        return await self._step(done, "pods", self.workloads.waiting_unplaced(labels, wanted.catalogue, around))

    async def _keep_finalizers(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            finalizers = entry.metadata.get("finalizers") or []
            if names.FINALIZER not in finalizers and not entry.deleting:
                await self._set_finalizers(entry, [*finalizers, names.FINALIZER])

    async def _release(self, entries: Sequence[Entry], usage: Mapping[ClassificationName, Usage]) -> None:
        """Let those go that were deleted and are not in use."""
        for entry in entries:
            finalizers = entry.metadata.get("finalizers") or []
            if entry.deleting and names.FINALIZER in finalizers and not usage[entry.name]:
                await self._set_finalizers(entry, [one for one in finalizers if one != names.FINALIZER])

    async def _set_finalizers(self, entry: Entry, finalizers: Sequence[str]) -> None:
        # The list is written as a whole, so only if nobody has written since it was read.
        version = entry.metadata["resourceVersion"]
        patch: Object = {"metadata": {"resourceVersion": version, "finalizers": list(finalizers)}}
        try:
            await self.client.merge(CLASSIFICATIONS, entry.name, patch)
        except ApiError as error:
            # Whoever was faster has woken us again.
            if not (error.conflict or error.not_found):
                raise

    async def _write_statuses(self, entries: Sequence[Entry], standings: Mapping[ClassificationName, Standing]) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        refused: list[str] = []
        for entry in entries:
            changes = change(entry.status, standings[entry.name].to_json(entry.status, now))
            if not changes:
                continue
            try:
                await self.client.merge(CLASSIFICATIONS, entry.name, {"status": changes}, subresource="status")
            except ApiError as error:
                if not error.not_found:
                    refused.append(f"{entry.name}: {error}")
        if refused:
            raise ApiError(0, "StatusRefused", "; ".join(refused)[:1000])

    async def _place_daemonsets(self, wanted: Plan, labels: Labels) -> None:
        if wanted.compiled is not None and self._placed != (wanted.compiled.revision, labels):
            self.metrics.daemonsets_refused.set(await self.workloads.place_daemonsets(labels, wanted.catalogue))
            self._placed = wanted.compiled.revision, labels

    def _orders(self, found: "_Findings") -> Orders:
        """What may be evicted for whom, by what was just seen to be in force."""
        orders = {
            entry.name: order_of(entry, entry.eviction)
            for entry in found.wanted.entries
            if entry.eviction is not None and found.withheld(entry) is None
        }
        if not orders:
            return Orders()
        catalogue = found.wanted.catalogue
        return Orders(orders, catalogue, self._storage.surroundings(catalogue))

    def _measure(self, found: "_Findings", standings: Mapping[ClassificationName, Standing], labels: Labels) -> None:
        ready = sum(standing.ready.holds for standing in standings.values())
        self.metrics.classifications(ready, len(standings) - ready)
        self.metrics.policies_in_force.set(int(found.in_force))
        self.metrics.namespaces(_modes(labels, found.wanted.catalogue))
        self.default.tell(found.wanted.catalogue, policies_in_force=found.in_force)
        if found.waiting is not None:
            self.metrics.waiting({name: len(found.waiting.get(name, ())) for name in standings})


@dataclass(frozen=True, slots=True)
class _Findings:
    """What a pass knows when it comes to write statuses."""

    wanted: Plan
    proof: Proof | None
    """None: the policies could not be written."""
    failed: Mapping[str, str]
    waiting: Waiting | None
    """None: not known."""
    told: Told | None
    """What the audit says; None: it does not know."""
    audit_begins: bool
    tell_eviction: Callable[[ClassificationName, Order, Says | None], dict[str, Any]]

    @property
    def in_force(self) -> bool:
        return self.proof is not None and self.proof.holds

    def standing(self, entry: Entry, usage: Usage) -> Standing:
        ready = self._ready(entry, usage)
        before = entry.status
        audited, further = say(entry.name, self.told, before, beginning=self.audit_begins)
        if entry.eviction is not None:
            order = order_of(entry, entry.eviction)
            audited = audited | {"eviction": self.tell_eviction(entry.name, order, self.withheld(entry))}
        # What could not be written is not told as if it had been.
        written = self.wanted.compiled is not None and self.proof is not None and entry.compiled is not None
        return Standing(
            entry.generation,
            self.wanted.compiled.revision if written and self.wanted.compiled else str(before.get("revision", "")),
            placement_json(entry) if written else _mapping_or_none(before.get("placement")),
            country_sets_json(entry) if written else before.get("countrySets", ()),
            usage,
            ready=ready,
            enforced=self._enforced(entry, ready),
            audited=audited,
            further=further,
        )

    def withheld(self, entry: Entry) -> Says | None:
        """Say why nothing may be evicted for a classification; None where it may."""
        if not self.in_force or entry.compiled is None or entry.problem is not None or entry.deleting:
            return NOT_IN_FORCE
        return None if entry.compiled.mode is Mode.ENFORCE else LOWER_MODE

    def _ready(self, entry: Entry, usage: Usage) -> Judgement:
        if entry.problem is not None:
            return Judgement("False", entry.problem.reason, f"{entry.problem.message}. {_instead(entry)}")
        if self.proof is None:
            why = self.failed.get("policies", "see the other classifications")
            return Judgement("False", Reason.NOT_YET_IN_FORCE, f"The policies could not be put in force: {why}")
        if not self.proof.holds:
            return Judgement("False", Reason.NOT_YET_IN_FORCE, str(self.proof))
        if entry.deleting and usage:
            why = f"Deleted, but in use by {usage}, and so still in force until nobody names it."
            return Judgement("False", Reason.IN_USE, why)
        return Judgement("True", Reason.IN_FORCE, str(self.proof))

    def _enforced(self, entry: Entry, ready: Judgement) -> Judgement:
        if not self.in_force or entry.compiled is None:
            return not_enforced_yet(ready)
        if entry.compiled.mode is not Mode.ENFORCE:
            return in_lower_mode(entry.compiled.mode)
        if self.waiting is None:
            return Judgement("Unknown", Reason.NOT_READY, f"The pods could not be read: {self.failed.get('pods', '')}")
        return enforced(self.waiting.get(entry.name, ()))


def order_of(entry: Entry, eviction: Eviction) -> Order:
    """What a classification asks of whoever evicts."""
    return Order(eviction.max_per_minute, eviction.dry_run, entry.generation)


def _was_in_force(wanted: Plan) -> bool:
    """Whether some status says that the compiled revision was written before."""
    revision = wanted.revision
    return any(entry.status.get("revision") == revision for entry in wanted.entries)


def _modes(labels: Labels, catalogue: Catalogue) -> Counter[tuple[str, str]]:
    """How many namespaces there are of each classification that is in force, in each mode."""
    return Counter(
        (name, str(effective(Ask("", name, ceiling(said.enforcement)), catalogue)))
        for said in labels.values()
        if (name := ClassificationName(said.classification or "")) in catalogue
    )


def _usage(entries: Sequence[Entry], labels: Labels) -> dict[ClassificationName, Usage]:
    return {
        entry.name: Usage(
            tuple(sorted(namespace for namespace, said in labels.items() if said.classification == entry.name)),
            tuple(other.name for other in entries if entry.name in other.includes and other.name != entry.name),
        )
        for entry in entries
    }


def _mapping_or_none(value: Any) -> dict[str, Any] | None:
    return dict(value) if isinstance(value, Mapping) else None


def _instead(entry: Entry) -> str:
    if entry.last_good is None:
        return "Nothing of it is in force: whatever names it is refused."
    return f"Generation {entry.good_generation} stays in force."
