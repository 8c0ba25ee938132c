"""Forward auth (verify): answers a reverse proxy's auth check for every request, in its dialect (forward_auth.py).

A WSGI callable in front of Flask. Its cost dominates the whole system, so it does little per request. It resolves label
children at start-up, and prepares headers once per session in the cache. It never reads its own query string, because
some proxies append the client's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from bff.errors import (
    AccessDenied,
    BFFError,
    BindingMismatch,
    InvalidReturnUrl,
    NoSuchRoute,
    SessionEnded,
    SessionExpired,
    Unauthenticated,
)
from bff.login.return_url import ReturnUrls
from bff.observability import labels, logs, metrics, traces
from bff.observability.traces import Span, exemplar
from bff.server.access_log import ROUTE
from bff.sessions import csrf
from bff.sessions.authenticator import ClientFingerprint, SessionAuthenticator
from bff.sessions.cache import CachedSession, Headers
from bff.web import problem, security_headers
from bff.web.client_address import ClientAddressResolver
from bff.web.forward_auth import ENVOY, FORWARDED, NGINX, OriginalRequest, envoy_endpoint
from bff.web.listener import VerifyListener
from bff.web.profiles import Profile
from bff.web.trace_trust import TraceTrust
from bff.web.untrusted import UntrustedForwarding

Environ = dict[str, Any]
StartResponse = Callable[[str, Headers], Any]

PATHS = frozenset({*FORWARDED, NGINX})
"""Paths of the dialects that send the original request in header fields instead of the path."""
LIVE = "/health/live"
"""The only other path that the proxies' own listener answers: a load balancer probes each address."""
_OUTCOMES: dict[type[BFFError], str] = {
    Unauthenticated: "unauthenticated",
    SessionEnded: "unauthenticated",
    SessionExpired: "expired",
    BindingMismatch: "binding",
    AccessDenied: "forbidden",
}


class UnknownProfile(BFFError):
    """A proxy named a profile that config/verify.yaml does not declare: the operator's mistake, not the client's."""

    code = "unknown_profile"
    title = "There is no such verify profile"


