"""Cookies as a browser wrote them: cut at semicolons, and nothing taken for a name that the browser did not.

A parser that is lenient with quotation marks or white space finds names in a field that the browser never checked, and
a sibling host can plant those in spite of a `__Host-` prefix. A browser may also send one name several times, where
another host or path has planted one; then each may be tried, up to a bound.
"""

from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.wrappers import Response

from bff.web.context import cookie_options, services

MOST_TRIED = 3
_BLANK = " \t"


def values(name: str) -> list[str]:
    """The request's cookies of that name, in the browser's order, as many as may be tried."""
    return [value for found, value in _pairs() if found == name][:MOST_TRIED]


def of_flow(name: str) -> list[str]:
    """The cookies of one login or logout under way. name: without the prefix that production adds."""
    return values(services().settings.cookies.flow_prefix + name)


def of_flows() -> dict[str, str]:
    """Those of all logins and logouts under way, by their names without the prefix, among others."""
    prefix = services().settings.cookies.flow_prefix
    return {name.removeprefix(prefix): value for name, value in _pairs() if name.startswith(prefix)}


def keep_flow(response: Response, name: str, value: str, *, max_age: int, samesite: str = "Lax") -> None:
    """samesite: Lax for what comes back from another site, which Strict would keep the cookie from."""
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
