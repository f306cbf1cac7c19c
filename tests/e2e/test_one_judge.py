"""One judge: what the compiled policies do on the real API server is what the judge in Python says."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from controlplane import ControlPlane
from e2e.agreement import (
    AUDIT_POLICY,
    CLAIMS,
    PODS,
    ROUNDS,
    SEED,
    TALLY,
    WORKLOADS,
    AuditLog,
    Differences,
    agree,
    agree_in_lower_modes,
    send,
    teller,
)
from e2e.enforcement import add_namespace, enforce
from golden import Case, Json, around, golden_cases, in_force, judge
from keepalive import KeepAlive
from residency.api.names import CLASSIFICATION, ENFORCEMENT, Code, Mode
from residency.core.judge import Catalogue
from residency.core.storage import CLAIM
from residency.core.surroundings import Surroundings
from workload_strategies import NAMES, catalogues, claims, clusters, templates, workloads

Say = Callable[[str], None]
Drawn = TypeVar("Drawn")

NAMESPACES: Final[Mapping[str, Mapping[str, str]]] = {
    "unclassified": {},
    **{f"of-{name}": {CLASSIFICATION: name} for name in NAMES},
    **{f"lowered-to-{mode.lower()}": {CLASSIFICATION: NAMES[0], ENFORCEMENT: mode} for mode in (Mode.WARN, Mode.AUDIT)},
}
"""Where generated things are sent, with all labels that a verdict may depend on."""

# A round takes half a minute, and a deep run has as many rounds as it needs to keep it so.
pytestmark = pytest.mark.timeout(600)
FEWEST: Final = min(8, (PODS + WORKLOADS) // 600)
"""How often each reason has to come up in a run to count as compared."""


@dataclass
class Server:
    """A bare API server, and the catalogue that is in force there."""

    api: KeepAlive
    log: AuditLog
    in_force: tuple[Catalogue, Surroundings] | None = None

    def enforce(self, catalogue: Catalogue, surroundings: Surroundings) -> None:
        """Bring a catalogue into force, unless it is."""
        if (catalogue, surroundings) != self.in_force:
            enforce(self.api, catalogue, surroundings=surroundings)
            self.in_force = catalogue, surroundings


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With the namespaces of golden cases from before any policy, whatever they are labelled."""
    with (
        ControlPlane(audit_policy=AUDIT_POLICY, controller_manager=False, scheduler=False, kwok=False) as control_plane,
        KeepAlive(control_plane.kubeconfig) as connection,
    ):
        for name, labels in {case.namespace: case.labels for case in golden_cases()}.items():
            add_namespace(connection, name, labels.get(CLASSIFICATION), labels.get(ENFORCEMENT))
        assert control_plane.audit_log is not None
        yield Server(connection, AuditLog(control_plane.audit_log))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return teller(capsys.disabled)


def _catalogue_of(case: Case) -> str:
    return json.dumps([case.specs, case.cluster])


# So that each catalogue comes into force once.
GOLDEN: Final[list[Case]] = sorted(golden_cases(), key=_catalogue_of)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_a_golden_case_comes_out_as_it_is_written(server: Server, case: Case) -> None:
    server.enforce(case.catalogue, around(case.cluster))
    answer = send(server.api, case)
    agree(case, answer)
    assert list(agree_in_lower_modes(case, answer, server.log)) or answer.status == 403
    assert case.judged() == case.verdict


