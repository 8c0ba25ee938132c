"""Job runner: runs each job when it is due, counts and logs the outcome, and keeps the job after a failure."""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from bff.errors import ProviderUnavailable, StoreUnavailable
from bff.kv import KeyValue
from bff.kv.lease import Lease, Taken
from bff.observability import metrics
from bff.tasks.job import Job
from bff.tasks.records import TaskRecords
from bff.tasks.schedule import Pause, Schedule, aligned, spaced

log = logging.getLogger(__name__)

LEASE_LIFE = 5.0
"""Seconds after which another worker takes over the turn of a killed one."""

LOOK = 1.0
"""Seconds between two looks of a worker at the fleet's turn: it may be open still, or open again."""

OVER_FOR = 2
"""Periods for which a turn counts as done: until the slowest clock of the fleet has come to the next."""

RECORDS_PERIOD = 5.0
STOP_TIMEOUT = 5.0


class LeaseLost(Exception):
    """Another worker has the turn now, or has finished it."""


class Tasks:
    def __init__(
        self,
        jobs: Sequence[Job],
        kv: KeyValue,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds since the epoch, as the whole fleet has it. monotonic: seconds, for leases."""
        self._records = TaskRecords(kv, clock)
        read = partial(self._records.read, [job for job in jobs if job.fleet])
        self._jobs = (*jobs, Job("task_records", RECORDS_PERIOD, read))
        self._kv = kv
        self._clock = clock
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._schedule: Schedule | None = None
        self._over: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._troubled: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Starts the threads; every job has its first turn at once."""
        self._records.begin()
        self._schedule = Schedule()
        for job in self._jobs:
            self._schedule.add(job.name, partial(self.turn, job), pause_of(job))
        self._schedule.start()

    def stop(self) -> None:
        """Waits for running jobs up to a limit, then runs the jobs with `at_stop`."""
        self._stopping.set()
        given_up = self._schedule.stop(STOP_TIMEOUT) if self._schedule else []
        for name in given_up:
            log.warning("task_given_up", extra={"task": name})
        for job in self._jobs:
            if job.at_stop and job.name not in given_up:
                self.turn(job)

    def report(self) -> dict[str, dict[str, object]]:
        """The records of all jobs, from memory."""
        return self._records.report(self._jobs)

    def turn(self, job: Job) -> None:
        """Runs one turn of a job, or checks whether the fleet's turn is open. Raises nothing."""
        if job.fleet:
            self._fleet_turn(job, int(self._clock() // job.period))
        else:
            self._records.note(job, self._run(job, partial(self._call, job, self._may_go_on)))

    def _fleet_turn(self, job: Job, period: int) -> None:
        if self._over.get(job.name) == period:
            return
        lease = Lease(self._kv, job.name, LEASE_LIFE, f"{socket.gethostname()}:{os.getpid()}", self._monotonic)
        taken = self._taken(job, lease, period)
        if taken is Taken.OURS:
            status = self._run(job, partial(self._under, lease, job, period))
            if self._over.get(job.name) == period:
                self._attempt(job, "record", partial(self._records.tell, job, status))
        elif self._counted.get(job.name) != period:
            self._counted[job.name] = period
            metrics.background_task(job.name, "failed" if taken is None else "skipped")

    def _taken(self, job: Job, lease: Lease, period: int) -> Taken | None:
        """None when the store did not answer."""
        answers: list[Taken] = []
        self._attempt(job, "lease", lambda: answers.append(lease.take(period)))
        if answers == [Taken.OVER]:
            self._over[job.name] = period
        return answers[0] if answers else None

    def _under(self, lease: Lease, job: Job, period: int) -> None:
        """Runs the turn under its lease. A failed turn is over, too: the next attempt is in the next period. Raises
        LeaseLost."""
        try:
            with lease.renewing():
                self._call(job, lambda: lease.holds() and self._may_go_on())
        finally:
            if lease.finish(OVER_FOR * job.period):
                self._over[job.name] = period
        if self._over.get(job.name) != period:
            raise LeaseLost

    def _call(self, job: Job, may_go_on: Callable[[], bool]) -> None:
        job.run(may_go_on) if job.stepwise else job.run()

    def _may_go_on(self) -> bool:
        return not self._stopping.is_set()

    def _run(self, job: Job, work: Callable[[], None]) -> str:
        start = perf_counter()
        status = "success" if self._attempt(job, "turn", work) else "failed"
        metrics.background_task(job.name, status, perf_counter() - start)
        return status

    def _attempt(self, job: Job, part: str, work: Callable[[], None]) -> bool:
        """Runs the work and returns whether it succeeded. An outage is logged once, a defect with its traceback each
        time."""
        try:
            work()
        except (StoreUnavailable, ProviderUnavailable) as err:
            if (job.name, part) not in self._troubled:
                log.warning(_event(err), extra={"task": job.name})
            self._troubled.add((job.name, part))
            return False
        except LeaseLost:
            log.warning("task_lease_lost", extra={"task": job.name})
            return False
        except Exception:
            log.exception("task_failed", extra={"task": job.name})
            return False
        self._troubled.discard((job.name, part))
        return True


def pause_of(job: Job) -> Pause:
    """The trigger of a job. For a job of the fleet it fires once in each period, and each second in long ones."""
    return aligned(job.period / math.ceil(job.period / LOOK)) if job.fleet else spaced(job.period)


def _event(err: Exception) -> str:
    return "task_without_store" if isinstance(err, StoreUnavailable) else "task_without_provider"
