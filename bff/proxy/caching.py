"""Cache-Control for answers to requests with a credential (RFC 9111): no shared cache serves them to another user.

A cookie does not keep an answer out of a shared cache, as Authorization does (RFC 9111 section 3.5). Only a service's
`public` marks an answer as the same for all users; `max-age`, `s-maxage`, `Expires` or their absence do not.
"""

import re

from bff.settings import Auth

Headers = list[tuple[str, str]]

UNSAID = "private, no-cache"
"""For an answer without readable Cache-Control: even the user's own browser must not show it after the session's
end."""

_DIRECTIVE = re.compile(
    r'[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)(=(?:[!#$%&\'*+\-.^_`|~0-9A-Za-z]+|"(?:[^"\\]|\\.)*"))?[ \t]*(?:,|$)'
)
_EMPTY = re.compile(r"[ \t]*,")
_FOR_SHARED_CACHES = frozenset({"public", "private", "s-maxage", "proxy-revalidate"})
_CREDENTIAL = {Auth.SESSION: "Cookie", Auth.BEARER: "Authorization"}


def for_one_user(headers: Headers, auth: Auth) -> Headers:
    """The header fields of an answer, changed so that shared caches keep it from other users. auth: of the route."""
    said = directives(", ".join(value for name, value in headers if name.lower() == "cache-control"))
    if said is not None and "public" in said and not {"private", "no-store"} & said.keys():
        return headers
    # A cache of HTTP/1.0 reads Expires alone.
    kept = [(name, value) for name, value in headers if name.lower() not in ("cache-control", "expires", "vary")]
    return [*kept, ("Cache-Control", _private(said)), ("Vary", _varying(headers, _CREDENTIAL[auth]))]


def directives(value: str) -> dict[str, str] | None:
    """Name in lower case -> the directive as written; None for an unreadable or empty value."""
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
    """The directives with a plain `private`, since `private="field"` covers that field alone."""
    if said is None:
        return UNSAID
    return ", ".join(["private", *(text for name, text in said.items() if name not in _FOR_SHARED_CACHES)])


def _varying(headers: Headers, credential: str) -> str:
    named = ", ".join(value for name, value in headers if name.lower() == "vary")
    known = {name.strip().lower() for name in named.split(",")}
    if "*" in known or credential.lower() in known:
        return named
    return f"{named}, {credential}" if named.strip(", ") else credential
