"""Log throttle for a store's failures: at most one line per cause and period.

Every request meets the same failure while a store is away. One line names it; the next one has the number of omitted
lines.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds between two lines about the same failure."""


class Complaints:
    def __init__(self, store: str, clock: Callable[[], float] = time.monotonic) -> None:
        """store: its address, without credentials."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def add(self, reason: str, error: BaseException) -> None:
        """reason: as in bff_redis_operations_total. error: the line names only the class of its cause, since the text
        may quote written data."""
        with self._lock:
            now = self._clock()
            if now - self._logged_at.get(reason, -QUIET) < QUIET:
                self._left_out[reason] += 1
                return
            self._logged_at[reason] = now
            left_out = self._left_out.pop(reason, 0)
        facts = {"store": self._store, "reason": reason, "detail": str(error), "left_out": left_out}
        log.error("store_failed", extra=facts | {"error": type(error.__cause__ or error).__name__})
