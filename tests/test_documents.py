"""What documents point to is there: other documents and their chapters, files, tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.processes import PROJECT

DOCUMENTS = [
    PROJECT / "README.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "CONTRIBUTING.md",
    *PROJECT.glob("docs/**/*.md"),
]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
TEST = re.compile(r"`((?:tests/)?(?:[a-z]+/)*test_[a-z_]+\.py)`")


def anchors(document: Path) -> set[str]:
    """Return what links may name of a document: its headings, as GitHub and GitLab write them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    found = [(path, anchor) for path, anchor in LINK.findall(document.read_text())]
    targets = [(document.parent / path if path else document, anchor) for path, anchor in found]

    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [anchor for path, anchor in targets if anchor and anchor not in anchors(path)] == []


@pytest.mark.parametrize("name", ["docs/security.md", "docs/upgrading.md"])
def test_the_tests_that_a_document_names_are_there(name: str) -> None:
    named = set(TEST.findall((PROJECT / name).read_text()))

    assert named
    assert [path for path in named if not (PROJECT / "tests" / path.removeprefix("tests/")).is_file()] == []
