"""Refresh-ahead: a background job refreshes the tokens of sessions that were used lately, before a request needs them.

Without it a request that finds its token old has to ask the provider itself. An idle session's tokens are not kept
alive: that would keep a stolen cookie useful, and the provider busy.
"""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bff.errors import StoreUnavailable, TokenExpired, Unauthenticated
from bff.oidc.token_endpoint import RequestFailed
from bff.sessions.model import Session
from bff.sessions.store import SessionStore
from bff.sessions.token_store import TokenStore
from bff.settings import SessionSettings
from bff.tokens.distributed_single_flight import InProgress
from bff.tokens.refresh import Refresher

USED_WITHIN = 300.0
"""Seconds since its last use within which a session counts as used lately."""

MOST_AT_ONCE = 400
_CALLS_AT_ONCE = 4
_TRY_AGAIN_AFTER = 30.0


class RefreshSweep:
    def __init__(
        self,
        sessions: SessionStore,
        tokens: TokenStore,
        refresher: Refresher,
        settings: SessionSettings,
        clock: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._refresher = refresher
        self._idle_timeout = settings.idle_timeout
        self._clock = clock

    def run(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """One turn of the background job, a step for each session. Raises StoreUnavailable."""

        def step(key: str) -> None:
            if may_go_on():
                self._turn(key)

        due = self._tokens.due_for_refresh(MOST_AT_ONCE)
        if due:
            with ThreadPoolExecutor(_CALLS_AT_ONCE, "token-refresh") as pool:
                list(pool.map(step, due))

    def _turn(self, key: str) -> None:
        try:
            self._refresh(self._at_work(key))
        except InProgress:
            return
        except Unauthenticated:  # the session is over or idle, or has no refresh token
            self._tokens.refresh_not_before(key, None)
        except (RequestFailed, StoreUnavailable):
            self._tokens.refresh_not_before(key, self._clock() + _TRY_AGAIN_AFTER * random.uniform(0.5, 1.0))

    def _at_work(self, key: str) -> Session:
        """The session, if it was used lately. Raises Unauthenticated for one that is over or idle. The idle end shows
        the last use, unless the absolute end comes first."""
        session, now = self._sessions.find(key), self._clock()
        if session is None or session.expired(now) or now - session.expires_at + self._idle_timeout > USED_WITHIN:
            raise Unauthenticated
        return session

    def _refresh(self, session: Session) -> None:
        held = self._tokens.read(session.key)
        if held is None:
            raise TokenExpired
        if held.tokens.access.fresh(self._clock()):  # a worker or the store died before it updated the index
            self._tokens.refresh_not_before(session.key, held.tokens.access.refresh_at)
        else:
            self._refresher.refresh(session, held.tokens, patient=False)
