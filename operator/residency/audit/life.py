"""The life of findings: they begin with the first that deviates and end with the last; pure, and fed by whoever looks.

What changes costs what it touches: of a pod, the findings of its namespace are looked at, and never all pods of one.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, NamedTuple

from residency.api.names import ClassificationName, EvictionResult, Mode, Outcome
from residency.audit.causes import AT_THE_BEGINNING, MEANWHILE, NOT_SEEN
from residency.audit.eviction import PASSING
from residency.audit.findings import MOST_EXAMPLES, Example, Finding, Subject
from residency.audit.remedies import REMEDIES
from residency.audit.tally import PodKey, Tally
from residency.core.audit import Judged
from residency.core.judge import MODES, Catalogue

NOWHERE: Final[Callable[[PodKey], str]] = lambda _: ""  # noqa: E731 (a default)


class FindingKey(NamedTuple):
    """What all that one finding stands for has in common."""

    namespace: str
    subject: Subject
    classification: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of one subject."""

    subject: Subject
    tally: Tally
    catalogue: Catalogue
    place: Callable[[PodKey], str] = NOWHERE
    """The node that it is on."""
    title: Callable[[PodKey], str] = itemgetter(1)
    """What people call it."""


@dataclass(slots=True)
class _Life:
    key: FindingKey
    first_seen: float = 0.0
    last_seen: float = 0.0
    resolved: float | None = None
    begun: bool = False
    cause: str = ""
    resolution: str = ""
    mode: Mode | None = None
    comment: str | None = None
    until: float | None = None
    """When the acknowledgement ceases to hold; None: never."""
    members: dict[Mode | None, set[str]] = field(default_factory=dict)
    examples: dict[str, Example] = field(default_factory=dict)
    looked_at: dict[str, EvictionResult] = field(default_factory=dict)
    """What came of it when it was last looked at whether to evict a member."""
    evicted: int = 0

    @property
    def evictions(self) -> tuple[tuple[EvictionResult, int], ...]:
        if not (self.looked_at or self.evicted):
            return ()  # as almost always
        results = Counter(self.looked_at.values())
        results[EvictionResult.EVICTED] += self.evicted
        return tuple(sorted((+results).items()))

    @property
    def count(self) -> int:
        return sum(map(len, self.members.values()))

    @property
    def open(self) -> bool:
        return self.begun and self.resolved is None

    @property
    def said(self) -> object:
        """What of it is worth telling when it changes."""
        return self.first_seen, self.resolved, self.count, self.mode, self.evictions, frozenset(self.examples.values())

    def __contains__(self, name: str) -> bool:
        return any(name in names for names in self.members.values())

    def join(self, key: PodKey, judged: Judged, sight: Sight) -> None:
        self._drop(key[1])
        self.members.setdefault(judged.mode, set()).add(key[1])
        self._show(key, judged, sight)

    def leave(self, name: str) -> None:
        self._drop(name)
        self.looked_at.pop(name, None)

    def _drop(self, name: str) -> None:
        for mode, names in list(self.members.items()):
            names.discard(name)
            if not names:
                del self.members[mode]
        self.examples.pop(name, None)

    def fill(self, sight: Sight) -> None:
        """Show others in the place of examples that have left."""
        missing = min(MOST_EXAMPLES, self.count) - len(self.examples)
        if missing <= 0:
            return
        deviating = sight.tally.deviating(self.key.classification)
        others = (name for names in self.members.values() for name in names if name not in self.examples)
        for name in [name for name, _ in zip(others, range(missing), strict=False)]:
            key = (self.key.namespace, name)
            self._show(key, deviating[key], sight)

    def shown(self, name: str) -> Example:
        """An example with what came of it last."""
        return replace(self.examples[name], eviction=self.looked_at.get(name))

    def _show(self, key: PodKey, judged: Judged, sight: Sight) -> None:
        if len(self.examples) < MOST_EXAMPLES or key[1] in self.examples:
            self.examples[key[1]] = Example(sight.title(key), sight.place(key), judged.why)


