"""Sampling: of events that strangers cause, keeps the first few of a kind in each second, and counts the rest.

Any stranger can cause any number of these events. A few of them show an auditor that it happens, and
`bff_security_events_total` shows how often. If all were kept, strangers could fill the outbox.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable

from bff.events.model import EventType
from bff.observability import metrics

PER_SECOND = 10
"""Events of one kind that a worker keeps per second."""
BUFFER = 500
"""Events that a worker keeps in memory until it writes them."""


class Sample:
    """Sealed events that wait to be written, and may be dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = -1
        self._taken: Counter[EventType] = Counter()
        self._waiting: deque[bytes] = deque()
        for reason in ("rate", "full"):
            metrics.EVENTS_SAMPLED_OUT.labels(reason)  # create the series at zero, so that no stranger adds one

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, event_type: EventType) -> bool:
        """Whether to keep one more event of this kind now; counts it either way. Called before the event is made."""
        with self._lock:
            if (second := int(self._clock())) != self._second:
                self._second = second
                self._taken.clear()
            self._taken[event_type] += 1
            wanted = self._taken[event_type] <= PER_SECOND and len(self._waiting) < BUFFER
        if not wanted:
            metrics.events_sampled_out("rate")
        return wanted

    def add(self, sealed: bytes) -> None:
        with self._lock:
            self._waiting.append(sealed)

    def taken(self, number: int) -> list[bytes]:
        """Remove and return the oldest events."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(number, len(self._waiting)))]

    def put_back(self, sealed: list[bytes]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(sealed))
