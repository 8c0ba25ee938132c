"""What somebody sends who wants to be taken for another, and what an application would take for identity."""

import re
from typing import Any

IDENTITY = ("X-User-ID", "X-User-Email", "X-User-Name", "X-User-Roles", "X-Session-ID", "X-Auth-Time")
LIAR = "mallory"
# Every character that a field name may have (RFC 9110 section 5.6.2) and that CGI, WSGI or PHP turn into "_".
_ALIASING = "!#$%&'*+.^_`|~"


def claims() -> list[tuple[str, str]]:
    """Header fields: every name in every spelling, and one twice. With `lies` as many as Envoy takes, which is 100."""
    spellings = [name.replace("-", separator) for name in IDENTITY for separator in "-" + _ALIASING]
    spellings += [name.replace("-", "_", 1) for name in IDENTITY] + ["x-user-id"]
    return [(name, LIAR) for name in spellings]


def lies() -> list[tuple[str, str]]:
    """About the request itself, in every proxy's words: it is for an open page of another site, from somewhere else."""
    said = [
        ("X-Forwarded-For", "192.0.2.66"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Uri", "/public/"),
        ("X-Forwarded-Method", "GET"),
        ("X-Original-URL", "https://evil.example/public/"),
        ("X-Original-Method", "GET"),
    ]
    underscored = [(name.replace("-", "_"), value) for name, value in said]
    return [*said, *underscored, ("Forwarded", "for=192.0.2.66;host=evil.example;proto=https")]


def identity(seen: dict[str, Any]) -> dict[str, list[str]]:
    """By name, whichever way the application reads names. seen: what the echo answers."""
    found: dict[str, list[str]] = {}
    wanted = {_variable(name): name for name in IDENTITY}
    for name, value in seen["headers"]:
        if _variable(name) in wanted:
            found.setdefault(wanted[_variable(name)], []).append(value)
    return found


def _variable(name: str) -> str:
    return re.sub("[^A-Z0-9]", "_", name.upper())
