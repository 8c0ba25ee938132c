"""What this worker already knows about sessions, so that verify needs no round trip.

The cache stays truthful by three rules. Every end of a session, and every change of its tokens, is published, and each
worker's listener drops the entry. While the listener is not connected the cache is empty and every look-up goes to the
store. No entry lives longer than `cache_ttl`, or than the session itself.

What was known when the store went away is kept aside for `outage_grace`. A kept entry answers only a look-up that has
just asked the store in vain; the store's own answer, and the listener's return, end that (ADR 42).

A reader that fetched a session just before its end was published must not put it back just after:

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
    """A session this worker holds. `identity` are response headers that verify prepared, with the profile that it
    prepared them for last; `tokens` the session's tokens, once somebody needed them."""

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
        """clock: Unix seconds, by which sessions end. monotonic: seconds that only go forward, by which entries do: a
        clock that is set back must not make them last."""
        self._store = store
        self._kv = kv
        self._ttl = settings.cache_ttl
        self._size = settings.cache_size if settings.cache_ttl else 0
        self._idle_timeout = settings.idle_timeout
        self._touch_interval = touch_interval(settings)
        self._clock = clock
        self._monotonic = monotonic
        self._entries: dict[str, CachedSession] = {}
        self._kept: dict[str, CachedSession] = {}  # from before the listener was lost
        self._outage = Outage(settings.outage_grace, monotonic)
        self._changing = threading.Lock()  # a look-up that finds its entry takes no lock
        self._generation = 0
        self._truthful = False
        self._subscription: Subscription | None = None
        self._hit, self._miss, self._bypass, self._grace, self._invalidated = (
            metrics.SESSION_CACHE.labels(result) for result in ("hit", "miss", "bypass", "grace", "invalidated")
        )

    def start(self) -> None:
        """Begin to listen; until that works the cache keeps nothing."""
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
        """Whether the listener is connected, so that entries may be kept."""
        return self._truthful

    def lookup(self, key: str, now: float) -> CachedSession | None:
        """The session filed under key, from memory or from the store; None when the store knows none.

        Raises SessionEnded, StoreUnavailable. The entry's session may have expired: the caller decides what that means.
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
        """What this worker knew when the store went away, for a caller that has just asked the store in vain; None when
        it knew nothing, or too long ago. failure: of that question."""
        if isinstance(failure, StoreBusy | StoreRefuses | KeyElsewhere):  # it may be well, or has answered
            return None
        if self._truthful:
            self._outage.noticed()
        entry = self._kept.get(key) or self._entries.get(key)
        if entry is None or now >= entry.session.expires_at or not self._outage.within_grace():
            return None
        return entry

    def held(self, key: str, now: float) -> CachedSession | None:
        """What this worker already knows; the store is not asked. Never a session that has expired."""
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
        """Ask the store about each of these sessions before any of them passes again."""
        for entries in (self._entries, self._kept):
            for key in [key for key, entry in list(entries.items()) if named(entry.session)]:
                self.invalidate(key)

    def forget(self) -> None:
        """The store is another one: nothing that was known counts."""
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
        """A use is worth a record when the last one is an interval ago, be it in the store or only noted here."""
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
                # Oldest first. Entries live for seconds, so being recently used says little.
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry

    def _gone(self, key: str) -> None:
        """The store has answered, and knows no such session."""
        with self._changing:
            self._forgotten(key)
            if self._truthful:
                self._outage.over()

    def _forgotten(self, key: str) -> bool:
        found = (self._entries.pop(key, None), self._kept.pop(key, None))
        return found != (None, None)

    def _listening(self, connected: bool) -> None:
        """Whatever was missed while the listener was away is unknown, so nothing is believed across the gap."""
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
