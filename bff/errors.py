"""Exception hierarchy: the only exceptions that cross a layer.

Each carries its own HTTP answer (status, code, title), so a view needs no try/except. One handler renders all of them
as RFC 9457 problem details. `code` is one word, and equals the value of the matching metric label.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class LoginStart:
    """A login's provider and the page it was for."""

    idp: str
    return_to: str


class BFFError(Exception):
    """Base of every error with its own HTTP answer.

    detail: one sentence for the reader of the answer; never a secret, never the offending value.
    headers: extra response headers, as (name, value) pairs.
    oauth_error: the `error` member, for OAuth clients.
    login: the start of the failed login, where it is known.
    """

    status = 500
    code = "internal_error"
    title = "Internal error"
    oauth_error: str | None = None
    login: LoginStart | None = None

    def __init__(self, detail: str = "", *, code: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = tuple(headers)
        if code is not None:
            self.code = code


class BadRequest(BFFError):
    status = 400
    code = "bad_request"
    title = "The request cannot be understood"


class InvalidRequest(BadRequest):
    """A request that violates an OAuth protocol (RFC 6749 section 5.2)."""

    code = "invalid_request"
    oauth_error = "invalid_request"


class AmbiguousTarget(BadRequest):
    """A request target that two servers could read differently (RFC 3986 section 6, RFC 9112 section 3.2)."""

    code = "bad_path"
    title = "The address cannot be understood in one way only"


class InvalidReturnUrl(BadRequest):
    code = "invalid_return_to"
    title = "The return address is not allowed"


class UnknownProvider(BadRequest):
    code = "unknown_idp"
    title = "There is no such identity provider"


class Unauthenticated(BFFError):
    """No session, or one that the store does not know."""

    status = 401
    code = "unauthenticated"
    title = "Login required"


class SessionExpired(Unauthenticated):
    code = "expired"
    title = "The session has expired"


class BindingMismatch(Unauthenticated):
    code = "session_binding"
    title = "The session belongs to another browser"


class SessionEnded(Unauthenticated):
    """The provider no longer honours the session's grant, so the session has ended."""

    code = "session_ended"
    title = "The session has ended"


class TokenExpired(Unauthenticated):
    """The session is valid, but its token has expired and cannot be refreshed; a new login brings a new token."""

    code = "token_expired"
    title = "Login required to go on"


class TokenRequired(BFFError):
    """A required Bearer token is missing; the challenge then has no error code (RFC 6750 section 3.1)."""

    status = 401
    code = "token_required"
    title = "An access token is required"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=[("WWW-Authenticate", "Bearer")])


class InvalidToken(BFFError):
    """A Bearer token that is not accepted (RFC 6750 section 3.1)."""

    status = 401
    code = "invalid_token"
    title = "The access token is not accepted"
    oauth_error = "invalid_token"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=[("WWW-Authenticate", 'Bearer error="invalid_token"')])


class Forbidden(BFFError):
    status = 403
    code = "forbidden"
    title = "Not allowed"


class AccessDenied(Forbidden):
    """The policy denies, or no decision was possible.

    code: deny, no_mapping, error, or the fault that kept the request from being mapped to a question. detail: the
    policy's own reason, where it gives one.
    """

    code = "deny"


class OtherSubject(Forbidden):
    """Only a client with a token of its own may ask about another subject."""

    code = "other_subject"
    title = "Not allowed to ask about this subject"


class CsrfViolation(Forbidden):
    """code: the metric's reason, one of missing_cookie, missing_header, mismatch, bad_signature, foreign_origin,
    cross_site, same_site."""

    title = "The request did not prove that it comes from this site"


class LoginFailed(BFFError):
    """A login attempt that ended without a session. code: the metric's result."""

    status = 400
    title = "The login did not succeed"


class LoginLoop(LoginFailed):
    """The browser has logged in for the same page again and again. detail: the cause, as far as it is known."""

    code = "loop"
    title = "The login goes round in circles"


class LoginUnconfirmed(LoginFailed):
    """The provider sent the browser back, but its confirmation of the login is missing or malformed.

    The fault is the provider's, and another attempt may succeed.
    """

    status = 503
    code = "token_endpoint"
    title = "The identity provider is not available"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(f"{detail} Try again in a moment.", code=code, headers=[("Retry-After", "5")])


class StoreUnavailable(BFFError):
    """The session store did not answer. Users stay logged in: the cookie remains."""

    status = 503
    code = "store_unavailable"
    title = "The session store is not available"

    def __init__(self, detail: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "2"),)) -> None:
        super().__init__(detail, headers=headers)


class StoreTimeout(StoreUnavailable):
    """The store did not answer in time."""


