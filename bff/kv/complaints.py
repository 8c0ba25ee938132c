"""Log throttle for a store's failures: the cause in one line, and at most one line in a while for each.

Every request meets the same failure while a store is away. One line names it; the next one counts what was left out.
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
        """store: where it is, without credentials."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def add(self, reason: str, error: BaseException) -> None:
        """reason: as bff_redis_operations_total has it. error: whose cause is named by its class alone, since its text
        may hold what was written."""
        with self._lock:
            now = self._clock()
            if now - self._logged_at.get(reason, -QUIET) < QUIET:
                self._left_out[reason] += 1
                return
            self._logged_at[reason] = now
            left_out = self._left_out.pop(reason, 0)
        facts = {"store": self._store, "reason": reason, "detail": str(error), "left_out": left_out}
        log.error("store_failed", extra=facts | {"error": type(error.__cause__ or error).__name__})
