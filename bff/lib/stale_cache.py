"""Stale-if-error cache with a single flight: one fetched value, which one thread at a time fetches anew.

Without a copy, one thread fetches it and the other threads wait, for PATIENCE seconds at most. The cache remembers a
failure for RETRY_AFTER seconds, so that waiting requests do not repeat it one after another. With a copy no request
waits. The old copy serves while a background thread fetches a newer one, and for as long as that fails.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from bff.lib import deadline
from bff.lib.single_flight import SingleFlight

T = TypeVar("T")
RETRY_AFTER = 2.0
"""Seconds for which a failure is remembered."""
PATIENCE = 2.0
"""Seconds that a request waits for another request's fetch."""

SPACING = 0.003
"""Seconds between two waiting threads that go on. A gevent worker would answer all of them, released at the same
moment, before its next request."""
_LONGEST_SPACING = 1.0

_FETCH = "fetch"


class StaleIfErrorCache(Generic[T]):
    def __init__(
        self,
        failure: type[Exception],
        fetch: Callable[[], T],
        life: float,
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], None],
        patience: float = PATIENCE,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """failure: the exception type that fetch raises. fetch: must end in bounded time. life: seconds until a value
        is due; the next `get` then starts a fetch. clock: monotonic seconds. later: runs work in the background."""
        self._failure = failure
        self._fetch = fetch
        self._life = life
        self._clock = clock
        self._later = later
        self._patience = patience
        self._wait = wait
        self._leaving = threading.Lock()
        self._single_flight = SingleFlight()
        self._changing = threading.Lock()
        self._value: T | None = None
        self._due_at = 0.0
        self._failed_at = float("-inf")

    def get(self) -> T:
        """Returns the copy, however old. Raises the failure only when no fetch has ever succeeded."""
        value = self._value
        if value is None:
            return self._first()
        if self._clock() < self._due_at:
            return value
        if self._is_first_to_find_it_old():
            self._later(self._refresh_quietly)
        return self._copy()

    def refetch(self) -> T:
        """Returns a copy fetched from now on, for a caller that misses something in the kept copy.

        Returns the kept copy when the fetch fails or takes too long. Raises the failure as `get` does.
        """
        for _ in range(2):  # a fetch under way may have begun too early to have what the caller misses
            flight, leads = self._single_flight.join(_FETCH)
            with suppress(self._failure):
                if leads:
                    return self._run(flight, self._fetched)
                self._join(flight, self._patience_left())
            if leads:
                break
        return self._copy()

    def landed(self) -> T:
        """Returns the copy that a fetch under way brings, else the kept copy. Raises the failure as `get` does."""
        flight = self._single_flight.running(_FETCH)
        if flight is not None:
            with suppress(self._failure):
                return self._join(flight, self._patience_left())
        return self._copy()

    def refresh(self) -> None:
        """Fetches now, or waits for a fetch under way. On a failure it keeps the old copy and raises."""
        flight, leads = self._single_flight.join(_FETCH)
        if leads:
            self._run(flight, self._fetched)
        else:
            self._join(flight, None)

    def refresh_if_due(self, ahead: float) -> None:
        """Fetches now when the copy is due in less than `ahead` seconds, before a request finds it due.

        On a failure it keeps the old copy and raises.
        """
        if self._clock() >= self._due_at - ahead:
            self.refresh()

    def _first(self) -> T:
        flight, leads = self._single_flight.join(_FETCH)
        return self._run(flight, self._fetched_once) if leads else self._join(flight, self._patience_left())

    def _run(self, flight: "Future[Any]", work: Callable[[], T]) -> T:
        return self._single_flight.run(_FETCH, flight, work)

    def _join(self, flight: "Future[Any]", patience: float | None) -> T:
        try:
            value: T = flight.result(patience)
        except TimeoutError as err:
            raise self._failure("There is no answer yet.") from err
        finally:
            self._space_out()
        return value

    def _space_out(self) -> None:
        if self._leaving.acquire(timeout=_LONGEST_SPACING):
            try:
                self._wait(SPACING)
            finally:
                self._leaving.release()

    def _fetched_once(self) -> T:
        """Fetches unless another thread has fetched, or failed, just before this thread took the lead."""
        if self._value is not None:
            return self._value
        if self._clock() - self._failed_at < RETRY_AFTER:
            raise self._failure
        return self._fetched()

    def _fetched(self) -> T:
        try:
            value = self._fetch()
        except self._failure:
            self._failed_at = self._clock()
            self._due_at = max(self._due_at, self._failed_at + RETRY_AFTER)
            raise
        self._value = value
        self._due_at = self._clock() + self._life
        return value

    def _is_first_to_find_it_old(self) -> bool:
        """True for at most one caller per RETRY_AFTER seconds, even when its background fetch never ends."""
        with self._changing:
            if self._clock() < self._due_at:
                return False
            self._due_at = self._clock() + RETRY_AFTER
            return True

    def _refresh_quietly(self) -> None:
        flight, leads = self._single_flight.join(_FETCH)
        if leads:
            with suppress(self._failure):  # counted and logged where it happened
                self._run(flight, self._fetched)

    def _patience_left(self) -> float:
        return min(self._patience, deadline.left(self._clock()))

    def _copy(self) -> T:
        if self._value is None:
            raise self._failure
        return self._value
