"""Where volumes are, judged by what their labels, their StorageClasses and the nodes say that they are tied to."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.api.names import NOT_IN_FORCE, VIRTUAL, VIRTUAL_LABEL, ClassificationName, Fact, Mode, Outcome
from residency.core.audit import Judged, NodeView
from residency.core.catalogue import restore
from residency.core.judge import Catalogue, asks
from residency.core.placement import ANYWHERE, Placement, Storage
from residency.core.requirements import Operator, Requirement
from residency.core.volumes import (
    VolumeView,
    account,
    judge_volume,
    judge_without_volume,
    keys_asked,
    known,
    said_by_nodes,
)
from residency.core.workload import Term

COUNTRY, SUBDIVISION, MODEL = Fact.COUNTRY.value, Fact.SUBDIVISION.value, Fact.DEPLOYMENT_MODEL.value
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
TRUSTED = "example.com/trusted"


def has(key: str, *values: str) -> Requirement:
    return Requirement(key, Operator.IN, values)


DUTCH = Placement(((has(COUNTRY, "NL"),),))
STATE = has(MODEL, "government")
STORED_DUTCH = Storage((has(COUNTRY, "NL"),))


def of(name: str, placement: Placement, storage: Storage | None = None) -> Any:
    return restore(ClassificationName(name), name, (), placement, storage)


CATALOGUE: Catalogue = {
    classification.name: classification
    for classification in (
        of("placed", DUTCH),
        of("stored", DUTCH, STORED_DUTCH),
        of("stored-only", ANYWHERE, STORED_DUTCH),
        of("trusting", DUTCH, Storage((has(TRUSTED, "true"),))),
        of("wide", Placement(((has(COUNTRY, "NL"),),)), Storage((has(COUNTRY, "NL", "DE"),))),
        of("state", Placement(((has(COUNTRY, "NL"), STATE),))),
        of("either", Placement(((has(COUNTRY, "NL"), STATE), (has(COUNTRY, "DE"),)))),
        of("province", Placement(((has(COUNTRY, "NL"), has(SUBDIVISION, "NL-GR")),))),
        of("anything", ANYWHERE),
    )
}

CLASSES = {
    "nl-disk": {COUNTRY: "NL"},
    "us-disk": {COUNTRY: "US"},
    "de-disk": {COUNTRY: "DE"},
    "trusted": {TRUSTED: "true"},
    "trusted-us": {TRUSTED: "true", COUNTRY: "US"},
    "odd": {COUNTRY: "NL", SUBDIVISION: "US-CA"},
    "plain": {"tier": "fast"},
}


def node(name: str, zone: str, **facts: str) -> NodeView:
    labels = {Fact[fact.upper()].value: value for fact, value in facts.items()}
    return NodeView.of(name, {ZONE: zone, HOST: name} | labels)


NODES = {
    view.name: view
    for view in (
        node("nl-1", "ams", country="NL", deployment_model="government"),
        node("nl-2", "ams", country="NL", deployment_model="public"),
        node("us-1", "nyc", country="US"),
        node("de-1", "fra", country="DE"),
        node("bare", "nowhere"),
        node("odd-1", "odd", country="SE", subdivision="DE-BE"),
        NodeView.of("virtual", {ZONE: "cloud", COUNTRY: "NL", VIRTUAL_LABEL: VIRTUAL}),
    )
}


def within(*terms: Requirement) -> tuple[Term, ...]:
    """A node affinity of one term for each requirement."""
    return tuple(Term((requirement,)) for requirement in terms)


AMS, NYC, FRA = (within(has(ZONE, zone)) for zone in ("ams", "nyc", "fra"))


def judged(
    asked: str,
    storage_class: str = "",
    terms: tuple[Term, ...] | None = None,
    labels: Mapping[str, str] | None = None,
    **more: Any,
) -> Judged:
    keys = keys_asked(CATALOGUE)
    said = tuple(sorted((labels or {}).items()))
    view = VolumeView("pv", ("ns", "data"), storage_class, said, terms, **more)
    of_class = account(CLASSES[storage_class], keys) if storage_class in CLASSES else None
    (ask,) = asks("", asked, None, None)
    return judge_volume(known(view, of_class, said_by_nodes(view, NODES, keys), keys), ask, CATALOGUE)


@pytest.mark.parametrize(
    ("asked", "evidence", "outcome", "words"),
    [
        # Each of the three who may say where it is.
        ("stored", {"storage_class": "nl-disk"}, Outcome.COMPLIANT, ""),
        ("stored", {"storage_class": "us-disk"}, Outcome.MISPLACED, "its StorageClass us-disk says country US, where"),
        ("stored", {"labels": {COUNTRY: "NL"}}, Outcome.COMPLIANT, ""),
        (
            "stored",
            {"labels": {COUNTRY: "US"}},
            Outcome.MISPLACED,
            "its own label says country US, where stored",
        ),
        ("stored", {"terms": AMS}, Outcome.COMPLIANT, ""),
        ("stored", {"terms": NYC}, Outcome.MISPLACED, "the nodes that it is tied to say country US, where stored"),
        ("stored", {"terms": within(has(HOST, "us-1")), "local": True}, Outcome.MISPLACED, "the node that it is on"),
        # A place that the affinity names itself, where there is no node.
        ("stored", {"terms": within(has(COUNTRY, "NL"))}, Outcome.COMPLIANT, ""),
        ("stored", {"terms": within(has(COUNTRY, "FR"))}, Outcome.MISPLACED, "say country FR"),
        ("stored", {"terms": within(has(COUNTRY, "NL", "FR"))}, Outcome.UNKNOWN, "not all places"),
        # All who say something have to agree.
        ("stored", {"storage_class": "nl-disk", "terms": AMS, "labels": {COUNTRY: "NL"}}, Outcome.COMPLIANT, ""),
        (
            "stored",
            {"storage_class": "nl-disk", "terms": NYC},
            Outcome.UNKNOWN,
            "its StorageClass nl-disk says country NL, but the nodes that it is tied to say US, where stored allows",
        ),
        (
            "stored",
            {"storage_class": "us-disk", "labels": {COUNTRY: "NL"}},
            Outcome.UNKNOWN,
            "its own label says country NL, but its StorageClass us-disk says US",
        ),
        (
            "stored",
            {"storage_class": "us-disk", "terms": NYC},
            Outcome.MISPLACED,
            "StorageClass us-disk says country US",
        ),
        ("stored", {"terms": AMS + NYC}, Outcome.UNKNOWN, "not all places that it is tied to are alike"),
        ("wide", {"terms": AMS + FRA}, Outcome.COMPLIANT, ""),
        ("wide", {"storage_class": "de-disk", "terms": AMS}, Outcome.COMPLIANT, ""),
        ("stored", {"storage_class": "odd"}, Outcome.UNKNOWN, "country NL, but its StorageClass odd says subdivision"),
        ("placed", {"terms": within(has(ZONE, "odd"))}, Outcome.UNKNOWN, "subdivision DE-BE, which is not in it"),
        (
            "stored",
            {"storage_class": "nl-disk", "labels": {SUBDIVISION: "US-CA"}},
            Outcome.UNKNOWN,
            "its StorageClass nl-disk says country NL, but its own label says subdivision US-CA",
        ),
        # What nobody says.
        (
            "stored",
            {"storage_class": "plain"},
            Outcome.UNKNOWN,
            "its country is not known, where stored allows country",
        ),
        ("stored", {"terms": within(has(ZONE, "nowhere"))}, Outcome.UNKNOWN, "or the nodes that it is tied to"),
        ("stored", {}, Outcome.NOT_LOCATED, "no StorageClass, no node affinity and no labels that count"),
        ("stored", {"storage_class": "gone"}, Outcome.NOT_LOCATED, "a StorageClass gone that is not there"),
        ("stored", {"terms": within(has(HOST, "gone"))}, Outcome.NOT_LOCATED, "to nodes that are not there"),
        ("stored", {"terms": within(has(ZONE, "cloud"))}, Outcome.NOT_LOCATED, "to nodes that are not there"),
        ("stored", {"terms": (Term(),)}, Outcome.NOT_LOCATED, "to nodes that are not there"),
        # Where nothing is asked of storage, the place that nodes have to be in.
        ("placed", {"storage_class": "us-disk"}, Outcome.MISPLACED, "says country US"),
        ("placed", {"terms": NYC}, Outcome.MISPLACED, "say country US"),
        ("placed", {"storage_class": "plain"}, Outcome.UNKNOWN, "its country is not known"),
        ("placed", {}, Outcome.NOT_LOCATED, "nothing says where it is"),
        ("either", {"terms": AMS + FRA}, Outcome.COMPLIANT, ""),
        ("province", {"storage_class": "nl-disk", "labels": {SUBDIVISION: "NL-GR"}}, Outcome.COMPLIANT, ""),
        ("province", {"storage_class": "nl-disk"}, Outcome.UNKNOWN, "its subdivision is not known"),
        # Who runs the nodes says nothing of a disk that is only reached from them, but all of one that is in them.
        ("state", {"terms": AMS}, Outcome.COMPLIANT, ""),
        ("state", {"terms": within(has(HOST, "nl-1")), "local": True}, Outcome.COMPLIANT, ""),
        ("state", {"terms": within(has(HOST, "nl-2")), "local": True}, Outcome.MISPLACED, "deployment-model public"),
        ("wide", {"terms": FRA, "local": True}, Outcome.MISPLACED, "the node that it is on says country DE, where"),
        ("stored", {"storage_class": "nl-disk", "local": True}, Outcome.COMPLIANT, ""),
        # Where storage is asked for something else than a place, nothing may be said against the place.
        ("trusting", {"storage_class": "trusted"}, Outcome.COMPLIANT, ""),
        ("trusting", {"storage_class": "trusted", "terms": AMS}, Outcome.COMPLIANT, ""),
        ("trusting", {"storage_class": "trusted", "terms": NYC}, Outcome.MISPLACED, "say country US"),
        ("trusting", {"storage_class": "trusted", "terms": AMS + NYC}, Outcome.UNKNOWN, "not all places"),
        ("trusting", {"storage_class": "trusted-us"}, Outcome.MISPLACED, "StorageClass trusted-us says country US"),
        ("trusting", {"storage_class": "nl-disk"}, Outcome.UNKNOWN, "its example.com/trusted is not known"),
        # Storage may be asked for more, or other, than nodes.
        ("stored-only", {"storage_class": "us-disk"}, Outcome.MISPLACED, "says country US"),
        ("anything", {"storage_class": "us-disk", "terms": NYC}, Outcome.COMPLIANT, ""),
        ("anything", {}, Outcome.COMPLIANT, ""),
    ],
)
def test_a_volume_is_where_all_who_know_say_that_it_is(
    asked: str, evidence: dict[str, Any], outcome: Outcome, words: str
) -> None:
    one = judged(asked, **evidence)
    assert (one.classification, one.mode, one.outcome) == (asked, Mode.ENFORCE, outcome)
    assert words in one.why
    assert (one.why == "") is (outcome is Outcome.COMPLIANT)
    assert "\n" not in one.why


def test_a_released_volume_is_judged_as_before_and_says_so() -> None:
    assert judged("stored", "nl-disk", released=True) == judged("stored", "nl-disk")
    bound, released = judged("stored", "us-disk"), judged("stored", "us-disk", released=True)
    assert released.outcome is bound.outcome is Outcome.MISPLACED
    assert released.why == f"released, and still there: {bound.why}"


def test_nothing_can_be_said_by_a_classification_that_is_not_in_force() -> None:
    one = judged("gone", "nl-disk")
    assert (one.classification, one.outcome) == (NOT_IN_FORCE, Outcome.UNKNOWN)
    assert "names gone, but no DataClassification" in one.why


def test_a_claim_without_a_volume_waits_unless_it_had_one() -> None:
    (ask,) = asks("", "stored", None, "Audit")
    assert judge_without_volume(ask, CATALOGUE) == Judged("stored", Mode.AUDIT, Outcome.WAITING)
    lost = judge_without_volume(ask, CATALOGUE, "pv-1")
    assert (lost.outcome, lost.why) == (Outcome.NOT_LOCATED, "its volume pv-1 is not there, or is not bound to it")
    (ask,) = asks("", "gone", None, None)
    assert judge_without_volume(ask, CATALOGUE).outcome is Outcome.WAITING
    assert judge_without_volume(ask, CATALOGUE, "pv-1").outcome is Outcome.UNKNOWN


# Whatever is said


_PLACES = st.sampled_from(["NL", "DE", "US"])
_FACTS = st.fixed_dictionaries({}, optional={COUNTRY: _PLACES, MODEL: st.sampled_from(["government", "public"])})
_ZONES = st.sampled_from([None, AMS, NYC, FRA, AMS + NYC, within(has(COUNTRY, "NL")), within(has(HOST, "bare"))])


@given(
    st.sampled_from(["stored", "placed", "state", "wide", "trusting", "either"]),
    st.sampled_from(["", "gone", *CLASSES]),
    _ZONES,
    _FACTS,
    st.booleans(),
)
def test_what_is_compliant_stays_so_only_while_nobody_speaks_against_it(
    asked: str, storage_class: str, terms: tuple[Term, ...] | None, labels: dict[str, str], local: bool
) -> None:
    one = judged(asked, storage_class, terms, labels, local=local)
    against = judged(asked, storage_class, terms, labels | {COUNTRY: "US"}, local=local)
    assert against.outcome is not Outcome.COMPLIANT, "a country that no classification here allows"
    if one.outcome is Outcome.MISPLACED:
        assert against.outcome is Outcome.MISPLACED, "who speaks against it besides makes it no better"
