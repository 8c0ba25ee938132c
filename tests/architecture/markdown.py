"""The tables of a document in docs/."""

from tests.architecture.source import ROOT


def rows(document: str) -> dict[str, list[str]]:
    """The cells of every table row whose first cell is `code`, by that code. Raises ValueError for a repeated one."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / document).read_text().splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        name = cells[0].strip("` ")
        if name in found:
            raise ValueError(f"docs/{document} explains {name} twice")
        found[name] = [cell.strip(" |") for cell in cells]
    return found
