"""Periodic jobs: by every worker or by one of the fleet, counted, and never the end of their thread."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bff.errors import StoreUnavailable
from bff.kv.sqlite import SqliteStore
from bff.tasks import Job, Tasks
from tests.clock import Clock
from tests.unit.support import counted

PERIOD = 30.0
PATIENT = 10


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite3", clock)
    store.start()
    yield store
    store.close()


def runs(name: str, status: str) -> float:
    return counted("bff_background_tasks_total", task_type=name, status=status)


def test_one_worker_of_many_runs_a_fleet_job_each_period(kv: SqliteStore, clock: Clock) -> None:
    ran: list[str] = []
    job = Job("fleet_test", PERIOD, lambda: ran.append("x"), fleet=True)

    def all_workers() -> None:
        start = threading.Barrier(8)

        def worker() -> None:
            start.wait(PATIENT)
            Tasks([job], kv).run_once(job)

        threads = [threading.Thread(target=worker) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENT)

    all_workers()
    assert (len(ran), runs("fleet_test", "success"), runs("fleet_test", "skipped")) == (1, 1, 7)
    clock.now += PERIOD / 2
    all_workers()
    assert len(ran) == 1, "not before the period is over"
    clock.now += PERIOD / 2
    all_workers()
    assert (len(ran), runs("fleet_test", "success"), runs("fleet_test", "skipped")) == (2, 2, 22)


def test_every_worker_runs_its_own_jobs(kv: SqliteStore) -> None:
    ran: list[str] = []
    job = Job("own_test", PERIOD, lambda: ran.append("x"))
    for _ in range(3):
        Tasks([job], kv).run_once(job)
    assert (len(ran), runs("own_test", "success"), runs("own_test", "skipped")) == (3, 3, 0)
    assert counted("bff_background_task_duration_seconds_count", task_type="own_test") == 3


def fail() -> None:
    raise ValueError("a defect")


def test_a_failure_is_counted_and_logged_and_the_next_turn_comes(
    kv: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job("failing_test", PERIOD, fail)
    tasks = Tasks([job], kv)
    tasks.run_once(job)
    tasks.run_once(job)
    assert (runs("failing_test", "failed"), runs("failing_test", "success")) == (2, 0)
    assert [(record.message, record.levelno) for record in caplog.records] == [("task_failed", logging.ERROR)] * 2
    assert all(record.exc_info and vars(record)["task"] == "failing_test" for record in caplog.records)


def without_store() -> None:
    raise StoreUnavailable


def test_a_store_that_is_away_is_one_line_and_no_traceback(kv: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    job = Job("outage_test", PERIOD, without_store)
    Tasks([job], kv).run_once(job)
    assert runs("outage_test", "failed") == 1
    (record,) = caplog.records
    assert (record.message, record.levelno, record.exc_info) == ("task_without_store", logging.WARNING, None)


def test_a_lease_that_cannot_be_asked_for_runs_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder.sqlite3").mkdir()
    ran: list[str] = []
    job = Job("no_lease_test", PERIOD, lambda: ran.append("x"), fleet=True)
    Tasks([job], SqliteStore(tmp_path / "folder.sqlite3", clock)).run_once(job)
    assert ran == []
    assert [record.message for record in caplog.records] == ["task_without_store"]


def test_jobs_run_at_once_when_started_each_in_its_thread(kv: SqliteStore) -> None:
    both = threading.Barrier(3)
    tasks = Tasks([Job(name, PERIOD, lambda: both.wait(PATIENT)) for name in ("first_test", "second_test")], kv)
    tasks.start()
    both.wait(PATIENT)
    both.abort()  # stop() runs them once more, and nobody waits for them then
    tasks.stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("task-")]


def test_a_job_repeats_until_stopped(kv: SqliteStore) -> None:
    turns = threading.Semaphore(0)
    tasks = Tasks([Job("repeating_test", 0.001, turns.release)], kv)
    tasks.start()
    assert all(turns.acquire(timeout=PATIENT) for _ in range(3))
    tasks.stop()


def test_a_job_that_fails_in_its_thread_repeats(kv: SqliteStore) -> None:
    turns = threading.Semaphore(0)

    def job() -> None:
        turns.release()
        fail()

    tasks = Tasks([Job("dying_test", 0.001, job)], kv)
    tasks.start()
    assert all(turns.acquire(timeout=PATIENT) for _ in range(3))
    tasks.stop()


def test_stop_runs_the_workers_own_jobs_once_more(kv: SqliteStore, clock: Clock) -> None:
    """What was noted since the last turn is not lost; the fleet's jobs, though due, are somebody else's as well."""
    own, fleet = threading.Semaphore(0), threading.Semaphore(0)
    jobs = [Job("stop_own_test", PERIOD, own.release), Job("stop_fleet_test", PERIOD, fleet.release, fleet=True)]
    tasks = Tasks(jobs, kv)
    tasks.start()
    assert own.acquire(timeout=PATIENT)
    assert fleet.acquire(timeout=PATIENT)
    clock.now += PERIOD
    tasks.stop()
    assert own.acquire(blocking=False)
    assert not own.acquire(blocking=False)
    assert not fleet.acquire(blocking=False)
