"""Which misplaced pod is evicted next: never too many, never in vain for long, in turns, and always the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.api.names import EvictionResult as Result
from residency.api.names import EvictionState
from residency.audit import eviction as module
from residency.audit.eviction import (
    FORGET,
    LASTING,
    MISSING,
    MOST_HALTED,
    MOST_RELAPSES,
    SETTLE,
    STILL_GOING,
    Came,
    Order,
    Planner,
    Workload,
    workload_of,
)
from residency.audit.tally import PodKey
from residency.reporting.eviction import eviction_json
from residency.reporting.status import Json

WALL = 1_795_435_200.0
"""What the clock of people says when the planner's is 0."""
FAST = Order(600)


@dataclass
class Cluster:
    """Pods that are misplaced until they are evicted, and somebody who does what a planner says."""

    order: Order = FAST
    fate: Callable[[PodKey], Result] = lambda _: Result.EVICTED
    """What becomes of a pod that is looked at."""
    returns: bool = False
    """Whether what replaces an evicted pod is misplaced again."""
    replaced: bool = True
    """Whether anything comes in the place of an evicted pod."""
    grace: float = 1.0
    time: float = 0.0
    uids: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.planner = Planner(self.order, self.time)
        self.pods: dict[PodKey, tuple[str, float]] = {}
        self.leaving: dict[PodKey, float] = {}
        self.looks: list[tuple[float, PodKey, Result]] = []
        self.waiting: set[Workload] = set()
        self.fine: Counter[Workload] = Counter()
        """Pods that are where they may be."""

    def size(self, workload: Workload) -> int:
        return sum(workload_of(pod) == workload for pod in self.pods) + self.fine[workload]

    def add(self, *pods: PodKey, age: float = 1000.0) -> None:
        for pod in pods:
            self.pods[pod] = f"u{next(self.uids)}", WALL + self.time - age
            self.planner.put(pod, self.time)

    def run(self, seconds: float, step: float = 0.1) -> None:
        began = self.time
        for tick in range(1, round(seconds / step) + 1):
            self.time = round(began + tick * step, 3)
            self._let_go()
            self.planner.look(self.time, self.size)
            pod = self.planner.next(self.time, self.waiting)
            if pod is not None:
                self._look(pod)

    def _look(self, pod: PodKey) -> None:
        uid, created = self.pods[pod]
        result = Result.CHANGED if pod in self.leaving else self.fate(pod)
        if result is Result.EVICTED and self.planner.relapse(pod, uid, created, self.time, WALL + self.time):
            result = Result.HALTED if self.planner.halted(pod) else Result.RELAPSED
        sent = result is Result.EVICTED
        self.looks.append((self.time, pod, result))
        came = Came(result, result.value, uid, WALL + self.time, sent, self.size(workload_of(pod)))
        self.planner.settle(pod, came, self.time)
        if sent:
            self.leaving[pod] = self.time + self.grace
            self.fine[workload_of(pod)] += self.replaced and not self.returns

    def _let_go(self) -> None:
        for pod, when in tuple(self.leaving.items()):
            if self.time >= when:
                del self.leaving[pod], self.pods[pod]
                self.planner.drop(pod, self.time)
                if self.returns:
                    self.add((pod[0], f"{workload_of(pod)[1]}-n{next(self.uids)}"), age=0.0)

    def of(self, result: Result) -> list[PodKey]:
        return [pod for _, pod, found in self.looks if found is result]

    def times(self, result: Result = Result.EVICTED) -> list[float]:
        return [time for time, _, found in self.looks if found is result]


def pods(workload: str, number: int, namespace: str = "ns") -> list[PodKey]:
    return [(namespace, f"{workload}-{n}") for n in range(number)]


# How many


