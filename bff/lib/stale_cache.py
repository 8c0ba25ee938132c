"""Stale-while-revalidate with a single flight: a fetched value that is kept, and fetched anew by one thread at a time.

Without a copy one thread fetches it, the others wait for that one, but not long, and a failure is remembered for a
moment: a queue of those who wait must not repeat it one after another. With a copy nobody waits: it serves while a
newer one is fetched in the background, and for as long as that fails.
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
"""Seconds for which a request waits for the fetch of another."""

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
        """failure: what fetch raises. fetch: ends in bounded time. life: seconds after which a value is fetched anew
        when next asked for. clock: seconds that only go forward. later: does some work while the caller goes on."""
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
        """Raises the failure only when there never was a good copy."""
        value = self._value
        if value is None:
            return self._first()
        if self._clock() < self._due_at:
            return value
        if self._is_first_to_find_it_old():
            self._later(self._refresh_quietly)
        return self._copy()

    def refetch(self) -> T:
        """A copy whose fetch began after this call, for a caller who found the kept one wanting; the kept one when that
        cannot be had soon. Raises the failure as `get`."""
        for _ in range(2):  # the fetch that is under way already may not see what the caller misses; the next one does
            flight, leads = self._single_flight.join(_FETCH)
            with suppress(self._failure):
                if leads:
                    return self._run(flight, self._fetched)
                self._join(flight, self._patience_left())
            if leads:
                break
        return self._copy()

    def landed(self) -> T:
        """The kept copy, or the one that is being fetched. Raises the failure as `get`."""
        flight = self._single_flight.running(_FETCH)
        if flight is not None:
            with suppress(self._failure):
                return self._join(flight, self._patience_left())
        return self._copy()

    def refresh(self) -> None:
        """Fetch now, whatever is kept, unless that is being done. Raises the failure, and keeps the old copy
        then."""
        flight, leads = self._single_flight.join(_FETCH)
        if leads:
            self._run(flight, self._fetched)
        else:
            self._join(flight, None)

    def refresh_if_due(self, ahead: float) -> None:
        """Fetch now when less than so many seconds of life are left, so that nobody who asks has to wait for it.

        Raises the failure, and keeps the old copy then.
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
        """Another thread may have fetched it, or failed to, just before this one began."""
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
        """At most one in a while, whatever becomes of what that one has done in the background."""
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
