"""Of many who need the same thing at the same moment, one does the work and the others take its result.

Threads of one worker wait for the first of them. Between workers and pods a lock in the store decides, which is renewed
while the work goes on, and which ends by itself when its holder is killed:

    worker A                            worker B
    acquire: yes
    look: not there                     acquire: no
    work, and the lock is renewed       look: not there, wait
    the result is in the store          look: there it is
    release

`look` is asked again after the lock was got, since somebody else may have finished just before.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from bff.flights import Flights
from bff.kv import KeyValue
from bff.kv.lock import Lock

T = TypeVar("T")

LOCK_LIFE = 5.0
"""Seconds after which the work of a worker that was killed is taken over."""

PATIENCE = 15.0
"""Seconds that anybody waits for somebody else's work: a takeover and a slow provider."""

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.1


class Busy(Exception):
    """Somebody else is at it, and the caller did not want to wait."""


class TookTooLong(Exception):
    """Somebody else was at it all the time, and nothing came of it."""


class SingleFlight:
    def __init__(
        self,
        kv: KeyValue,
        *,
        lock_life: float = LOCK_LIFE,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Times in seconds."""
        self._kv = kv
        self._lock_life = lock_life
        self._patience = patience
        self._clock = clock
        self._wait = wait
        self._flights = Flights()

    def run(
        self, name: str, look: Callable[[], T | None], work: Callable[[], T], *, patient: bool = True
    ) -> tuple[T, bool]:
        """(the result, whether this very call worked for it).

        look: what somebody else may have brought about, None while it is not there. Raises Busy unless patient,
        TookTooLong, StoreUnavailable, and whatever look and work raise, for those who waited as well.
        """
        while True:
            flight, leads = self._flights.board(name)
            if leads:
                return self._flights.lead(name, flight, lambda: self._locked(name, look, work, patient))
            if not patient:
                raise Busy
            try:
                return self._followed(flight), False
            except Busy:  # the first one had no patience; perhaps it is this one's turn now
                continue

    def _followed(self, first: "Future[tuple[T, bool]]") -> T:
        try:
            return first.result(2 * self._patience)[0]
        except TimeoutError as err:
            raise TookTooLong from err

    def _locked(self, name: str, look: Callable[[], T | None], work: Callable[[], T], patient: bool) -> tuple[T, bool]:
        lock, deadline, pause = Lock(self._kv, name, self._lock_life), self._clock() + self._patience, _FIRST_PAUSE
        while not lock.acquire():
            if not patient:
                raise Busy
            if (found := look()) is not None:
                return found, False
            if self._clock() >= deadline:
                raise TookTooLong
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        with lock.kept():
            found = look()
            return (work(), True) if found is None else (found, False)
