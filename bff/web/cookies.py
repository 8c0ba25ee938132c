"""Strict cookie parser: splits the field at semicolons, as browsers write it.

A parser that is lenient with quotation marks or white space finds names that the browser never checked. A sibling host
can plant such names in spite of a `__Host-` prefix. A browser may also send one name several times, if another host or
path has planted a cookie. Then the caller may try each value, up to MOST_TRIED.
"""

from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.wrappers import Response

from bff.web.context import cookie_options, services

MOST_TRIED = 3
_BLANK = " \t"


def values(name: str) -> list[str]:
    """Returns the request's cookies of that name, in the browser's order, at most MOST_TRIED."""
    return [value for found, value in _pairs() if found == name][:MOST_TRIED]


def of_flow(name: str) -> list[str]:
    """Returns the cookies of one login or logout under way. name: without the prefix that production adds."""
    return values(services().settings.cookies.flow_prefix + name)


def of_flows() -> dict[str, str]:
    """Returns the cookies of all logins and logouts under way, and others with the prefix, by name without it."""
    prefix = services().settings.cookies.flow_prefix
    return {name.removeprefix(prefix): value for name, value in _pairs() if name.startswith(prefix)}


def keep_flow(response: Response, name: str, value: str, *, max_age: int, samesite: str = "Lax") -> None:
    """samesite: Lax for a flow that returns from another site; the browser would not send a Strict cookie then."""
    prefix = services().settings.cookies.flow_prefix
    response.set_cookie(prefix + name, value, max_age=max_age, **_of_flow(samesite))


def forget_flow(response: Response, name: str, *, samesite: str = "Lax") -> None:
    response.delete_cookie(services().settings.cookies.flow_prefix + name, **_of_flow(samesite))


def _of_flow(samesite: str) -> dict[str, Any]:
    path = services().settings.cookies.flow_path
    return cookie_options(path=path, domain=None, httponly=True, samesite=samesite)


def _pairs() -> Iterator[tuple[str, str]]:
    for pair in request.headers.get("Cookie", "").split(";"):
        name, mark, value = pair.partition("=")
        if mark:
            yield name.strip(_BLANK), value.strip(_BLANK).strip('"')
