"""Cache-Control for answers that a credential opened (RFC 9111): a shared cache keeps none of them for somebody else.

A cookie does not keep an answer out of a shared cache, as Authorization does (RFC 9111 section 3.5). Only `public` is a
service's word that an answer is everybody's; `max-age`, `s-maxage`, `Expires` and silence are not.
"""

import re

from bff.settings import Auth

Headers = list[tuple[str, str]]

UNSAID = "private, no-cache"
"""For an answer without a word about caching, or with none that can be read: it is not even its own browser's after the
session's end."""

_DIRECTIVE = re.compile(
    r'[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)(=(?:[!#$%&\'*+\-.^_`|~0-9A-Za-z]+|"(?:[^"\\]|\\.)*"))?[ \t]*(?:,|$)'
)
_EMPTY = re.compile(r"[ \t]*,")
_FOR_SHARED_CACHES = frozenset({"public", "private", "s-maxage", "proxy-revalidate"})
_CREDENTIAL = {Auth.SESSION: "Cookie", Auth.BEARER: "Authorization"}


def for_one_user(headers: Headers, auth: Auth) -> Headers:
    """The header fields of an answer to whoever `auth` let in, kept from everybody else."""
    said = directives(", ".join(value for name, value in headers if name.lower() == "cache-control"))
    if said is not None and "public" in said and not {"private", "no-store"} & said.keys():
        return headers
    # A cache that only knows HTTP/1.0 would go by Expires alone.
    kept = [(name, value) for name, value in headers if name.lower() not in ("cache-control", "expires", "vary")]
    return [*kept, ("Cache-Control", _private(said)), ("Vary", _varying(headers, _CREDENTIAL[auth]))]


def directives(value: str) -> dict[str, str] | None:
    """name in lower case -> the directive as it was written; None for what cannot be read, or says nothing."""
    found: dict[str, str] = {}
    at = 0
    while at < len(value):
        if empty := _EMPTY.match(value, at):
            at = empty.end()
        elif directive := _DIRECTIVE.match(value, at):
            found[directive[1].lower()] = directive[1] + (directive[2] or "")
            at = directive.end()
        else:
            return None
    return found or None


def _private(said: dict[str, str] | None) -> str:
    """`private="field"` is only about that field, so it is not enough."""
    if said is None:
        return UNSAID
    return ", ".join(["private", *(text for name, text in said.items() if name not in _FOR_SHARED_CACHES)])


def _varying(headers: Headers, credential: str) -> str:
    named = ", ".join(value for name, value in headers if name.lower() == "vary")
    known = {name.strip().lower() for name in named.split(",")}
    if "*" in known or credential.lower() in known:
        return named
    return f"{named}, {credential}" if named.strip(", ") else credential
