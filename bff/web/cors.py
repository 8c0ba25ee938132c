"""CORS (Fetch standard): pages of the origins in CORS_ALLOW_ORIGINS may call the BFF with the user's cookie."""

from flask import Response, make_response, request

from bff.sessions import csrf
from bff.web.context import services

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS = f"Content-Type, {csrf.HEADER}, X-Correlation-ID"
_EXPOSED = "X-Correlation-ID, X-Denied-Reason, WWW-Authenticate, RateLimit, RateLimit-Policy, Retry-After"
_PREFLIGHT_LIFE = "600"


def answer_preflight() -> Response | None:
    """Answers a preflight before the policy asks for a session, because a preflight carries no cookie."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    response = make_response("", 204)
    if _allowed():
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Allow-Headers"] = _HEADERS
        response.headers["Access-Control-Max-Age"] = _PREFLIGHT_LIFE
    return response


def allow(response: Response) -> None:
    """Lets the page read the answer, if its origin is allowed."""
    if services().settings.cors_allow_origins:
        response.vary.add("Origin")
    if _allowed():
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED


def _allowed() -> bool:
    return request.headers.get("Origin", "").lower() in services().settings.cors_allow_origins
