"""A session's hot record in the store, and the names of its indexes.

hot:{key}      sealed: user, times, binding     key = SHA-256 of the cookie
sessions       index: key at the time when it expires
user:{digest}  index: the user's keys at last use
sid:{digest}   index: the provider session's keys (OpenID Connect Back-Channel Logout)
"""

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from bff.crypto import Keyring, SealError
from bff.errors import KeyElsewhere
from bff.kv import Batch, KeyValue
from bff.sealed import opened
from bff.sessions.model import Session, reference_of, session_from_bytes, session_to_bytes

log = logging.getLogger(__name__)

EXPIRY_INDEX = "sessions"


class SessionRecords:
    """Every method that asks the store raises StoreUnavailable when it does not answer."""

    def __init__(self, kv: KeyValue, keys: Keyring) -> None:
        self._kv = kv
        self._sealer = keys.sealer("session-hot")
        self._names = keys.mac("session-index")

    def sealed(self, session: Session) -> bytes:
        return self._sealer.seal(session_to_bytes(session), hot(session.key))

    def opened(self, key: str, sealed: bytes, expires_at: float) -> Session | None:
        """The unsealed record; None, logged, when no current key of the fleet opens it. Raises KeyElsewhere."""
        try:
            return session_from_bytes(opened(self._sealer, sealed, hot(key)), key=key, expires_at=expires_at)
        except (SealError, ValueError, KeyError, TypeError):
            log.warning("session_unreadable", extra={"session": reference_of(key)})
            return None

    def many(self, keys: Sequence[str], sealed_elsewhere: set[str] | None = None) -> list[Session]:
        """The sessions that exist and can be unsealed, expired or not, in one round trip. sealed_elsewhere: gets the
        keys of those that another instance opens; without it they raise KeyElsewhere."""
        if not keys:
            return []
        batch = Batch()
        for key in keys:
            batch.get(hot(key)).index_score(EXPIRY_INDEX, key)
        results: list[Any] = self._kv.execute(batch)
        found = []
        for key, raw, expires_at in zip(keys, results[::2], results[1::2], strict=True):
            try:
                found.append(None if raw is None or expires_at is None else self.opened(key, raw, expires_at))
            except KeyElsewhere:
                if sealed_elsewhere is None:
                    raise
                sealed_elsewhere.add(key)
        return [session for session in found if session]

    def last_seen(self, sessions: Iterable[Session]) -> dict[str, float]:
        """Last use by key, in Unix seconds, up to a minute late."""
        batch, asked = Batch(), []
        for session in sessions:
            for name in self.of_user(session.idp, session.user.sub):
                batch.index_score(name, session.key)
                asked.append(session)
        seen = {session.key: session.created_at for session in asked}
        for session, score in zip(asked, self._kv.execute(batch), strict=True):
            seen[session.key] = max(seen[session.key], score or 0.0)
        return seen

    def indexes(self, session: Session) -> list[str]:
        """The names of the session's indexes under every current key, so that a rotation of keys loses no session."""
        names = self.of_user(session.idp, session.user.sub)
        if session.sid:
            names += self.of_sid(session.idp, session.sid)
        return names

    def of_user(self, idp: str, sub: str) -> list[str]:
        """The names of the indexes that hold this user's sessions."""
        return [f"user:{name}" for name in self._names.signatures(json.dumps([idp, sub]))]

    def of_sid(self, idp: str, sid: str) -> list[str]:
        return [f"sid:{name}" for name in self._names.signatures(json.dumps([idp, sid]))]


def hot(key: str) -> str:
    return f"hot:{key}"
