"""What documents point to exists: files that links lead to, headings behind a #, and files named as proof."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/**/*.md")]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
NAMED = re.compile(r"`((?:tests|bff|deploy|config|benchmarks|docs)/[\w./-]*[\w/])`")


def named(document: Path) -> Iterator[str]:
    """Of decisions, only what still holds must be there: they tell how things came to be."""
    if document.parent.name != "adr":
        yield from NAMED.findall(document.read_text())


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(document.read_text()):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{path} is not there"
        assert not anchor or anchor in anchors(target), f"{path} has no heading for #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(document: Path) -> None:
    missing = [name for name in named(document) if not (ROOT / name).exists()]
    assert not missing


def test_the_index_has_every_page() -> None:
    listed = {path for path, _ in LINK.findall((ROOT / "docs" / "README.md").read_text())}
    assert {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"} <= listed


def test_every_claim_about_security_names_what_shows_it() -> None:
    sections = re.split(r"^## ", (ROOT / "docs" / "security.md").read_text(), flags=re.MULTILINE)
    claims = [
        line
        for section in sections if section.startswith(("RFC", "Beyond"))
        for line in section.splitlines() if line.startswith("| ") and not line.startswith(("| section", "| threat"))
    ]  # fmt: skip
    assert len(claims) > 25
    unproved = [line for line in claims if not re.search(r"`(tests|bff)/[^`]+\.py` \|$", line)]
    assert not unproved


def test_the_picture_is_one_and_small() -> None:
    picture = (ROOT / "docs" / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 200_000