@given(
    st.integers(1, 120),
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.sampled_from([0.3, 0.7, 2.0]),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_never_more_are_evicted_in_any_minute_than_the_rate_allows(
    rate: int, sizes: list[int], step: float, returns: bool
) -> None:
    cluster = Cluster(Order(rate), returns=returns)
    for number, size in enumerate(sizes):
        cluster.add(*pods(f"w{number}", size))
    cluster.run(90, step)
    times = [0.0, *cluster.times()]
    assert all(later - earlier >= 60 / rate - 1e-6 for earlier, later in pairwise(times))
    most = max(sum(start <= time < start + 60 for time in times[1:]) for start in times)
    assert most <= rate


def test_a_new_rate_holds_at_once_and_counts_what_was_done_before() -> None:
    cluster = Cluster(Order(60))
    cluster.add(*(pod for n in range(20) for pod in pods(f"w{n}", 1)))
    cluster.run(5.05)
    assert len(cluster.times()) == 5
    cluster.planner.follow(Order(6))
    cluster.run(9)
    assert len(cluster.times()) == 5
    cluster.run(2)
    assert len(cluster.times()) == 6
    cluster.planner.follow(Order(60))
    cluster.run(1.05)
    assert len(cluster.times()) == 7


def test_what_came_in_the_place_of_a_pod_counts_though_it_went_again_before_the_next_was_due() -> None:
    cluster = Cluster(Order(1))
    cluster.add(*pods("web", 3))
    cluster.run(65)
    assert len(cluster.times()) == 1
    cluster.run(5)
    cluster.fine[("ns", "web")] -= 1  # scaled down, after another had come
    cluster.run(60)
    assert cluster.planner.halted_workloads == 0
    assert len(cluster.times()) == 2


def test_a_workload_whose_others_are_not_ready_is_left_alone_longer_each_time() -> None:
    cluster = Cluster(fate=lambda _: Result.OTHERS_NOT_READY)
    cluster.add(*pods("web", 3))
    cluster.run(100)
    waits = [round(after - before) for before, after in pairwise(cluster.times(Result.OTHERS_NOT_READY))]
    assert waits == [5, 10, 20, 40]


def test_an_eviction_that_was_never_answered_counts_as_done() -> None:
    planner = Planner(Order(6), 0.0)
    planner.put(("ns", "a-1"), 0.0)
    planner.put(("ns", "b-1"), 0.0)
    pod = planner.next(10.0, ())
    assert pod == ("ns", "a-1")
    planner.settle(pod, Came(Result.FAILED, "no answer", "u", WALL, sent=True), 10.0)
    assert planner.next(19.9, ()) is None
    assert planner.next(20.1, ()) == ("ns", "b-1")


# Which, and in which order


def test_workloads_take_turns() -> None:
    cluster = Cluster(grace=0.0)
    cluster.add(*pods("many", 20), *pods("few", 2), *pods("one", 1, "other"))
    cluster.run(8)
    evicted = [workload_of(pod)[1] for pod in cluster.of(Result.EVICTED)]
    assert sorted(evicted[:3]) == ["few", "many", "one"]
    assert Counter(evicted)["few"] == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), unique=True, max_size=20), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_same_pods_are_always_evicted_in_the_same_order(names: list[tuple[str, int]], random: object) -> None:
    looks = []
    for _ in range(2):
        cluster = Cluster()
        known = [("ns", f"{workload}-{number}") for workload, number in names]
        shuffled = list(known)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        cluster.planner.keep_only(set(shuffled), 0.0)
        for pod in known:
            cluster.pods[pod] = f"u-{pod[1]}", WALL - 1000
        cluster.run(50, 0.5)
        looks.append(cluster.looks)
    assert looks[0] == looks[1]
    assert {pod for _, pod, _ in looks[0]} == {("ns", f"{workload}-{number}") for workload, number in names}


def test_of_a_workload_one_is_on_its_way_until_what_replaces_it_has_a_node() -> None:
    cluster = Cluster(grace=30.0)
    cluster.add(*pods("web", 3))
    cluster.run(29)
    assert len(cluster.of(Result.EVICTED)) == 1
    cluster.waiting.add(("ns", "web"))
    cluster.run(60)
    assert len(cluster.of(Result.EVICTED)) == 1, "its replacement waits"
    cluster.waiting.clear()
    cluster.run(1)
    assert len(cluster.of(Result.EVICTED)) == 2


def test_what_replaces_a_pod_has_a_moment_to_show() -> None:
    cluster = Cluster(grace=1.0)
    cluster.add(*pods("web", 2))
    cluster.run(1 + 2 * SETTLE)
    first, second = cluster.times()
    assert second - first >= 1 + SETTLE - 0.2


def test_others_wait_where_the_replacements_of_several_workloads_wait_for_nodes() -> None:
    cluster = Cluster()
    cluster.add(*(pod for n in range(6) for pod in pods(f"w{n}", 1)))

    def never_bound(pod: PodKey) -> Result:
        cluster.waiting.add(workload_of(pod))
        return Result.EVICTED

    cluster.fate = never_bound
    cluster.run(30)
    assert len(cluster.of(Result.EVICTED)) == module.MOST_WAITING
    assert says(cluster)["state"] == EvictionState.BLOCKED
    assert "while the replacements of ns/w0, ns/w1, ns/w2 wait for nodes" in says(cluster)["message"]
    cluster.waiting.clear()
    cluster.fate = lambda _: Result.EVICTED
    cluster.run(10)
    assert len(cluster.of(Result.EVICTED)) == 6


