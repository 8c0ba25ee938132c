"""Problem details (RFC 9457): renders errors as JSON, or for a navigation as a small page with the same facts."""

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from bff.errors import BFFError
from bff.observability import logs

PROBLEM = "application/problem+json"
PAGE = "text/html; charset=utf-8"


def respond(error: BFFError, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers a request that Flask does not see (PEP 3333), always with problem details: its clients are programs."""
    correlation_id = logs.correlation_id.get() or logs.correlation_id_for(environ.get("HTTP_X_CORRELATION_ID"))
    content, content_type = body(facts(error, correlation_id), navigation=False)
    fields = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
        ("X-Correlation-ID", correlation_id),
        *headers(error),
    ]
    start_response(f"{error.status} {error.title}", fields)
    return () if environ["REQUEST_METHOD"] == "HEAD" else (content,)


def is_navigation(environ: Mapping[str, Any]) -> bool:
    """Whether a user sees the answer: Sec-Fetch-Mode is `navigate`, or in older browsers Accept prefers HTML."""
    mode = environ.get("HTTP_SEC_FETCH_MODE")
    if mode is not None:
        return bool(mode == "navigate")
    first = environ.get("HTTP_ACCEPT", "").split(",", 1)[0].partition(";")[0].strip().lower()
    return first in ("text/html", "application/xhtml+xml")


def facts(error: BFFError, correlation_id: str, login_url: str | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "type": f"urn:problem-type:bff:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "correlation_id": correlation_id,
    }
    if error.detail:
        content["detail"] = error.detail
    if error.oauth_error:
        content["error"] = error.oauth_error
    if login_url and _wants_login(error):
        content["login_url"] = login_url
    return content


def headers(error: BFFError) -> list[tuple[str, str]]:
    """Returns the error's own headers, its code as X-Denied-Reason, and a challenge if a login is wanted."""
    extra = list(error.headers)
    if error.status in (401, 403, 503):
        extra.append(("X-Denied-Reason", error.code))
    if _wants_login(error):
        extra.append(("WWW-Authenticate", 'Cookie realm="bff"'))
    return extra


def _wants_login(error: BFFError) -> bool:
    """Whether a 401 asks for a session; one with its own challenge asks for another credential."""
    own = any(name == "WWW-Authenticate" for name, _ in error.headers)
    return error.status == HTTPStatus.UNAUTHORIZED and not own


def body(content: Mapping[str, Any], *, navigation: bool) -> tuple[bytes, str]:
    """Returns (body, content type)."""
    if navigation:
        return _page(content).encode(), PAGE
    return json.dumps(content).encode(), PROBLEM


def _page(content: Mapping[str, Any]) -> str:
    """Returns a page without a template, so that it works when everything else is broken."""
    links = ""
    if "login_url" in content:
        links += f'<p><a href="{escape(content["login_url"])}">Log in</a></p>'
    if "retry_url" in content:
        links += f'<p><a href="{escape(content["retry_url"])}">Try again</a></p>'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(content['title'])}</title>"
        f"<h1>{escape(content['title'])}</h1><p>{escape(content.get('detail', ''))}</p>{links}"
        f"<p><small>{content['status']} {escape(content['code'])}, reference"
        f" {escape(content['correlation_id'])}</small></p></html>"
    )
