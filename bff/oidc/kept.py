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
        self._due_at = 0.0
        self._failed_at = float("-inf")
        self._renewed_at = float("-inf")

    def value(self) -> T:
        """Raises ProviderUnavailable only when there never was a good copy."""
        value = self._value
        if value is not None and self._clock() < self._due_at:
            return value
        if value is not None and self._lock.locked():
            return value  # somebody is fetching already; the old copy serves meanwhile
        with self._lock:
            if self._value is not None and self._clock() < self._due_at:
                return self._value  # another thread fetched while this one waited
            return self._fresh_or_stale()

    def renewed(self, *, at_most_every: float) -> T:
        """A copy fetched now, for a caller who found the kept one wanting; the kept one when that was done within
        `at_most_every` seconds, or cannot be done."""
        with self._lock:
            if self._value is not None and self._clock() - self._renewed_at < at_most_every:
                return self._value
            self._renewed_at = self._clock()
            return self._fresh_or_stale()

    def refresh(self) -> None:
        """Fetch now, whatever is kept. Raises ProviderUnavailable, and keeps the old copy then."""
        with self._lock:
            self._store(self._fetch())

    def renew(self, ahead: float) -> None:
        """Fetch now when less than so many seconds of life are left, so that nobody who asks has to wait for it.

        Raises ProviderUnavailable, and keeps the old copy then.
        """
        if self._clock() >= self._due_at - ahead:
            self.refresh()

    def _fresh_or_stale(self) -> T:
        try:
            return self._store(self._fetched())
        except ProviderUnavailable:
            if self._value is None:
                raise
            self._due_at = self._failed_at + RETRY_AFTER
            return self._value

    def _fetched(self) -> T:
        """Those who waited while a fetch failed are not made to wait for another."""
        if self._clock() - self._failed_at < RETRY_AFTER:
            raise ProviderUnavailable
        try:
            return self._fetch()
        except ProviderUnavailable:
            self._failed_at = self._clock()
            raise

    def _store(self, value: T) -> T:
        self._value = value
        self._due_at = self._clock() + self._life
        return value
