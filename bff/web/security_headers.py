"""Security headers of our answers (CSP Level 3, Fetch, HTML, RFC 6797).

A service behind the BFF sets its own policy for its answers; the BFF adds only nosniff and HSTS to them.
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
# Isolates our page's window from pages of other origins that opened it or that it opens.
_OPENER = ("Cross-Origin-Opener-Policy", "same-origin")

ERROR_PAGE = (*_EVERY[:2], ("Content-Security-Policy", _BARE_POLICY), _OPENER)
"""Headers of a page with text and links only."""


def page_policy(form_targets: Iterable[str] = ()) -> str:
    """form_targets: further origins that a form's answer may redirect to. Chromium checks each redirect after a form
    against the policy of the form's page."""
    return _POLICY.format(" ".join(["'self'", *form_targets]))


def add(response: Response, *, own: bool, hsts: int) -> None:
    """own: whether the answer is ours rather than a service's. hsts: seconds, 0 for none."""
    for name, value in _EVERY if own else (_NOSNIFF,):
        response.headers.setdefault(name, value)
    if own:
        response.headers.setdefault("Content-Security-Policy", page_policy())
        # Not for redirects, which Flask types as HTML: a login in a popup would lose its opener.
        if response.mimetype == HTML and not 300 <= response.status_code < 400:
            response.headers.setdefault(*_OPENER)
    if hsts:
        response.headers["Strict-Transport-Security"] = f"max-age={hsts}"
