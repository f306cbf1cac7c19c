"""Which misplaced pod to look at next, so that evicting does good and no harm: pure, with every time given.

One planner for each classification. It keeps to these:

* between two evictions pass at least 60 s / ``max_per_minute``;
* of a workload at most one pod is on its way: the next waits until the last is gone and what replaces it has a node
  (and is Ready, as whoever looks at it finds);
  where nothing replaces it, because it is refused, say, the workload is halted until something does;
* where the replacements of several workloads wait for nodes, nothing more is evicted until they have them;
* workloads take turns, whoever was looked at longest ago first;
* a pod that was not evicted is looked at again after a while, and after a longer one each time;
* where pods made since the first eviction of their workload are soon misplaced again, evicting does not help: each
  makes the workload wait longer, the third halts it, and when several are halted the classification is.

What is halted stays so until its workload is another, or the classification changes. A workload is known by the names
of its pods: those of a Deployment have another beginning with every change of its template.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, nsmallest
from typing import Final

from residency.api.names import EvictionResult
from residency.audit.tally import PodKey

Workload = tuple[str, str]
"""A namespace, and what the names of a workload's pods begin with."""

MOST_RELAPSES: Final = 3
"""Pods made since the first eviction of their workload and misplaced again, before it is halted."""
MOST_HALTED: Final = 5
"""Halted workloads before the classification is."""
MOST_WAITING: Final = 3
"""Workloads whose replacements may wait for nodes while others are evicted."""
MISSING: Final = 60.0
"""Seconds in which something has to come in the place of an evicted pod that is gone."""
SETTLE: Final = 3.0
"""Seconds in which what replaces a pod that is gone has to show."""
STILL_GOING: Final = 30.0
"""Seconds after which to see whether an evicted pod is still there."""
RELAPSED: Final = 5.0
"""Seconds that the first pod that is misplaced again makes its workload wait; then twice as long, and so on."""
SHORTEST: Final = 5.0
"""Seconds to wait after a first refusal or failure; then twice as long, and so on."""
LONGEST: Final = 300.0
LASTING: Final = 600.0
"""Seconds for which a new pod has to be where it may be, for its workload to have been helped."""
FORGET: Final = 600.0
"""Seconds after which a workload is forgotten of which nothing is misplaced any more."""

_AGAIN: Final[Mapping[EvictionResult, float]] = {
    EvictionResult.CHANGED: 10.0,
    EvictionResult.NOWHERE_TO_GO: 30.0,
    EvictionResult.WOULD_EVICT: 600.0,
    EvictionResult.NO_CONTROLLER: 600.0,
    EvictionResult.MIRROR: 600.0,
    EvictionResult.DAEMON_SET: 600.0,
    EvictionResult.JOB: 600.0,
}
"""Seconds until a pod is looked at again, doubled with each time that the same is found, up to an hour."""
_LONGEST_AGAIN: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a classification asks for."""

    max_per_minute: int
    dry_run: bool = False
    generation: int = 0
    """Of the classification: when it changes, what was found is forgotten."""

    @property
    def interval(self) -> float:
        """Seconds between two evictions."""
        return 60.0 / self.max_per_minute


@dataclass(frozen=True, slots=True)
class Came:
    """What came of looking at a pod."""

    result: EvictionResult
    message: str = ""
    uid: str = ""
    """Of the pod that was looked at, where there was one."""
    wall: float = 0.0
    """When, in seconds since the epoch."""
    sent: bool = False
    """Whether it may have been evicted: also where no answer came."""
    size: int = 0
    """How many pods its workload had, it included."""
    after: float = 0.0
    """For how many seconds the API server asks to be left alone."""


@dataclass(slots=True)
class _Pod:
    seen: int
    """As which it was first found misplaced, in the planner's own count: later ones may be relapses."""
    since: float
    """When that was."""
    due: float = 0.0
    result: EvictionResult | None = None
    """What was found last; None before the first look."""
    message: str = ""
    times: int = 0
    """How often in a row."""