class Round:
    """A generated catalogue, and a namespace for each of its classifications."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        # The rounds of one seed are not those of the next.
        self.seed = SEED * 1000 + number
        self.specs = _draw(catalogues(), self.seed)
        self.cluster = _draw(clusters([name for name in NAMESPACES if name != "unclassified"]), self.seed)
        self.catalogue: Catalogue = in_force(self.specs, self.cluster)
        self.surroundings = around(self.cluster)
        self.known = [classification.placement for classification in self.catalogue.values()]
        server.enforce(self.catalogue, self.surroundings)
        for name, labels in NAMESPACES.items():
            add_namespace(server.api, name, labels.get(CLASSIFICATION), labels.get(ENFORCEMENT))

    def case(self, namespace: str, thing: Json) -> Case:
        """One object in one namespace, with what the judge says of it."""
        labels = NAMESPACES[namespace]
        return Case(
            name=f"found-with-seed-{SEED}-in-round-{self.number}",
            why=f"judge and policies differed when drawn with seed {SEED}",
            specs=self.specs,
            namespace=namespace,
            labels=labels,
            object=thing,
            verdict=judge(thing, namespace, labels, self.catalogue, surroundings=self.surroundings),
            cluster=self.cluster,
        )

    def compare(self, name: str, things: st.SearchStrategy[Json], count: int, say: Say) -> None:
        """Generate and compare; what differs is shrunk, shown and kept."""
        self.server.enforce(self.catalogue, self.surroundings)
        differences = Differences()

        # All of it is drawn and shrunk anew from the seed: nothing is remembered, nothing explained twice.
        @seed(self.seed)
        @settings(
            max_examples=count,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(st.sampled_from(list(NAMESPACES)), things)
        def compare(namespace: str, thing: Json) -> None:
            case = self.case(namespace, thing)
            answer = send(self.server.api, case)
            note(f"judge: {case.verdict}")
            note(f"API server: {answer.status} {answer.message}")
            TALLY.count(case)
            TALLY.tell(say)
            differences.compare(case, answer, self.server.log)

        with differences.kept(f"seed {SEED} round {self.number} {name}", say):
            compare()


def _draw(strategy: st.SearchStrategy[Drawn], number: int) -> Drawn:
    drawn: list[Drawn] = []

    @seed(number)
    @settings(max_examples=12, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(example: Drawn) -> None:
        drawn.append(example)

    draw()
    # The first examples are the simplest ones.
    return drawn[-1]


@pytest.fixture(scope="module", params=range(ROUNDS))
def round_(server: Server, request: pytest.FixtureRequest) -> Round:
    return Round(server, request.param)


def _pod(template: Json) -> Json:
    metadata = template["metadata"] | {"name": "app"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_pods_are_placed_and_refused_as_the_judge_says(round_: Round, say: Say) -> None:
    round_.compare("pods", templates(round_.known).map(_pod), PODS // ROUNDS, say)


def test_workloads_are_judged_as_the_judge_says(round_: Round, say: Say) -> None:
    round_.compare("workloads", workloads(round_.known), WORKLOADS // ROUNDS, say)


def test_claims_are_judged_as_the_judge_says(round_: Round, say: Say) -> None:
    round_.compare("claims", claims(), CLAIMS // ROUNDS, say)


def test_as_many_were_compared_as_were_asked_for() -> None:
    assert TALLY.verdicts.total() >= ROUNDS * (PODS // ROUNDS + WORKLOADS // ROUNDS + CLAIMS // ROUNDS)


def test_every_reason_was_compared_often_enough_to_mean_something() -> None:
    """All that the judge says of pods, and of DaemonSets besides; of other templates it is the same."""
    reasons = [
        *(f"RES-101 {trouble}" for trouble in ("selector", "affinity", "classifications", "empty terms")),
        *(code for code in (Code.NODE_NAME, Code.UNKNOWN_CLASSIFICATION, Code.TOO_MANY_TERMS)),
        *("Place terms", "Place tolerations", "Place terms and tolerations", "Untouched"),
    ]
    others = [
        *("template Untouched", "template RES-101 selector", "template RES-101 affinity", "template RES-106"),
        *("DaemonSet RES-106", "DaemonSet RES-107 terms", "DaemonSet RES-107 tolerations", "DaemonSet Untouched"),
        *("DaemonSet Place terms", "DaemonSet Place terms and tolerations"),
    ]
    others += ["Pod RES-114", "Pod RES-115", "template RES-114", "template RES-115", f"{CLAIM} RES-114"]
    told = [f"{mode} Pod RES-101 selector" for mode in (Mode.WARN, Mode.AUDIT)]
    expected = {*(f"Pod {reason}" for reason in reasons), *others, *told}
    assert expected - {name for name, count in TALLY.branches.items() if count >= FEWEST} == set()
