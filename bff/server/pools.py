"""Reserved threads: what must answer whatever the rest does has threads of its own, for when the others are all busy.

Everything has the threads of the common pool first, where a thread may stay with its connection. A reserve is for one
kind of request alone, so that a slow store, a slow policy service and a long scrape do not wait for one another.
"""

from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any


class Reserve(Enum):
    """Kinds of requests that have threads of their own."""

    VERIFY = auto()  # those that memory has no answer to
    POLICY = auto()  # those for which a policy service or a provider is asked
    WATCH = auto()  # probes and scrapes


THREADS = {Reserve.VERIFY: 4, Reserve.POLICY: 4, Reserve.WATCH: 1}

WATCHED = frozenset({"/health", "/auth/health", "/health/live", "/health/ready", "/metrics"})


class Pool(ThreadPoolExecutor):
    """busy: threads at work, and work that waits for one; counted by the worker's main thread."""

    def __init__(self, threads: int) -> None:
        super().__init__(max_workers=threads)
        self.threads = threads
        self.busy = 0

    @property
    def free(self) -> bool:
        return self.busy < self.threads

    @property
    def wanted(self) -> bool:
        """Whether work waits for a thread."""
        return self._work_queue.qsize() > 0


def reserve_of(path: str, verify: Any) -> Reserve | None:
    """verify: the application's, None where it is another application."""
    if path in WATCHED:
        return Reserve.WATCH
    if verify is None or not verify.answers(path):
        return None
    return Reserve.VERIFY if path in verify.paths else Reserve.POLICY
