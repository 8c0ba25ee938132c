"""APScheduler as the BFF uses it: one thread that knows when each job is due, and a few that run them.

Its interval trigger counts from the start of each worker, adds its jitter up, and after a pause goes through each turn
that was missed. Ours reckon from the present: after a suspended machine or a blocked process there is one turn, soon.
Its scheduler trusts the machine's clock: set back by an hour, it would wait for an hour, so then all turns are reckoned
anew. And its threads keep a process from ending for as long as a job hangs; ours do not.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

JITTER = 0.1
"""Share of a pause by which workers that began together drift apart."""

_QUICK_THREADS = 2
_PATIENT_THREADS = 6
"""For jobs that may take long, so that no flush and no look at the store waits for them."""


class Spaced(BaseTrigger):
    """A period after the last turn began."""

    def __init__(self, period: float) -> None:
        self.period = period

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + timedelta(seconds=self.period * random.uniform(1 - JITTER, 1 + JITTER))


class Aligned(BaseTrigger):
    """Once in each interval of the clock, soon after it begins."""

    def __init__(self, interval: float) -> None:
        self.interval = interval

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        begins = math.floor(now.timestamp() / self.interval) + 1
        return datetime.fromtimestamp((begins + random.uniform(0, JITTER)) * self.interval, UTC)


class Schedule:
    """A job's turn never begins while its last one is under way in this process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since the epoch, as APScheduler reads them from the machine."""
        self._threads = {"default": _Threads(_QUICK_THREADS), "patient": _Threads(_PATIENT_THREADS)}
        self._clock = clock
        self._scheduler = _Scheduler(clock, timezone=UTC, executors=dict(self._threads))

    def add(self, name: str, run: Callable[[], None], trigger: BaseTrigger, *, patient: bool) -> None:
        """The first turn comes at once. run: raises nothing."""
        self._scheduler.add_job(
            run,
            trigger,
            id=name,
            next_run_time=datetime.fromtimestamp(self._clock(), UTC),
            executor="patient" if patient else "default",
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self, seconds: float) -> list[str]:
        """Begin no turn any more and wait for those under way, but not longer than that; names of those given up."""
        deadline = time.monotonic() + seconds
        self._scheduler.shutdown(wait=False)
        return [name for threads in self._threads.values() for name in threads.left_after(deadline)]


class _Scheduler(BackgroundScheduler):
    def __init__(self, clock: Callable[[], float], **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._seen = clock()

    def _process_jobs(self) -> float | None:
        """Called by APScheduler's loop whenever a turn may be due; seconds until the next."""
        before, self._seen = self._seen, self._clock()
        if self._seen < before:
            for job in self.get_jobs():
                job.reschedule(job.trigger)
        wait: float | None = super()._process_jobs()
        return wait


class _Threads(BaseExecutor):
    """A few daemon threads, made when the schedule starts."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._due: SimpleQueue[tuple[Any, Any] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"task-{number}", daemon=True) for number in range(count)
        ]
        self._under_way: dict[threading.Thread, str] = {}
        self._closed = False

    def start(self, scheduler: Any, alias: str) -> None:
        super().start(scheduler, alias)
        for thread in self._threads:
            thread.start()

    def shutdown(self, wait: bool = True) -> None:
        """What is due but not begun is dropped; who wants to wait calls left_after."""
        self._closed = True
        for _ in self._threads:
            self._due.put(None)

    def left_after(self, deadline: float) -> list[str]:
        """After a shutdown: the jobs that are still under way at the deadline, by time.monotonic."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [name for thread, name in list(self._under_way.items()) if thread.is_alive()]

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        self._due.put((job, run_times))

    def _work(self) -> None:
        while (due := self._due.get()) is not None and not self._closed:
            job, run_times = due
            self._under_way[threading.current_thread()] = job.id
            self._run_job_success(job.id, run_job(job, job._jobstore_alias, run_times, self._logger.name))
            self._under_way.pop(threading.current_thread(), None)
