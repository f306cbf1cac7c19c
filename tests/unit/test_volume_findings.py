"""Findings of volumes: what made one deviate, and what made an end of it."""

from collections.abc import Callable

import pytest

from residency.api.names import ClassificationName, Fact, Outcome
from residency.audit.findings import Finding, Subject
from residency.audit.life import Findings, Sight
from residency.audit.remedies import REMEDIES
from residency.audit.volumes import VolumePicture
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement, Storage
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import VolumeView
from residency.core.workload import Term

COUNTRY = Fact.COUNTRY.value
NL = ClassificationName("nl")
ZONE = "topology.kubernetes.io/zone"
DUTCH = Requirement(COUNTRY, Operator.IN, ("NL",))
EUROPEAN = Requirement(COUNTRY, Operator.IN, ("DE", "NL"))
IN_ZONE = (Term((Requirement(ZONE, Operator.IN, ("z",)),)),)


class Stored:
    """Two volumes of one namespace: one of a class that says where it is, one tied to a zone."""

    def __init__(self) -> None:
        self.picture, self.findings, self.now = VolumePicture(), Findings(), 1000.0
        self.demand(EUROPEAN)
        self.picture.put_namespace("ns", NamespaceLabels("nl"))
        self.label("NL")
        self.picture.put_node(NodeView.of("n", {ZONE: "z", COUNTRY: "NL"}))
        self.volume("pv-class", "data", "disk")
        self.volume("pv-zone", "logs", "", IN_ZONE)
        self.look()
        assert not len(self.findings)

    def demand(self, requirement: Requirement) -> None:
        storage = Storage((requirement,))
        self.picture.set_catalogue({NL: restore(NL, "Dutch", (), Placement(((requirement,),)), storage)})

    def label(self, country: str) -> None:
        self.picture.put_class("disk", {COUNTRY: country})

    def volume(
        self, name: str, claim: str, storage_class: str, terms: tuple[Term, ...] | None = None, country: str = ""
    ) -> None:
        labels = ((COUNTRY, country),) if country else ()
        self.picture.put_volume(VolumeView(name, ("ns", claim), storage_class, labels, terms))

    def look(self) -> None:
        self.now += 1
        tally = self.picture.tally
        picture = self.picture
        sight = Sight(Subject.VOLUMES, tally, picture.catalogue, picture.volume_of, picture.claim_of)
        self.findings.look(sight, self.now, tally.take_changed())

    @property
    def only(self) -> Finding:
        (found,) = self.findings
        return found


def node_moves(stored: Stored) -> None:
    stored.picture.put_node(NodeView.of("n", {ZONE: "z", COUNTRY: "US"}))


def node_goes(stored: Stored) -> None:
    stored.picture.remove_node("n")


def claim_is_lost(stored: Stored) -> None:
    stored.picture.put_claim(("ns", "lost"), "pv-9", bound=True)


CHANGES = [
    (lambda s: s.label("US"), Outcome.MISPLACED, "StorageClass disk was relabelled: country from NL to US"),
    (lambda s: s.picture.remove_class("disk"), Outcome.NOT_LOCATED, "StorageClass disk was deleted"),
    (node_moves, Outcome.MISPLACED, "node n was relabelled: country from NL to US"),
    (node_goes, Outcome.NOT_LOCATED, "node n was deleted"),
    (claim_is_lost, Outcome.NOT_LOCATED, "claim lost was created or changed"),
    (
        lambda s: s.volume("pv-class", "data", "disk", country="US"),
        Outcome.UNKNOWN,
        "volume pv-class was relabelled: country set to US",
    ),
    (
        lambda s: s.volume("pv-new", "more", "other", country="US"),
        Outcome.MISPLACED,
        "volume pv-new was bound to claim more",
    ),
]


@pytest.mark.parametrize(("change", "outcome", "cause"), CHANGES)
def test_the_cause_is_the_change_that_made_it_so(
    change: Callable[[Stored], None], outcome: Outcome, cause: str
) -> None:
    stored = Stored()
    change(stored)
    stored.look()
    found = stored.only
    assert (found.subject, found.outcome, found.cause) == (Subject.VOLUMES, outcome, cause)
    assert found.name == f"nl-{outcome.lower()}-volumes"
    assert found.remedy == REMEDIES[Subject.VOLUMES][outcome]
    assert found.first_seen == stored.now


def test_a_classification_that_is_tightened_is_a_cause() -> None:
    stored = Stored()
    stored.label("DE")
    stored.look()
    stored.demand(DUTCH)
    stored.look()
    assert stored.only.cause == "classification nl was tightened"


def test_examples_name_the_claim_whose_data_it_is_and_the_volume_that_it_is_on() -> None:
    stored = Stored()
    stored.label("US")
    stored.look()
    assert [(example.name, example.node) for example in stored.only.examples] == [("data", "pv-class")]


def test_a_volume_that_is_put_right_or_goes_resolves_its_finding() -> None:
    stored = Stored()
    stored.label("US")
    stored.look()
    stored.label("NL")
    stored.look()
    assert stored.only.resolution == "StorageClass disk was relabelled: country from US to NL"
    stored.label("US")
    stored.look()
    stored.picture.remove_volume("pv-class")
    stored.look()
    assert stored.only.resolution == "volume pv-class was deleted, or holds nobody's data any more"
    assert stored.only.resolved == stored.now


def test_volumes_of_a_full_namespace_that_is_classified_are_found_with_that_cause() -> None:
    stored = Stored()
    stored.label("US")
    stored.picture.put_namespace("ns", NamespaceLabels())
    stored.look()
    assert not [finding for finding in stored.findings if finding.resolved is None]
    stored.picture.put_namespace("ns", NamespaceLabels("nl"))
    stored.look()
    assert stored.only.cause == "namespace ns was classified nl"
