"""Bulkhead: bounds the concurrent calls to one service, so that a slow service takes no more than its share of threads.

A circuit breaker opens for a service that fails. A slow service still answers, and could occupy all threads of a
worker.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from bff.errors import Busy
from bff.observability import metrics

BUSY_TIMEOUT = 2.0
"""Seconds that a request waits for a place while no call ends. In a burst calls end; at a hanging service none do."""

BUSY_LONGEST = 10.0
"""Most seconds that a request waits for a place."""


class Place:
    """One call's place. The caller must `leave` it in any case."""

    __slots__ = ("_left", "bulkhead")

    def __init__(self, bulkhead: "Bulkhead", left: Callable[[], None]) -> None:
        self.bulkhead = bulkhead
        self._left: Callable[[], None] | None = left

    def leave(self) -> None:
        """Safe to call twice."""
        left, self._left = self._left, None
        if left is not None:
            left()

    __del__ = leave  # so that a place is not lost when an error kept its owner from leaving it


class Bulkhead:
    def __init__(
        self,
        service: str,
        most: int,
        patience: float = 0.0,
        longest: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """service: the metric's label. most: concurrent calls in this worker. patience: seconds that `enter` waits
        while no call ends; 0 in a threaded worker, where a request waits without a thread (bff/server/parking.py).
        longest: seconds that it waits in all; None for as long as patience."""
        self.service = service
        self.most = most
        self._patience = patience
        self._longest = patience if longest is None else longest
        self._clock = clock
        self._taken = 0
        self._left_at = 0.0
        self._changed = threading.Condition(threading.RLock())  # reentrant: the garbage collector may call `leave`
        metrics.bulkhead_declared(service)

    def enter(self) -> Place:
        """Waits for a place and takes it. Raises Busy, counted."""
        with self._changed:
            self._wait()
            place = self.try_enter()
        if place is None:
            raise self.refused()
        return place

    def try_enter(self) -> Place | None:
        """Takes a place; returns None when every place is taken."""
        with self._changed:
            if self._taken >= self.most:
                return None
            self._taken += 1
        return Place(self, self._leave)

    def is_late(self, since: float, now: float) -> bool:
        """Whether a request that waits since then must be refused: no call ended lately, or it waited too long."""
        return now - max(since, self._left_at) >= BUSY_TIMEOUT or now - since >= BUSY_LONGEST

    def refused(self) -> Busy:
        """Returns the error for a call without a place, and counts it."""
        metrics.bulkhead_rejected(self.service)
        return Busy()

    def _wait(self) -> None:
        """Waits until a place is free or the patience ends."""
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
    """A proxied request's destination. route, path: from config/routes.yaml, for metrics and log. streaming: whether
    the body is forwarded as it arrives."""

    bulkhead: Bulkhead
    route: str
    path: str
    streaming: bool
