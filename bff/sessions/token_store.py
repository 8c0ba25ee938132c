"""A session's tokens in the key-value store: sealed, replaced by compare-and-set only, and kept until they are revoked.

    cold:{key}         sealed tokens; key is the session's
    token-refresh      index: key at the time when its tokens are due for a refresh
    token-revocation   index: attempt:key at the time when its tokens are to be revoked at the provider
    revocation:{key}   sealed: the user of these tokens, and whether a person ended the session

An ended session's tokens stay until the provider has revoked them, or until it is clear that it must not. They open
nothing here, since a session must be in the expiry index. A refresh that was under way when the session ended still
finds the record, so that the newest refresh token gets revoked.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bff.crypto import Keyring, SealError, digest
from bff.kv import Batch, KeyValue
from bff.sealed import opened
from bff.sessions.model import Session
from bff.sessions.tokens import Tokens, tokens_from_bytes, tokens_to_bytes

log = logging.getLogger(__name__)

INVALIDATIONS = "session-invalidations"
"""Channel of messages to every worker: drop the cached session."""

REFRESH_INDEX = "token-refresh"
REVOCATION_INDEX = "token-revocation"
CODE_LIFE = 60.0
"""Seconds from the latest possible callback of a login to the end of its code exchange."""
MOST_WAITING = 2 * 86400.0
"""Seconds that tokens wait at most; all attempts to revoke them are over by then."""


@dataclass(frozen=True)
class VersionedTokens:
    """Tokens as they were read. raw: the sealed record, for compare-and-set."""

    raw: bytes = field(repr=False)
    tokens: Tokens


@dataclass(frozen=True)
class EndedSession:
    """A session with tokens that wait to be revoked. created_at: Unix seconds. deliberate: whether its user or an
    operator ended the session, rather than time, the provider or a check."""

    key: str = field(repr=False)
    idp: str
    sub: str = field(repr=False)
    created_at: float
    deliberate: bool

    @classmethod
    def of(cls, session: Session, *, deliberate: bool) -> "EndedSession":
        return cls(session.key, session.idp, session.user.sub, session.created_at, deliberate)


@dataclass(frozen=True)
class DueRevocation:
    """attempt: the number of former attempts."""

    key: str = field(repr=False)
    attempt: int

    @property
    def member(self) -> str:
        return f"{self.attempt}:{self.key}"


class TokenStore:
    """Every method that asks the store raises StoreUnavailable when it does not answer; one that opens something,
    KeyElsewhere as well."""

    def __init__(self, kv: KeyValue, keys: Keyring, clock: Callable[[], float], *, login_timeout: float) -> None:
        """login_timeout: seconds that a login may take."""
        self._kv = kv
        self._sealer = keys.sealer("session-cold")
        self._quiet_time = login_timeout + CODE_LIFE
        self._clock = clock

    def add(self, batch: Batch, key: str, tokens: Tokens, life: float) -> None:
        """Adds tokens to the transaction that creates a session. life: seconds."""
        batch.set(_cold(key), self._sealed(key, tokens), life)
        self._want_refresh(batch, key, tokens)

    def enqueue_revocation(self, batch: Batch, ended: EndedSession) -> None:
        """Adds to the transaction that ends a session: from now on the tokens wait to be revoked.

        Unless a person ended the session, they wait longer than a login can take: after a timeout the same user most
        often logs in again, and the provider may issue the new tokens from the same grant.
        """
        batch.index_remove(REFRESH_INDEX, ended.key)
        batch.set(_revocation(ended.key), self._sealed_end(ended), MOST_WAITING)
        due = self._clock() + (0.0 if ended.deliberate else self._quiet_time)
        batch.index_add(REVOCATION_INDEX, DueRevocation(ended.key, 0).member, due)

    def enqueue_orphan(self, ended: EndedSession, tokens: Tokens) -> None:
        """Queues tokens that a refresh brought for an ended session after its own tokens were settled."""
        batch = Batch().set(_cold(ended.key), self._sealed(ended.key, tokens), MOST_WAITING)
        self.enqueue_revocation(batch, ended)
        self._kv.execute(batch)

    def forget(self, batch: Batch, key: str) -> None:
        """Adds to a transaction: deletes tokens that cannot be unsealed, or that the provider must not revoke."""
        batch.index_remove(REFRESH_INDEX, key).delete(_cold(key))

    def read(self, key: str) -> VersionedTokens | None:
        """The tokens; None when there are none, or none that can be unsealed."""
        return self._opened(key, self._kv.get(_cold(key)))

    def read_with(self, key: str, note: str) -> tuple[VersionedTokens | None, bytes | None]:
        """The tokens, and the value of the key `note`, read before them so that replaced tokens are noticed."""
        noted, raw = self._kv.execute(Batch().get(note).get(_cold(key)))
        return self._opened(key, raw), noted

    def replace(self, key: str, held: VersionedTokens, tokens: Tokens) -> bool:
        """Replaces the tokens that were read (compare-and-set); False when another worker already did."""
        if not self._kv.compare_and_set(_cold(key), held.raw, self._sealed(key, tokens)):
            return False
        batch = Batch().publish(INVALIDATIONS, key)
        self._want_refresh(batch, key, tokens)
        self._kv.execute(batch)
        return True

    def update(self, key: str, change: Callable[[Tokens], Tokens]) -> Tokens | None:
        """Applies a change to the current tokens, and retries after a race. None when there are none; a change that
        returns its argument changes nothing."""
        while held := self.read(key):
            changed = change(held.tokens)
            if changed is held.tokens or self.replace(key, held, changed):
                return changed
        return None

    def due_for_refresh(self, limit: int) -> list[str]:
        """Keys of sessions with tokens that are due for a refresh, the most urgent first."""
        return [key for key, _ in self._kv.index_range(REFRESH_INDEX, -math.inf, self._clock(), limit)]

    def refresh_not_before(self, key: str, when: float | None) -> None:
        """Moves a session in the order of refreshes; None removes it until its tokens change."""
        batch = Batch()
        if when is None:
            batch.index_remove(REFRESH_INDEX, key)
        else:
            batch.index_add(REFRESH_INDEX, key, when, only_present=True)
        self._kv.execute(batch)

    def due_for_revocation(self, limit: int) -> list[DueRevocation]:
        due = self._kv.index_range(REVOCATION_INDEX, -math.inf, self._clock(), limit)
        parts = [member.partition(":") for member, _ in due]
        return [DueRevocation(key, int(attempt)) for attempt, _, key in parts]

    def ended(self, key: str) -> EndedSession | None:
        """The session of these tokens; None when an earlier version queued them, or the record cannot be unsealed."""
        raw = self._kv.get(_revocation(key))
        if raw is None:
            return None
        try:
            return EndedSession(key=key, **json.loads(opened(self._sealer, raw, _revocation(key))))
        except (SealError, ValueError, TypeError):
            return None

    def mark_revoked(self, due: DueRevocation, held: VersionedTokens | None) -> None:
        """Deletes tokens that were revoked or need not be. Tokens that replaced them meanwhile stay in the queue."""
        if held is None or self._kv.compare_and_set(_cold(due.key), held.raw, None):
            batch = Batch().index_remove(REVOCATION_INDEX, due.member)
            self._kv.execute(batch.delete(_cold(due.key)).delete(_revocation(due.key)))

    def retry_later(self, due: DueRevocation, seconds: float) -> None:
        """Schedules the next attempt."""
        again = DueRevocation(due.key, due.attempt + 1)
        batch = Batch().index_remove(REVOCATION_INDEX, due.member)
        self._kv.execute(batch.index_add(REVOCATION_INDEX, again.member, self._clock() + seconds))

    def _want_refresh(self, batch: Batch, key: str, tokens: Tokens) -> None:
        if tokens.refresh_token is not None:
            batch.index_add(REFRESH_INDEX, key, tokens.access.refresh_at)

    def _sealed_end(self, ended: EndedSession) -> bytes:
        record = asdict(ended)
        del record["key"]
        return self._sealer.seal(json.dumps(record).encode(), _revocation(ended.key))

    def _sealed(self, key: str, tokens: Tokens) -> bytes:
        return self._sealer.seal(tokens_to_bytes(tokens), _cold(key))

    def _opened(self, key: str, raw: bytes | None) -> VersionedTokens | None:
        if raw is None:
            return None
        try:
            return VersionedTokens(raw, tokens_from_bytes(opened(self._sealer, raw, _cold(key))))
        except (SealError, ValueError, TypeError, KeyError, AttributeError):
            log.warning("tokens_unreadable", extra={"session": digest(key)[:24]})
            return None


def _cold(key: str) -> str:
    return f"cold:{key}"


def _revocation(key: str) -> str:
    return f"revocation:{key}"
