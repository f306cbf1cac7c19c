"""The pure parts of the benches: who lives in the cluster, what the kernel says, the table and the picture."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cluster import restarts
from bench.figures import Figures, Machine, table, targets, verdict
from bench.picture import PANELS, picture
from bench.population import (
    CROWD,
    Ground,
    Kind,
    Population,
    Stored,
    exchanged,
    ground,
    namespace_name,
    namespaces,
    originals,
    originals_of_nodes,
)
from bench.process import Memory, Process, cpu_seconds
from bench.scale import counts, differences

SMALL: Final = Figures(
    pods=10_000,
    nodes=334,
    pod_bytes=8000,
    first_verdict_s=4,
    first_verdict_cpu_s=3,
    resident_mb=120,
    resident_after_mb=125,
    peak_mb=140,
    idle_cpu=0.01,
    events_per_second=500,
    event_cpu_ms=0.1,
    relabel_s=0.1,
    relabel_most_s=0.2,
    finding_s=0.3,
    finding_most_s=0.4,
    scrape_kb=30,
    scrape_s=0.01,
    scrape_most_s=0.02,
)
LARGE: Final = replace(SMALL, pods=150_000, resident_mb=300, resident_after_mb=301, event_cpu_ms=0.1504)
MACHINE: Final = Machine(2, "A & B <64>", 25.3, 0.2, {"kube-apiserver": "v1.37.2"})


# Who lives in the cluster


def test_what_is_there_stays_as_it_is_while_the_cluster_grows() -> None:
    population = Population(30_000, 1000)
    assert population.nodes_for(30_000) == 1000
    assert 330 <= population.nodes_for(10_000) <= 340
    nodes = [population.pod(number).node for number in range(30_000)]
    assert nodes == sorted(nodes)
    assert Counter(nodes)[0] == CROWD


def test_no_two_pods_have_the_same_key() -> None:
    population = Population(20_000, 700)
    assert len({population.pod(number).key for number in range(20_000)}) == 20_000


def test_every_kind_of_pod_is_there_and_every_ground_is_somewhere() -> None:
    population = Population(10_000, 334)
    assert {population.pod(number).kind for number in range(10_000)} == set(Kind)
    assert {ground(number) for number in range(100)} == set(Ground)


def test_every_outcome_is_expected_that_plain_pods_and_nodes_can_have() -> None:
    outcomes = Counter[str]()
    for (_, _, outcome), count in Population(10_000, 334).expected(10_000).items():
        outcomes[outcome] += count
    assert set(outcomes) == {"Compliant", "Unpinned", "Misplaced", "Unknown", "Waiting", "Intruder"}
    assert outcomes["Compliant"] > outcomes["Misplaced"] > outcomes["Unknown"] > outcomes["Waiting"]


def test_relabelling_the_first_node_concerns_its_110_pods_and_no_others() -> None:
    population = Population(3000, 100)
    here, abroad = population.expected(3000), population.expected(3000, Ground.ABROAD)
    changes = [abroad.get(line, 0) - here.get(line, 0) for line in {*here, *abroad}]
    assert sum(change for change in changes if change > 0) == CROWD
    assert sum(changes) == 0


def test_the_pods_of_the_first_node_are_alone_in_their_namespaces_so_that_findings_begin_there() -> None:
    population = Population(10_000, 334)
    crowds = population.crowds()
    assert (len(crowds), sum(crowds.values())) == (20, CROWD)
    assert {name for name, _ in crowds} <= set(map(namespace_name, namespaces()))
    elsewhere = {population.pod(number).namespace for number in range(CROWD, 10_000)}
    assert not elsewhere & {name for name, _ in crowds}
    assert len({classification for _, classification in crowds}) == 20


def test_the_marker_is_one_compliant_pod() -> None:
    population = Population(3000, 100)
    before, after = population.expected(3000), population.expected(3000, without=population.marker())
    ((line, change),) = ((line, before[line] - after[line]) for line in before if before[line] != after[line])
    assert (line[2], change) == ("Compliant", 1)


def test_each_kind_of_pod_and_node_has_an_original() -> None:
    made = {(pod.kind, pod.classification) for pod in originals()}
    assert len(made) == 2 * (20 + 1)
    assert {ground(number): number for number in originals_of_nodes().values()} == dict(originals_of_nodes())


@given(st.integers(0, 99_999), st.integers(0, 10**6))
def test_a_copy_has_everything_of_its_own_and_is_as_long_as_the_original(number: int, version: int) -> None:
    original = next(iter(originals()))
    uid = "5f0c3e0e-4d4c-4f0a-9d0f-5d8f6a1f7b11"
    words = (original.namespace, original.name, uid, "node-0000", "pool-000", Stored.CONTAINER)
    stored = Stored(original, uid, "|".join(words).encode())
    pod = replace(Population(100_000, 3000).pod(number), kind=Kind.APPLICATION)
    copy = stored.copy(pod, version)
    assert len(copy) == len(stored.value)
    namespace, name, own_uid, node, pool, container = copy.decode().split("|")
    assert (namespace, name) == (pod.namespace, pod.name)
    assert (int(node[5:]), int(pool[5:])) == (pod.node, pod.node % 40)
    assert int(own_uid[:8], 16) == int(container[:32], 16) == number
    assert int(container[32:], 16) == version


def test_writers_restart_every_pod_that_runs_once_in_a_round_and_none_that_waits() -> None:
    population = Population(3000, 100)
    running = [number for number in range(3000) if population.pod(number).kind is not Kind.WAITING]
    parts = [[number for number in running if number % 4 == part] for part in range(4)]
    rounds = [list(islice(restarts(population, 3000, part, 4), len(parts[part]))) for part in range(4)]
    assert [sorted(numbers) for numbers in rounds] == parts


def test_what_is_not_equally_long_is_not_exchanged() -> None:
    with pytest.raises(ValueError, match=r"'longer' is not as long as 'long'"):
        exchanged(b"long", (("long", "longer"),))


def test_too_many_nodes_to_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 16777216 pods on 2 to 10000 nodes"):
        Population(200_000, 10_001)


# What the kernel says


def test_memory_is_read_in_megabytes() -> None:
    status = "Name:\tpython: x\nVmPeak:\t  900000 kB\nVmHWM:\t  390625 kB\nVmRSS:\t  195313 kB\nThreads:\t3\n"
    assert Memory.parse(status) == Memory(resident=200.000512, peak=400.0)


def test_cpu_time_is_that_of_user_and_system_whatever_the_process_is_called() -> None:
    fields = " ".join(["S", *map(str, range(4, 14)), "250", "50", "7", "8", "20"])
    assert cpu_seconds(f"42 (py) thon (x) {fields}", ticks=100) == 3.0


def test_this_process_has_memory_and_has_had_cpu_time() -> None:
    this = Process(int(Path("/proc/self").readlink().name))
    assert 1 < this.memory.resident <= this.memory.peak
    assert this.cpu > 0


# What the controller says


def test_counts_are_read_without_those_that_are_zero() -> None:
    text = (
        "# TYPE residency_pods gauge\n"
        'residency_pods{classification="a",mode="Enforce",outcome="Compliant"} 12.0\n'
        'residency_pods{classification="a",mode="Enforce",outcome="Misplaced"} 0.0\n'
        'residency_pods{classification="(none)",mode="",outcome="Intruder"} 3.0\n'
        'residency_pods_waiting_unplaced{classification="a"} 7.0\n'
    )
    assert counts(text) == {("a", "Enforce", "Compliant"): 12, ("(none)", "", "Intruder"): 3}


def test_differences_are_told_line_by_line_and_not_all_of_them() -> None:
    wanted = {("a", "Enforce", str(number)): number + 1 for number in range(7)}
    said = differences(wanted | {("a", "Enforce", "0"): 9}, wanted)
    assert said == "a/Enforce/0 is 9 instead of 1"
    assert differences({}, wanted).endswith("; and 2 more")


# What is shown


def test_a_target_is_judged_by_the_figure_that_is_shown() -> None:
    met = {target.promise.text: target.met for target in targets(LARGE)}
    assert all(met.values())
    missed = replace(LARGE, event_cpu_ms=0.151, resident_after_mb=401)
    assert [target.met for target in targets(missed)] == [False, False, True, True, True]
    assert verdict(next(iter(targets(missed)))) == "  MISSED    401  MB resident (at most 400)"


def test_the_table_has_a_column_for_each_size_and_for_each_growth() -> None:
    lines = list(table([SMALL, LARGE]))
    assert lines[0].split() == ["10,000", "pods", "150,000", "pods", "x", "15"]
    assert "resident after that 120 MB 300 MB x 2.50" in [" ".join(line.split()) for line in lines]


def test_the_picture_shows_every_figure_of_every_size_and_is_valid_whatever_the_processor_is_called() -> None:
    root = ElementTree.fromstring(picture([SMALL, LARGE], MACHINE))
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for panel in PANELS:
        assert panel.name in texts
        for figures in (SMALL, LARGE):
            assert panel.form.format(panel.value(figures)) in texts
    assert any("A & B <64>" in text for text in texts)


def test_what_costs_more_is_drawn_higher_and_within_its_panel() -> None:
    root = ElementTree.fromstring(picture([SMALL, LARGE], MACHINE))
    panels = root.findall("{http://www.w3.org/2000/svg}g")
    (small, large) = (float(dot.get("cy", "")) for dot in panels[1].findall("{http://www.w3.org/2000/svg}circle"))
    assert 40 < large < small < 210
