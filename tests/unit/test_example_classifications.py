from pathlib import Path

import pytest
import yaml

from residency.api.classification import DataClassification

FOLDER = Path(__file__).parents[2] / "examples" / "classifications"
FILES = sorted(FOLDER.glob("*.yaml"))
EXAMPLES = {path.stem: DataClassification.parse(yaml.safe_load(path.read_text())) for path in FILES}


def test_there_are_dutch_and_european_examples() -> None:
    assert {"nl-openbaar", "nl-depv", "nl-stg-geheim", "nl-tbb1", "eu-gdpr", "eu-seal-4"} <= set(EXAMPLES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_named_as_its_file_and_says_where_it_comes_from(path: Path) -> None:
    example = EXAMPLES[path.stem]
    assert example.metadata.name == path.stem
    assert example.spec.references
    assert path.read_text().startswith("# Source: ")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_includes_only_other_examples_and_never_in_a_circle(name: str) -> None:
    seen: list[str] = []
    to_see = [name]
    while to_see:
        current = to_see.pop()
        assert current in EXAMPLES
        assert current not in seen or current != name, f"{name} includes itself by way of {seen}"
        if current not in seen:
            seen.append(current)
            to_see.extend(EXAMPLES[current].spec.includes)


def test_an_example_demands_something_itself_or_by_what_it_includes() -> None:
    for name, example in EXAMPLES.items():
        assert example.spec.nodes or example.spec.includes, name
