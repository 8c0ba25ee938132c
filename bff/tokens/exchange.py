"""Token exchange (RFC 8693): turns the session's own token into one for a service's audience and scope.

The exchanged token is stored beside the session's tokens, so it ends with them and every worker finds it. Its key holds
the parameters of its request, so a changed configuration does not find it.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from bff.errors import BFFError, TokenExpired
from bff.observability import metrics
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import TOKEN_EXCHANGE, GrantRefused, RequestFailed
from bff.sessions.model import Session
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import USER_TOKEN, ServiceSettings
from bff.tokens.asked_for import asked_for, beside, covers
from bff.tokens.distributed_single_flight import InProgress
from bff.tokens.refresh_status import FAILURE_LIFE
from bff.tokens.source import BoundToken, TokenRequester, grant_errors_as_http
from bff.tokens.user import UserTokens

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 section 3

_REFUSED_SUBJECT = ("invalid_grant", "invalid_request")  # the latter by RFC 8693 section 2.2.2


class ExchangedTokens:
    """A Source."""

    def __init__(
        self,
        users: UserTokens,
        store: TokenStore,
        providers: Mapping[str, Provider],
        requester: TokenRequester,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        """later: runs work in the background."""
        self._users = users
        self._store = store
        self._providers = providers
        self._requester = requester
        self._later = later
        self._clock = clock

    def ensure(self, session: Session, service: ServiceSettings) -> BoundToken:
        tokens, now = self._users.known(session), self._clock()
        token = self.present(tokens, service)
        if token is None:
            return self._exchanged(session, service, None)
        if token.fresh(now):
            return BoundToken(token, tokens.dpop_key)
        if token.live(now):
            self._ahead(session, service, tokens, token)
            return BoundToken(self.present(self._users.known(session), service) or token, tokens.dpop_key)
        metrics.token_expired(service.id)
        return self._exchanged(session, service, token)

    def renew(self, session: Session, service: ServiceSettings, refused: AccessToken | None = None) -> BoundToken:
        tokens = self._users.read(session)
        present = self.present(tokens, service)
        if refused is not None and present is not None and not present.same(refused):
            return self._taken(session, service, tokens)
        return self._exchanged(session, service, present)

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        """The token for the service's current configuration, if it has every scope that the service needs."""
        token = tokens.services.get(self._name(tokens, service))
        return token if token is not None and covers(token, service) else None

    def refreshable(self, tokens: Tokens) -> bool:
        return True

    def _ahead(self, session: Session, service: ServiceSettings, tokens: Tokens, token: AccessToken) -> None:
        """Replaces the token in the background before it expires. This worker starts one attempt in FAILURE_LIFE, even
        after a failure."""
        resting = token.left_alone(self._clock() + FAILURE_LIFE)
        name = self._name(tokens, service)
        self._users.keep(session, replace(tokens, services={**tokens.services, name: resting}))
        self._later(lambda: self._exchange_ahead(session, service, token))

    def _exchange_ahead(self, session: Session, service: ServiceSettings, token: AccessToken) -> None:
        with suppress(InProgress, RequestFailed, GrantRefused, BFFError):  # logged and counted when raised
            subject = self._users.current(session, USER_TOKEN)
            self._users.keep(session, self._asked(session, service, subject, token, patient=False))

    def _exchanged(self, session: Session, service: ServiceSettings, former: AccessToken | None) -> BoundToken:
        """Exchanges the session's token. The provider may have revoked a refused subject token: then retries once with
        a new one."""
        subject = self._users.current(session, USER_TOKEN)
        with grant_errors_as_http():
            try:
                tokens = self._asked(session, service, subject, former, patient=True)
            except GrantRefused as err:
                if err.error not in _REFUSED_SUBJECT or subject.refresh_token is None:
                    raise
                subject = self._users.successor(session, subject)
                tokens = self._asked(session, service, subject, former, patient=True)
        return self._taken(session, service, tokens)

    def _taken(self, session: Session, service: ServiceSettings, tokens: Tokens) -> BoundToken:
        self._users.keep(session, tokens)
        return BoundToken(tokens.services[self._name(tokens, service)], tokens.dpop_key)

    def _name(self, tokens: Tokens, service: ServiceSettings) -> str:
        provider = self._providers.get(tokens.idp)
        return asked_for(service, provider.config) if provider else ""  # withdrawn: its tokens are not used any more

    def _asked(
        self, session: Session, service: ServiceSettings, subject: Tokens, former: AccessToken | None, *, patient: bool
    ) -> Tokens:
        """The session's tokens with a new one for the service instead of `former`. subject: the tokens to exchange.

        Raises InProgress without `wait`, GrantRefused, InsufficientScope, RequestFailed, TokenExpired,
        StoreUnavailable.
        """

        def look() -> Tokens | None:
            tokens = self._users.read(session)
            present = self.present(tokens, service)
            return tokens if present is not None and not present.same(former) else None

        def work() -> Tokens:
            token = self._issued(session, service, subject)
            now = self._clock()
            saved = self._store.update(
                session.key, lambda current: replace(current, services=beside(current.services, asked, token, now))
            )
            if saved is None:
                raise TokenExpired
            return saved

        asked = self._name(subject, service)
        return self._requester.once(
            f"exchange:{session.key}:{asked}", service, look, work, wait=patient, user=session.user.id
        )

    def _issued(self, session: Session, service: ServiceSettings, subject: Tokens) -> AccessToken:
        provider = self._providers.get(session.idp)
        if provider is None:
            raise TokenExpired("The identity provider was withdrawn.")
        form = {
            "subject_token": subject.access.value,
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": ACCESS_TOKEN,
        }
        return self._requester.request(provider, TOKEN_EXCHANGE, service, form, subject.dpop_key)