@pytest.mark.parametrize("result", [Result.NOWHERE_TO_GO, Result.NO_CONTROLLER, Result.MIRROR, Result.DAEMON_SET])
def test_what_is_not_evicted_stays_is_told_and_is_looked_at_ever_more_rarely(result: Result) -> None:
    cluster = Cluster(fate=lambda pod: Result.EVICTED if pod[1].startswith("web") else result)
    cluster.add(*pods("stays", 3), *pods("web", 1))
    cluster.run(4000, 2.0)
    assert cluster.of(Result.EVICTED) == [("ns", "web-0")]
    looks = [time for time, pod, _ in cluster.looks if pod == ("ns", "stays-0")]
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert len(looks) < 12
    assert pauses == sorted(pauses)
    status = says(cluster)
    assert status["state"] == EvictionState.BLOCKED
    assert {"result": str(result), "count": 3} in status["results"]
    assert f"ns/stays-0 ({result.value})" in status["message"]


def test_a_refused_workload_is_left_alone_for_longer_each_time_and_others_go_on() -> None:
    cluster = Cluster(fate=lambda pod: Result.BLOCKED_BY_BUDGET if pod[1].startswith("web") else Result.EVICTED)
    cluster.add(*pods("web", 2), *pods("api", 2))
    cluster.run(120)
    assert len(cluster.of(Result.EVICTED)) == 2
    pauses = [later - earlier for earlier, later in pairwise(cluster.times(Result.BLOCKED_BY_BUDGET))]
    assert [round(pause) for pause in pauses] == [5, 10, 20, 40]


def test_while_the_api_server_fails_it_is_left_alone_altogether() -> None:
    cluster = Cluster(fate=lambda _: Result.FAILED)
    cluster.add(*(pod for n in range(50) for pod in pods(f"w{n}", 1)))
    cluster.run(100)
    assert len(cluster.looks) <= 6
    cluster.fate = lambda _: Result.EVICTED
    cluster.run(320, 0.5)
    assert len(cluster.of(Result.EVICTED)) == 50


# When it does not help


def test_a_workload_whose_new_pods_are_misplaced_again_is_halted_soon_and_others_are_not() -> None:
    cluster = Cluster(returns=True)
    cluster.add(*pods("web", 50))
    cluster.run(600, 0.5)
    evicted = len(cluster.of(Result.EVICTED))
    assert cluster.planner.halted_workloads == 1
    assert evicted <= MOST_RELAPSES, "what was made since is looked at before what is older"
    assert len(cluster.of(Result.HALTED)) == 1
    status = says(cluster)
    assert status["state"] == EvictionState.HALTED
    assert "Nothing more of ns/web is evicted: 3 pods made since" in status["message"]
    cluster.returns = False
    cluster.add(*pods("api", 2))
    cluster.run(30)
    assert len(cluster.of(Result.EVICTED)) == evicted + 2


def test_when_several_workloads_are_halted_the_classification_is() -> None:
    cluster = Cluster(returns=True)
    cluster.add(*(pod for n in range(MOST_HALTED) for pod in pods(f"w{n}", 2)))
    cluster.run(300, 0.5)
    assert cluster.planner.halted_workloads == MOST_HALTED
    evicted = len(cluster.of(Result.EVICTED))
    cluster.returns = False
    cluster.add(*pods("fine", 3))
    cluster.run(100)
    assert len(cluster.of(Result.EVICTED)) == evicted
    assert "Nothing more is evicted: 3 pods of ns/w0, ns/w1" in says(cluster)["message"]


def test_another_version_of_the_classification_is_a_new_beginning() -> None:
    cluster = Cluster(Order(600, generation=1), returns=True)
    cluster.add(*pods("web", 2))
    cluster.run(100)
    assert cluster.planner.halted_workloads == 1
    cluster.returns = False
    cluster.planner.follow(Order(600, generation=2))
    assert cluster.planner.halted_workloads == 0
    cluster.run(30)
    assert not cluster.pods


def test_a_halted_workload_is_forgotten_once_nothing_of_it_is_misplaced() -> None:
    cluster = Cluster(returns=True)
    cluster.add(*pods("web", 1))
    cluster.run(100)
    assert cluster.planner.halted_workloads == 1
    for pod in tuple(cluster.pods):
        cluster.planner.drop(pod, cluster.time)
    cluster.run(FORGET + 2, 1.0)
    assert cluster.planner.halted_workloads == 0


