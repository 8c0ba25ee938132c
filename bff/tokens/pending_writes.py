"""Write-behind buffer: keeps a provider's answer in this worker while the store is away, and writes it later.

The provider has revoked the old refresh token by then, so a lost answer would end the login.
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
        """Saves the tokens of a refresh; None when they must wait for the store.

        Raises SessionEnded when the session ended meanwhile; then the issued tokens wait to be revoked.
        """
        write = partial(self._write, session, change, issued)
        try:
            return write()
        except StoreUnavailable:
            self._pending[session.key] = write
            log.warning("tokens_not_saved_yet", extra={"session": session.reference})
            return None

    def attempt(self, key: str, write: Callable[[], object]) -> None:
        """Makes a change now, or when the store is back; a later one under the same key replaces it."""
        try:
            write()
        except StoreUnavailable:
            self._pending[key] = write

    def write(self) -> None:
        """Writes the kept changes. Raises StoreUnavailable, and keeps those that failed."""
        for key, write in list(self._pending.items()):
            with suppress(SessionEnded):
                write()
            if self._pending.get(key) is write:  # several threads may write the same change, which is harmless
                self._pending.pop(key, None)

    def _write(self, session: Session, change: Change, issued: TokenResponse) -> Tokens:
        saved = self._store.update(session.key, change)
        if saved is None:
            self._revocations.orphan(session, issued)
            raise SessionEnded
        return saved
