"""Events that nobody will receive: counted every time, and said aloud at most once in a while, with how many they were.

A full outbox loses an event for every one that it takes; a line in the log for each would be the next thing to fill up.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from bff.observability import metrics

log = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds between two lines about the same."""


class DroppedEvents:
    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._silent: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}

    def dropped(self, reason: str, events: int = 1) -> None:
        """reason: outbox_full, too_old, buffer_full, stopped, refused."""
        if events:
            metrics.event_lost(reason, events)
            self._log("events_lost", reason, events)

    def deferred(self, events: int) -> None:
        """Durable events that no response waits for any more, since the store does not take them."""
        if events:
            metrics.event_late(events)
            self._log("events_not_durable", "store_unavailable", events)

    def _log(self, what: str, reason: str, events: int) -> None:
        with self._lock:
            self._silent[reason] += events
            now = self._monotonic()
            if now - self._told_at.get(reason, -QUIET) < QUIET:
                return
            self._told_at[reason] = now
            number = self._silent.pop(reason)
        log.error(what, extra={"reason": reason, "events": number})
