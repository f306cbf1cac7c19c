"""What the documents promise to cover, they cover."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from residency.api.names import Code, EvictionResult, EvictionState, Outcome
from residency.reporting.audit import AuditCollector
from residency.reporting.findings import FindingsCollector
from residency.reporting.metrics import Metrics
from residency.reporting.volumes import OF_VOLUMES, VolumeCollector

ROOT = Path(__file__).parents[2]


def test_every_code_of_a_denial_has_a_section_of_its_own() -> None:
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs" / "denials.md").read_text(), re.MULTILINE)
    assert sections == [str(code) for code in Code]


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    written = "".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    assert named
    assert named - set(re.findall(r"\bdef (test_\w+)\(", written)) == set()


def test_the_threat_model_tells_of_every_attempt_on_the_policies_themselves() -> None:
    attempts = re.findall(r'\bAttempt\(\s*"([^"]+)"', (ROOT / "tests" / "e2e" / "test_static.py").read_text())
    page = (ROOT / "docs" / "security.md").read_text()
    assert attempts
    assert [name for name in attempts if f"\n| {name} | works | {Code.PROTECTED} |\n" not in page] == []


def test_every_metric_is_described() -> None:
    metrics = Metrics()
    metrics.add(AuditCollector(_NotBegun()))
    metrics.add(VolumeCollector(_NotBegun()))
    metrics.add(FindingsCollector(_NothingFound()))
    families = text_string_to_metric_families(metrics.exposition().decode())
    ours = [f for f in families if f.name.startswith("residency_") and not f.name.endswith("_created")]
    shown = {family.name + ("_total" if family.type == "counter" else "") for family in ours}
    of_pictures = {"residency_pods", "residency_eligible_nodes", "residency_volumes"}
    of_pictures |= {"residency_located_pods", "residency_nodes", "residency_namespace_pods"}
    described = re.findall(r"^\| `(residency_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(shown | of_pictures)


class _NothingFound:
    current, not_stored, gaps_seen = (), 0, {}  # type: ignore[var-annotated]  # nothing is in it


class _NotBegun:
    restarts, synced, complete, volumes = 0, False, None, None
    watched: dict[str, Any] = {}  # noqa: RUF012 (nothing writes it)


def test_every_outcome_of_the_audit_is_described() -> None:
    pods, rest = (ROOT / "docs" / "audit.md").read_text().split("\n## Volumes\n")
    volumes, _, _ = rest.partition("\n## ")
    assert set(_described(pods)) == set(Outcome)
    assert sorted(_described(volumes)) == sorted(OF_VOLUMES)


def _described(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_result_and_state_of_evictions_is_described() -> None:
    page = (ROOT / "docs" / "eviction.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [result for result in EvictionResult if not any(f"`{result}`" in row for row in rows)] == []
    assert [state for state in EvictionState if not any(row.startswith(f"| `{state}` |") for row in rows)] == []


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