class Findings:
    """All findings about pods and volumes, open and resolved."""

    def __init__(self) -> None:
        self._lives: dict[FindingKey, _Life] = {}
        self._there: dict[tuple[str, Subject], set[FindingKey]] = {}
        self._catalogue: Catalogue = {}
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._lives)

    def __iter__(self) -> Iterator[Finding]:
        """Every finding as it is now."""
        return map(self._finding, self._lives.values())

    def get(self, key: FindingKey) -> Finding | None:
        """One of them as it is now."""
        life = self._lives.get(key)
        return None if life is None else self._finding(life)

    def resolved_at(self, key: FindingKey) -> float | None:
        """When one of them ended; None: it has not, or is not known."""
        life = self._lives.get(key)
        return None if life is None else life.resolved

    # What it is told

    def look(self, sight: Sight, now: float, changed: Collection[PodKey] | None = None) -> set[FindingKey]:
        """Take in what is seen now; return the findings that are others than before.

        ``changed`` are those that deviate otherwise since the last look, as the tally gave them; without it everything
        is looked at anew, and what ended meanwhile is resolved.
        """
        self._catalogue, self._now = sight.catalogue, now
        before = {key: self._lives[key].said for key in self._touched(sight.subject, changed)}
        joined: dict[FindingKey, PodKey] = {}
        left: dict[FindingKey, PodKey] = {}
        if changed is None:
            for key in before:
                self._lives[key].members.clear()
                self._lives[key].examples.clear()
            for _, pod, judged in sight.tally.all_deviating():
                self._join(pod, judged, sight, joined)
        else:
            # Sorted, so that of two causes always the same one is told.
            for pod in sorted(changed):
                self._move(pod, sight, joined, left)
        for key in {*before, *joined}:
            self._settle(self._lives[key], sight, joined.get(key), left.get(key), fresh=changed is None)
        return {key for key in {*before, *joined} if before.get(key) != self._lives[key].said}

    def seen(self, now: float) -> None:
        """Take that what is open was seen to be so."""
        self._now = now

    def adopt(self, finding: Finding, until: float | None = None) -> None:
        """Go on with a finding from before; a look at everything has to follow, and tells whether it still is."""
        key = key_of(finding)
        if key is None:
            raise ValueError(f"{finding.name} is about no pod and no volume")
        life = self._life(key)
        life.comment, life.until = finding.acknowledged, until
        if life.open and finding.resolved is not None:
            return
        life.first_seen, life.last_seen, life.resolved = finding.first_seen, finding.last_seen, finding.resolved
        life.cause, life.resolution, life.mode = finding.cause, finding.resolution, finding.mode
        life.evicted = dict(finding.evictions).get(EvictionResult.EVICTED, 0)
        life.begun = True

    def acknowledge(self, key: FindingKey, comment: str | None, until: float | None = None) -> None:
        """Take what somebody says to a finding; None: nobody says anything any more."""
        life = self._lives.get(key)
        if life is not None:
            life.comment, life.until = comment, until

    def expired(self, now: float) -> set[FindingKey]:
        """Let acknowledgements end whose time has come; return what they were about."""
        over = {key for key, life in self._lives.items() if life.until is not None and life.until <= now}
        for key in over:
            self._lives[key].comment = self._lives[key].until = None
        return over

    def corrected(self, key: FindingKey, name: str, result: EvictionResult) -> bool:
        """Take what came of looking at one whether to evict it; whether that is news."""
        life = self._lives.get(key)
        if life is None or not life.begun:
            return False
        before = life.evictions
        if result is EvictionResult.EVICTED:
            life.evicted += 1
        if result in PASSING or name not in life:
            life.looked_at.pop(name, None)
        else:
            life.looked_at[name] = result
        return life.evictions != before

    def uncorrected(self, classification: ClassificationName) -> set[FindingKey]:
        """Take that nothing that came of looking at pods for a classification holds any more; return what changed."""
        over = {key for key, life in self._lives.items() if key.classification == classification and life.looked_at}
        for key in over:
            self._lives[key].looked_at.clear()
        return over

    def forget(self, key: FindingKey) -> None:
        """Let go of one that is resolved."""
        life = self._lives.get(key)
        if life is not None and not life.open:
            del self._lives[key]
            there = self._there[key.namespace, key.subject]
            there.discard(key)
            if not there:
                del self._there[key.namespace, key.subject]

    # How it keeps up

    def _touched(self, subject: Subject, changed: Iterable[PodKey] | None) -> set[FindingKey]:
        if changed is None:
            return {key for key in self._lives if key.subject is subject}
        namespaces = {namespace for namespace, _ in changed}
        return {key for namespace in namespaces for key in self._there.get((namespace, subject), ())}

    def _move(
        self, pod: PodKey, sight: Sight, joined: dict[FindingKey, PodKey], left: dict[FindingKey, PodKey]
    ) -> None:
        deviates = {FindingKey(pod[0], sight.subject, j.classification, j.outcome) for j in sight.tally.of(pod)}
        for key in self._there.get((pod[0], sight.subject), ()):
            life = self._lives[key]
            if key not in deviates and pod[1] in life:
                life.leave(pod[1])
                left.setdefault(key, pod)
        for judged in sight.tally.of(pod):
            self._join(pod, judged, sight, joined)

    def _join(self, pod: PodKey, judged: Judged, sight: Sight, joined: dict[FindingKey, PodKey]) -> None:
        life = self._life(FindingKey(pod[0], sight.subject, judged.classification, judged.outcome))
        life.join(pod, judged, sight)
        joined.setdefault(life.key, pod)

    def _life(self, key: FindingKey) -> _Life:
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = _Life(key)
            self._there.setdefault((key.namespace, key.subject), set()).add(key)
        return life

    def _settle(self, life: _Life, sight: Sight, joined: PodKey | None, left: PodKey | None, *, fresh: bool) -> None:
        if fresh:
            life.looked_at = {name: result for name, result in life.looked_at.items() if name in life}
        if life.count:
            life.mode = max(life.members, key=_height)
            life.fill(sight)
            if not life.open:
                life.begun, life.first_seen, life.resolved, life.resolution = True, self._now, None, ""
                life.evicted = 0
                life.cause = AT_THE_BEGINNING if fresh else _text(sight, joined, life.key, life.key.outcome)
        elif life.open:
            life.resolved = life.last_seen = self._now
            life.resolution = MEANWHILE if fresh else _text(sight, left, life.key, None)

    def _finding(self, life: _Life) -> Finding:
        key = life.key
        known = self._catalogue.get(ClassificationName(key.classification))
        return Finding(
            key.namespace,
            key.classification,
            key.subject,
            key.outcome,
            life.mode,
            life.count,
            tuple(sorted(map(life.shown, life.examples), key=lambda example: example.name)),
            life.first_seen,
            max(self._now, life.last_seen) if life.open else life.last_seen,
            life.resolved,
            life.cause,
            REMEDIES[key.subject].get(key.outcome, ""),
            "" if known is None else known.why.strip().removeprefix("Why: ").removesuffix("."),
            life.comment,
            evictions=life.evictions,
            resolution=life.resolution,
        )


def _height(mode: Mode | None) -> int:
    return -1 if mode is None else MODES.index(mode)


def _text(sight: Sight, pod: PodKey | None, key: FindingKey, outcome: Outcome | None) -> str:
    change = None if pod is None else sight.tally.change_of(pod)
    return NOT_SEEN if pod is None or change is None else change.text(pod, key.classification, outcome)


def key_of(finding: Finding) -> FindingKey | None:
    """What a finding is about; None where it is about the observation."""
    if finding.outcome is None:
        return None
    return FindingKey(finding.namespace, finding.subject, finding.classification, finding.outcome)
