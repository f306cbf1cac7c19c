"""The custom resource definitions, read as files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.api.classification import DataClassificationSpec, DeploymentModel, ExpressionOperator
from residency.api.countries import COUNTRY_SETS
from residency.api.names import (
    FINDING,
    FINDINGS,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    EvictionResult,
    EvictionState,
    Mode,
    Outcome,
    RunningPods,
)
from residency.audit.findings import MOST_EXAMPLES, State, Subject

CRDS = Path(__file__).parents[2] / "crds"
TEXT = (CRDS / "residency.dev_dataclassifications.yaml").read_text()
OF_FINDINGS = (CRDS / "residency.dev_residencyfindings.yaml").read_text()
DEFINITION, FINDING_DEFINITION = map(yaml.safe_load, (TEXT, OF_FINDINGS))

Schema = dict[str, Any]


def schema_of(definition: Schema) -> Schema:
    found: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


SCHEMA, FINDING_SCHEMA = map(schema_of, (DEFINITION, FINDING_DEFINITION))


def walk(schema: Schema, path: str, required: bool = True) -> Iterator[tuple[str, Schema, bool]]:
    """Return every schema below, with its path and whether it must be there."""
    yield path, schema, required
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}", name in schema.get("required", []))
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


PARTS = [
    part
    for schema in (SCHEMA, FINDING_SCHEMA)
    for name in ("spec", "status")
    for part in walk(schema["properties"][name], name)
]
ALTERNATIVE = SCHEMA["properties"]["spec"]["properties"]["nodes"]["properties"]["anyOf"]["items"]["properties"]


def test_the_names_are_those_of_the_code() -> None:
    spec = DEFINITION["spec"]
    assert (spec["group"], spec["versions"][0]["name"]) == (GROUP, VERSION)
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (KIND, PLURAL)
    spec = FINDING_DEFINITION["spec"]
    assert (spec["group"], spec["versions"][0]["name"]) == (GROUP, VERSION)
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (FINDING, FINDINGS)


@pytest.mark.parametrize(("path", "schema"), [(path, schema) for path, schema, _ in PARTS])
def test_every_list_and_string_has_a_bound_and_every_list_a_type(path: str, schema: Schema) -> None:
    match schema["type"]:
        case "array":
            assert "maxItems" in schema, path
            assert schema["x-kubernetes-list-type"] in {"atomic", "set", "map"}, path
        case "string":
            assert {"maxLength", "enum", "format"} & set(schema), path
        case "integer":
            assert "minimum" in schema, path
        case other:
            assert other in ("object", "boolean"), path


def test_every_field_is_described_and_every_optional_one_says_what_its_omission_means() -> None:
    for path, schema, required in PARTS:
        if not path.endswith("[]"):
            assert schema.get("description"), path
            assert required or path in ("spec", "status") or "Omitted" in schema["description"], path


def test_every_rule_has_a_message_that_fits_one_line() -> None:
    for path, schema, _ in [("", SCHEMA, True), ("", FINDING_SCHEMA, True), *PARTS]:
        for rule in schema.get("x-kubernetes-validations", []):
            assert "\n" not in rule["message"], path
            assert len(rule["message"]) > 20, path


def test_helm_can_render_it_as_a_template() -> None:
    assert "{{" not in TEXT + OF_FINDINGS


def test_the_choices_are_those_of_the_code() -> None:
    assert ALTERNATIVE["countrySets"]["items"]["enum"] == list(COUNTRY_SETS)
    assert ALTERNATIVE["controlledFromSets"]["items"]["enum"] == list(COUNTRY_SETS)
    assert ALTERNATIVE["deploymentModels"]["items"]["enum"] == list(DeploymentModel)
    operators = ALTERNATIVE["matchExpressions"]["items"]["properties"]["operator"]["enum"]
    assert operators == list(ExpressionOperator)
    assert SCHEMA["properties"]["spec"]["properties"]["runningPods"]["enum"] == list(RunningPods)
    eviction = SCHEMA["properties"]["status"]["properties"]["eviction"]["properties"]
    assert eviction["state"]["enum"] == list(EvictionState)
    assert eviction["results"]["maxItems"] >= len(EvictionResult)
    status = FINDING_SCHEMA["properties"]["status"]["properties"]
    assert [status[field]["enum"] for field in ("subject", "state", "mode")] == [list(Subject), list(State), list(Mode)]
    assert all(re.fullmatch(status["outcome"]["pattern"], outcome) for outcome in Outcome)
    assert status["examples"]["maxItems"] == MOST_EXAMPLES


def test_the_models_have_the_same_fields() -> None:
    assert set(fields(DataClassificationSpec.model_json_schema(by_alias=True))) == set(
        fields(SCHEMA["properties"]["spec"])
    )


def fields(schema: Schema) -> Iterator[str]:
    """Return the path of every field, following pydantic's references."""
    definitions = schema.get("$defs", {})

    def below(part: Schema, path: str) -> Iterator[str]:
        candidates = [part, *part.get("anyOf", [])]
        for candidate in candidates:
            resolved = definitions.get(candidate.get("$ref", "").rpartition("/")[2], candidate)
            for name, child in resolved.get("properties", {}).items():
                yield f"{path}.{name}"
                yield from below(child, f"{path}.{name}")
            if "items" in resolved:
                yield from below(resolved["items"], f"{path}[]")

    return below(schema, "spec")
