"""Bulkhead: at most so many calls of one service at a time, so that a slow service takes no more than its share.

A circuit breaker opens for a service that fails. A slow one answers, and would end up with every thread of a worker.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from bff.errors import Busy
from bff.observability import metrics

BUSY_TIMEOUT = 2.0
"""Seconds that a request waits for a place while none is left: a burst moves on, and a service that hangs does not."""

BUSY_LONGEST = 10.0
"""Seconds that a request waits for a place at most."""


class Place:
    """One call's place; `leave` it in any case."""

    __slots__ = ("_left", "bulkhead")

    def __init__(self, bulkhead: "Bulkhead", left: Callable[[], None]) -> None:
        self.bulkhead = bulkhead
        self._left: Callable[[], None] | None = left

    def leave(self) -> None:
        """Safe to call twice."""
        left, self._left = self._left, None
        if left is not None:
            left()

    __del__ = leave  # a place that an error made its owner forget must not be lost for good


class Bulkhead:
    def __init__(
        self,
        service: str,
        most: int,
        patience: float = 0.0,
        longest: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """service: the metric's label. most: calls at a time, in this worker. patience: seconds that `enter` waits for
        a place while none is left; 0 in a threaded worker, where a request waits for it without a thread
        (bff/server/parking.py). longest: seconds that it waits in all; None for as long as patience."""
        self.service = service
        self.most = most
        self._patience = patience
        self._longest = patience if longest is None else longest
        self._clock = clock
        self._taken = 0
        self._left_at = 0.0
        self._changed = threading.Condition(threading.RLock())  # a place may be left by the garbage collector
        metrics.bulkhead_declared(service)

    def enter(self) -> Place:
        """Raises Busy, counted."""
        with self._changed:
            self._wait()
            place = self.try_enter()
        if place is None:
            raise self.refused()
        return place

    def try_enter(self) -> Place | None:
        """None when every place is taken."""
        with self._changed:
            if self._taken >= self.most:
                return None
            self._taken += 1
        return Place(self, self._leave)

    def is_late(self, since: float, now: float) -> bool:
        """Whether a request that has waited since then waits no longer: nothing moves, or it took too long in all."""
        return now - max(since, self._left_at) >= BUSY_TIMEOUT or now - since >= BUSY_LONGEST

    def refused(self) -> Busy:
        """The error of one that found no place, counted."""
        metrics.bulkhead_rejected(self.service)
        return Busy()

    def _wait(self) -> None:
        """Until a place is free, or it took too long."""
        begun = self._clock()
        while self._taken >= self.most:
            until = min(max(begun, self._left_at) + self._patience, begun + self._longest)
            if (left := until - self._clock()) <= 0:
                return
            self._changed.wait(left)

    def _leave(self) -> None:
        with self._changed:
            self._left_at = self._clock()
            self._taken -= 1
            self._changed.notify()


class Bound(NamedTuple):
    """Where a proxied request goes. route, path: of config/routes.yaml, for the metrics and the log. streaming: whether
    its body is passed on as it arrives."""

    bulkhead: Bulkhead
    route: str
    path: str
    streaming: bool
