"""May this request pass? Asked by a reverse proxy (Traefik forwardAuth, Caddy forward_auth) for every request.

A WSGI callable in front of Flask: this decides what the whole system costs, so it does little, and that with label
children resolved at start-up and headers prepared when a session enters the cache. It never reads its own query
string, since some proxies append the client's.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from bff.errors import BFFError, BindingMismatch, InvalidReturnUrl, SessionEnded, SessionExpired, Unauthenticated
from bff.observability import labels, logs, metrics
from bff.observability.traces import exemplar
from bff.oidc.return_url import ReturnUrls
from bff.sessions.cache import Entry, Headers
from bff.sessions.gate import Gate
from bff.web import problem
from bff.web.client import Clients

Environ = dict[str, Any]
StartResponse = Callable[[str, Headers], Any]

PATHS = frozenset({"/auth/verify", "/auth/forward"})
_OUTCOMES: dict[type[BFFError], str] = {
    Unauthenticated: "unauthenticated",
    SessionEnded: "unauthenticated",
    SessionExpired: "expired",
    BindingMismatch: "binding",
}
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


class Verify:
    def __init__(
        self,
        app: Callable[[Environ, Any], Iterable[bytes]],
        gate: Gate,
        clients: Clients,
        return_urls: ReturnUrls,
        login_url: str,
    ) -> None:
        """app: who answers everything else. login_url: where a person logs in."""
        self._app = app
        self._gate = gate
        self._clients = clients
        self._return_urls = return_urls
        self._login_url = login_url
        self._verify_duration = {
            status: metrics.VERIFY_DURATION.labels(status)
            for status in ("allowed", "unauthenticated", "expired", "binding", "error")
        }
        self._http: dict[tuple[str, str, int], Callable[[float, metrics.Exemplar], None]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path not in PATHS:
            return self._app(environ, start_response)
        start = time.perf_counter()
        correlation_id = logs.correlation_id_for(environ.get("HTTP_X_CORRELATION_ID"))
        logged_as = logs.correlation_id.set(correlation_id)
        outcome, status = "error", 500
        try:
            entry = self._gate.admit(environ.get("HTTP_COOKIE", ""), self._clients.of(environ))
            start_response(
                "200 OK", [*(entry.identity or identity_headers(entry)), ("X-Correlation-ID", correlation_id)]
            )
            outcome, status = "allowed", 200
            return ()
        except BFFError as err:
            outcome, status = _OUTCOMES.get(type(err), "error"), err.status
            return self._refuse(err, environ, start_response, correlation_id)
        finally:
            logs.correlation_id.reset(logged_as)
            seconds = time.perf_counter() - start
            traced = exemplar()
            self._verify_duration[outcome].observe(seconds, traced)
            self._http_recorder(environ["REQUEST_METHOD"], path, status)(seconds, traced)

    def _refuse(
        self, error: BFFError, environ: Environ, start_response: StartResponse, correlation_id: str
    ) -> Iterable[bytes]:
        content = problem.facts(error, correlation_id, self._login_for(environ))
        body, content_type = problem.body(content, navigation=problem.is_navigation(environ))
        start_response(
            f"{error.status} {error.title}",
            [
                ("Content-Type", content_type),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("X-Correlation-ID", correlation_id),
                *problem.headers(error),
            ],
        )
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def _login_for(self, environ: Environ) -> str:
        """Where to log in, and back to the page that was asked for when it is one that we may send a browser to."""
        if not self._clients.trusts(environ.get("REMOTE_ADDR", "")):
            return self._login_url
        scheme, host = environ.get("HTTP_X_FORWARDED_PROTO", ""), environ.get("HTTP_X_FORWARDED_HOST", "")
        try:
            original = self._return_urls.checked(f"{scheme}://{host}{environ.get('HTTP_X_FORWARDED_URI', '/')}")
        except InvalidReturnUrl:
            return self._login_url
        return f"{self._login_url}?return_to={quote(original, safe='')}"

    def _http_recorder(self, method: str, path: str, status: int) -> Callable[[float, metrics.Exemplar], None]:
        key = (labels.method(method), path, status)
        record = self._http.get(key)
        if record is None:
            record = self._http[key] = metrics.http_recorder(*key)
        return record


def identity_headers(entry: Entry) -> Headers:
    """Who it is, as headers for the application; kept with the cache entry from now on."""
    session = entry.session
    entry.identity = [
        ("Content-Length", "0"),
        ("Cache-Control", "no-store"),
        ("X-User-ID", header_value(session.user.id)),
        ("X-Session-ID", session.reference),
        ("X-Auth-Time", str(session.auth_time)),
    ]
    return entry.identity


def header_value(text: str) -> str:
    """An identifier as a header value: whatever is not printable ASCII is percent-encoded, and so is the percent
    sign, so that two different identifiers never become the same header."""
    return quote(text, safe=_HEADER_SAFE)
