"""Circuit breaker: stops calls to a service that does not answer, and notices soon when it answers again.

    closed --(N failures in a row)--> open --(reset_after seconds)--> half-open --(a success)--> closed
                                        ^------------(a failure)---------'

The lock covers only arithmetic, never the call itself, so the breaker does not serialise its callers.
"""

import threading
import time
from collections.abc import Callable
from enum import StrEnum

from bff.observability import metrics


class BreakerState(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


_STATUS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}  # values of circuit_breaker_status


class Breaker:
    """A caller asks `allow()` before a call, then reports `succeeded()` or `failed()`.

    Report `doubted()` for a failure that one client's request may have caused, rather than the service. After so many
    doubts in a row one caller settles them by a call of its own, and reports `succeeded()` or `broken()`.

    In the half-open state one call, the probe, goes through. A probe that has not reported within `reset_after` counts
    as lost and the next caller becomes the probe: a thread that died cannot keep the breaker open.
    """

    def __init__(
        self,
        service: str,
        *,
        failures: int = 5,
        reset_after: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """service: the metric's label. failures: in a row, until it opens. reset_after: seconds until the probe."""
        self.service = service
        self._limit = failures
        self._reset_after = reset_after
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._doubts = 0
        self._probe_at: float | None = None  # the time of the next probe; None while closed
        self._probing = False
        metrics.breaker_status(service, _STATUS[BreakerState.CLOSED])

    @property
    def state(self) -> BreakerState:
        with self._lock:
            if self._probe_at is None:
                return BreakerState.CLOSED
            return BreakerState.HALF_OPEN if self._probing or self._clock() >= self._probe_at else BreakerState.OPEN

    def allow(self) -> bool:
        with self._lock:
            if self._probe_at is None:
                return True
            now = self._clock()
            if now < self._probe_at:
                return False
            self._probing = True
            self._probe_at = now + self._reset_after
        metrics.breaker_status(self.service, _STATUS[BreakerState.HALF_OPEN])
        return True

    def succeeded(self) -> None:
        """Closes the breaker after any call's success: the service answers."""
        with self._lock:
            was_closed = self._probe_at is None
            self._failures = self._doubts = 0
            self._probing = False
            self._probe_at = None
        if not was_closed:
            metrics.breaker_status(self.service, _STATUS[BreakerState.CLOSED])

    def failed(self) -> None:
        """Counts a failure. One outage counts as one opening, even if several probes fail meanwhile."""
        with self._lock:
            opened = self._count()
            is_open = self._probe_at is not None
        if opened:
            metrics.breaker_opened(self.service)
        if is_open:
            metrics.breaker_status(self.service, _STATUS[BreakerState.OPEN])

    def doubted(self) -> bool:
        """Counts a doubt; returns whether the caller must settle it by a call of its own: once for so many doubts, and
        in a probe at once."""
        with self._lock:
            self._doubts += 1
            settles = self._probing or (self._probe_at is None and self._doubts >= self._limit)
            if settles:
                self._doubts = 0
            return settles

    def broken(self) -> None:
        """Opens the breaker at once, since the service itself fails."""
        with self._lock:
            self._failures = max(self._failures, self._limit - 1)
        self.failed()

    def _count(self) -> bool:
        self._failures += 1
        if self._probing:
            self._open()
        elif self._probe_at is None and self._failures >= self._limit:
            self._open()
            return True
        return False

    def _open(self) -> None:
        self._probing = False
        self._probe_at = self._clock() + self._reset_after
