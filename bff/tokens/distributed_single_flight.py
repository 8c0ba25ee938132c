"""Single flight over the fleet: of many concurrent calls, one does the work and the others take its result.

Threads of one worker wait for the first of them. Between workers and pods a lock in the store decides. Its holder
renews it during the work, and it expires by itself when the holder is killed:

    worker A                            worker B
    acquire: yes
    find: no result                     acquire: no
    compute, and the lock is renewed    find: no result, wait
    the result is in the store          find: result
    release

`find` runs again after the lock was acquired, since another worker may have finished just before.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from bff.kv import KeyValue
from bff.kv.lock import Lock
from bff.lib.single_flight import SingleFlight

T = TypeVar("T")

LOCK_LIFE = 5.0
"""Seconds after which another worker takes over from a killed one."""

PATIENCE = 15.0
"""Seconds that a call waits for another worker's result: a takeover and a slow provider."""

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.1


class InProgress(Exception):
    """Another thread or worker does the work, and the caller does not wait."""


class SingleFlightTimeout(Exception):
    """Another worker held the lock for all of the patience, without a result."""


class DistributedSingleFlight:
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
        self._single_flight = SingleFlight()

    def run(
        self, name: str, find: Callable[[], T | None], compute: Callable[[], T], *, wait: bool = True
    ) -> tuple[T, bool]:
        """(the result, whether this very call did the work).

        find: returns another worker's result, None while there is none. Raises InProgress without `wait`,
        SingleFlightTimeout, StoreUnavailable, and all exceptions of find and compute, in waiting threads as well.
        """
        while True:
            flight, leads = self._single_flight.join(name)
            if leads:
                return self._single_flight.run(name, flight, lambda: self._locked(name, find, compute, wait))
            if not wait:
                raise InProgress
            try:
                return self._followed(flight), False
            except InProgress:  # the leading thread did not wait; this one takes its turn
                continue

    def _followed(self, first: "Future[tuple[T, bool]]") -> T:
        try:
            return first.result(2 * self._patience)[0]
        except TimeoutError as err:
            raise SingleFlightTimeout from err

    def _locked(self, name: str, find: Callable[[], T | None], compute: Callable[[], T], wait: bool) -> tuple[T, bool]:
        lock, deadline, pause = Lock(self._kv, name, self._lock_life), self._clock() + self._patience, _FIRST_PAUSE
        while not lock.acquire():
            if not wait:
                raise InProgress
            if (found := find()) is not None:
                return found, False
            if self._clock() >= deadline:
                raise SingleFlightTimeout
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        with lock.renewing():
            found = find()
            return (compute(), True) if found is None else (found, False)
