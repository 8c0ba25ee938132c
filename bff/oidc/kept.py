"""A fetched value that is kept, refreshed by one thread at a time, and served stale while fetching fails."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from bff.errors import ProviderUnavailable

T = TypeVar("T")
RETRY_AFTER = 2.0


class Kept(Generic[T]):
    def __init__(self, fetch: Callable[[], T], life: float, clock: Callable[[], float]) -> None:
        """life: seconds after which a value is fetched anew when next asked for."""
        self._fetch = fetch
        self._life = life
        self._clock = clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._fetched_at = 0.0
        self._due_at = 0.0

    def value(self) -> T:
        """Raises ProviderUnavailable only when there never was a good copy."""
        value = self._value
        if value is not None and self._clock() < self._due_at:
            return value
        if value is not None and not self._lock.acquire(blocking=False):
            return value  # somebody is fetching already; the old copy serves meanwhile
        if value is None:
            self._lock.acquire()
        try:
            return self._fresh_or_stale()
        finally:
            self._lock.release()

    def refresh(self) -> None:
        """Fetch now, whatever is kept. Raises ProviderUnavailable, and keeps the old copy then."""
        with self._lock:
            self._store(self._fetch())

    def expire(self, *, older_than: float) -> None:
        """Make the next `value` fetch, if the copy is older than that many seconds."""
        if self._clock() - self._fetched_at >= older_than:
            self._due_at = 0.0

    def _fresh_or_stale(self) -> T:
        if self._value is not None and self._clock() < self._due_at:
            return self._value  # another thread fetched while this one waited
        try:
            return self._store(self._fetch())
        except ProviderUnavailable:
            if self._value is None:
                raise
            self._due_at = self._clock() + RETRY_AFTER
            return self._value

    def _store(self, value: T) -> T:
        self._value = value
        self._fetched_at = self._clock()
        self._due_at = self._fetched_at + self._life
        return value
