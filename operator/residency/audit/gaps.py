"""Times in which nobody looked are findings too: what came and went within them was never seen; pure.

A moment is nothing to speak of: it takes seconds to hand over, and a watch that is opened again misses nothing.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from residency.api.names import NO_CLASSIFICATION
from residency.audit.findings import Finding, Subject
from residency.audit.remedies import OF_OBSERVATION

SHORTEST: Final = 5.0
"""Seconds without a complete picture that are told of."""


class Blindness(StrEnum):
    """Why nobody looked."""

    DOWN = "down"
    """No controller was looking."""
    RESTARTED = "restarted"
    """The audit failed and began again from nothing."""
    BLIND = "blind"
    """The API server could not be watched."""


_SAID: Final = {
    Blindness.DOWN: "no controller was looking",
    Blindness.RESTARTED: "the audit had failed and began again from nothing",
    Blindness.BLIND: "the API server could not be watched",
}


@dataclass
class Gaps:
    """Notices when nobody looks, from the times at which somebody did."""

    namespace: str
    """Where these findings belong."""
    seen: float | None = None
    """When everything was last seen; None: never before."""
    counts: Counter[Blindness] = field(default_factory=Counter)
    """Gaps that ended or are under way, by why."""
    _open: dict[str, Finding] = field(default_factory=dict)
    _first: bool = True

    def adopt(self, finding: Finding) -> None:
        """Go on with a gap from before that has not ended."""
        if finding.resolved is None:
            self._open[finding.name] = finding

    def missed(self, now: float, seconds: float) -> list[Finding]:
        """Take that for so long, until now, something was not seen although it seemed to be."""
        if self._open:
            return []  # it ends with the next look
        self.counts[Blindness.BLIND] += 1
        return [_ended(self._begin(Blindness.BLIND, now - seconds, now), now)]

    def look(
        self, now: float, why: Blindness | None, patience: float = SHORTEST, blind_for: float = 0.0
    ) -> list[Finding]:
        """Take that everything is seen now, or why not; return the findings that are others than before.

        ``patience`` is for how many seconds this kind of blindness is nothing to speak of; ``blind_for`` for how many
        it has lasted at least, where that is known: it may have been found out late.
        """
        if self._first and why is None:
            # However quickly it all came to be seen, nobody saw anything before.
            self._notice(now, Blindness.DOWN, SHORTEST)
        self._first = False
        if why is not None:
            return self._notice(now, why, patience, blind_for)
        ended = [_ended(finding, now) for finding in self._open.values()]
        self._open.clear()
        self.seen = now
        return ended

    def _notice(self, now: float, why: Blindness, patience: float, blind_for: float = 0.0) -> list[Finding]:
        if self._open or self.seen is None:
            return []
        since = min(self.seen, now - blind_for)
        if now - since < patience:
            return []
        self.counts[why] += 1
        finding = self._begin(why, since, now)
        self._open[finding.name] = finding
        return [finding]

    def _begin(self, why: Blindness, since: float, now: float) -> Finding:
        cause = f"from {_time(since)} on {_SAID[why]}: what came and went since then was not seen"
        return Finding(
            self.namespace,
            NO_CLASSIFICATION,
            Subject.OBSERVATION,
            None,
            None,
            0,
            (),
            first_seen=since,
            last_seen=now,
            cause=cause,
            remedy=OF_OBSERVATION,
        )


def _ended(finding: Finding, now: float) -> Finding:
    seconds = round(now - finding.first_seen)
    text = f"until {_time(now)}, {seconds} s in all; from then on everything is seen again"
    return replace(finding, resolved=now, last_seen=now, resolution=text)


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
