"""One judge: what the compiled policies do on the real API server is what the judge in Python says."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from controlplane import ControlPlane
from e2e.enforcement import add_namespace, enforce, expect
from keepalive import Answer, KeepAlive
from residency.api.names import PLACED_TOLERATIONS, Code
from residency.core.judge import Catalogue, Denied, Untouched, Verdict, asks, judge_claim, judge_pod
from residency.core.storage import ClaimView
from residency.core.surroundings import Surroundings
from residency.core.templates import canonical_tolerations, judge_workload
from residency.core.workload import PodToleration, PodView, annotation, template_of
from workload_strategies import NAMES, RESOURCES, catalogues, claims, surroundings, templates, workloads

Json = dict[str, Any]
Drawn = TypeVar("Drawn")

UNCLASSIFIED = "unclassified"
NAMESPACES = {UNCLASSIFIED: None, **{f"of-{name}": name for name in NAMES}}
PODS = int(os.environ.get("RESIDENCY_JUDGE_PODS", "2400"))
CLAIMS = int(os.environ.get("RESIDENCY_JUDGE_CLAIMS", "600"))
WORKLOADS = int(os.environ.get("RESIDENCY_JUDGE_WORKLOADS", "1200"))
ROUNDS = 4
SEED = int(os.environ.get("RESIDENCY_JUDGE_SEED", "20261123"))


@pytest.fixture(scope="module")
def api() -> Iterator[KeepAlive]:
    with (
        ControlPlane(controller_manager=False, scheduler=False, kwok=False) as control_plane,
        KeepAlive(control_plane.kubeconfig) as connection,
    ):
        yield connection


@pytest.fixture(scope="module", params=range(ROUNDS))
def catalogue(api: KeepAlive, request: pytest.FixtureRequest) -> Catalogue:
    """A generated catalogue in force, and a namespace for each of its classifications."""
    drawn = _draw_catalogue(SEED + request.param)
    enforce(api, drawn, surroundings=around(drawn))
    for name, classification in NAMESPACES.items():
        add_namespace(api, name, classification)
    return drawn


def _draw_catalogue(number: int) -> Catalogue:
    return _draw(number, catalogues())


def around(catalogue: Catalogue) -> Surroundings:
    """What the cluster of a generated catalogue is like."""
    return _draw(sum(map(len, (c.placement.alternatives for c in catalogue.values()))), surroundings())


def _draw(number: int, strategy: SearchStrategy[Drawn]) -> Drawn:
    drawn: list[Drawn] = []

    @seed(number)
    @settings(max_examples=12, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(example: Drawn) -> None:
        drawn.append(example)

    draw()
    # The first examples are the simplest ones.
    return drawn[-1]


seen_codes: Counter[str] = Counter()
"""How often each verdict was compared, over the whole module."""


def agree(verdict: Verdict, answer: Answer, kind: str, sent: Json) -> None:
    """Fail unless the API server did what the judge says, to the letter of the message and of the placement."""
    note(f"judge: {verdict}")
    note(f"API server: {answer.status} {answer.message}")
    seen_codes[verdict.code if isinstance(verdict, Denied) else type(verdict).__name__] += 1
    if isinstance(verdict, Denied):
        assert answer.status == 403
        assert answer.message.endswith("denied request: " + verdict.message)
        assert len(verdict.message) < 1024
        assert "\n" not in verdict.message
        return
    expect(answer, 201)
    before, after = _view(kind, sent), _view(kind, answer.body)
    if isinstance(verdict, Untouched):
        assert after == before
        return
    written = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in verdict.tolerations)
    kept = () if kind == "DaemonSet" and _tolerations_are_residencys(sent, before) else before.tolerations
    assert after == replace(before, terms=verdict.terms, tolerations=kept + written)


def _view(kind: str, thing: Json) -> PodView:
    template = template_of(kind, thing)
    assert template is not None
    view = PodView.from_template(template)
    # DefaultTolerationSeconds, an admission plugin of Kubernetes' own, adds these to every pod.
    own = tuple(t for t in view.tolerations if not t.key.startswith("node.kubernetes.io/"))
    return replace(view, tolerations=own)


def _tolerations_are_residencys(daemonset: Json, view: PodView) -> bool:
    recorded = daemonset["metadata"].get("annotations", {}).get(PLACED_TOLERATIONS, "")
    return canonical_tolerations(view.tolerations) == str(recorded)


@pytest.mark.timeout(1800)
def test_pods_are_placed_and_refused_as_the_judge_says(api: KeepAlive, catalogue: Catalogue) -> None:
    around_it = around(catalogue)

    @seed(SEED)
    @settings(max_examples=PODS // ROUNDS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(list(NAMESPACES)), templates())
    def compare(namespace: str, template: Json) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            **template,
            "metadata": template["metadata"] | {"name": "app"},
        }
        asked = asks(namespace, NAMESPACES[namespace], annotation(pod))
        verdict = judge_pod(PodView.from_template(pod), asked, catalogue, surroundings=around_it)
        answer = api.send("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        agree(verdict, answer, "Pod", pod)

    compare()


@pytest.mark.timeout(1800)
def test_workloads_are_judged_as_the_judge_says(api: KeepAlive, catalogue: Catalogue) -> None:
    around_it = around(catalogue)

    @seed(SEED)
    @settings(
        max_examples=WORKLOADS // ROUNDS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(list(NAMESPACES)), workloads())
    def compare(namespace: str, workload: Json) -> None:
        kind = workload["kind"]
        verdict = judge_workload(kind, workload, namespace, NAMESPACES[namespace], catalogue, around_it)
        answer = api.send("POST", f"/{RESOURCES[kind].format(namespace)}?dryRun=All", workload)
        agree(verdict, answer, kind, workload)

    compare()


@pytest.mark.timeout(1800)
def test_claims_are_judged_as_the_judge_says(api: KeepAlive, catalogue: Catalogue) -> None:
    @seed(SEED)
    @settings(max_examples=CLAIMS // ROUNDS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(list(NAMESPACES)), claims())
    def compare(namespace: str, claim: Json) -> None:
        asked = asks(namespace, NAMESPACES[namespace], None)
        denied = judge_claim(ClaimView.from_claim(claim), asked, catalogue)
        answer = api.send("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims?dryRun=All", claim)
        note(f"judge: {denied}")
        note(f"API server: {answer.status} {answer.message}")
        if denied is None:
            expect(answer, 201)
        else:
            seen_codes[denied.code] += 1
            assert answer.status == 403
            assert answer.message.endswith("denied request: " + denied.message)

    compare()


def test_every_verdict_was_compared_often_enough_to_mean_something() -> None:
    print(dict(seen_codes))
    # What the judge says; the other codes are said by policies that look at other things than pods and templates.
    expected = {"Untouched", "Place"} | {code for code in Code if code <= Code.DAEMONSET_AFFINITY}
    expected |= {Code.STORAGE_CLAIM, Code.VOLUME}
    expected -= {Code.NOT_PLACED}
    assert {verdict for verdict, count in seen_codes.items() if count >= 10} >= expected
