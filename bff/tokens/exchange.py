"""The session's own token, exchanged for one of a service (RFC 8693): made for that service's audience and scope.

Kept beside the session's tokens, so it ends with them and is found by every worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from bff.errors import InsufficientScope, StoreUnavailable, TokenExpired, TokenUnavailable
from bff.observability import metrics
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import TOKEN_EXCHANGE, GrantRefused, RequestFailed
from bff.sessions.model import Session
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import USER_TOKEN, ServiceSettings
from bff.tokens.refresh import FAILURE_LIFE
from bff.tokens.single_flight import Busy
from bff.tokens.source import Issuer, Usable, answered
from bff.tokens.user import UserTokens

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 section 3


class ExchangedTokens:
    """A Source."""

    def __init__(
        self,
        users: UserTokens,
        store: TokenStore,
        providers: Mapping[str, Provider],
        issuer: Issuer,
        clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._store = store
        self._providers = providers
        self._issuer = issuer
        self._clock = clock

    def ensure(self, session: Session, service: ServiceSettings) -> Usable:
        tokens, now = self._users.known(session), self._clock()
        token = tokens.services.get(service.id)
        if token is None:
            return self._exchanged(session, service, None)
        if token.fresh(now):
            return Usable(token, tokens.dpop_key)
        if token.live(now):
            return self._ahead(session, service, token, tokens.dpop_key)
        metrics.token_expired(service.id)
        return self._exchanged(session, service, token)

    def renew(self, session: Session, service: ServiceSettings) -> Usable:
        return self._exchanged(session, service, self._users.read(session).services.get(service.id))

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        return tokens.services.get(service.id)

    def refreshable(self, tokens: Tokens) -> bool:
        return True

    def _ahead(self, session: Session, service: ServiceSettings, token: AccessToken, key: str | None) -> Usable:
        try:
            tokens = self._asked(session, service, self._users.current(session, USER_TOKEN), token, patient=False)
        except (Busy, RequestFailed, GrantRefused, InsufficientScope, StoreUnavailable, TokenUnavailable, TokenExpired):
            self._leave_alone(session, service, token)
            return Usable(token, key)
        return self._taken(session, service, tokens)

    def _leave_alone(self, session: Session, service: ServiceSettings, token: AccessToken) -> None:
        """For a while nobody here asks for another one, so nobody waits for a provider that does not answer."""
        alone = replace(token, refresh_at=self._clock() + FAILURE_LIFE)

        def change(tokens: Tokens) -> Tokens:
            if tokens.services.get(service.id) is not token:
                return tokens
            return replace(tokens, services={**tokens.services, service.id: alone})

        self._users.adjust(session, change)

    def _exchanged(self, session: Session, service: ServiceSettings, former: AccessToken | None) -> Usable:
        """A refused subject token may have been revoked before its time: then another one, and once more."""
        subject = self._users.current(session, USER_TOKEN)
        with answered():
            try:
                tokens = self._asked(session, service, subject, former, patient=True)
            except GrantRefused as err:
                if err.error != "invalid_grant" or subject.refresh_token is None:
                    raise
                subject = self._users.successor(session, subject)
                tokens = self._asked(session, service, subject, former, patient=True)
        return self._taken(session, service, tokens)

    def _taken(self, session: Session, service: ServiceSettings, tokens: Tokens) -> Usable:
        self._users.keep(session, tokens)
        return Usable(tokens.services[service.id], tokens.dpop_key)

    def _asked(
        self, session: Session, service: ServiceSettings, subject: Tokens, former: AccessToken | None, *, patient: bool
    ) -> Tokens:
        """The session's tokens with another one for the service than the former. subject: whose token is exchanged.

        Raises Busy unless patient, GrantRefused, InsufficientScope, RequestFailed, TokenExpired, StoreUnavailable.
        """

        def look() -> Tokens | None:
            tokens = self._users.read(session)
            found = tokens.services.get(service.id)
            return tokens if found and (former is None or found.differs(former)) else None

        def work() -> Tokens:
            token = self._issued(session, service, subject)
            saved = self._store.update(
                session.key, lambda current: replace(current, services={**current.services, service.id: token})
            )
            if saved is None:
                raise TokenExpired
            return saved

        name = f"exchange:{session.key}:{service.id}"
        return self._issuer.once(name, service, look, work, patient=patient, user=session.user.id)

    def _issued(self, session: Session, service: ServiceSettings, subject: Tokens) -> AccessToken:
        provider = self._providers.get(session.idp)
        if provider is None:
            raise TokenExpired("The identity provider was withdrawn.")
        form = {
            "subject_token": subject.access.value,
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": ACCESS_TOKEN,
        }
        return self._issuer.issue(provider, TOKEN_EXCHANGE, service, form, subject.dpop_key)
