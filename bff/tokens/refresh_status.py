"""Refresh notes: the outcome of a refresh token, kept briefly under its digest for other workers with the same token.

started    a worker sent it to the provider; the outcome is not known yet
success    it was replaced; the record in the store holds its successor, or soon will
rejected   the provider refused it, and the session was ended
a reason   the provider could not be asked; no worker retries for a moment
"""

from contextlib import suppress

from bff.crypto import digest
from bff.errors import StoreUnavailable
from bff.kv import KeyValue

STARTED, SUCCESS, REJECTED = b"started", b"success", b"rejected"

FAILURE_LIFE = 2.0
"""Seconds for which all requests share a failure."""

_LIFE = 60.0


class RefreshStatus:
    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    @staticmethod
    def name(refresh_token: str | None) -> str:
        """The note's key in the store."""
        return f"refresh:{digest(refresh_token or '')}"

    def get(self, refresh_token: str) -> bytes | None:
        """Raises StoreUnavailable."""
        return self._kv.get(self.name(refresh_token))

    def mark_started(self, refresh_token: str) -> None:
        """Writes the note before the token is sent; without it the token must not be sent. Raises StoreUnavailable."""
        self._kv.set(self.name(refresh_token), STARTED, _LIFE)

    def mark_done(self, refresh_token: str, what: bytes) -> None:
        """Notes SUCCESS or REJECTED. If the store fails, other workers find out from the record or the provider."""
        with suppress(StoreUnavailable):
            self._kv.set(self.name(refresh_token), what, _LIFE)

    def mark_failed(self, refresh_token: str, reason: str) -> None:
        with suppress(StoreUnavailable):
            self._kv.set(self.name(refresh_token), reason.encode(), FAILURE_LIFE)

    def clear(self, refresh_token: str) -> None:
        """Deletes the note: the token was not used, so the next worker may send it without doubt."""
        with suppress(StoreUnavailable):
            self._kv.delete(self.name(refresh_token))
