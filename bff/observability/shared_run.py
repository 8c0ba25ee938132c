"""Simultaneous callers share one run of something costly, without anybody getting an answer from before they asked.

A caller who comes while a run is under way does not take that run's result, since it may have read its numbers before
the caller asked; it waits for the next run, and so does everybody else who came meanwhile. So a scrape is never older
than its request, and two scrapes in a row never show a counter going back, whichever worker answers them.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRun(Generic[T]):
    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self._turn = threading.Condition()
        self._running = False
        self._begun = 0
        self._done = 0
        self._result: T | None = None

    def __call__(self) -> T:
        """The result of a run that began after this call; its exception goes to the caller whose turn it was."""
        with self._turn:
            mine = self._begun + 1
            while self._running and self._done < mine:
                self._turn.wait()
            if self._done >= mine and self._result is not None:
                return self._result
            self._running = True
            self._begun += 1
            number = self._begun
        result = None
        try:
            result = self._run()
        finally:
            with self._turn:
                self._running = False
                self._done, self._result = number, result
                self._turn.notify_all()
        return result