class Verify:
    paths: frozenset[str]
    """Paths that `at_once` may answer."""

    def __init__(
        self,
        app: Callable[[Environ, Any], Iterable[bytes]],
        authenticator: SessionAuthenticator,
        clients: ClientAddressResolver,
        return_urls: ReturnUrls,
        login_url: str,
        profiles: Sequence[Profile],
        callers: TraceTrust | None = None,
        listener: VerifyListener | None = None,
    ) -> None:
        """app: answers all other paths. login_url: for redirects to the login. profiles: the first is the default.
        callers: None unless traces are recorded. listener: the only one that accepts auth checks, None for any."""
        self._app = app
        self._authenticator = authenticator
        self._clients = clients
        self._untrusted = UntrustedForwarding(clients)
        self._return_urls = return_urls
        self._login_url = login_url
        self._callers = callers
        self._listener = listener
        self._default = profiles[0]
        self._profiles = {f"{path}@{profile.id}": profile for path in (*PATHS, ENVOY) for profile in profiles[1:]}
        plain = [path for path, profile in self._profiles.items() if profile.plain and not path.startswith(ENVOY)]
        self.paths = PATHS.union(plain)
        self._profiles.update(dict.fromkeys((*PATHS, ENVOY), self._default))
        self._records: dict[tuple[str, str, int, str], Callable[[float, metrics.Exemplar], None]] = {}
        for outcome in ("allowed", "error", *_OUTCOMES.values()):
            metrics.VERIFY_DURATION.labels(outcome)  # creates the child, so that it starts at zero before any request

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._untrusted.note(environ)
        path = environ["PATH_INFO"]
        if path.startswith(ENVOY):
            environ[ROUTE] = self._logged(path)
        if self._listener is None:
            return self._open(environ, start_response)
        if not self._listener.accepted(environ):
            return self._rest(environ, start_response)
        endpoint = _endpoint(path)
        if endpoint is not None:
            profile = self._profiles.get(endpoint)
            return self._traced(endpoint if profile else None, profile, environ, start_response)
        return (self._rest if path == LIVE else _nothing_here)(environ, start_response)

    def _open(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves a listener that browsers reach too: an undeclared name gets Flask's 404: any client may guess."""
        endpoint = _endpoint(environ["PATH_INFO"])
        profile = None if endpoint is None else self._profiles.get(endpoint)
        if profile is None:
            return self._rest(environ, start_response)
        return self._traced(endpoint, profile, environ, start_response)

    def _logged(self, path: str) -> str:
        """Returns the route for the access log, in Envoy's dialect without the application's path.

        That path may hold personal data.
        """
        endpoint = envoy_endpoint(path)
        return f"{endpoint if endpoint in self._profiles else ENVOY}/*"

    def _rest(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self._callers is not None:
            self._callers.forget_strangers(environ)
        return self._app(environ, start_response)

    def answers(self, path: str) -> bool:
        """Whether the path belongs to verify."""
        return path in PATHS or path.startswith(_OTHERS)

    def at_once(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """Answers from memory; returns None, without any effect, if the answer needs the store or another service."""
        if environ["PATH_INFO"] not in self.paths or not (self._listener is None or self._listener.accepted(environ)):
            return None
        known = self._authenticator.answerable_locally(environ.get("HTTP_COOKIE", ""), self._clients.of(environ))
        return self(environ, start_response) if known else None

    def _traced(
        self, endpoint: str | None, profile: Profile | None, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answers in a span only if the caller records the trace, because a span costs as much as the answer.

        A profile that calls other services gets a span for every named trace, so that they receive the trace's id.
        """
        callers = self._callers
        if callers is None or not (
            callers.traces(environ) or (profile is not None and not profile.plain and callers.names(environ))
        ):
            return self._answer(endpoint, profile, environ, start_response)
        method = labels.method(environ["REQUEST_METHOD"])
        about = {"http.request.method": method, "http.route": labels.endpoint(endpoint)}
        with traces.server(environ, f"{method} {labels.endpoint(endpoint)}", about) as span:
            return self._answer(endpoint, profile, environ, start_response, span)

    def _answer(
        self,
        endpoint: str | None,
        profile: Profile | None,
        environ: Environ,
        start_response: StartResponse,
        span: Span | None = None,
    ) -> Iterable[bytes]:
        """endpoint: the metric's label."""
        start = time.perf_counter()
        correlation_id = logs.correlation_id_for(environ.get("HTTP_X_CORRELATION_ID"))
        logged_as = logs.correlation_id.set(correlation_id)
        outcome, status = "error", 500
        try:
            if profile is None:
                raise UnknownProfile
            client = self._clients.of(environ)
            entry = self._authenticator.authenticate(environ.get("HTTP_COOKIE", ""), client)
            headers = profile.headers(entry)
            if not profile.plain:
                headers = [*headers, *self._granted(profile, entry, environ, client, correlation_id)]
            start_response("200 OK", [*headers, ("X-Correlation-ID", correlation_id)])
            outcome, status = "allowed", 200
            return ()
        except BFFError as err:
            outcome = _OUTCOMES.get(type(err), "error")
            status, answer = self._refusal(err, profile, environ, correlation_id)
            start_response(*answer[:2])
            return () if environ["REQUEST_METHOD"] == "HEAD" else answer[2]
        finally:
            logs.correlation_id.reset(logged_as)
            seconds = time.perf_counter() - start
            traced = environ[traces.TRACE] if span is not None and span.is_recording() else exemplar()
            self._recorder(environ["REQUEST_METHOD"], endpoint, status, outcome)(seconds, traced)
            if span is not None:
                span.set_attributes({"bff.outcome": outcome, "http.response.status_code": status})

    def _granted(
        self, profile: Profile, entry: CachedSession, environ: Environ, client: ClientFingerprint, correlation_id: str
    ) -> Headers:
        """Asks the policy, returns the service's token header. Raises as Profile.authorize and .authorization do."""
        original = OriginalRequest.of(environ) if self._trusts(environ) else None
        profile.authorize(entry.session, original, client.address, correlation_id)
        return profile.authorization(entry.session)

    def _refusal(
        self, error: BFFError, profile: Profile | None, environ: Environ, correlation_id: str
    ) -> tuple[int, tuple[str, Headers, tuple[bytes, ...]]]:
        """Returns (status, answer). If the profile redirects, a navigation without a session goes to the login."""
        login, navigation = self._login_for(environ), problem.is_navigation(environ)
        status, title = error.status, error.title
        body, content_type = problem.body(problem.facts(error, correlation_id, login), navigation=navigation)
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Correlation-ID", correlation_id),
            *problem.headers(error),
            *(security_headers.ERROR_PAGE if navigation else ()),
        ]
        if navigation and isinstance(error, Unauthenticated) and profile is not None and profile.redirect:
            status, title = self._redirect(environ) or (status, title)
            headers.append(("Location", login))
        return status, (f"{status} {title}", headers, (body,))

    def _redirect(self, environ: Environ) -> tuple[int, str] | None:
        """Returns the redirect's status; None for nginx, which accepts only 2xx, 401 and 403.

        nginx itself redirects to the Location of a 401.
        """
        if environ["PATH_INFO"].startswith(NGINX):
            return None
        method = OriginalRequest.of(environ).method if self._trusts(environ) else ""
        return (302, "Found") if (method or "GET") in csrf.SAFE_METHODS else (303, "See Other")

    def _trusts(self, environ: Environ) -> bool:
        return self._clients.trusts_peer(environ)

    def _login_for(self, environ: Environ) -> str:
        """Returns the login URL, with the requested page to return to if that is allowed."""
        if not self._trusts(environ):
            return self._login_url
        original = OriginalRequest.of(environ)
        try:
            back = self._return_urls.checked(f"{original.scheme}://{original.host}{original.uri or '/'}")
        except InvalidReturnUrl:
            return self._login_url
        return f"{self._login_url}?return_to={quote(back, safe='')}"

    def _recorder(
        self, method: str, endpoint: str | None, status: int, outcome: str
    ) -> Callable[[float, metrics.Exemplar], None]:
        key = (labels.method(method), labels.endpoint(endpoint), status, outcome)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = metrics.verify_recorder(*key)
        return record


def _endpoint(path: str) -> str | None:
    """Returns our part of an auth check's path, with the profile's name; None for any other path."""
    if path in PATHS:
        return path
    if not path.startswith(_OTHERS):
        return None
    return envoy_endpoint(path) if path.startswith(ENVOY) else path


def _nothing_here(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers 404, and counts it like any other request."""
    start = time.perf_counter()
    answer = problem.respond(
        NoSuchRoute("Only auth checks of reverse proxies are answered here."), environ, start_response
    )
    metrics.http_request(environ["REQUEST_METHOD"], None, NoSuchRoute.status, time.perf_counter() - start)
    return answer


_OTHERS = (*[f"{path}@" for path in PATHS], ENVOY)
