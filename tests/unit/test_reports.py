"""Reports: what OpenReports reads of findings, bounded, and what complies."""

from dataclasses import replace
from typing import Any

import pytest

from residency.api.names import NO_CLASSIFICATION, SOVEREIGN, ClassificationName, Fact, Mode, Outcome
from residency.audit.deviations import compliant
from residency.audit.findings import Example, Finding, Subject
from residency.audit.picture import Picture
from residency.audit.remedies import OF_PODS
from residency.audit.shapes import PodShapes
from residency.core.audit import NodeView
from residency.core.catalogue import restore
from residency.core.judge import NamespaceLabels
from residency.core.placement import Placement
from residency.core.requirements import Operator, Requirement
from residency.core.workload import PodView, Term
from residency.reporting.reports import MOST_RESOURCES, MOST_RESULTS, reports

NL = ClassificationName("nl")
DUTCH = Requirement(Fact.COUNTRY.value, Operator.IN, ("NL",))
MISPLACED = Finding(
    namespace="ns",
    classification="nl",
    subject=Subject.PODS,
    outcome=Outcome.MISPLACED,
    mode=Mode.ENFORCE,
    count=7,
    examples=tuple(Example(f"web-{n}", "n", "its node has country US, where nl allows country NL") for n in range(7)),
    first_seen=1_795_435_200.5,
    last_seen=1_795_435_300.5,
    cause="node n was relabelled",
    remedy=OF_PODS[Outcome.MISPLACED],
    reference=" Why: the law.",
)


def the_report(*findings: Finding, passing: dict[str, int] | None = None) -> dict[str, Any]:
    made = reports(findings, {"ns": passing or {}})
    assert made.keys() == {"ns"}
    return made["ns"]


