"""What became of a refresh token, noted in the store for a moment under its digest, for whoever holds the same one.

started    somebody sent it to the provider and has not said yet how that ended
success    it was replaced; the record in the store holds its successor, or soon will
rejected   the provider knows it no more, and the session was ended for that
a reason   the provider could not be asked; for a moment nobody else tries
"""

from contextlib import suppress

from bff.crypto import digest
from bff.errors import StoreUnavailable
from bff.kv import KeyValue

STARTED, SUCCESS, REJECTED = b"started", b"success", b"rejected"

FAILURE_LIFE = 2.0
"""Seconds for which a failure speaks for everybody who comes meanwhile."""

_LIFE = 60.0


class RefreshStatus:
    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    @staticmethod
    def name(refresh_token: str | None) -> str:
        """The key under which the store has the note."""
        return f"refresh:{digest(refresh_token or '')}"

    def get(self, refresh_token: str) -> bytes | None:
        """Raises StoreUnavailable."""
        return self._kv.get(self.name(refresh_token))

    def mark_started(self, refresh_token: str) -> None:
        """Said before the token is sent, and not without a note. Raises StoreUnavailable."""
        self._kv.set(self.name(refresh_token), STARTED, _LIFE)

    def mark_done(self, refresh_token: str, what: bytes) -> None:
        """SUCCESS or REJECTED. Without the note others find out for themselves."""
        with suppress(StoreUnavailable):
            self._kv.set(self.name(refresh_token), what, _LIFE)

    def mark_failed(self, refresh_token: str, reason: str) -> None:
        with suppress(StoreUnavailable):
            self._kv.set(self.name(refresh_token), reason.encode(), FAILURE_LIFE)

    def clear(self, refresh_token: str) -> None:
        """It was not replaced, so whoever sends it next need not doubt anything."""
        with suppress(StoreUnavailable):
            self._kv.delete(self.name(refresh_token))
