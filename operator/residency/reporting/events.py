"""Which Kubernetes Events there should be: planned from the pods that changed and the picture.

What changed says only of what to tell; what is told is how it is by then. So what waits to be told are topics, each
once, and only so many: pods that come on top are left out and counted.

What was told is remembered. It is not told again for a while, however the pods come and go; it is recalled while it
lasts, because the API server forgets Events after an hour; and where it is over, that is told too.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from residency.audit.picture import Picture, Seen
from residency.audit.tally import PodKey
from residency.reporting.limits import Clock
from residency.reporting.notices import (
    Matter,
    Notice,
    Topic,
    deviates,
    is_told,
    lasts,
    notices,
    relatives_deviate,
    restored,
    topics,
)

QUIET: Final = 600.0
"""Seconds in which the same is not told again of the same, however the pods change."""
RECALL: Final = 1800.0
"""Seconds after which it is told again although nothing has changed."""
LATER: Final = 60.0
"""Seconds after which it is told what could not be told for the time being."""
MOST_QUEUED: Final = 1_000
"""Topics that wait to be told."""
MOST_TOLD: Final = 2_000
"""Topics of which it is remembered what was told."""
LOOKED_AFTER: Final = 125
"""Of these, how many are looked at each time, four times a second: all of them within a quarter of a minute."""


@dataclass(frozen=True, slots=True)
class _Said:
    at: float
    note: str
    examples: tuple[PodKey, ...]


class Planner:
    """Decides what is to be told, and remembers what was."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: dict[Topic, None] = {}
        self._told: OrderedDict[Topic, dict[Matter, _Said]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many topics wait to be told."""
        return len(self._queue)

    @property
    def remembered(self) -> int:
        """Of how many it is known what was told."""
        return len(self._told)

    def note(self, changed: Collection[PodKey], picture: Picture) -> int:
        """Take in pods that began or ceased to deviate; return of how many nobody will be told of, there being no room.

        What is over is not looked for here, but by looking after what was told.
        """
        now = self._clock()
        for number, key in enumerate(changed):
            if len(self._queue) >= MOST_QUEUED:
                return len(changed) - number
            seen = picture.look(key)
            if seen is not None and deviates(seen):
                news = (topic for topic in topics(key, seen) if self._is_news(topic, seen, now))
                self._queue.update(dict.fromkeys(news))
        return 0

    def look_after(self, picture: Picture) -> None:
        """Look at some of what was told: whether it is over, or has to be recalled."""
        now = self._clock()
        for topic in list(islice(self._told, LOOKED_AFTER)):
            self._told.move_to_end(topic)
            for matter, said in self._told[topic].items():
                over = now >= said.at and not any(lasts(topic, matter, key, picture) for key in said.examples)
                if (over or now - said.at >= RECALL) and len(self._queue) < MOST_QUEUED:
                    self._queue[topic] = None

    def take(self, picture: Picture) -> tuple[Topic, tuple[Notice, ...]] | None:
        """Take what has waited longest, and what is to be told of it by now, perhaps nothing; None: nothing waits."""
        if not self._queue:
            return None
        topic = next(iter(self._queue))
        del self._queue[topic]
        return topic, tuple(self._news(topic, picture))

    def again(self, topic: Topic, untold: Iterable[Notice]) -> None:
        """Tell what could not be told of a topic once more."""
        told = self._told.setdefault(topic, {})
        for notice in untold:
            told.pop(notice.matter, None)
            if notice.over:
                # As if something had been told of that: it is over still.
                told[notice.matter] = _Said(self._clock(), notice.note, ())
        self._queue[topic] = None

    def postpone(self, topic: Topic, notice: Notice) -> None:
        """Tell it in a while if it is still so, because too much has been told of the same."""
        at = self._clock() + LATER - (0 if notice.over else RECALL)
        self._told.setdefault(topic, {})[notice.matter] = _Said(at, notice.note, notice.examples)

    def _news(self, topic: Topic, picture: Picture) -> Iterator[Notice]:
        now, told = self._clock(), self._told.pop(topic, {})
        found = notices(topic, picture)
        yield from _over(topic, told, found, picture)
        if not found:
            return
        kept: dict[Matter, _Said] = {}
        for matter, notice in found.items():
            said = told.get(matter)
            if said is None or now - said.at >= (RECALL if said.note == notice.note else QUIET):
                said = _Said(now, notice.note, ())
                yield notice
            kept[matter] = _Said(said.at, said.note, notice.examples)
        self._told[topic] = kept
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)

    def _is_news(self, topic: Topic, seen: Seen, now: float) -> bool:
        if topic in self._queue:
            return False
        told = self._told.get(topic, {})
        for judged in seen.judged:
            if is_told(topic, judged):
                said = told.get((judged.outcome, judged.classification))
                if said is None or now - said.at >= QUIET:
                    return True
        return False


def _over(topic: Topic, told: Iterable[Matter], found: Iterable[Matter], picture: Picture) -> Iterator[Notice]:
    """Tell of the classifications of which something was told, and nothing is the matter any more."""
    still = {name for _, name in found}
    for name in sorted({name for _, name in told} - still):
        if not relatives_deviate(topic, name, picture):
            yield restored(topic, name)
