"""What a provider answered while the store was away: kept in this worker until it can be written.

The provider has taken back the old refresh token by then, so the answer is all that is left of the login.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bff.errors import SessionEnded, StoreUnavailable
from bff.oidc.token_response import TokenResponse
from bff.sessions.model import Session
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import Tokens
from bff.tokens.revocation import Revocations

log = logging.getLogger(__name__)

Change = Callable[[Tokens], Tokens]


class PendingTokenWrites:
    def __init__(self, store: TokenStore, revocations: Revocations) -> None:
        self._store = store
        self._revocations = revocations
        self._pending: dict[str, Callable[[], object]] = {}

    def save(self, session: Session, change: Change, issued: TokenResponse) -> Tokens | None:
        """Apply what a refresh brought; None when it must wait for the store.

        Raises SessionEnded when the session did meanwhile; then what was issued waits to be revoked.
        """
        write = partial(self._write, session, change, issued)
        try:
            return write()
        except StoreUnavailable:
            self._pending[session.key] = write
            log.warning("tokens_not_saved_yet", extra={"session": session.reference})
            return None

    def attempt(self, key: str, write: Callable[[], object]) -> None:
        """Make a change now, or when the store is back; a later one under the same key takes its place."""
        try:
            write()
        except StoreUnavailable:
            self._pending[key] = write

    def write(self) -> None:
        """Write what could not be written. Raises StoreUnavailable; what failed is kept."""
        for key, write in list(self._pending.items()):
            with suppress(SessionEnded):
                write()
            if self._pending.get(key) is write:  # several threads may be at it; writing twice does no harm
                self._pending.pop(key, None)

    def _write(self, session: Session, change: Change, issued: TokenResponse) -> Tokens:
        saved = self._store.update(session.key, change)
        if saved is None:
            self._revocations.orphan(session, issued)
            raise SessionEnded
        return saved