def test_a_pod_of_the_same_name_is_known_by_its_uid() -> None:
    """A StatefulSet's: where its going was missed, whoever comes after it is not taken for it."""
    planner = Planner(FAST, 0.0)
    pod = ("ns", "db-0")
    planner.put(pod, 0.0)
    assert planner.next(1.0, ()) == pod
    planner.settle(pod, Came(Result.EVICTED, "", "old", WALL, sent=True), 1.0)
    assert planner.next(STILL_GOING, ()) is None
    assert planner.next(STILL_GOING + 2, ()) == pod
    later = WALL + STILL_GOING + 2
    assert planner.relapse(pod, "new", 0.0, STILL_GOING + 2, later)
    assert not planner.relapse(pod, "new", 0.0, STILL_GOING + 3, later), "one pod is one relapse"


def test_a_pod_of_the_same_name_that_stays_keeps_the_others_from_nothing() -> None:
    planner = Planner(FAST, 0.0)
    for name in ("db-0", "db-1"):
        planner.put(("ns", name), 0.0)
    assert planner.next(1.0, ()) == ("ns", "db-1")
    planner.settle(("ns", "db-1"), Came(Result.EVICTED, "", "old", WALL, sent=True), 1.0)
    later = STILL_GOING + 2
    assert planner.next(later, ()) == ("ns", "db-1")
    planner.settle(("ns", "db-1"), Came(Result.NOWHERE_TO_GO, "", "new"), later)
    planner.look(later, lambda _: 2)
    assert planner.next(later + 1, ()) == ("ns", "db-0")


def test_a_workload_whose_pods_are_not_replaced_loses_one_and_no_more_until_they_are() -> None:
    cluster = Cluster(replaced=False)
    cluster.add(*pods("web", 5))
    cluster.run(MISSING - 5)
    assert len(cluster.of(Result.EVICTED)) == 1
    assert cluster.planner.halted_workloads == 0
    cluster.run(600, 1.0)
    assert len(cluster.of(Result.EVICTED)) == 1
    assert "Nothing more of ns/web is evicted" in says(cluster)["message"]
    cluster.replaced = True
    cluster.fine["ns", "web"] += 1
    cluster.run(60)
    assert len(cluster.of(Result.EVICTED)) == 5
    assert cluster.planner.halted_workloads == 0


@pytest.mark.parametrize(("fine_for", "relapse"), [(LASTING - 60, True), (LASTING + 60, False)])
def test_a_new_pod_that_was_where_it_may_be_for_long_is_no_relapse(fine_for: float, relapse: bool) -> None:
    cluster = Cluster(fate=lambda pod: Result.NO_CONTROLLER if pod[1] == "web-bare" else Result.EVICTED)
    cluster.add(*pods("web", 1), ("ns", "web-bare"))
    cluster.run(20)
    made = cluster.time
    cluster.run(fine_for, 1.0)
    cluster.add(("ns", "web-new"), age=cluster.time - made)
    cluster.run(30)
    assert (("ns", "web-new") in cluster.of(Result.RELAPSED)) is relapse


def test_older_pods_are_no_relapse() -> None:
    cluster = Cluster()
    cluster.add(*pods("web", 10), age=30.0)
    cluster.run(200, 0.5)
    assert len(cluster.of(Result.EVICTED)) == 10
    assert cluster.of(Result.RELAPSED) == []


# A dry run


def test_a_dry_run_asks_once_for_each_pod_and_shows_what_would_be_done() -> None:
    cluster = Cluster(Order(1, dry_run=True), fate=lambda _: Result.WOULD_EVICT)
    cluster.add(*pods("web", 30))
    cluster.run(60 + 30)
    assert len(cluster.of(Result.WOULD_EVICT)) == 30 == len(set(cluster.of(Result.WOULD_EVICT)))
    status = says(cluster)
    assert (status["state"], status["dryRun"]) == (EvictionState.EVICTING, True)
    assert "Dry run: 30 pods are misplaced; of those looked at so far 30 would be evicted." in status["message"]
    assert "lastEvictionTime" not in status


def says(cluster: Cluster) -> Json:
    return eviction_json(cluster.planner.order, cluster.planner.summary(), None)


def test_nothing_misplaced_is_idle_and_what_was_done_is_still_told() -> None:
    cluster = Cluster()
    assert says(cluster) == {"state": "Idle", "message": "No pod is misplaced where this is enforced."}
    cluster.add(*pods("web", 1))
    assert says(cluster)["message"] == "1 pod is misplaced, and at most 600 a minute are evicted."
    cluster.run(10)
    status = says(cluster)
    assert (status["state"], status["results"]) == (EvictionState.IDLE, [{"result": "evicted", "count": 1}])
    assert status["lastEvictionTime"] == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("name", "workload"),
    [("web-6d4cf56db6-x7k2p", "web-6d4cf56db6"), ("db-0", "db"), ("bare", "bare"), ("-x", "-x")],
)
def test_pods_belong_together_by_how_their_names_begin(name: str, workload: str) -> None:
    assert workload_of(("ns", name)) == ("ns", workload)