@dataclass(slots=True)
class _Workload:
    pods: dict[str, _Pod] = field(default_factory=dict)
    """Those that are misplaced."""
    going: dict[str, str] = field(default_factory=dict)
    """Names and uids of evicted pods that are not known to be gone yet."""
    turn: int = 0
    due: float = 0.0
    refusals: int = 0
    began: float | None = None
    """When a pod of it was first evicted, in seconds since the epoch."""
    relapsed: set[str] = field(default_factory=set)
    """The uids of pods that were made since, and misplaced again."""
    touched: float = 0.0
    """When something last happened to it."""
    expected: int | None = None
    """How many pods it is to have again after an eviction; None once it has had them."""
    missing: bool = False
    """Whether it has had fewer for too long."""

    @property
    def halted(self) -> bool:
        return self.missing or len(self.relapsed) >= MOST_RELAPSES

    def look(self, size: int, now: float) -> None:
        """See whether something has come in the place of the pod that was evicted last."""
        if self.expected is None:
            return
        if size >= self.expected + len(self.going):
            self.expected, self.missing = None, False
        else:
            self.missing = not self.going and now - self.touched >= MISSING

    def settle(self, name: str, came: Came, now: float) -> bool:
        pod = self.pods.get(name)
        before = None if pod is None else pod.result
        self.touched = now
        if came.sent and self.began is None:
            self.began = came.wall
        refused = came.result in _REFUSED
        self.refusals = self.refusals + 1 if refused else 0
        if refused:
            self.due = max(self.due, now + _longer(SHORTEST, self.refusals, came.after))
        if self.going.get(name, came.uid) != came.uid:
            del self.going[name]  # another of the same name
        if came.result is EvictionResult.EVICTED:
            self.expected = came.size
            if pod is None:  # gone already
                self.due = max(self.due, now + SETTLE)
            else:
                self.going[name] = came.uid
        if pod is not None:
            _note(pod, came.result, came.message, now)
        return before is not came.result


@dataclass(frozen=True, slots=True)
class Summary:
    """How the correction of one classification stands."""

    misplaced: int
    """Pods that are misplaced and to be corrected."""
    results: Mapping[EvictionResult, int]
    """How many of those by what was found last; and how many were evicted in all."""
    halted: tuple[Workload, ...]
    stopped: bool
    """Whether nothing more is evicted because so many workloads are halted."""
    hopeless: bool
    """Whether there is none left that could be evicted as things stand."""
    held_by: tuple[Workload, ...]
    """Workloads whose replacements wait for nodes, where they are so many that others wait for them."""
    examples: tuple[tuple[PodKey, str], ...]
    """Some of those that were looked at and not evicted, and why."""
    last: float | None
    """When a pod was evicted last, in seconds since the epoch."""


def workload_of(pod: PodKey) -> Workload:
    """Which pods belong together, going by their names: web-6d4cf56db6-x7k2p and its like, or db-0 and db-1."""
    namespace, name = pod
    return namespace, name.rpartition("-")[0] or name


