"""What statuses say."""

from typing import Any

from residency.api.classification import DataClassificationStatus
from residency.api.names import Reason
from residency.reporting.status import Judgement, Standing, Usage, change, enforced

NOW = "2026-11-23T12:00:00Z"
LATER = "2026-11-23T13:00:00Z"
READY = Judgement("True", Reason.IN_FORCE, "Revision abc was seen.")
NONE_WAITING = enforced(())


def standing(ready: Judgement = READY, usage: Usage = Usage()) -> Standing:  # noqa: B008 (frozen)
    placement = {
        "generation": 3,
        "alternatives": [{"requirements": [{"key": "k", "operator": "In", "values": ["NL"]}]}],
        "tolerations": [{"key": "t", "operator": "Exists"}],
    }
    return Standing(
        3, "abc", placement, [{"name": "eu", "version": "2020-02-01"}], usage, ready=ready, enforced=NONE_WAITING
    )


def times(status: dict[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["lastTransitionTime"] for condition in status["conditions"]}


def test_a_status_is_what_the_custom_resource_allows() -> None:
    usage = Usage(tuple(f"ns-{number}" for number in range(30)), ("nl-depv",))
    written = standing(usage=usage).to_json({}, NOW)
    assert DataClassificationStatus.parse(written).observed_generation == 3
    assert written["usedBy"]["namespaces"] == 30
    assert len(written["usedBy"]["namespaceNames"]) == 10


def test_a_status_that_says_the_same_is_not_written() -> None:
    before = standing().to_json({}, NOW)
    assert change(before, standing().to_json(before, LATER)) == {}


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    before = standing().to_json({}, NOW)
    reworded = standing(Judgement("True", Reason.IN_FORCE, "other words")).to_json(before, LATER)
    assert times(reworded) == {"Ready": NOW, "Enforced": NOW}
    unready = standing(Judgement("False", Reason.NOT_YET_IN_FORCE, "no")).to_json(before, LATER)
    assert times(unready) == {"Ready": LATER, "Enforced": NOW}


def test_conditions_of_others_are_kept() -> None:
    theirs = {"type": "Reviewed", "status": "True", "lastTransitionTime": NOW}
    assert theirs in standing().to_json({"conditions": [theirs]}, LATER)["conditions"]


def test_rubbish_in_a_status_is_replaced() -> None:
    kinds: list[dict[str, Any]] = [
        {"conditions": "none"},
        {"conditions": [1, {"type": 5}, {}]},
        {"conditions": None},
        {"usedBy": []},
    ]
    for rubbish in kinds:
        written = standing().to_json(rubbish, NOW)
        DataClassificationStatus.parse(written)
        assert change(rubbish, written)


def test_what_is_no_longer_said_is_removed() -> None:
    assert change({"revision": "abc", "stale": 1}, {"revision": "abc"}) == {"stale": None}


def test_waiting_pods_are_counted_named_and_told_what_to_do() -> None:
    judged = enforced([f"ns/pod-{number}" for number in range(8)])
    assert judged.status == "False"
    assert judged.reason == Reason.PODS_WAITING
    assert "8 unscheduled pods" in judged.message
    assert "ns/pod-0, ns/pod-1, ns/pod-2, ns/pod-3, ns/pod-4 and 3 more" in judged.message
    assert "Delete them" in judged.message


def test_long_messages_are_cut() -> None:
    written = standing(Judgement("False", Reason.INVALID, "x" * 5000)).to_json({}, NOW)
    assert len(written["conditions"][0]["message"]) == 1024


def test_usage_names_a_few_of_many_users() -> None:
    assert not Usage()
    assert str(Usage(("a",), ("c",))) == "namespace a and classification c"
    assert str(Usage(tuple("abcdefg"))) == "namespaces a, b, c, d, e and 2 more"
