"""One interleaved run on two API servers, one with policies and one without, that swap their parts.

Requests to both follow one another one by one, so that whatever else the machine does slows both alike; every
answer is checked. A round visits every catalogue twice: once with the policies on one server, once on the other.
The ratio of a round is the geometric mean of the two visits, in which what makes one server slower than the other
cancels out.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench.catalogues import FIRST, Kind, catalogue
from bench.pods import annotated, realistic, small
from bench.policies import put_in_force, take_away
from e2e.enforcement import add_namespace
from keepalive import KeepAlive
from residency.api.names import PLACED_BY
from residency.core.judge import Catalogue, Place, asks, judge_pod
from residency.core.workload import PodView, annotation

Json = dict[str, Any]
Item = TypeVar("Item")

PLAIN, CONFIDENTIAL = "bench-plain", "bench-confidential"
LABELS: Mapping[str, str | None] = {PLAIN: None, CONFIDENTIAL: FIRST}
PODS: Mapping[str, Json] = {"small": small(), "realistic": realistic()}
WARM_UP = 8
# What differs between two answers to the same request.
PASSING = ("name", "uid", "creationTimestamp", "managedFields")


class Unexpected(Exception):
    """An answer was not what it should be, so that its time means nothing."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of creating a pod: what Residency has to do with it, and how large it is."""

    place: str
    pod: str
    namespace: str = field(compare=False)
    body: Json = field(compare=False)

    @property
    def path(self) -> str:
        """Where it is sent."""
        return f"/api/v1/namespaces/{self.namespace}/pods?dryRun=All"


NONE, UNCLASSIFIED, CLASSIFIED, ANNOTATED = "none", "unclassified", "classified", "annotated"
BARE = tuple(Way(NONE, name, PLAIN, pod) for name, pod in PODS.items())
"""The ways that are measured where there are no policies."""
WAYS = tuple(
    way
    for name, pod in PODS.items()
    for way in (
        Way(UNCLASSIFIED, name, PLAIN, pod),
        Way(CLASSIFIED, name, CONFIDENTIAL, pod),
        Way(ANNOTATED, name, PLAIN, annotated(pod, FIRST)),
    )
)
"""The ways that are measured where there are."""

Medians = dict[Way, float]


@dataclass
class Results:
    """What each round measured: milliseconds, and ratios to a cluster without policies."""

    bare: dict[str, list[float]] = field(default_factory=dict)
    """By pod."""
    medians: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)
    """By size of the catalogue, place and pod."""
    ratios: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)

    def add(self, size: int, one: Medians, other: Medians) -> None:
        """Add a round's two visits to a catalogue."""
        bare = {way.pod: way for way in BARE}
        for pod, way in bare.items():
            self.bare.setdefault(pod, []).append((one[way] + other[way]) / 2)
        for way in WAYS:
            key = (size, way.place, way.pod)
            ratios = (visit[way] / visit[bare[way.pod]] for visit in (one, other))
            self.medians.setdefault(key, []).append((one[way] + other[way]) / 2)
            self.ratios.setdefault(key, []).append(math.prod(ratios) ** 0.5)

    def ratio(self, size: int, place: str, pod: str) -> float:
        """The median of the ratios of all rounds."""
        return statistics.median(self.ratios[size, place, pod])


class Bench:
    """Measures on two API servers, through one connection to each."""

    def __init__(self, apis: tuple[KeepAlive, KeepAlive], requests: int) -> None:
        self._apis = apis
        self._requests = requests
        self._first_answers: dict[str, Json] = {}
        for api in apis:
            for name, classification in LABELS.items():
                add_namespace(api, name, classification)
            self._take_away(api)

    def run(
        self, sizes: Sequence[int], rounds: int, progress: Callable[[str], None], kind: Kind = catalogue
    ) -> Results:
        """Measure catalogues of these sizes in so many rounds; leaves no policy behind."""
        results = Results()
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            order = _rotated(sizes, number)
            one, other = (self._visits(order, part, kind) for part in (0, 1))
            for size in sizes:
                results.add(size, one[size], other[size])
        return results

    def enforce(self, policies: Catalogue, part: int = 0) -> float:
        """Put policies in force on one of the two servers; the seconds that it took."""
        return put_in_force(self._apis[part], policies)

    def visit(self, policies: Catalogue, part: int = 0) -> Medians:
        """Median milliseconds of every way; leaves the policies on that one of the two servers."""
        guarded, bare = self._apis[part], self._apis[1 - part]
        self.enforce(policies, part)
        ways = [(way, guarded) for way in WAYS] + [(way, bare) for way in BARE]
        bodies = {way: json.dumps(way.body).encode() for way, _ in ways}
        times: dict[Way, list[float]] = {way: [] for way, _ in ways}
        for number in range(WARM_UP + self._requests):
            for way, api in _rotated(ways, number):
                elapsed, answer = _create(api, way, bodies[way])
                self._check(way, answer, policies)
                times[way].append(elapsed)
        return {way: statistics.median(elapsed[WARM_UP:]) for way, elapsed in times.items()}

    def clear(self) -> None:
        """Leave no policy behind."""
        for api in self._apis:
            self._take_away(api)

    def _visits(self, sizes: Sequence[int], part: int, kind: Kind) -> dict[int, Medians]:
        visits = {size: self.visit(kind(size), part) for size in sizes}
        self._take_away(self._apis[part])
        return visits

    def _take_away(self, api: KeepAlive) -> None:
        probe = next(way for way in WAYS if way.place == ANNOTATED)
        body = json.dumps(probe.body).encode()
        take_away(api, lambda: _placed_by(_create(api, probe, body)[1]) is None)

    def _check(self, way: Way, answer: Json, policies: Catalogue) -> None:
        if way.place in (NONE, UNCLASSIFIED):
            self._check_untouched(way, answer)
        else:
            _check_placed(way, answer, policies)

    def _check_untouched(self, way: Way, answer: Json) -> None:
        """Fail unless this is to the letter what the same pod became the first time."""
        for name in PASSING:
            answer["metadata"].pop(name, None)
        if answer != self._first_answers.setdefault(way.pod, answer):
            raise Unexpected(f"{way.place}, {way.pod} pod: came back changed: {json.dumps(answer)}")


def _create(api: KeepAlive, way: Way, body: bytes) -> tuple[float, Json]:
    start = time.perf_counter()
    status, data = api.exchange("POST", way.path, body)
    elapsed = time.perf_counter() - start
    answer: Json = json.loads(data)
    if status != 201:
        raise Unexpected(f"{way.place}, {way.pod} pod: answered {status}, {answer.get('message')}")
    return elapsed * 1000, answer


def _check_placed(way: Way, answer: Json, policies: Catalogue) -> None:
    verdict = judge_pod(
        PodView.from_template(way.body), asks(way.namespace, LABELS[way.namespace], annotation(way.body)), policies
    )
    placed = isinstance(verdict, Place) and PodView.from_template(answer).terms == verdict.terms
    if not placed or _placed_by(answer) != FIRST:
        raise Unexpected(f"{way.place}, {way.pod} pod: not placed as the judge says: {json.dumps(answer)}")


def _placed_by(answer: Json) -> str | None:
    found: str | None = answer["metadata"].get("annotations", {}).get(PLACED_BY)
    return found


def _rotated(items: Sequence[Item], by: int) -> list[Item]:
    by %= len(items)
    return [*items[by:], *items[:by]]
