"""Resource isolation policy (W3C Fetch Metadata): checks which page sent a request, before the session look-up.

A browser adds the session's cookie to requests from all pages of the same site; with SameSite=None from any page. So a
session counts only for our own pages and those of CORS_ALLOW_ORIGINS, for reading too (RFC 10017 section 6.1.3.3, ADR
36). A typed address or a bookmark counts as our own.
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
    """Raises CsrfViolation: cross_site, same_site, or foreign_origin when the browser sends no Sec-Fetch-Site.

    environ: a WSGI environment. origins: origins with pages that may use a session. other_sites: whether these may
    belong to another site. navigable: whether a user may follow a link from any page to this address.
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
    # Refuses also several values and unknown ones, which no browser sends.
    return None if site == "cross-site" and other_sites and page in origins else "cross_site"


def _page(environ: Mapping[str, Any]) -> str | None:
    """Returns the origin of the page that sent the request, None if the browser does not reveal it."""
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
    """Whether a user follows a link; false for frames, images and prefetches."""
    if environ["REQUEST_METHOD"] not in _NAVIGABLE_METHODS or "prefetch" in environ.get("HTTP_SEC_PURPOSE", ""):
        return False
    mode, destination = environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")
    if mode is None and destination is None:
        return "HTTP_SEC_FETCH_SITE" not in environ and "HTTP_ORIGIN" not in environ
    return (mode, destination) == ("navigate", "document")
