"""Idempotent receiver of provider logouts: OpenID Connect Back-Channel and Front-Channel Logout 1.0.

A logout token counts once, and only for sessions that existed when it first arrived. The store keeps its `jti` with
the time of arrival, and marks it as done when the sessions have ended. If the store fails in between, the provider's
retry ends the remaining sessions, but none that began meanwhile. A replayed token ends nothing.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from bff.crypto import digest
from bff.errors import InvalidRequest, StoreUnavailable
from bff.events.audit import Audit
from bff.events.model import SecurityEvent
from bff.kv import KeyValue
from bff.oidc.jwt import LEEWAY, CountedValidation, TokenInvalid
from bff.oidc.logout_token import LogoutToken, checked_logout_token
from bff.oidc.provider import Provider, of_issuer
from bff.sessions.authenticator import SessionAuthenticator
from bff.sessions.model import EndReason, Session
from bff.sessions.store import SessionStore

DONE = b"done"


class ProviderLogout:
    """Sessions that end here count as `backchannel`, for both channels."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        store: SessionStore,
        authenticator: SessionAuthenticator,
        kv: KeyValue,
        audit: Audit,
        clock: Callable[[], float],
    ) -> None:
        self._providers = providers
        self._store = store
        self._authenticator = authenticator
        self._kv = kv
        self._audit = audit
        self._clock = clock

    def back_channel(self, text: str) -> None:
        """Ends the sessions that a logout token names. Raises InvalidRequest, ProviderUnavailable, StoreUnavailable."""
        now = self._clock()
        try:
            with CountedValidation("logout_token"):
                token = checked_logout_token(text, self._providers, now)
                with self._or_distrusted(lambda session: _names(token, session)):
                    began_until = self._remember(token, now)
        except TokenInvalid as err:
            self._audit.security(SecurityEvent.LOGOUT_TOKEN_REJECTED, reason=err.status)
            raise InvalidRequest("The logout token is refused.") from err
        with self._or_distrusted(lambda session: _names(token, session)):
            ended = list(self._ended(lambda: self._named_by(token, began_until)))
        self._kv.set(_name(token), DONE, _life(token, now))
        self._audit.security(SecurityEvent.BACKCHANNEL_LOGOUT, idp=token.idp, sessions=str(len(ended)))

    def front_channel(self, issuer: str, sid: str) -> list[Session]:
        """Ends the sessions of this provider session and returns them.

        Raises InvalidRequest for an unknown issuer, StoreUnavailable.
        """
        provider = of_issuer(self._providers, issuer)
        if provider is None or not sid:
            raise InvalidRequest("iss and sid must name a session of a provider that is known here.")
        with self._or_distrusted(lambda session: (session.idp, session.sid) == (provider.id, sid)):
            ended = list(self._ended(lambda: self._store.of_sid(provider.id, sid)))
        self._audit.security(SecurityEvent.FRONTCHANNEL_LOGOUT, idp=provider.id, sessions=str(len(ended)))
        return ended

    def _remember(self, token: LogoutToken, now: float) -> float:
        """Returns the latest start of a session that this token ends, in Unix seconds.

        Infinite at the token's first arrival, else the time of that arrival. Raises TokenInvalid for a finished token.
        """
        if self._kv.set_if_absent(_name(token), repr(now).encode(), _life(token, now)):
            return math.inf
        remembered = self._kv.get(_name(token)) or DONE
        if remembered == DONE:
            raise TokenInvalid("inactive")
        return float(remembered)

    def _named_by(self, token: LogoutToken, began_until: float) -> list[Session]:
        if token.sid is None:
            found = self._store.of_user(token.idp, token.sub or "")
        else:
            found = self._store.of_sid(token.idp, token.sid)
        return [
            session for session in found if session.created_at <= began_until and token.sub in (None, session.user.sub)
        ]

    @contextmanager
    def _or_distrusted(self, named: Callable[[Session], bool]) -> Iterator[None]:
        """When the store is unavailable, this worker distrusts the named sessions until the provider retries."""
        try:
            yield
        except StoreUnavailable:
            self._authenticator.distrust(named)
            raise

    def _ended(self, find: Callable[[], list[Session]]) -> Iterator[Session]:
        """Ends sessions batch by batch, because the store returns a limited number at once."""
        while found := find():
            for session in found:
                self._authenticator.end(session, EndReason.BACKCHANNEL)
                yield session


def _names(token: LogoutToken, session: Session) -> bool:
    if session.idp != token.idp or token.sub not in (None, session.user.sub):
        return False
    return token.sid in (None, session.sid)


def _name(token: LogoutToken) -> str:
    return "logout:" + digest(json.dumps([token.idp, token.jti]))


def _life(token: LogoutToken, now: float) -> float:
    """Seconds to remember the token, with LEEWAY on top for a worker with a slow clock."""
    return token.dead_at - now + LEEWAY