class StoreBusy(StoreUnavailable):
    """A call got no connection in time, because this process has too many calls under way; the store may be healthy."""


class KeyElsewhere(StoreUnavailable):
    """Sealed with a key of BFF_SECRETS that another instance has and this one lacks, in the middle of a rotation.

    The other instance can still read the record, so this one ends, acknowledges and clears nothing.
    """

    code = "key_elsewhere"
    title = "This instance cannot read the session yet"


class StoreRefuses(StoreUnavailable):
    """The store answers reads but refuses writes. reason: full or read_only."""

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class NoSuchRoute(BFFError):
    status = 404
    code = "not_found"
    title = "There is nothing at this address"


class MethodNotAllowed(BFFError):
    """methods: those that the address allows."""

    status = 405
    code = "method_not_allowed"
    title = "The method is not allowed at this address"

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(headers=[("Allow", ", ".join(methods))])


class BodyTooLarge(BFFError):
    status = 413
    code = "too_large"
    title = "The body is larger than this address takes"


class RequestTimeout(BFFError):
    """The client sent less than it announced in time; the worker closes the connection."""

    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"


class RateLimited(BFFError):
    """A client exceeded a rate limit; it may retry after `Retry-After` seconds. limit: the limit's name."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, limit: str, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(headers=headers)
        self.limit = limit


class ReportRefused(BFFError):
    """A browser's report is refused as a whole. code: the metric's reason. The detail quotes nothing."""

    status = 422
    title = "The report is not accepted"


class ReportTooLarge(ReportRefused):
    status = 413
    code = "too_large"


class ReportUnreadable(ReportRefused):
    status = 400
    code = "bad_json"


class ReportMediaType(ReportUnreadable):
    """The endpoint does not support the body's media type, charset or content coding."""

    status = 415


class UpstreamError(BFFError):
    """An outbound HTTP call failed. outcome: timeout, connection, circuit_open, busy or bad_response. fault: the defect
    of a bad response, not_json or too_large."""

    status = 502
    code = "upstream_error"
    title = "Another service did not answer"

    def __init__(self, detail: str, *, outcome: str, fault: str = "", connected: bool = True) -> None:
        """connected: whether the request may have reached the service, so it may itself have caused the failure."""
        super().__init__(detail)
        self.outcome = outcome
        self.fault = fault
        self.connected = connected


class BadGateway(BFFError):
    """A service behind the BFF is unreachable, or its answer is no valid HTTP."""

    status = 502
    code = "upstream_unreachable"
    title = "The service cannot be reached"


class ClientGone(BFFError):
    """The client disconnected before its answer was ready, so no client reads this answer. The status is nginx's."""

    status = 499
    code = "client_closed"
    title = "The client went away"


class Busy(BFFError):
    """The service's bulkhead in this worker is full."""

    status = 503
    code = "busy"
    title = "The service has more to do than it can take"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=[("Retry-After", "1")])


class UpstreamUnavailable(BFFError):
    """The service's circuit breaker is open, so the BFF does not call it."""

    status = 503
    code = "upstream_unavailable"
    title = "The service is not available"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=[("Retry-After", "1")])


class UpstreamTimeout(BFFError):
    status = 504
    code = "upstream_timeout"
    title = "The service did not answer in time"


class TokenUnavailable(BFFError):
    """No usable token for now: the provider gave no answer or a bad one. The session goes on."""

    status = 503
    code = "token_unavailable"
    title = "No token can be had at the moment"

    def __init__(self, detail: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "2"),)) -> None:
        super().__init__(detail, headers=headers)


class TokenRefused(BFFError):
    """The provider issues no such token to this client or for this user; a retry does not help."""

    status = 502
    code = "token_refused"
    title = "The identity provider refuses a token for this service"


class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    title = "The token is not good for this service"


class UnknownSession(BFFError):
    status = 404
    code = "unknown_session"
    title = "You have no such session"


class NotRefreshable(BFFError):
    status = 409
    code = "not_refreshable"
    title = "There is nothing to refresh this token with"


class UnknownService(BFFError):
    status = 404
    code = "unknown_service"
    title = "There is no such service"


class ProviderUnavailable(BFFError):
    """The OpenID Provider cannot be reached; existing sessions go on."""

    status = 503
    code = "idp_unavailable"
    title = "The identity provider is not available"

    def __init__(self, detail: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "5"),)) -> None:
        super().__init__(detail, headers=headers)


@contextmanager
def of_login(idp: str, return_to: str) -> Iterator[None]:
    """Adds the login to errors raised inside the block, so the user can restart it at the same provider and page."""
    try:
        yield
    except BFFError as err:
        err.login = LoginStart(idp, return_to)
        raise