def test_a_report_says_what_is_the_matter_where_and_what_to_do() -> None:
    report = the_report(MISPLACED, passing={"nl": 12, "eu": 1})
    assert report["metadata"] == {
        "name": "residency",
        "namespace": "ns",
        "labels": {"app.kubernetes.io/managed-by": "residency"},
    }
    assert (report["source"], report["scope"]["kind"], report["scope"]["name"]) == ("residency", "Namespace", "ns")
    assert report["summary"] == {"pass": 13, "fail": 7, "warn": 0, "error": 0, "skip": 0}
    failed, *passed = report["results"]
    assert failed == {
        "source": "residency",
        "category": "Data residency",
        "policy": "nl",
        "rule": "Misplaced",
        "result": "fail",
        "severity": "high",
        "scored": True,
        "message": "7 pods; web-0 on node n: its node has country US, where nl allows country NL.",
        "resources": [
            {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": f"web-{n}"} for n in range(MOST_RESOURCES)
        ],
        "properties": {
            "count": "7",
            "mode": "Enforce",
            "cause": "node n was relabelled",
            "remedy": OF_PODS[Outcome.MISPLACED],
            "reference": "Why: the law.",
        },
        "timestamp": {"seconds": 1_795_435_200, "nanos": 0},
    }
    assert [(one["policy"], one["rule"], one["result"]) for one in passed] == [
        ("eu", "Compliant", "pass"),
        ("nl", "Compliant", "pass"),
    ]


@pytest.mark.parametrize(
    ("outcome", "mode", "says"),
    [
        (Outcome.MISPLACED, Mode.ENFORCE, "fail"),
        (Outcome.MISPLACED, Mode.WARN, "warn"),
        (Outcome.UNPINNED, Mode.ENFORCE, "fail"),
        (Outcome.UNPINNED, Mode.AUDIT, "warn"),
        (Outcome.INTRUDER, None, "fail"),
        (Outcome.UNKNOWN, Mode.ENFORCE, "error"),
        (Outcome.UNKNOWN, Mode.AUDIT, "error"),
        (Outcome.NOT_LOCATED, Mode.WARN, "error"),
        (Outcome.UNPLACEABLE, Mode.ENFORCE, "skip"),
    ],
)
def test_an_outcome_and_its_mode_say_what_the_result_is(outcome: Outcome, mode: Mode | None, says: str) -> None:
    report = the_report(replace(MISPLACED, outcome=outcome, mode=mode))
    (result,) = report["results"]
    assert (result["result"], result["scored"]) == (says, says == "fail")
    assert report["summary"] == {"pass": 0, "fail": 0, "warn": 0, "error": 0, "skip": 0} | {says: 7}


def test_what_somebody_lives_with_is_a_warning_with_his_words() -> None:
    report = the_report(replace(MISPLACED, acknowledged="moves in March"))
    (result,) = report["results"]
    assert (result["result"], result["properties"]["acknowledged"]) == ("warn", "moves in March")


def test_what_is_resolved_is_not_reported() -> None:
    report = the_report(replace(MISPLACED, resolved=1.0))
    assert (report["results"], report["summary"]["fail"]) == ([], 0)


def test_what_is_in_no_namespace_is_in_no_report() -> None:
    observation = replace(MISPLACED, namespace="", subject=Subject.OBSERVATION, outcome=None)
    assert reports([observation], {}) == {}
    assert reports([replace(observation, namespace="ns")], {}) == {}


def test_an_unclassified_namespace_has_a_report_only_while_something_is_the_matter() -> None:
    intruder = replace(
        MISPLACED, namespace="other", classification=NO_CLASSIFICATION, outcome=Outcome.INTRUDER, mode=None
    )
    assert reports([intruder], {"ns": {}}).keys() == {"ns", "other"}
    assert reports([], {"ns": {}}).keys() == {"ns"}


def test_volumes_are_reported_as_claims() -> None:
    (result,) = the_report(replace(MISPLACED, subject=Subject.VOLUMES, count=1))["results"]
    assert result["resources"][0]["kind"] == "PersistentVolumeClaim"
    assert result["message"].startswith("1 volume; web-0 ")


def test_a_report_has_so_many_results_at_most_the_worst_ones_and_says_so() -> None:
    many = [replace(MISPLACED, classification=f"c-{n}", outcome=Outcome.UNPLACEABLE) for n in range(MOST_RESULTS)]
    report = the_report(*many, MISPLACED, passing={"nl": 1})
    assert len(report["results"]) == MOST_RESULTS == report["configuration"]["limits"]["maxResults"]
    assert report["results"][0]["rule"] == "Misplaced"
    assert report["summary"] == {"pass": 1, "fail": 7, "warn": 0, "error": 0, "skip": 7 * MOST_RESULTS}


def test_a_report_that_says_the_same_is_the_same_whenever_it_was_last_seen() -> None:
    assert the_report(replace(MISPLACED, last_seen=2e9)) == the_report(MISPLACED)


# From a picture


@pytest.fixture
def picture() -> Picture:
    picture, shapes = Picture(("kube-system",)), PodShapes()
    picture.set_catalogue({NL: restore(NL, "Dutch", ("the law",), Placement(((DUTCH,),)))})
    for namespace, labels in (("ns", NamespaceLabels("nl")), ("low", NamespaceLabels("nl", "Audit"))):
        picture.put_namespace(namespace, labels)
    picture.put_node(NodeView.of("n", {DUTCH.key: "NL"}, (SOVEREIGN,)))
    picture.put_node(NodeView.of("us", {DUTCH.key: "US"}))
    for node, pinned, namespace, names in (
        ("n", True, "ns", ("a", "b")),
        ("us", True, "ns", ("i", "h", "g", "f", "e", "d", "c")),
        ("n", False, "low", ("j",)),
        ("n", False, "other", ("k",)),
        ("n", False, "kube-system", ("l",)),
    ):
        view = PodView({}, (Term((DUTCH,)),) if pinned else None, node_name=node)
        for name in names:
            picture.put_pod((namespace, name), node, shapes.of(view))
    return picture


def test_what_complies_is_counted_by_classification(picture: Picture) -> None:
    assert compliant(picture, "ns") == {"nl": 2}
    assert compliant(picture, "low") == compliant(picture, "nowhere") == {}
