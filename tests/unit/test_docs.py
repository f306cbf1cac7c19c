"""What the documents promise to cover, they cover."""

import re
from pathlib import Path

import pytest

from residency.api.names import Code

ROOT = Path(__file__).parents[2]


def test_every_code_of_a_denial_has_a_section_of_its_own() -> None:
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs" / "denials.md").read_text(), re.MULTILINE)
    assert sections == [str(code) for code in Code]


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
