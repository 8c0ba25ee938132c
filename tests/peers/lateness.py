"""How late this machine itself is: what a timed test may forgive, measured in the same moment as what it judges.

A thread asks for very short sleeps, one after the other, and notes by how much each was longer. On a quiet machine that
is next to nothing; where neighbours want the processors, it is what any other thread that wakes up waits, too.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STEP = 0.005


@dataclass
class Lateness:
    """worst: seconds of the latest sleep; lost: of all of them together. seconds: what the block took without those."""

    worst: float = 0.0
    lost: float = 0.0
    seconds: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    def _measure(self) -> None:
        while not self._over.is_set():
            asked = time.monotonic()
            time.sleep(STEP)
            late = time.monotonic() - asked - STEP
            self.worst = max(self.worst, late)
            self.lost += late


@contextmanager
def measured() -> Iterator[Lateness]:
    lateness = Lateness()
    thread = threading.Thread(target=lateness._measure)
    thread.start()
    begun = time.monotonic()
    try:
        yield lateness
    finally:
        took = time.monotonic() - begun
        lateness._over.set()
        thread.join()
        lateness.seconds = took - lateness.lost