class Planner:
    """Decides for one classification; whoever acts for it says what came of that."""

    def __init__(self, order: Order, now: float) -> None:
        """Nothing is evicted at once: another may have been at it until just now."""
        self._order = order
        self._workloads: dict[Workload, _Workload] = {}
        self._sent = now
        """When something was last done that may have evicted a pod."""
        self._pause = now
        """Until when the API server is left alone after failures."""
        self._failures = 0
        self._count = 0
        self._evicted = 0
        self._last: float | None = None
        self._held_by: tuple[Workload, ...] = ()

    @property
    def order(self) -> Order:
        """What it goes by."""
        return self._order

    # What it is told

    def follow(self, order: Order) -> bool:
        """Go by another order: a new rate holds at once; whether what was found by another one is forgotten."""
        before, self._order = self._order, order
        if (before.generation, before.dry_run) == (order.generation, order.dry_run):
            return False
        for workload in self._workloads.values():
            workload.relapsed.clear()
            workload.began, workload.due, workload.refusals = None, 0.0, 0
            workload.expected, workload.missing = None, False
            workload.pods = {name: _Pod(pod.seen, pod.since) for name, pod in workload.pods.items()}
        return True

    def put(self, pod: PodKey, now: float) -> None:
        """Take in a pod that is misplaced and to be corrected; one that is known stays as it is."""
        workload = self._workloads.setdefault(workload_of(pod), _Workload())
        if pod[1] not in workload.pods:
            self._count += 1
            workload.pods[pod[1]] = _Pod(self._count, now)

    def drop(self, pod: PodKey, now: float) -> None:
        """Take that a pod is gone, or misplaced no more."""
        key = workload_of(pod)
        workload = self._workloads.get(key)
        if workload is None or pod[1] not in workload.pods:
            return
        del workload.pods[pod[1]]
        workload.touched = now
        if workload.going.pop(pod[1], None) is not None:
            workload.due = max(workload.due, now + SETTLE)
        if not workload.pods and workload.began is None:
            del self._workloads[key]

    def keep_only(self, pods: Collection[PodKey], now: float) -> None:
        """Take in all that are misplaced, in place of what was known."""
        for namespace, stem in tuple(self._workloads):
            for name in tuple(self._workloads[namespace, stem].pods):
                if (namespace, name) not in pods:
                    self.drop((namespace, name), now)
        for pod in sorted(pods):
            self.put(pod, now)

    # What it decides

    def due(self, now: float) -> bool:
        """Whether it is time to look at a pod at all."""
        return now >= max(self._pause, self._sent + self._order.interval) and bool(self._workloads)

    def look(self, now: float, size: Callable[[Workload], int]) -> None:
        """See what has come in the place of evicted pods, however long nothing may be evicted.

        ``size`` says how many pods a workload has.
        """
        for key, one in self._workloads.items():
            if one.expected is not None:
                one.look(size(key), now)

    def next(self, now: float, waiting: Collection[Workload]) -> PodKey | None:
        """Choose the pod to look at now; ``waiting`` are the workloads of pods that wait for a node."""
        self._forget(now)
        held = tuple(sorted(key for key, one in self._workloads.items() if one.began is not None and key in waiting))
        self._held_by = held if len(held) >= MOST_WAITING else ()
        if not self.due(now) or self._held_by or self._stopped:
            return None
        ready = [
            (one.turn, key)
            for key, one in self._workloads.items()
            if one.pods
            and now >= one.due
            and not one.halted
            and (one.going or (key not in waiting and one.expected is None))
        ]
        heapify(ready)
        while ready:
            _, key = heappop(ready)
            name = _choose(self._workloads[key], now)
            if name is not None:
                return key[0], name
        return None

    def relapse(self, pod: PodKey, uid: str, created: float, now: float, wall: float) -> bool:
        """Say, before a pod is evicted, that it was made then; whether it is to be left alone because of that.

        Both ``created`` and ``wall``, which is now, are seconds since the epoch.
        """
        workload = self._workloads.get(workload_of(pod))
        kept = None if workload is None else workload.pods.get(pod[1])
        if workload is None or kept is None or workload.began is None or uid in workload.relapsed:
            return False
        successor = workload.going.get(pod[1], uid) != uid
        # The API server tells whole seconds.
        if created < int(workload.began) and not successor:
            return False
        # For so long it was where it may be: that helped.
        if wall - created - (now - kept.since) >= LASTING and not successor:
            return False
        workload.going.pop(pod[1], None)
        workload.relapsed.add(uid)
        workload.due = now + _longer(RELAPSED, len(workload.relapsed))
        workload.turn = self._turn()
        return True

    def halted(self, pod: PodKey) -> bool:
        """Whether the workload of a pod is left alone from here on."""
        workload = self._workloads.get(workload_of(pod))
        return workload is not None and workload.halted

    def settle(self, pod: PodKey, came: Came, now: float) -> bool:
        """Say what came of looking at a pod; whether that is another thing than last time."""
        if came.sent:
            self._sent = now
        if came.result is EvictionResult.EVICTED:
            self._evicted += 1
            self._last = came.wall
        failed = came.result is EvictionResult.FAILED
        self._failures = self._failures + 1 if failed else 0
        if failed:
            self._pause = now + _longer(SHORTEST, self._failures, came.after)
        workload = self._workloads.get(workload_of(pod))
        if workload is None:
            return True
        workload.turn = self._turn()
        return workload.settle(pod[1], came, now)

    # What it shows

    def summary(self) -> Summary:
        """Say how it stands."""
        results: Counter[EvictionResult] = Counter()
        found: list[tuple[PodKey, str]] = []
        open_ = False
        for (namespace, _), workload in self._workloads.items():
            open_ = open_ or bool(workload.going)
            for name, pod in workload.pods.items():
                if name in workload.going:
                    continue
                open_ = open_ or (pod.result in _OPEN and not workload.halted)
                if pod.result is not None and pod.result not in PASSING:
                    results[pod.result] += 1
                    found.append(((namespace, name), pod.message))
        if self._evicted:
            results[EvictionResult.EVICTED] = self._evicted
        halted = tuple(sorted(key for key, one in self._workloads.items() if one.halted))
        return Summary(
            misplaced=sum(len(workload.pods) for workload in self._workloads.values()),
            results=results,
            halted=halted,
            stopped=self._stopped,
            hopeless=not open_,
            held_by=self._held_by,
            examples=tuple(nsmallest(EXAMPLES, found)),
            last=self._last,
        )

    @property
    def halted_workloads(self) -> int:
        """How many workloads are left alone because evicting did not help them."""
        return sum(workload.halted for workload in self._workloads.values())

    @property
    def _stopped(self) -> bool:
        return self.halted_workloads >= MOST_HALTED

    def _turn(self) -> int:
        self._count += 1
        return self._count

    def _forget(self, now: float) -> None:
        old = [key for key, one in self._workloads.items() if not one.pods and now - one.touched >= FORGET]
        for key in old:
            del self._workloads[key]


