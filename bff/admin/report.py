"""Output of the operators' command: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

_TIMES = ("since", "last_seen", "expires_at")
_COLUMNS = ("id", "user", "sub", "idp", "device", "network", *_TIMES)


def as_json(content: Any) -> str:
    return json.dumps(content, indent=1)


def sessions(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a heading and a line for each session. Times are in UTC."""
    names = [name for name in _COLUMNS if rows and name in rows[0]]
    heading = [name.replace("_", " ").upper() for name in names]
    return _aligned([heading, *([_cell(name, row[name]) for name in names] for row in rows)])


def stats(numbers: dict[str, Any]) -> str:
    lines: list[list[str]] = []
    for name, value in numbers.items():
        if name == "idps":
            lines += [[f"  at {alias}", str(count)] for alias, count in value.items()]
        else:
            lines.append([name, str(value)])
    return _aligned(lines)


def _cell(name: str, value: Any) -> str:
    if name in _TIMES:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(value) or "-"


def _aligned(lines: Iterable[Sequence[str]]) -> str:
    """Aligns columns, without control characters: a provider's text must not move a terminal's cursor."""
    safe = [["".join(c if c.isprintable() else "?" for c in cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in safe
    )
