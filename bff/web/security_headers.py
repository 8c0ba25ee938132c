"""Security headers: what browsers are told about our answers (CSP Level 3, Fetch, HTML, RFC 6797).

A service behind the BFF knows best what its own answers may do; only nosniff and HSTS are the site's.
"""

from collections.abc import Iterable

from flask import Response

HTML = "text/html"
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_EVERY = (
    _NOSNIFF,
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_POLICY = "default-src 'self'; form-action {}; frame-ancestors 'none'; base-uri 'none'"
_BARE_POLICY = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
# A page that opened ours, or that ours opens, gets no hold of its window.
_OPENER = ("Cross-Origin-Opener-Policy", "same-origin")

ERROR_PAGE = (*_EVERY[:2], ("Content-Security-Policy", _BARE_POLICY), _OPENER)
"""Of a page that is text and links."""


def page_policy(form_targets: Iterable[str] = ()) -> str:
    """form_targets: origins that a form's answer may lead to besides our own: Chromium asks the policy of the page with
    the form about each redirect that follows."""
    return _POLICY.format(" ".join(["'self'", *form_targets]))


def add(response: Response, *, own: bool, hsts: int) -> None:
    """own: whether it is our answer rather than a service's. hsts: seconds, 0 for none."""
    for name, value in _EVERY if own else (_NOSNIFF,):
        response.headers.setdefault(name, value)
    if own:
        response.headers.setdefault("Content-Security-Policy", page_policy())
        # Not of a redirect, which is HTML to Flask: a login in a window of its own would lose who opened it.
        if response.mimetype == HTML and not 300 <= response.status_code < 400:
            response.headers.setdefault(*_OPENER)
    if hsts:
        response.headers["Strict-Transport-Security"] = f"max-age={hsts}"
