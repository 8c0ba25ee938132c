"""Every line of the requirements files has its reason in docs/adr/0002-dependencies.md."""

from tests.architecture import markdown
from tests.architecture.source import ROOT

DOCUMENT = "adr/0002-dependencies.md"


def required() -> set[str]:
    lines = [
        line.strip()
        for name in ("requirements.txt", "requirements-fast.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
    ]
    return {line for line in lines if line and not line.startswith(("#", "-r "))}


def test_every_version_is_pinned() -> None:
    loose = [line for line in required() if line.count("==") != 1]
    assert not loose, f"Pin with ==, so that two installations are the same: {loose}"


def test_every_library_has_its_reason_and_every_reason_its_library() -> None:
    names = {line.partition("==")[0] for line in required()}
    reasons = markdown.rows(DOCUMENT)
    assert not names - reasons.keys(), f"Say why in docs/{DOCUMENT}: {sorted(names - reasons.keys())}"
    assert not reasons.keys() - names, (
        f"No longer required; remove from docs/{DOCUMENT}: {sorted(reasons.keys() - names)}"
    )
    assert all(len(cells) == 2 and cells[1] for cells in reasons.values())
