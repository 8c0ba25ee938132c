"""Periodic jobs, each in a thread of its own, begun after the worker was forked.

A job either belongs to every worker (its own health checks, its own notes of used sessions) or to the fleet: then a
lease in the store lets one worker run it per period, and the others count it as skipped.
"""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bff.errors import StoreUnavailable
from bff.kv import KeyValue
from bff.kv.lock import Lock
from bff.observability import metrics

log = logging.getLogger(__name__)

_JITTER = 0.1
_STOP_TIMEOUT = 5.0


@dataclass(frozen=True)
class Job:
    """period in seconds; fleet: once per period in the whole fleet instead of in every worker."""

    name: str
    period: float
    run: Callable[[], object]
    fleet: bool = False


class Tasks:
    def __init__(self, jobs: Sequence[Job], kv: KeyValue) -> None:
        self._jobs = jobs
        self._kv = kv
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for job in self._jobs:
            thread = threading.Thread(target=self._repeat, args=(job,), name=f"task-{job.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let running jobs finish, then run the worker's own jobs once more: nothing noted is lost."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_TIMEOUT)
        for job in self._jobs:
            if not job.fleet:
                self.run_once(job)

    def run_once(self, job: Job) -> None:
        """One turn of a job. Nothing escapes: a failure is counted and logged, and the next turn comes."""
        try:
            with metrics.background_task(job.name) as turn:
                if job.fleet and not Lock(self._kv, f"task:{job.name}", job.period * (1 - _JITTER)).acquire():
                    turn.skip()
                else:
                    job.run()
        except StoreUnavailable:
            log.warning("task_without_store", extra={"task": job.name})
        except Exception:
            log.exception("task_failed", extra={"task": job.name})

    def _repeat(self, job: Job) -> None:
        while not self._stopping.is_set():
            self.run_once(job)
            self._stopping.wait(job.period * random.uniform(1 - _JITTER, 1 + _JITTER))
