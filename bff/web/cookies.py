"""Cookies as a browser wrote them: cut at semicolons, and nothing taken for a name that the browser did not.

A parser that is lenient with quotation marks or white space finds names in a field that the browser never checked, and
a sibling host can plant those in spite of a `__Host-` prefix. A browser may also send one name several times, where
another host or path has planted one; then each may be tried, up to a bound.
"""

from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.wrappers import Response

from bff.oidc.attempts import ATTEMPT_LIFE
from bff.web.context import cookie_options, services

MOST_TRIED = 3
_BLANK = " \t"


def values(name: str) -> list[str]:
    """The request's cookies of that name, in the browser's order, as many as may be tried."""
    return [value for found, value in _pairs() if found == name][:MOST_TRIED]


def login_attempt(name: str) -> list[str]:
    """The cookies of one login attempt. name: as bff.oidc.attempts has it."""
    return values(services().settings.cookies.login_prefix + name)


def login_attempts() -> dict[str, str]:
    """Those of all attempts, by the names that bff.oidc.attempts has for them, among others."""
    prefix = services().settings.cookies.login_prefix
    return {name.removeprefix(prefix): value for name, value in _pairs() if name.startswith(prefix)}


def keep_login_attempt(response: Response, name: str, value: str) -> None:
    cookies = services().settings.cookies
    response.set_cookie(cookies.login_prefix + name, value, max_age=ATTEMPT_LIFE, **_of_attempts())


def forget_login_attempt(response: Response, name: str) -> None:
    response.delete_cookie(services().settings.cookies.login_prefix + name, **_of_attempts())


def _of_attempts() -> dict[str, Any]:
    """The provider's answer comes from another site, which Strict would keep the cookie from."""
    path = services().settings.cookies.login_path
    return cookie_options(path=path, domain=None, httponly=True, samesite="Lax")


def _pairs() -> Iterator[tuple[str, str]]:
    for pair in request.headers.get("Cookie", "").split(";"):
        name, mark, value = pair.partition("=")
        if mark:
            yield name.strip(_BLANK), value.strip(_BLANK).strip('"')
