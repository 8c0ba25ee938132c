"""Grace period: how long a worker may answer from memory while the store is away.

It begins with the outage, not with each request, and is over when the store answers. Its clock is monotonic, since a
wall clock that is set back would prolong it.
"""

import threading
from collections.abc import Callable


class Outage:
    def __init__(self, grace: float, monotonic: Callable[[], float]) -> None:
        """grace: seconds, 0 for none."""
        self._grace = grace
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._ends_at = float("-inf")
        self._noticed_at = float("-inf")

    def noticed(self) -> None:
        """Notes that the store did not answer. A failure long after the last one begins another outage."""
        with self._lock:
            now = self._monotonic()
            if now - self._noticed_at > self._grace:
                self._ends_at = now + self._grace
            self._noticed_at = now

    def over(self) -> None:
        with self._lock:
            self._ends_at = self._noticed_at = float("-inf")

    def within_grace(self) -> bool:
        return self._monotonic() < self._ends_at
