"""The alerts and the dashboard that the chart ships hold together with the runbook and with the documented metrics."""

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

from alert_cases import CASES
from dashboard.__main__ import FILE, rendered
from dashboard.panels import ROWS

ROOT: Final = Path(__file__).parents[2]
GROUPS: Final = yaml.safe_load((ROOT / "charts/residency/files/rules/residency.yaml").read_text())["groups"]
RULES: Final[dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
PANELS: Final = [panel for row in ROWS.values() for panel in row]


def sections() -> dict[str, str]:
    """The runbook by what its headings are linked as."""
    found = re.split(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    return {title.lower(): text for title, text in zip(found[::2], found[1::2], strict=True)}


def test_every_alert_says_how_bad_it_is_and_what_it_is() -> None:
    for name, rule in RULES.items():
        assert name.startswith("Residency")
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        assert all(rule["annotations"].get(part) for part in ("summary", "description", "runbook_url")), name


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    linked = [rule["annotations"]["runbook_url"] for rule in RULES.values()]
    assert linked == [f"docs/runbook.md#{name.lower()}" for name in RULES]
    assert {url.partition("#")[2] for url in linked} == set(sections())


def test_every_section_says_what_it_means_what_to_look_at_and_what_to_do() -> None:
    for title, text in sections().items():
        assert [text.count(f"**{part}**") for part in ("It means", "Look at", "Do")] == [1, 1, 1], title


def test_of_every_alert_it_is_tested_that_it_fires_and_that_it_does_not() -> None:
    assert {case.alert for case in CASES} == {case.alert for case in CASES if case.near} == set(RULES)


def test_the_chart_has_the_dashboard_as_its_panels_say() -> None:
    assert FILE.read_text() == rendered(), "run `make dashboard`"


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(rendered())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_that_is_asked_for_is_described() -> None:
    asked = [rule["expr"] for rule in RULES.values()] + [query for panel in PANELS for query, _ in panel.queries]
    named = {re.sub(r"_bucket$", "", name) for text in asked for name in re.findall(r"\bresidency_\w+", text)}
    described = re.findall(r"^\| `(residency_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert named - set(described) == set()


def test_every_panel_says_what_it_means() -> None:
    assert [panel.title for panel in PANELS if not panel.says] == []
    assert len({panel.title for panel in PANELS}) == len(PANELS)
