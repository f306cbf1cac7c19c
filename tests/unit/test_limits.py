"""Token buckets, by a clock that is set by hand."""

from hypothesis import given
from hypothesis import strategies as st

from residency.reporting.limits import Bucket, Buckets


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(3, 0.5, clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.time += 1.9
    assert not bucket.take()
    clock.time += 0.1
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.time += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_a_bucket_says_how_long_to_wait() -> None:
    clock = Clock()
    bucket = Bucket(1, 0.5, clock)
    assert bucket.wait == 0
    assert bucket.take()
    assert bucket.wait == 2
    clock.time += 1.5
    assert bucket.wait == 0.5
    clock.time += 0.5
    assert bucket.wait == 0
    assert bucket.take()


@given(st.lists(st.floats(-10, 30), max_size=60), st.integers(1, 5), st.floats(0.1, 3))
def test_whatever_the_clock_does_no_more_passes_than_the_burst_and_the_rate(
    steps: list[float], burst: int, rate: float
) -> None:
    clock = Clock()
    bucket = Bucket(burst, rate, clock)
    passed, forward = 0, 0.0
    for step in steps:
        clock.time += step
        forward += max(0.0, step)
        while bucket.take():
            passed += 1
    assert passed <= burst + forward * rate + 1e-6


def test_each_thing_has_a_bucket_of_its_own() -> None:
    buckets: Buckets[str] = Buckets(2, 1, Clock(), most=10)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b")


def test_only_so_many_things_are_remembered_those_that_came_last() -> None:
    buckets: Buckets[str] = Buckets(1, 1, Clock(), most=2)
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a")
    assert buckets.take("c")
    assert len(buckets) == 2
    assert not buckets.take("a")
    assert buckets.take("b")
