"""Findings: deviations with a life, together by namespace, classification and outcome.

One finding stands for all pods, or all volumes, of a namespace to which the same is the matter: their number does not
grow with the pods.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from residency.api.names import NO_CLASSIFICATION, NOT_IN_FORCE, EvictionResult, Mode, Outcome

MOST_EXAMPLES: Final = 5
"""Of each finding."""


class Subject(StrEnum):
    """What a finding is about."""

    PODS = "Pods"
    VOLUMES = "Volumes"
    OBSERVATION = "Observation"
    """The audit itself: a time in which it could not see."""


class State(StrEnum):
    """Where in its life a finding is."""

    OPEN = "Open"
    ACKNOWLEDGED = "Acknowledged"
    RESOLVED = "Resolved"


@dataclass(frozen=True, slots=True)
class Example:
    """One of the objects that a finding stands for."""

    name: str
    node: str
    """Where it runs, or what it is on; empty while it waits."""
    why: str
    eviction: EvictionResult | None = None
    """What came of looking at it last, where it may have to be evicted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation and its life; times are seconds since the epoch."""

    namespace: str
    classification: str
    """One that is or was in force, or one of the two words for none."""
    subject: Subject
    outcome: Outcome | None
    """None for observations."""
    mode: Mode | None
    count: int
    """How many objects it stands for now; 0 once it is resolved."""
    examples: tuple[Example, ...]
    first_seen: float
    last_seen: float
    resolved: float | None = None
    cause: str = ""
    """The change that made it so, as far as it was seen."""
    remedy: str = ""
    reference: str = ""
    """Why the classification asks what it asks, as its author cites it."""
    acknowledged: str | None = None
    """The comment of whoever knows of it and lives with it."""
    evictions: tuple[tuple[EvictionResult, int], ...] = ()
    """How many by what came of it when they were last looked at whether to evict them; and how many were evicted."""
    resolution: str = ""
    """The change that ended it, as far as it was seen."""

    @property
    def state(self) -> State:
        """Resolved, or acknowledged by somebody, or open."""
        if self.resolved is not None:
            return State.RESOLVED
        return State.OPEN if self.acknowledged is None else State.ACKNOWLEDGED

    @property
    def name(self) -> str:
        """What its object is called: no two findings of a namespace are called the same.

        What follows the classification tells the outcome and the subject, and can be read from the end.
        """
        if self.outcome is None:
            return f"observation-{datetime.fromtimestamp(self.first_seen, UTC):%Y%m%dt%H%M%Sz}"
        of = "" if self.subject is Subject.PODS else f"-{self.subject.lower()}"
        if self.classification == NO_CLASSIFICATION:
            return f"{self.outcome.lower()}{of}"
        if self.classification == NOT_IN_FORCE:
            return f"{self.outcome.lower()}-classification{of}"
        return f"{self.classification}-{self.outcome.lower()}{of}"
