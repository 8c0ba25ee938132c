"""Resource isolation policy (W3C Fetch Metadata): which page sent a request, judged before its session is looked up.

A browser adds the session's cookie to a request of any page of the same site, and for SameSite=None of any page at all.
So a session counts only for pages of our own and of CORS_ALLOW_ORIGINS, for reading too (RFC 10017 section 6.1.3.3, ADR
36). What a person typed or took from their bookmarks no page sent.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from bff.errors import CsrfViolation
from bff.sessions.csrf import Reason

_OWN = frozenset({"same-origin", "none"})
_NAVIGABLE_METHODS = frozenset({"GET", "HEAD"})


def check(
    environ: Mapping[str, Any], origins: Collection[str], *, other_sites: bool = False, navigable: bool = False
) -> None:
    """Raises CsrfViolation: cross_site, same_site, or, where the browser does not say, foreign_origin.

    environ: a WSGI environment. origins: whose pages may use a session. other_sites: whether those may be of another
    site than ours. navigable: whether a person may come here by a link of any page.
    """
    reason = _reason(environ, origins, other_sites)
    if reason is not None and not (navigable and _is_top_level_navigation(environ)):
        raise CsrfViolation(code=reason)


def _reason(environ: Mapping[str, Any], origins: Collection[str], other_sites: bool) -> Reason | None:
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site in _OWN:
        return None
    page = _page(environ)
    if site is None:  # an older browser, one that speaks http, or none
        return None if page is None or page in origins else "foreign_origin"
    if site == "same-site":
        return None if page in origins else "same_site"
    # Also several values, and those that no browser sends: it is not understood, so it is refused.
    return None if site == "cross-site" and other_sites and page in origins else "cross_site"


def _page(environ: Mapping[str, Any]) -> str | None:
    """The origin of the page that sent the request, None where the browser keeps it to itself."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None:
        return str(origin).lower()
    referer = environ.get("HTTP_REFERER")
    if not referer:
        return None
    try:
        parts = urlsplit(referer)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower()


def _is_top_level_navigation(environ: Mapping[str, Any]) -> bool:
    """Whether a person follows a link: neither a frame nor a picture, nor something fetched ahead of a click."""
    if environ["REQUEST_METHOD"] not in _NAVIGABLE_METHODS or "prefetch" in environ.get("HTTP_SEC_PURPOSE", ""):
        return False
    mode, destination = environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")
    if mode is None and destination is None:
        return "HTTP_SEC_FETCH_SITE" not in environ and "HTTP_ORIGIN" not in environ
    return (mode, destination) == ("navigate", "document")
