"""A sample of what strangers cause: the first few events of a kind in each second, and for the rest a count.

Any stranger can cause as many of these events as it likes. An auditor learns from a few of them that it happens, and
from `bff_security_events_total` how often; keeping each would let strangers decide what the outbox is full of.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable

from bff.events.model import EventType
from bff.observability import metrics

PER_SECOND = 10
"""Events of one kind that a worker keeps of a second."""
BUFFER = 500
"""Events that a worker keeps in memory until they are written."""


class Sample:
    """Sealed events that wait to be written, and may be lost."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = -1
        self._taken: Counter[EventType] = Counter()
        self._waiting: deque[bytes] = deque()
        for reason in ("rate", "full"):
            metrics.EVENTS_SAMPLED_OUT.labels(reason)  # which begin at zero, so that no stranger adds a series

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, event_type: EventType) -> bool:
        """Whether one more event of this kind is wanted now; counted either way. Asked before the event is made."""
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
        """The oldest ones, which wait no more."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(number, len(self._waiting)))]

    def put_back(self, sealed: list[bytes]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(sealed))
