"""Fair semaphore: calls of the store take turns in the order in which they came.

In a burst each call waits longer, which is no outage. A call fails only when no other call has ended for a while, or
after so long that its client has left. Python's own semaphore lets later calls go first, so that under gevent some of
900 logins waited for longer than five seconds while others had several turns.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

LONGEST = 30.0
"""Seconds that a call waits at most, even while others end."""


class Turns:
    def __init__(self, size: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """size: calls at a time. patience: seconds that a call waits while no other ends."""
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._free = size
        self._waiting: deque[threading.Event] = deque()
        self._ended = clock()  # the end of the last call

    def acquire(self) -> bool:
        """Waits for a turn; False when the call waited too long."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn, begun = threading.Event(), self._clock()
            self._waiting.append(turn)
        while not turn.wait(self._left(begun)):
            with self._lock:
                if not turn.is_set() and self._left(begun) <= 0:
                    self._waiting.remove(turn)
                    return False
        return True

    def release(self) -> None:
        """Hands the place to the next waiting call, so that no later call can take it."""
        with self._lock:
            self._ended = self._clock()
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def _left(self, begun: float) -> float:
        """The rest of a call's wait in seconds. begun: its start."""
        return max(0.0, min(max(begun, self._ended) + self._patience, begun + LONGEST) - self._clock())
