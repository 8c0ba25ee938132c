"""Log throttle for lost events: counts each of them, and logs their number at most once in a while.

A full outbox loses one event for each new one. A log line for each would fill up the log next.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from bff.observability import metrics

log = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds between two lines with the same reason."""


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
        """Count durable events that were answered before the store had them, because it does not accept them."""
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
