"""Principal: the authenticated caller, a browser with a session or a service with a Bearer token (RFC 6750)."""

from dataclasses import dataclass

from flask import request

from bff.bearer.access_token import BearerClaims
from bff.pdp.model import Subject
from bff.pdp.subjects import is_own
from bff.sessions import csrf
from bff.sessions.model import Session
from bff.settings import Auth
from bff.web import context
from bff.web.bearer import presented_token
from bff.web.context import services
from bff.web.pipeline import check_csrf


@dataclass(frozen=True)
class Principal:
    """Exactly one of session and token is set."""

    subject: Subject
    session: Session | None = None
    token: BearerClaims | None = None

    @property
    def user(self) -> str:
        """The caller's id at applications. It is personal data: use it for keyed pseudonyms only."""
        return self.subject.id

    @property
    def client(self) -> str:
        """The client that presents the token; empty for a session or a token without a client."""
        return self.token.client_id if self.token else ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of the presented token; empty for a session, because `TokenService` holds its tokens."""
        return self.token.scope if self.token else ()

    @property
    def is_client(self) -> bool:
        """Whether a client speaks for itself rather than for a user."""
        return self.token is not None and is_own(self.token)


def authenticate(auth: Auth, *, navigable: bool = False) -> Principal:
    """auth: SESSION, with a CSRF proof for unsafe methods, or BEARER. navigable: as in bff.web.context.

    Raises Unauthenticated and its subclasses, CsrfViolation, StoreUnavailable; TokenRequired, InvalidRequest,
    InvalidToken, RateLimited, ProviderUnavailable.
    """
    if auth is Auth.BEARER:
        token = presented_token()
        return Principal(services().subjects.of_token(token), token=token)
    session = context.admit(navigable=navigable)
    if request.method not in csrf.SAFE_METHODS:
        check_csrf(request.headers.get(csrf.HEADER))
    return Principal(services().subjects.of_user(session.user, session.idp), session=session)


def presented() -> Auth:
    """Returns the kind of credential. A Bearer token takes precedence over a cookie, which a browser adds by itself."""
    scheme = request.headers.get("Authorization", "").strip().partition(" ")[0]
    return Auth.BEARER if scheme.lower() == "bearer" else Auth.SESSION
