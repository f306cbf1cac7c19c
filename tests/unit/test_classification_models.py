from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from classification_cases import INVALID, VALID, Invalid, Valid, resource
from residency.api.classification import (
    ConditionStatus,
    DataClassification,
    DataClassificationSpec,
    DataClassificationStatus,
    UsedBy,
)
from residency.api.names import Condition, Reason
from residency.api.schema import describe


def refusal(raw: object) -> str:
    """Return how the models refuse it."""
    with pytest.raises(ValidationError) as refused:
        DataClassification.parse(raw)
    return describe(refused.value)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.rule)
def test_models_accept(case: Valid) -> None:
    read = DataClassification.parse(resource(case.spec, case.name))
    assert DataClassificationSpec.parse(read.spec.as_json()) == read.spec


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.rule)
def test_models_refuse_naming_the_field_and_what_would_be_right(case: Invalid) -> None:
    message = refusal(resource(case.spec, case.name))
    assert message.startswith(f"{case.at}: ")
    assert case.says in message
    assert "\n" not in message


def test_every_case_has_a_rule_of_its_own() -> None:
    rules = [case.rule for case in (*VALID, *INVALID)]
    assert len(rules) == len(set(rules))
    assert len(INVALID) >= 40


def test_all_errors_are_told_and_an_empty_list_is_not_blamed_for_its_items() -> None:
    spec = {"title": "", "nodes": {"anyOf": [{"countries": ["UK"]}]}}
    assert refusal(resource(spec)) == (
        "spec.title: must be at least 1 characters long; "
        'spec.nodes.anyOf[0].countries[0]: "UK": not an ISO 3166-1 country code: '
        "write GB for the United Kingdom"
    )


def test_the_path_of_a_part_is_told_when_only_a_part_is_read() -> None:
    with pytest.raises(ValidationError) as refused:
        DataClassificationSpec.parse({"titel": "x"})
    assert (
        describe(refused.value, "spec") == "spec.title: required, and missing; spec.titel: unknown field; leave it out"
    )


@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[2J", "x" * 10_000, {"a": "\n"}, ["\n"] * 1000, None, 1e300])
def test_a_hostile_value_makes_neither_a_second_line_nor_a_long_one(hostile: object) -> None:
    message = refusal(resource({"title": hostile}))
    assert message.isprintable()
    assert len(message) < 250


def test_snake_case_is_not_what_users_write() -> None:
    assert "spec.nodes.any_of: unknown field" in refusal(resource({"title": "x", "nodes": {"any_of": []}}))


def test_a_garbled_status_does_not_make_a_classification_invalid() -> None:
    assert DataClassification.parse({**resource({"title": "x"}), "status": {"conditions": 7}}).spec.title == "x"


def test_models_are_immutable() -> None:
    spec = DataClassificationSpec(title="x")
    with pytest.raises(ValidationError):
        setattr(spec, "title", "y")  # noqa: B010 - mypy would refuse the plain assignment


def test_a_status_is_written_as_kubernetes_reads_it() -> None:
    condition = ConditionStatus(
        type=Condition.READY,
        status="True",
        reason=Reason.IN_FORCE,
        message="",
        last_transition_time=datetime(2026, 11, 23, 18, 0, 0, 123456, tzinfo=UTC),
        observed_generation=2,
    )
    status = DataClassificationStatus(observed_generation=2, used_by=UsedBy(namespaces=0), conditions=(condition,))
    assert status.as_json() == {
        "observedGeneration": 2,
        "usedBy": {"namespaces": 0},
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "InForce",
                "message": "",
                "lastTransitionTime": "2026-11-23T18:00:00Z",
                "observedGeneration": 2,
            }
        ],
    }
