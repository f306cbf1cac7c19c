"""What is said in the status of a DataClassification: pure, from judgements to JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from residency.api.names import Condition, Mode, Reason

Json = dict[str, Any]
Truth = Literal["True", "False", "Unknown"]

NAMES_SHOWN = 10
PODS_SHOWN = 5
MESSAGE_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Judgement:
    """One condition: is it so, and why."""

    status: Truth
    reason: Reason
    message: str

    @property
    def holds(self) -> bool:
        """Whether it is True."""
        return self.status == "True"


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses a classification."""

    namespaces: tuple[str, ...] = ()
    classifications: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody does."""
        return bool(self.namespaces or self.classifications)

    def __str__(self) -> str:
        """Name the users, a few of many."""
        parts = [_named("namespace", self.namespaces), _named("classification", self.classifications)]
        return " and ".join(part for part in parts if part)

    def to_json(self) -> Json:
        """As the status has it."""
        return {
            "namespaces": len(self.namespaces),
            "namespaceNames": sorted(self.namespaces)[:NAMES_SHOWN],
            "classifications": sorted(self.classifications)[:NAMES_SHOWN],
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the status of one classification says."""

    generation: int
    revision: str
    placement: Json | None
    country_sets: Sequence[Json] = ()
    usage: Usage = field(default_factory=Usage)
    ready: Judgement = field(kw_only=True)
    enforced: Judgement = field(kw_only=True)
    audited: Json = field(default_factory=dict, kw_only=True)
    """Fields with what the audit counted."""
    further: Mapping[Condition, Judgement] = field(default_factory=dict, kw_only=True)
    """What the audit found; nothing that would go away by looking again soon."""

    @property
    def settled(self) -> bool:
        """Whether all is as it should be, so that nobody has to look again soon."""
        return self.ready.holds and (self.enforced.holds or self.enforced.reason is Reason.LOWER_MODE)

    def to_json(self, before: Mapping[str, Any], now: str) -> Json:
        """Write the status; conditions that say what they said ``before`` keep their time."""
        judged = {Condition.READY: self.ready, Condition.ENFORCED: self.enforced, **self.further}
        status: Json = {
            "observedGeneration": self.generation,
            "usedBy": self.usage.to_json(),
            "conditions": _conditions(judged, self.generation, _items(before, "conditions"), now),
            **self.audited,
        }
        if self.revision:
            status["revision"] = self.revision
        if self.placement is not None:
            status["placement"] = self.placement
            status["countrySets"] = list(self.country_sets)
        return status


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """Make the merge patch that turns one status into the other; empty when they are the same."""
    return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}


def not_enforced_yet(ready: Judgement) -> Judgement:
    """Say nothing of pods while the policies are not known to be in force."""
    return Judgement("Unknown", Reason.NOT_READY, f"Not judged while not Ready ({ready.reason}).")


def in_lower_mode(mode: Mode) -> Judgement:
    """Say that nothing is enforced because nobody wants it yet."""
    return Judgement("False", Reason.LOWER_MODE, f"Its mode is {mode}: nothing is placed and nothing refused.")


def enforced(waiting: Sequence[str]) -> Judgement:
    """Judge the pods that are not scheduled yet and could still start elsewhere."""
    if not waiting:
        return Judgement("True", Reason.NONE_WAITING, "No unscheduled pod could start on a node that is not allowed.")
    shown = sorted(waiting)[:PODS_SHOWN]
    more = f" and {len(waiting) - len(shown)} more" if len(waiting) > len(shown) else ""
    return Judgement(
        "False",
        Reason.PODS_WAITING,
        f"{len(waiting)} unscheduled pods are older than the classification and could start where it does "
        f"not allow: {', '.join(shown)}{more}. Delete them, so that their owners create them again.",
    )


def _conditions(judged: Mapping[Condition, Judgement], generation: int, before: Iterable[Any], now: str) -> list[Json]:
    known = {old["type"]: old for old in before if isinstance(old, Mapping) and isinstance(old.get("type"), str)}
    ours = [_condition(type_, says, generation, known.pop(type_, {}), now) for type_, says in judged.items()]
    # Others may have conditions of their own here; a list by type is made for that.
    return ours + [dict(old) for old in known.values()]


def _condition(type_: Condition, says: Judgement, generation: int, before: Mapping[str, Any], now: str) -> Json:
    same = before.get("status") == says.status
    return {
        "type": str(type_),
        "status": says.status,
        "reason": str(says.reason),
        "message": says.message if len(says.message) <= MESSAGE_LENGTH else says.message[: MESSAGE_LENGTH - 1] + "…",
        "observedGeneration": generation,
        "lastTransitionTime": before.get("lastTransitionTime", now) if same else now,
    }


def _items(of: Mapping[str, Any], key: str) -> Iterable[Any]:
    value = of.get(key)
    return value if isinstance(value, list) else ()


def _named(kind: str, users: Sequence[str]) -> str:
    if not users:
        return ""
    shown = ", ".join(sorted(users)[:PODS_SHOWN])
    more = f" and {len(users) - PODS_SHOWN} more" if len(users) > PODS_SHOWN else ""
    return f"{kind}{'s' if len(users) > 1 else ''} {shown}{more}"
