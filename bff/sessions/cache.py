"""Session cache of a worker with invalidation by messages, so that verify needs no round trip to the store.

The cache stays truthful by three rules. Every end of a session, and every change of its tokens, is published, and each
worker's listener drops the entry. While the listener is not connected the cache is empty and every look-up goes to the
store. No entry lives longer than `cache_ttl`, or than the session itself.

Stale-if-error: when the store goes away, the worker keeps its entries aside for `outage_grace`. A kept entry answers
only a look-up that has just asked the store in vain; the store's next answer, and the listener's return, end that (ADR
42).

A reader that fetched a session just before the message of its end must not put it back just after:

    reader                         listener
    generation -> 7
    store: session found
                                   "ended": drop the entry, generation = 8
    generation is not 7 any more: answer, but do not keep
"""

import threading
import time
from collections.abc import Callable

from bff.errors import KeyElsewhere, SessionEnded, StoreBusy, StoreRefuses, StoreUnavailable
from bff.kv import KeyValue, Subscription
from bff.observability import metrics
from bff.sessions.model import Session
from bff.sessions.outage import Outage
from bff.sessions.store import SessionStore
from bff.sessions.token_store import INVALIDATIONS
from bff.sessions.tokens import Tokens
from bff.settings import SessionSettings

Headers = list[tuple[str, str]]


class CachedSession:
    """A session in this worker's memory. identity: verify's prepared response headers, with the profile that they are
    for. tokens: the session's tokens, once a request needed them."""

    __slots__ = ("identity", "session", "tokens", "touch_after", "valid_until")

    def __init__(self, session: Session, valid_until: float, touch_after: float) -> None:
        self.session = session
        self.valid_until = valid_until
        self.touch_after = touch_after
        self.identity: tuple[str, Headers] | None = None
        self.tokens: Tokens | None = None


class SessionCache:
    def __init__(
        self,
        store: SessionStore,
        kv: KeyValue,
        settings: SessionSettings,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: Unix seconds, for the ends of sessions. monotonic: seconds that only go forward, for those of entries:
        a clock that is set back must not prolong them."""
        self._store = store
        self._kv = kv
        self._ttl = settings.cache_ttl
        self._size = settings.cache_size if settings.cache_ttl else 0
        self._idle_timeout = settings.idle_timeout
        self._touch_interval = touch_interval(settings)
        self._clock = clock
        self._monotonic = monotonic
        self._entries: dict[str, CachedSession] = {}
        self._kept: dict[str, CachedSession] = {}  # entries from before the listener was lost
        self._outage = Outage(settings.outage_grace, monotonic)
        self._changing = threading.Lock()  # a hit takes no lock
        self._generation = 0
        self._truthful = False
        self._subscription: Subscription | None = None
        self._hit, self._miss, self._bypass, self._grace, self._invalidated = (
            metrics.SESSION_CACHE.labels(result) for result in ("hit", "miss", "bypass", "grace", "invalidated")
        )

    def start(self) -> None:
        """Starts the listener; the cache stays empty until it is connected."""
        if self._size and self._subscription is None:
            self._subscription = self._kv.subscribe(INVALIDATIONS, self.invalidate, self._listening)

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def truthful(self) -> bool:
        """Whether the listener is connected, so that entries may be cached."""
        return self._truthful

    def lookup(self, key: str, now: float) -> CachedSession | None:
        """The session of this key, from memory or from the store; None when the store knows none.

        Raises SessionEnded, StoreUnavailable. The entry's session may have expired; the caller must check that.
        """
        entry = self._entries.get(key)
        if entry is not None and self._serves(entry, now):
            self._hit.inc()
            return entry
        result = self._miss if self._truthful else self._bypass
        try:
            return self._found(key, entry)
        except StoreUnavailable as err:
            former = self.spared(key, now, err)
            if former is None:
                raise
            result = self._grace
            return former
        finally:
            result.inc()

    def spared(self, key: str, now: float, failure: StoreUnavailable) -> CachedSession | None:
        """The kept entry, for a caller that has just asked the store in vain; None without one, or after the grace
        period. failure: the store's."""
        if isinstance(failure, StoreBusy | StoreRefuses | KeyElsewhere):  # the store may be well, or has answered
            return None
        if self._truthful:
            self._outage.noticed()
        entry = self._kept.get(key) or self._entries.get(key)
        if entry is None or now >= entry.session.expires_at or not self._outage.within_grace():
            return None
        return entry

    def held(self, key: str, now: float) -> CachedSession | None:
        """The entry in memory, never one of an expired session. Does not ask the store."""
        entry = self._entries.get(key)
        return entry if entry is not None and self._serves(entry, now) else None

    def _serves(self, entry: CachedSession, now: float) -> bool:
        return self._monotonic() < entry.valid_until and now < entry.session.expires_at

    def invalidate(self, key: str) -> None:
        with self._changing:
            self._generation += 1
            known = self._forgotten(key)
        if known:
            self._invalidated.inc()

    def distrust(self, named: Callable[[Session], bool]) -> None:
        """Drops these sessions' entries, so that none passes again before the store has confirmed it."""
        for entries in (self._entries, self._kept):
            for key in [key for key, entry in list(entries.items()) if named(entry.session)]:
                self.invalidate(key)

    def forget(self) -> None:
        """Drops all entries, since the store was reset."""
        with self._changing:
            self._generation += 1
            self._entries, self._kept = {}, {}

    def _found(self, key: str, former: CachedSession | None) -> CachedSession | None:
        generation = self._generation
        try:
            session = self._store.find(key)
        except SessionEnded:
            self._gone(key)
            raise
        if session is None:
            self._gone(key)
            return None
        entry = CachedSession(session, self._monotonic() + self._ttl, self._touch_after(session, former))
        self._keep(key, entry, generation)
        return entry

    def _touch_after(self, session: Session, former: CachedSession | None) -> float:
        """The time from which the next use is recorded: an interval after the last one in the store or in memory."""
        recorded = session.expires_at - self._idle_timeout + self._touch_interval
        return max(recorded, former.touch_after) if former else recorded

    def _keep(self, key: str, entry: CachedSession, generation: int) -> None:
        with self._changing:
            if generation != self._generation:
                return
            if not self._truthful:
                if key in self._kept:
                    self._kept[key] = entry
                return
            self._outage.over()
            self._entries.pop(key, None)
            while len(self._entries) >= self._size:
                # Oldest first, not least recently used: entries live for seconds.
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry

    def _gone(self, key: str) -> None:
        """Drops a session that the store does not know."""
        with self._changing:
            self._forgotten(key)
            if self._truthful:
                self._outage.over()

    def _forgotten(self, key: str) -> bool:
        found = (self._entries.pop(key, None), self._kept.pop(key, None))
        return found != (None, None)

    def _listening(self, connected: bool) -> None:
        """Empties the cache, since messages may have been missed while the listener was away."""
        with self._changing:
            self._generation += 1
            self._kept = {} if connected else {**self._kept, **self._entries}
            self._entries = {}
            if connected:
                self._outage.over()
            elif self._truthful:
                self._outage.noticed()
            self._truthful = connected


def touch_interval(settings: SessionSettings) -> float:
    """Seconds between two records of a session's use: a minute, or less when the idle timeout is short."""
    return min(60.0, settings.idle_timeout / 10)
