"""Exception hierarchy: the only exceptions that cross a layer.

Each carries its own HTTP answer (status, code, title), so a view needs no try/except: one handler renders any of
them as RFC 9457 problem details. `code` is one word, the same as in the matching metric label. Title and detail are
for people: the cause, then the next step, and never our insides.
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
    oauth_error: the member `error` for OAuth clients.
    login: the start of the failed login, where it is known.
    """

    status = 500
    code = "internal_error"
    title = "Something went wrong on our side"
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
    """An OAuth request that violates its protocol (RFC 6749 section 5.2)."""

    code = "invalid_request"
    oauth_error = "invalid_request"


class AmbiguousTarget(BadRequest):
    """A request target that two servers could read differently (RFC 3986 section 6, RFC 9112 section 3.2)."""

    code = "bad_path"
    title = "The address can be understood in more than one way"


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
    title = "Your session has expired"


class BindingMismatch(Unauthenticated):
    code = "session_binding"
    title = "The session belongs to another browser"


class SessionEnded(Unauthenticated):
    """The provider revoked the grant of the session, which ends it."""

    code = "session_ended"
    title = "The session has ended"


class TokenExpired(Unauthenticated):
    """The session lives, but its token has expired and cannot be refreshed; a new login gets another one."""

    code = "token_expired"
    title = "Please log in again to go on"


class TokenRequired(BFFError):
    """The Bearer token is missing; the challenge then has no error code (RFC 6750 section 3.1)."""

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
    """The policy denied the request, or could not decide. code: deny, no_mapping, error, or the fault of a request
    from which no question could be made. detail: the policy's own reason, where it has one."""

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
    """The provider sent the browser back without a readable confirmation of the login. The fault is the provider's,
    and another attempt may succeed."""

    status = 503
    code = "token_endpoint"
    title = "We can't reach the identity provider right now"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(f"{detail} Please try again in a moment.", code=code, headers=[("Retry-After", "5")])


class StoreUnavailable(BFFError):
    """The session store did not answer. The session goes on: the cookie stays.

    cause: for the log; people read a detail without our insides.
    """

    status = 503
    code = "store_unavailable"
    title = "We can't reach the session service right now"

    def __init__(self, cause: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "2"),)) -> None:
        super().__init__(cause, headers=headers)
        self.detail = "Please try again in a minute."


class StoreTimeout(StoreUnavailable):
    """The store did not answer in time."""


class StoreBusy(StoreUnavailable):
    """All connections of this process were in use for too long; the store may be well."""


class KeyElsewhere(StoreUnavailable):
    """Sealed with a key of BFF_SECRETS that another instance has and this one lacks, in the middle of a rotation.

    The other instance can still read the record, so this one ends, acknowledges and clears nothing.
    """

    code = "key_elsewhere"
    title = "This instance cannot read the session yet"


class StoreRefuses(StoreUnavailable):
    """The store answers reads and refuses writes. reason: full or read_only."""

    def __init__(self, cause: str, *, reason: str) -> None:
        super().__init__(cause)
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
    title = "The request is larger than this address accepts"


class RequestTimeout(BFFError):
    """A client did not send all of its request in time; its connection is closed."""

    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"


class RateLimited(BFFError):
    """A client sent more requests than its limit allows; it may try again after `Retry-After` seconds. limit: its
    name."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, limit: str, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("Please wait a moment, and try again.", headers=headers)
        self.limit = limit


class ReportRefused(BFFError):
    """A browser's report is refused as a whole. code is the metric's reason; the detail quotes nothing."""

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
    """An outbound HTTP call failed. `outcome` is one of timeout, connection, circuit_open, busy, bad_response; `fault`
    is the defect of a bad response: not_json, too_large."""

    status = 502
    code = "upstream_error"
    title = "Another service did not answer"

    def __init__(self, detail: str, *, outcome: str, fault: str = "", connected: bool = True) -> None:
        """connected: whether the server may have received the request, which may then be the cause of the failure."""
        super().__init__(detail)
        self.outcome = outcome
        self.fault = fault
        self.connected = connected


class BadGateway(BFFError):
    """A service behind the BFF could not be reached, or its answer is not HTTP."""

    status = 502
    code = "upstream_unreachable"
    title = "The service cannot be reached"


class ClientGone(BFFError):
    """The client disconnected before its answer, so no client reads this one. The status is nginx's."""

    status = 499
    code = "client_closed"
    title = "The client went away"


class Busy(BFFError):
    """A bulkhead is full: a worker has its maximum of concurrent calls of a service under way."""

    status = 503
    code = "busy"
    title = "The service is busy right now"

    def __init__(self, detail: str = "Please try again in a moment.") -> None:
        super().__init__(detail, headers=[("Retry-After", "1")])


class UpstreamUnavailable(BFFError):
    """The circuit breaker of a service is open, so the service is not called."""

    status = 503
    code = "upstream_unavailable"
    title = "The service is not available right now"

    def __init__(self, detail: str = "Please try again in a moment.") -> None:
        super().__init__(detail, headers=[("Retry-After", "1")])


class UpstreamTimeout(BFFError):
    status = 504
    code = "upstream_timeout"
    title = "The service did not answer in time"


class TokenUnavailable(BFFError):
    """The provider gave no usable token for now, or did not answer. The session goes on."""

    status = 503
    code = "token_unavailable"
    title = "We can't get an access token right now"

    def __init__(self, detail: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "2"),)) -> None:
        super().__init__(detail, headers=headers)


class TokenRefused(BFFError):
    """The provider issues no such token to this client or for this user; a retry does not help."""

    status = 502
    code = "token_refused"
    title = "The identity provider refuses a token for this service"


class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    title = "The token does not cover this service"


class UnknownSession(BFFError):
    status = 404
    code = "unknown_session"
    title = "You have no such session"


class NotRefreshable(BFFError):
    status = 409
    code = "not_refreshable"
    title = "This token cannot be refreshed"


class UnknownService(BFFError):
    status = 404
    code = "unknown_service"
    title = "There is no such service"


class ProviderUnavailable(BFFError):
    """The OpenID Provider cannot be reached; existing sessions go on.

    cause: for the log; people read a detail without our insides.
    """

    status = 503
    code = "idp_unavailable"
    title = "We can't reach the identity provider right now"

    def __init__(self, cause: str = "", *, headers: Sequence[tuple[str, str]] = (("Retry-After", "5"),)) -> None:
        super().__init__(cause, headers=headers)
        self.detail = "Please try again in a moment."


@contextmanager
def of_login(idp: str, return_to: str) -> Iterator[None]:
    """Attaches the login to errors that end it, so that the user can start the same login again."""
    try:
        yield
    except BFFError as err:
        err.login = LoginStart(idp, return_to)
        raise
