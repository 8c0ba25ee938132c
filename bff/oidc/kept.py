"""Stale-while-revalidate with a single flight: a fetched value that is kept, and fetched anew by one thread at a time.

Without a copy one thread fetches it, the others wait for that one, but not long, and a failure is remembered for a
moment: a queue of those who wait must not repeat it one after another. With a copy nobody waits: it serves while a
newer one is fetched in the background, and for as long as that fails.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from bff.errors import ProviderUnavailable
from bff.flights import Flights
from bff.http import deadline

T = TypeVar("T")
RETRY_AFTER = 2.0
"""Seconds for which a failure is remembered."""
PATIENCE = 2.0
"""Seconds for which a request waits for the fetch of another."""

_FETCH = "fetch"


class Kept(Generic[T]):
    def __init__(
        self,
        fetch: Callable[[], T],
        life: float,
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], None],
        patience: float = PATIENCE,
    ) -> None:
        """fetch: ends in bounded time. life: seconds after which a value is fetched anew when next asked for. clock:
        seconds that only go forward. later: does some work while the caller goes on."""
        self._fetch = fetch
        self._life = life
        self._clock = clock
        self._later = later
        self._patience = patience
        self._flights = Flights()
        self._changing = threading.Lock()
        self._value: T | None = None
        self._due_at = 0.0
        self._failed_at = float("-inf")

    def value(self) -> T:
        """Raises ProviderUnavailable only when there never was a good copy."""
        value = self._value
        if value is None:
            return self._first()
        if self._clock() < self._due_at:
            return value
        if self._is_first_to_find_it_old():
            self._later(self._renew_quietly)
        return self._copy()

    def renewed(self) -> T:
        """A copy whose fetch began after this call, for a caller who found the kept one wanting; the kept one when that
        cannot be had soon. Raises ProviderUnavailable as `value`."""
        for _ in range(2):  # the fetch that is under way already may not see what the caller misses; the next one does
            flight, leads = self._flights.board(_FETCH)
            with suppress(ProviderUnavailable):
                if leads:
                    return self._led(flight, self._fetched)
                self._joined(flight, self._patience_left())
            if leads:
                break
        return self._copy()

    def landed(self) -> T:
        """The kept copy, or the one that is being fetched. Raises ProviderUnavailable as `value`."""
        flight = self._flights.under_way(_FETCH)
        if flight is not None:
            with suppress(ProviderUnavailable):
                return self._joined(flight, self._patience_left())
        return self._copy()

    def refresh(self) -> None:
        """Fetch now, whatever is kept, unless that is being done. Raises ProviderUnavailable, and keeps the old copy
        then."""
        flight, leads = self._flights.board(_FETCH)
        if leads:
            self._led(flight, self._fetched)
        else:
            self._joined(flight, None)

    def renew(self, ahead: float) -> None:
        """Fetch now when less than so many seconds of life are left, so that nobody who asks has to wait for it.

        Raises ProviderUnavailable, and keeps the old copy then.
        """
        if self._clock() >= self._due_at - ahead:
            self.refresh()

    def _first(self) -> T:
        flight, leads = self._flights.board(_FETCH)
        return self._led(flight, self._fetched_once) if leads else self._joined(flight, self._patience_left())

    def _led(self, flight: "Future[Any]", work: Callable[[], T]) -> T:
        return self._flights.lead(_FETCH, flight, work)

    def _joined(self, flight: "Future[Any]", patience: float | None) -> T:
        try:
            value: T = flight.result(patience)
        except TimeoutError as err:
            raise ProviderUnavailable("The provider has not answered yet.") from err
        return value

    def _fetched_once(self) -> T:
        """Another thread may have fetched it, or failed to, just before this one began."""
        if self._value is not None:
            return self._value
        if self._clock() - self._failed_at < RETRY_AFTER:
            raise ProviderUnavailable
        return self._fetched()

    def _fetched(self) -> T:
        try:
            value = self._fetch()
        except ProviderUnavailable:
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

    def _renew_quietly(self) -> None:
        flight, leads = self._flights.board(_FETCH)
        if leads:
            with suppress(ProviderUnavailable):  # counted and logged where it happened
                self._led(flight, self._fetched)

    def _patience_left(self) -> float:
        return min(self._patience, deadline.left(self._clock()))

    def _copy(self) -> T:
        if self._value is None:
            raise ProviderUnavailable
        return self._value
