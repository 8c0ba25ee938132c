"""Request coalescing: simultaneous callers share one run of a costly function, and no result is older than its caller.

A run that is under way may have read its numbers before a new caller arrived. So the new caller does not take that
run's result: all callers that arrive during a run share the next one. A scrape is therefore never older than its
request. Two scrapes in a row never show a counter going back, whichever worker answers them.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class CoalescedCall(Generic[T]):
    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self._turn = threading.Condition()
        self._running = False
        self._begun = 0
        self._latest: tuple[int, T] | None = None  # number and result of the last run that finished

    def __call__(self) -> T:
        """Returns the result of a run that began after this call. An error reaches only the caller that led the run."""
        with self._turn:
            wanted = self._begun + 1
            while True:
                if self._latest is not None and self._latest[0] >= wanted:
                    return self._latest[1]
                if not self._running:
                    break
                self._turn.wait()
            self._running = True
            self._begun += 1
            number = self._begun
        try:
            result = self._run()
            self._latest = number, result
            return result
        finally:
            with self._turn:
                self._running = False
                self._turn.notify_all()