EXAMPLES: Final = 5
"""Pods that a summary names."""

_REFUSED: Final = (EvictionResult.BLOCKED_BY_BUDGET, EvictionResult.OTHERS_NOT_READY, EvictionResult.FAILED)
"""After these the whole workload waits."""
PASSING: Final = (EvictionResult.CHANGED, EvictionResult.EVICTED, EvictionResult.RELAPSED)
"""What is said of a pod for a moment only."""
_OPEN: Final = (None, EvictionResult.WOULD_EVICT, *PASSING)


def _choose(workload: _Workload, now: float) -> str | None:
    """The pod of a workload to look at: one that is overdue to be gone, or else the one that turned up last."""
    names: Iterable[str] = workload.going if workload.going else workload.pods
    ready = [(-workload.pods[name].seen, name) for name in names if now >= workload.pods[name].due]
    return min(ready)[1] if ready else None


def _note(pod: _Pod, result: EvictionResult, message: str, now: float) -> None:
    pod.times = pod.times + 1 if pod.result is result else 1
    pod.result, pod.message = result, message
    if result is EvictionResult.EVICTED:
        pod.due = now + STILL_GOING
    elif result in _AGAIN:
        pod.due = now + min(_AGAIN[result] * 2 ** min(pod.times - 1, 10), _LONGEST_AGAIN)


def _longer(first: float, times: int, after: float = 0.0) -> float:
    """Twice as long each time, or as long as was asked for."""
    return float(max(min(first * 2 ** min(times - 1, 10), LONGEST), min(after, LONGEST)))
