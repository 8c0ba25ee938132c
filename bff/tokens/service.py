"""Facade of token management: `ensure_token` returns the token for a service, of any configured kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bff.errors import NotRefreshable, UnknownService
from bff.sessions.model import Session
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import USER_TOKEN, ServiceSettings, TokenKind
from bff.tokens.client_credentials import ClientCredentialsTokens
from bff.tokens.exchange import ExchangedTokens
from bff.tokens.source import BoundToken, TokenSource
from bff.tokens.user import UserTokens


@dataclass(frozen=True)
class TokenSummary:
    """Public facts of a token. scope, audience: empty and None when there is no token yet. expires_in: seconds, None
    when unknown or when there is no token yet."""

    service: str
    scope: str
    audience: str | None
    expires_in: int | None
    refreshable: bool


class NoTokens:
    """Null object: the TokenSource of services without tokens."""

    def ensure(self, session: Session, service: ServiceSettings) -> None:
        return

    def renew(self, session: Session, service: ServiceSettings, refused: AccessToken | None = None) -> None:
        raise NotRefreshable

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        return None

    def refreshable(self, tokens: Tokens) -> bool:
        return False


class TokenService:
    def __init__(
        self,
        services: Sequence[ServiceSettings],
        users: UserTokens,
        exchanged: ExchangedTokens,
        own: ClientCredentialsTokens,
        clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._own = own
        self._clock = clock
        sources: Mapping[TokenKind, TokenSource] = {
            TokenKind.USER: users,
            TokenKind.EXCHANGE: exchanged,
            TokenKind.CLIENT_CREDENTIALS: own,
            TokenKind.NONE: NoTokens(),
        }
        self._services = {each.id: (each, sources[each.token]) for each in (ServiceSettings(USER_TOKEN), *services)}

    def ensure_token(self, session: Session, service: str = USER_TOKEN) -> BoundToken | None:
        """A token for the service (by default the session's own); None for a service without tokens.

        Raises UnknownService, SessionEnded, TokenExpired, TokenUnavailable, TokenRefused, InsufficientScope,
        StoreUnavailable.
        """
        wanted, source = self._wanted(service)
        return source.ensure(session, wanted)

    def renew(
        self, session: Session, service: str = USER_TOKEN, refused: AccessToken | None = None
    ) -> BoundToken | None:
        """As ensure_token, but replaces even a fresh token. Raises NotRefreshable, too.

        refused: the token that the service refused, if any: then every other token counts as new.
        """
        wanted, source = self._wanted(service)
        return source.renew(session, wanted, refused)

    def own_token(self, service: str, refused: AccessToken | None = None) -> BoundToken | None:
        """The BFF's own token for the service, None for a service without tokens: for requests without a session.

        refused: as for `renew`. Raises UnknownService, TokenUnavailable, TokenRefused, InsufficientScope,
        StoreUnavailable; NotRefreshable for services that take another kind.
        """
        wanted, _ = self._wanted(service)
        if wanted.token is TokenKind.NONE and refused is None:
            return None
        if wanted.token is not TokenKind.CLIENT_CREDENTIALS:
            raise NotRefreshable
        return self._own.ensure(None, wanted) if refused is None else self._own.renew(None, wanted, refused)

    def kind(self, service: str) -> TokenKind:
        """Raises UnknownService."""
        return self._wanted(service)[0].token

    def listed(self, session: Session) -> Iterator[TokenSummary]:
        """The session's present and possible tokens, without their values. Raises TokenExpired, StoreUnavailable."""
        tokens, now = self._users.read(session), self._clock()
        for service, source in self._services.values():
            token = source.present(tokens, service)
            left = max(0, int(token.expires_at - now)) if token and token.expires_at is not None else None
            # `present` finds a token by its request's parameters, so these are the token's own.
            scope, audience = (token.scope, service.audience or service.resource) if token else ("", None)
            yield TokenSummary(service.id, scope, audience, left, source.refreshable(tokens))

    def _wanted(self, service: str) -> tuple[ServiceSettings, TokenSource]:
        try:
            return self._services[service]
        except KeyError:
            raise UnknownService from None
