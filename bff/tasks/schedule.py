"""Fixed-rate timers: a thread for each job, so that no job keeps another one waiting.

Pauses are measured by the clock that only goes forward. Threads are daemons: no job that hangs keeps a process alive.
"""

import math
import random
import threading
import time
from collections.abc import Callable

JITTER = 0.1
"""Random share of a pause, so that workers that began together drift apart."""

Pause = Callable[[float], float]
"""Returns the seconds from the start of a turn to the next one. Argument: the current Unix time."""


def spaced(period: float) -> Pause:
    return lambda _now: period * random.uniform(1 - JITTER, 1 + JITTER)


def aligned(interval: float) -> Pause:
    """A turn in each interval of the clock, soon after it begins."""
    return lambda now: (math.floor(now / interval) + 1 + random.uniform(0, JITTER)) * interval - now


class Schedule:
    """Never starts a job's turn while its last one is under way in this process."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """clock: Unix seconds."""
        self._clock = clock
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def add(self, name: str, run: Callable[[], None], pause: Pause) -> None:
        """Adds a job; its first turn comes at once. run: raises nothing."""
        thread = threading.Thread(target=self._repeat, args=(run, pause), name=f"task-{name}", daemon=True)
        self._threads[name] = thread

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def stop(self, seconds: float) -> list[str]:
        """Starts no further turn and waits so many seconds at most for those under way. Returns the names of jobs that
        still run."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        return [name for name, thread in self._threads.items() if thread.is_alive()]

    def _repeat(self, run: Callable[[], None], pause: Pause) -> None:
        while not self._stopping.is_set():
            due = self._monotonic() + pause(self._clock())
            run()
            self._stopping.wait(max(0.0, due - self._monotonic()))
