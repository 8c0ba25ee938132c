"""Verify profiles: identity headers, token and policy of an auth check's answer (config/verify.yaml).

A profile with a resource puts a whole application behind the policy, without a change in the application. The original
request's method is the action, its path the id.
"""

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from bff.errors import BadRequest, Forbidden, TokenRefused
from bff.oidc.dpop import TOKEN_TYPE
from bff.pdp.enforcement import PolicyEnforcementPoint
from bff.pdp.model import ResourceAction, properties
from bff.pdp.subjects import Subjects
from bff.routes import check_query, decoded_path
from bff.sessions.cache import CachedSession, Headers
from bff.sessions.model import Session
from bff.settings import IDENTITY_HEADERS, VerifyProfile
from bff.tokens.service import TokenService
from bff.web.forward_auth import OriginalRequest

DEFAULT = VerifyProfile("")

_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}")  # RFC 9110 section 5.6.2
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_WORD_SAFE = _HEADER_SAFE.replace(",", "")
_VALUES: Mapping[str, Callable[[Session], str]] = dict(zip(IDENTITY_HEADERS, (
    lambda session: header_value(session.user.id),
    lambda session: session.reference,
    lambda session: str(session.auth_time),
    lambda session: header_value(session.user.email),
    lambda session: header_value(session.user.name),
    lambda session: ",".join(quote(role, safe=_WORD_SAFE) for role in session.user.roles),
), strict=True))  # fmt: skip


def header_value(text: str) -> str:
    """Returns an identifier as a header value. Characters outside printable ASCII and the percent sign are
    percent-encoded, so two different identifiers never become the same header."""
    return quote(text, safe=_HEADER_SAFE)


class Profile:
    """One profile, ready to answer."""

    def __init__(
        self,
        settings: VerifyProfile,
        enforcement: PolicyEnforcementPoint,
        subjects: Subjects,
        token_service: TokenService,
    ) -> None:
        self.id = settings.id
        self.redirect = settings.redirect
        self.plain = settings.plain
        self._resource = settings.resource
        self._on_error = settings.on_error
        self._service = settings.service
        self._names = settings.headers
        self._enforcement = enforcement
        self._subjects = subjects
        self._token_service = token_service

    def headers(self, entry: CachedSession) -> Headers:
        """Returns the identity headers, prepared once per cache entry.

        Every header of the profile is present, if need be empty: for a missing one Caddy 2.6 forwards the text of its
        placeholder.
        """
        prepared = entry.identity
        if prepared is None or prepared[0] != self.id:
            said = [(name, _VALUES[name](entry.session)) for name in self._names]
            prepared = self.id, [("Content-Length", "0"), ("Cache-Control", "no-store"), *said]
            entry.identity = prepared
        return prepared[1]

    def authorize(
        self, session: Session, original: OriginalRequest | None, client_address: str, correlation_id: str
    ) -> None:
        """original: None for an untrusted peer. Raises AccessDenied, Forbidden, BadRequest, AmbiguousTarget."""
        if self._resource is None:
            return
        if original is None:
            raise Forbidden("Only a trusted proxy may name the original request.", code="untrusted_proxy")
        self._enforcement.enforce(
            self._subjects.of_user(session.user, session.idp),
            _asked(self._resource, original),
            client_address=client_address,
            correlation_id=correlation_id,
            route=f"verify@{self.id}",
            user=session.user.id,
            on_error=self._on_error,
        )

    def authorization(self, session: Session) -> Headers:
        """Returns the header with the service's token. Raises TokenRefused, and as TokenService.ensure_token."""
        if self._service is None:
            return []
        usable = self._token_service.ensure_token(session, self._service)
        if usable is None or usable.token.token_type == TOKEN_TYPE:
            raise TokenRefused("There is no token that can be handed on.")  # a DPoP token is bound to a key, RFC 9449
        return [("Authorization", f"Bearer {usable.token.value}")]


def _asked(resource: str, original: OriginalRequest) -> ResourceAction:
    path, _, query = original.uri.partition("?")
    if not (original.method and path):
        raise BadRequest("The proxy does not name the original request.")
    if not _METHOD.fullmatch(original.method) or (original.host and not _HOST.fullmatch(original.host)):
        raise BadRequest("The proxy names a method or a host that is none.")
    check_query(query)
    about = {"host": original.host, "query": query}
    told = properties({name: value for name, value in about.items() if value})
    return ResourceAction(resource, original.method, decoded_path(path), told)
