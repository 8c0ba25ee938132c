"""Simultaneous callers share one run of something costly, without anybody getting an answer from before they asked.

A caller who comes while a run is under way does not take that run's result, since it may have read its numbers before
the caller asked; it waits for the next run, and so does everybody else who came meanwhile. So a scrape is never older
than its request, and two scrapes in a row never show a counter going back, whichever worker answers them.
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
        self._latest: tuple[int, T] | None = None  # number and result of the last run that came to its end

    def __call__(self) -> T:
        """The result of a run that began after this call; an exception goes to the caller whose turn it was."""
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
