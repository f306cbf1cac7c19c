"""How many series there may be, and that nothing is lost where there would be more."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from residency.api.names import NO_CLASSIFICATION, OTHER, SOVEREIGN, ClassificationName, Fact, Mode, Outcome
from residency.audit.findings import Finding, Subject
from residency.audit.gaps import Blindness
from residency.audit.picture import Picture
from residency.audit.shapes import PodShapes
from residency.audit.volumes import VolumePicture
from residency.cluster.reflector import Cause, Counts
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Classification, Placement
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import VolumeView
from residency.core.workload import PodView, Term
from residency.reporting.audit import AuditCollector, Watched
from residency.reporting.bounds import SERIES, Labels, Share, fit, fit_least, largest_first, worst_first
from residency.reporting.findings import FindingsCollector
from residency.reporting.metrics import Metrics
from residency.reporting.spread import SpreadCollector
from residency.reporting.volumes import OF_VOLUMES, VolumeCollector

COUNTRY = Fact.COUNTRY.value
COUNTRIES = ("NL", "DE", "FR", "US", "BE", "IT", "ES", "PL")
RESOURCES = ("pods", "nodes", "namespaces", "volumes", "claims", "classes")
LINES = st.dictionaries(
    st.tuples(st.text("abcdefgh", min_size=1, max_size=2), st.sampled_from("xyz")), st.integers(0, 99), max_size=60
)


@given(LINES, st.integers(4, 40))
def test_no_count_is_lost_and_no_line_too_many(lines: Mapping[tuple[str, str], int], most: int) -> None:
    shown = fit(lines, most, largest_first, keep=(1,))
    assert len(shown) <= most
    for kept in "xyz":
        assert sum(n for (_, k), n in lines.items() if k == kept) == sum(n for (_, k), n in shown.items() if k == kept)
    assert all(lines.get((name, k), 0) == count for (name, k), count in shown.items() if name != OTHER)


@given(LINES, st.integers(4, 40))
def test_where_there_is_room_everything_is_shown_and_zeros_go_before_anything_else(
    lines: Mapping[tuple[str, str], int], most: int
) -> None:
    shown = fit(lines, most, largest_first, keep=(1,))
    there = {labels: count for labels, count in lines.items() if count}
    if len(lines) <= most:
        assert shown == lines
    elif len(there) <= most:
        assert shown == there
    else:
        assert OTHER in {name for name, _ in shown}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 9), max_size=30), st.integers(1, 20))
def test_of_eligible_nodes_the_fewest_are_always_seen(counts: Mapping[str, int], most: int) -> None:
    shown = fit_least(counts, most)
    assert len(shown) <= most
    assert min(counts.values(), default=None) == min(shown.values(), default=None)
    assert len(shown) == len(counts) or shown[OTHER] == sorted(counts.values())[most - 1]


def test_the_shares_leave_room_for_what_does_not_grow() -> None:
    assert sum(Share) <= 75


class Observed:
    """A cluster that shows as much as it can: every outcome of every classification, and all modes."""

    restarts, synced = 0, True

    def __init__(self, classifications: int) -> None:
        self.names = [ClassificationName(f"class-{number:03}") for number in range(classifications)]
        self.complete = Picture()
        self.complete.set_catalogue({name: self._classification(n) for n, name in enumerate(self.names)})
        counts = Counts(lists=Counter(list(Cause)[:4]), lost=Counter(list(Cause)[:6]))
        self.watched: Mapping[str, Watched] = dict.fromkeys(RESOURCES, Reflector(counts))
        for number, country in enumerate(("", *COUNTRIES)):
            for provider in ("one", "two", "three"):
                labels = {Fact.PROVIDER.value: provider, Fact.CONTROLLED_FROM.value: country or "US"}
                labels |= {COUNTRY: country} if country else {}
                name, taints = f"{provider}-{number}", (SOVEREIGN,) if provider == "one" else ()
                self.complete.put_node(NodeView.of(name, labels, taints))
        self._fill()
        self.volumes = self._stored()
        self.current = [self._finding(n, s, o) for n in self.names for s in Subject for o in Outcome]
        self.not_stored, self.gaps_seen = 0, Counter(Blindness)

    def _stored(self) -> VolumePicture:
        """A volume of every outcome for every classification."""
        found = VolumePicture()
        found.set_catalogue(self.complete.catalogue)
        for number, name in enumerate(self.names):
            found.put_namespace(name, NamespaceLabels(name))
            found.put_claim((name, "waiting"), "", bound=False)
            here, there = COUNTRIES[number % 8], COUNTRIES[(number + 1) % 8]
            found.put_class(there, {COUNTRY: there})
            for one, of_class, says in (("1", "", here), ("2", "", there), ("3", there, here), ("4", "", "")):
                labels = ((COUNTRY, says),) if says else ()
                found.put_volume(VolumeView(f"{name}-{one}", (name, one), of_class, labels))
        return found

    def _finding(self, name: str, subject: Subject, outcome: Outcome) -> Finding:
        return Finding(name, name, subject, outcome, Mode.ENFORCE, 1, (), 0.0, 0.0)

    def _classification(self, number: int) -> Classification:
        asked = Requirement(COUNTRY, Operator.IN, (COUNTRIES[number % 8],))
        return restore(self.names[number], "", (), Placement(((asked,),)), mode=Mode.ENFORCE)

    def _fill(self) -> None:
        shapes = PodShapes()
        for name in self.names:
            asked = self.complete.catalogue[name].placement.alternatives[0]
            for mode in ("", *Mode):
                self.complete.put_namespace(f"{name}-{mode}".lower(), NamespaceLabels(name, mode or None))
                lost = shapes.of(PodView({"no": "where"}, (Term(asked),)))
                self.complete.put_pod((f"{name}-{mode}".lower(), "lost"), "", lost)
                nodes = ["gone", "", *self.complete.nodes]
                for terms in ((Term(asked),), None):
                    for node in nodes:
                        shape = shapes.of(PodView({}, terms, node_name=node))
                        self.complete.put_pod((f"{name}-{mode}".lower(), f"{node}-{terms is None}"), node, shape)
        self.complete.put_pod(("plain", "intruder"), "one-1", shapes.of(PodView({}, None, node_name="one-1")))


class Reflector:
    """A reflector that has seen much."""

    last_contact: float | None = 1.0

    def __init__(self, counts: Counts) -> None:
        self.counts = counts


def exposed(observed: Observed, *, namespaces: bool = False) -> list[tuple[str, Mapping[str, str], float]]:
    metrics = Metrics()
    metrics.add(AuditCollector(observed))
    metrics.add(SpreadCollector(observed, namespaces=namespaces))
    metrics.add(VolumeCollector(observed))
    metrics.add(FindingsCollector(observed))
    metrics.classifications(len(observed.names), 0)
    metrics.default_classification("class-000", in_force=True)
    metrics.waiting(dict.fromkeys(observed.names, 3))
    metrics.namespaces({(name, mode): 2 for name in observed.names for mode in Mode})
    for step in range(10):
        metrics.reconcile_errors.labels(step=str(step)).inc()
    for policy in range(10):
        metrics.repairs.labels(policy=f"policy-{policy}", kind="kind", cause="deleted").inc()
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples]
    return [(s.name, s.labels, s.value) for s in samples if s.name.startswith("residency_")]


def test_sixty_classifications_with_every_outcome_and_mode_make_at_most_500_series() -> None:
    observed = Observed(60)
    assert {outcome for _, _, outcome in observed.complete.counts} == set(Outcome)
    assert {mode for _, mode, _ in observed.complete.counts} == {"", *Mode}
    shown = exposed(observed)
    assert {outcome for _, _, outcome in observed.volumes.counts} == set(OF_VOLUMES)
    assert 300 < len(shown) <= SERIES == 500


def test_what_does_not_fit_is_added_up_under_its_mode_and_outcome() -> None:
    observed = Observed(60)
    shown = [(labels, value) for name, labels, value in exposed(observed) if name == "residency_pods"]
    for outcome in Outcome:
        for mode in ("", *Mode):
            wanted = sum(n for (_, m, o), n in observed.complete.counts.items() if (m, o) == (mode, outcome))
            assert wanted == sum(n for said, n in shown if (said["mode"], said["outcome"]) == (mode, outcome))
    of_findings = [(said, n) for name, said, n in exposed(observed) if name == "residency_findings"]
    assert sum(n for said, n in of_findings if said["outcome"] == "Misplaced") == 60 * len(Subject)
    of_volumes = [(said, n) for name, said, n in exposed(observed) if name == "residency_volumes"]
    assert sum(n for said, n in of_volumes if said["outcome"] == "Misplaced") == 60
    own = {said["outcome"] for said, _ in shown if said["classification"] not in (OTHER, "(none)")}
    assert Outcome.MISPLACED in own
    assert Outcome.COMPLIANT not in own


def test_intruders_are_shown_by_themselves_however_many_classifications_comply() -> None:
    lines: dict[Labels, int] = {(f"class-{n}", Mode.ENFORCE, Outcome.COMPLIANT): 9 for n in range(30)}
    lines[NO_CLASSIFICATION, "", Outcome.INTRUDER] = 1
    shown = fit(lines, 10, worst_first, keep=(1, 2))
    assert shown[NO_CLASSIFICATION, "", Outcome.INTRUDER] == 1
    assert shown[OTHER, Mode.ENFORCE, Outcome.COMPLIANT] == 9 * 23


def test_a_small_catalogue_shows_zeros_and_a_large_one_only_what_there_is() -> None:
    few, many = (counted_when_empty(number) for number in (3, 60))
    assert len(few) == 3 * 7
    assert set(few.values()) == {0.0}
    assert many == {}


def counted_when_empty(classifications: int) -> Mapping[tuple[str, str], float]:
    observed = Observed(classifications)
    empty = Picture()
    empty.set_catalogue(observed.complete.catalogue)
    observed.complete = empty
    return {
        (labels["classification"], labels["outcome"]): value
        for name, labels, value in exposed(observed)
        if name == "residency_pods"
    }


# With so many classifications everything fits by default, and with more as soon as there are so many series for each.
# values.yaml and docs/metrics.md say both.
FIT, EACH = 8, 63


@pytest.mark.parametrize(("share", "lines"), [(Share.PODS, 7), (Share.VOLUMES, 5), (Share.ELIGIBLE_NODES, 1)])
def test_as_many_classifications_have_all_their_lines_as_the_documents_say(share: Share, lines: int) -> None:
    assert FIT * lines <= share.of(SERIES)
    for classifications in range(FIT + 1, 1000):
        assert classifications * lines <= share.of(EACH * classifications)


def test_of_more_classifications_not_all_lines_fit_by_default() -> None:
    assert any((FIT + 1) * lines > share.of(SERIES) for share, lines in ((Share.PODS, 7), (Share.VOLUMES, 5)))
    assert any(10 * lines > share.of((EACH - 1) * 10) for share, lines in ((Share.PODS, 7), (Share.VOLUMES, 5)))
    root = Path(__file__).parents[2]
    for said in ("charts/residency/values.yaml", "docs/metrics.md"):
        text = " ".join((root / said).read_text().replace("#", " ").split())
        assert f"{FIT} classifications" in text
        assert re.search(rf"\b{EACH} for each\b", text)


def test_the_detail_of_namespaces_is_shown_only_where_it_is_wanted() -> None:
    observed = Observed(2)
    assert not [name for name, _, _ in exposed(observed) if name == "residency_namespace_pods"]
    detail = [(said, n) for name, said, n in exposed(observed, namespaces=True) if name == "residency_namespace_pods"]
    assert {said["namespace"] for said, _ in detail} == {
        *(f"{name}-{mode}".lower() for name in observed.names for mode in ("", *Mode)),
        "plain",
    }
    assert sum(n for _, n in detail) == sum(observed.complete.counts.values())
