"""Bulkhead by reserved threads: verify, policy checks and probes keep threads of their own when all others are busy.

Every request tries the common pool first, where a thread may stay with its connection. Each reserve serves one kind of
request, so that a slow store, a slow policy service and a long scrape do not wait for one another.
"""

from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any


class Reserve(Enum):
    """Kinds of requests that have threads of their own."""

    VERIFY = auto()  # verifies that memory cannot answer
    POLICY = auto()  # requests for which the BFF calls a policy service or a provider
    WATCH = auto()  # probes and scrapes


THREADS = {Reserve.VERIFY: 4, Reserve.POLICY: 4, Reserve.WATCH: 1}

WATCHED = frozenset({"/health", "/auth/health", "/health/live", "/health/ready", "/metrics"})


class Pool(ThreadPoolExecutor):
    """busy: working threads plus queued tasks, counted by the worker's main thread."""

    def __init__(self, threads: int) -> None:
        super().__init__(max_workers=threads)
        self.threads = threads
        self.busy = 0

    @property
    def free(self) -> bool:
        return self.busy < self.threads

    @property
    def wanted(self) -> bool:
        """Whether a task waits for a thread."""
        return self._work_queue.qsize() > 0


def reserve_of(path: str, verify: Any) -> Reserve | None:
    """The reserve for a path. verify: the BFF's, None for any other application."""
    if path in WATCHED:
        return Reserve.WATCH
    if verify is None or not verify.answers(path):
        return None
    return Reserve.VERIFY if path in verify.paths else Reserve.POLICY
