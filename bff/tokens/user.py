"""The session's own token, from its login and later refreshes.

Usually it comes from this worker's memory. A token close to expiry is refreshed in the background while the request
proceeds with it. Only a request that finds it expired waits. A temporary failure never ends a session, nor drops a
token that is still valid.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bff.errors import InsufficientScope, NotRefreshable, StoreUnavailable, TokenExpired, Unauthenticated
from bff.observability import metrics
from bff.oidc.token_endpoint import RequestFailed
from bff.sessions.cache import SessionCache
from bff.sessions.model import Session
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import ServiceSettings
from bff.tokens.asked_for import covers
from bff.tokens.distributed_single_flight import InProgress
from bff.tokens.refresh import Refresher
from bff.tokens.refresh_status import FAILURE_LIFE
from bff.tokens.source import BoundToken, grant_errors_as_http


class UserTokens:
    """A Source, and the source of subject tokens for other sources."""

    def __init__(
        self,
        store: TokenStore,
        cache: SessionCache,
        refresher: Refresher,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        """later: runs work in the background."""
        self._store = store
        self._cache = cache
        self._refresher = refresher
        self._later = later
        self._clock = clock

    def ensure(self, session: Session, service: ServiceSettings) -> BoundToken:
        return _for(service, self.current(session, service.id))

    def renew(self, session: Session, service: ServiceSettings, refused: AccessToken | None = None) -> BoundToken:
        tokens = self.read(session)
        if refused is not None and not tokens.access.same(refused):
            self.keep(session, tokens)
            return _for(service, tokens)
        if tokens.refresh_token is None:
            raise NotRefreshable
        return _for(service, self.successor(session, tokens))

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken:
        return tokens.access

    def refreshable(self, tokens: Tokens) -> bool:
        return tokens.refresh_token is not None

    def current(self, session: Session, service: str) -> Tokens:
        """The session's tokens, refreshed when due. service: the service that needs them, for the metrics.

        Raises SessionEnded, TokenExpired, TokenUnavailable, StoreUnavailable.
        """
        tokens, now = self.known(session), self._clock()
        if tokens.access.fresh(now):
            return tokens
        live = tokens.access.live(now)
        if not live:
            metrics.token_expired(service)
        if tokens.refresh_token is None:
            if live:
                return tokens
            raise TokenExpired
        return self._ahead(session, tokens) if live else self.successor(session, tokens)

    def successor(self, session: Session, tokens: Tokens) -> Tokens:
        """The successor of these tokens; waits for the refresh. Raises as `current`."""
        with grant_errors_as_http():
            renewed = self._refresher.refresh(session, tokens, patient=True)
        self.keep(session, renewed)
        return renewed

    def known(self, session: Session) -> Tokens:
        """The tokens from this worker's memory while it is truthful; in an outage of the store, the tokens from before
        it. Raises TokenExpired when there are none."""
        entry = self._cache.held(session.key, self._clock())
        if entry is not None and entry.tokens is not None:
            return entry.tokens
        try:
            tokens = self.read(session)
        except StoreUnavailable as err:
            former = self._cache.spared(session.key, self._clock(), err)
            if former is None or former.tokens is None:
                raise
            return former.tokens
        if entry is not None:
            entry.tokens = tokens
        return tokens

    def read(self, session: Session) -> Tokens:
        """The tokens from the store. Raises TokenExpired when there are none."""
        held = self._store.read(session.key)
        if held is None:
            raise TokenExpired
        return held.tokens

    def keep(self, session: Session, tokens: Tokens) -> None:
        entry = self._cache.held(session.key, self._clock())
        if entry is not None:
            entry.tokens = tokens

    def _ahead(self, session: Session, tokens: Tokens) -> Tokens:
        """Refreshes the tokens in the background before they expire, and returns those known by then. This worker
        starts one attempt in FAILURE_LIFE, even after a failure."""
        self.keep(session, replace(tokens, access=tokens.access.left_alone(self._clock() + FAILURE_LIFE)))
        self._later(lambda: self._refresh_ahead(session, tokens))
        return self.known(session)

    def _refresh_ahead(self, session: Session, tokens: Tokens) -> None:
        with suppress(InProgress, RequestFailed, StoreUnavailable, Unauthenticated):  # logged and counted when raised
            self.keep(session, self._refresher.refresh(session, tokens, patient=False))


def _for(service: ServiceSettings, tokens: Tokens) -> BoundToken:
    """Raises InsufficientScope."""
    if not covers(tokens.access, service):
        raise InsufficientScope("The session's token is not good for this service.")
    return BoundToken(tokens.access, tokens.dpop_key)
