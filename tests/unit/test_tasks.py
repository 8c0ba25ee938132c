"""Periodic jobs: by every worker or by one of the fleet, counted, recorded, and never the end of their thread."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bff.errors import ProviderUnavailable, StoreUnavailable
from bff.kv.sqlite import SqliteStore
from bff.tasks import Job, Tasks, runner
from bff.tasks.records import LATE_PERIODS, LATE_SECONDS
from bff.tasks.runner import LEASE_LIFE
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.support import counted

PERIOD = 30.0
PATIENT = 10
NOTHING: Callable[[], None] = lambda: None  # noqa: E731


@pytest.fixture
def clock() -> Clock:
    """At the beginning of a period."""
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[WatchedStore]:
    store = WatchedStore(SqliteStore(tmp_path / "store.sqlite3", clock))
    store.start()
    yield store
    store.close()


@pytest.fixture
def worker(kv: WatchedStore, clock: Clock) -> Callable[..., Tasks]:
    """Makes another worker of the fleet."""
    return lambda *jobs: Tasks(jobs, kv, clock, clock)


Worker = Callable[..., Tasks]


def runs(name: str, status: str) -> float:
    return counted("bff_background_tasks_total", task_type=name, status=status)


def read(tasks: Tasks) -> None:
    """What the others told."""
    tasks.turn(next(job for job in tasks._jobs if job.name == "task_records"))


def fail() -> None:
    raise ValueError("a defect")


def test_one_worker_of_many_runs_a_fleet_job_each_period(worker: Worker, clock: Clock) -> None:
    ran: list[str] = []
    job = Job("fleet_test", PERIOD, lambda: ran.append("x"), fleet=True)
    workers = [worker(job) for _ in range(8)]

    def all_workers() -> None:
        start = threading.Barrier(len(workers))

        def look(tasks: Tasks) -> None:
            start.wait(PATIENT)
            tasks.turn(job)

        threads = [threading.Thread(target=look, args=(tasks,)) for tasks in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENT)

    all_workers()
    assert (len(ran), runs("fleet_test", "success"), runs("fleet_test", "skipped")) == (1, 1, 7)
    clock.now += PERIOD - 1
    all_workers()
    assert len(ran) == 1, "not before the period is over"
    assert runs("fleet_test", "skipped") == 7, "once per period and worker"
    clock.now += 1
    all_workers()
    assert (len(ran), runs("fleet_test", "success"), runs("fleet_test", "skipped")) == (2, 2, 14)
    assert counted("bff_background_task_duration_seconds_count", task_type="fleet_test") == 2


def test_a_worker_that_comes_late_in_a_period_waits_for_no_whole_one(worker: Worker, clock: Clock) -> None:
    """The period begins by the clock, whenever a worker was started."""
    ran: list[str] = []
    job = Job("late_comer_test", PERIOD, lambda: ran.append("x"), fleet=True)
    clock.now += PERIOD - 1
    worker(job).turn(job)
    clock.now += 1
    worker(job).turn(job)
    assert len(ran) == 2


def test_a_period_that_is_over_costs_no_look_into_the_store(worker: Worker, kv: WatchedStore, clock: Clock) -> None:
    job = Job("quiet_test", PERIOD, NOTHING, fleet=True)
    one, other = worker(job), worker(job)
    one.turn(job)
    other.turn(job)
    kv.forget()
    for _ in range(5):
        clock.now += 1
        one.turn(job)
        other.turn(job)
    assert (kv.reads, kv.writes) == ([], [])


@pytest.mark.parametrize("slow", [PERIOD, 7 * PERIOD])
def test_after_a_pause_there_is_one_turn(worker: Worker, clock: Clock, slow: float) -> None:
    """Of a machine that was suspended, of a store that was away: what was missed is not made up."""
    ran: list[str] = []
    job = Job("pause_test", PERIOD, lambda: ran.append("x"), fleet=True)
    workers = [worker(job) for _ in range(3)]
    workers[0].turn(job)
    clock.now += slow
    for tasks in workers * 2:
        tasks.turn(job)
    assert len(ran) == 2


def test_a_store_that_is_back_is_used_in_the_same_period(worker: Worker, kv: WatchedStore, clock: Clock) -> None:
    ran: list[str] = []
    job = Job("store_back_test", PERIOD, lambda: ran.append("x"), fleet=True)
    tasks = worker(job)
    kv.down = True
    for _ in range(3):
        tasks.turn(job)
        clock.now += 1
    assert (ran, runs("store_back_test", "failed")) == ([], 1), "counted once a period"
    kv.down = False
    tasks.turn(job)
    assert len(ran) == 1


def test_a_clock_that_is_far_ahead_keeps_nobody_waiting_for_long(
    worker: Worker, kv: WatchedStore, clock: Clock
) -> None:
    ran: list[str] = []
    job = Job("wrong_clock_test", PERIOD, lambda: ran.append("x"), fleet=True)
    Tasks([job], kv, lambda: clock() + 3600, clock).turn(job)
    tasks = worker(job)
    counts = []
    for _ in range(4):
        tasks.turn(job)
        counts.append(len(ran))
        clock.now += PERIOD
    assert counts == [1, 1, 2, 3], "who is ahead has done it, and that is forgotten after two periods"


def test_a_clock_that_was_set_back(kv: WatchedStore, clock: Clock) -> None:
    """The store's clock goes on; the workers' is another."""
    ran: list[str] = []
    job = Job("set_back_test", PERIOD, lambda: ran.append("x"), fleet=True)
    behind = Clock(clock.now)
    tasks = Tasks([job], kv, behind, clock)
    tasks.turn(job)
    behind.now -= 3600
    counts = []
    for _ in range(4):
        clock.now += PERIOD
        behind.now += PERIOD
        tasks.turn(job)
        counts.append(len(ran))
    assert counts == [1, 2, 3, 4]


def test_a_turn_whose_lease_was_lost_counts_for_the_follower(
    worker: Worker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    went_on: list[bool] = []
    follower = worker()

    def frozen(may_go_on: Callable[[], bool]) -> None:
        went_on.append(may_go_on())
        if len(went_on) == 1:
            clock.now += LEASE_LIFE
            follower.turn(job)
            went_on.append(may_go_on())

    job = Job("lost_test", PERIOD, frozen, fleet=True, stepwise=True)
    holder = worker(job)
    holder.turn(job)
    assert went_on == [True, True, False], "the holder, its follower, and the holder when it wakes"
    assert (runs("lost_test", "success"), runs("lost_test", "failed")) == (1, 1)
    assert [record.message for record in caplog.records] == ["task_lease_lost"]
    holder.turn(job)
    assert len(went_on) == 3, "the follower did it"
    read(holder)
    assert holder.report()["lost_test"]["last_status"] == "success"


def test_every_worker_runs_its_own_jobs(worker: Worker) -> None:
    ran: list[str] = []
    job = Job("own_test", PERIOD, lambda: ran.append("x"))
    for _ in range(3):
        worker(job).turn(job)
    assert (len(ran), runs("own_test", "success"), runs("own_test", "skipped")) == (3, 3, 0)
    assert counted("bff_background_task_duration_seconds_count", task_type="own_test") == 3


@pytest.mark.parametrize("fleet", [False, True])
def test_a_failure_is_counted_and_logged_and_the_next_turn_comes(
    worker: Worker, clock: Clock, caplog: pytest.LogCaptureFixture, fleet: bool
) -> None:
    name = f"failing_test_{fleet}"
    job = Job(name, PERIOD, fail, fleet=fleet)
    tasks = worker(job)
    tasks.turn(job)
    clock.now += PERIOD
    tasks.turn(job)
    assert (runs(name, "failed"), runs(name, "success")) == (2, 0)
    assert [(record.message, record.levelno) for record in caplog.records] == [("task_failed", logging.ERROR)] * 2
    assert all(record.exc_info and vars(record)["task"] == name for record in caplog.records)


def test_a_fleet_job_that_failed_is_not_tried_again_in_its_period(worker: Worker, clock: Clock) -> None:
    job = Job("failed_once_test", PERIOD, fail, fleet=True)
    workers = [worker(job) for _ in range(3)]
    for tasks in workers * 2:
        tasks.turn(job)
    assert runs("failed_once_test", "failed") == 1
    assert runs("failed_once_test", "skipped") == 2


@pytest.mark.parametrize(
    ("error", "event"),
    [(StoreUnavailable(), "task_without_store"), (ProviderUnavailable(), "task_without_provider")],
)
@pytest.mark.parametrize("fleet", [False, True])
def test_an_outage_is_one_line_without_a_traceback(
    worker: Worker, clock: Clock, caplog: pytest.LogCaptureFixture, error: Exception, event: str, fleet: bool
) -> None:
    errors: list[Exception | None] = [error, error, error, None, error]
    name = f"outage_test_{event}_{fleet}"

    def work() -> None:
        if (now := errors.pop(0)) is not None:
            raise now

    job = Job(name, PERIOD, work, fleet=fleet)
    tasks = worker(job)
    lines = []
    for _ in range(5):
        tasks.turn(job)
        clock.now += PERIOD
        lines.append(len(caplog.records))
    assert lines == [1, 1, 1, 1, 2], "once for each outage"
    assert runs(name, "failed") == 4
    assert {(record.message, record.levelno, record.exc_info) for record in caplog.records} == {
        (event, logging.WARNING, None)
    }


def test_a_lease_that_cannot_be_asked_for_runs_nothing(
    worker: Worker, kv: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    job = Job("no_lease_test", PERIOD, lambda: ran.append("x"), fleet=True)
    kv.down = True
    worker(job).turn(job)
    assert ran == []
    assert [record.message for record in caplog.records] == ["task_without_store"]


def test_the_store_goes_away_while_a_fleet_job_runs(worker: Worker, kv: WatchedStore, clock: Clock) -> None:
    """Nobody can be told that it was done, so it is done once more."""
    ran: list[bool] = []

    def work() -> None:
        ran.append(kv.down)
        kv.down = len(ran) == 1

    job = Job("away_test", PERIOD, work, fleet=True)
    workers = [worker(job) for _ in range(2)]
    workers[0].turn(job)
    kv.down = False
    workers[1].turn(job)
    assert len(ran) == 1, "the lease lives"
    clock.now += LEASE_LIFE
    for tasks in workers * 2:
        tasks.turn(job)
    assert (len(ran), runs("away_test", "failed"), runs("away_test", "success")) == (2, 1, 1)


class TestReport:
    def test_before_the_first_turn(self, worker: Worker, clock: Clock) -> None:
        tasks = worker(Job("own_test", PERIOD, NOTHING), Job("fleet_test", PERIOD, NOTHING, fleet=True))
        unknown = {"last_success": None, "last_status": "unknown", "period": PERIOD, "late": False}
        report = tasks.report()
        assert (report["own_test"], report["fleet_test"]) == ({**unknown, "fleet": False}, {**unknown, "fleet": True})

    def test_own_jobs_are_this_workers_own(self, worker: Worker, clock: Clock) -> None:
        broken: list[str] = []
        job = Job("report_test", PERIOD, lambda: fail() if broken else None)
        tasks, other = worker(job), worker(job)
        tasks.turn(job)
        clock.now += 4.26
        assert tasks.report()["report_test"]["last_success"] == 4.3
        broken.append("x")
        tasks.turn(job)
        report = tasks.report()["report_test"]
        assert (report["last_success"], report["last_status"]) == (4.3, "failed")
        assert other.report()["report_test"]["last_status"] == "unknown"
        clock.now -= 100
        assert tasks.report()["report_test"]["last_success"] == 0.0, "a clock that was set back makes nothing negative"

    def test_of_the_fleets_jobs_every_worker_knows_when_it_has_looked(
        self, worker: Worker, kv: WatchedStore, clock: Clock
    ) -> None:
        broken: list[str] = []
        job = Job("report_fleet_test", PERIOD, lambda: fail() if broken else None, fleet=True)
        tasks, other = worker(job), worker(job)
        for status in ("success", "failed"):
            tasks.turn(job)
            kv.forget()
            other.report()
            assert kv.reads == [], "asking for health asks nobody"
            read(other)
            assert other.report()["report_fleet_test"]["last_status"] == status
            broken.append("x")
            clock.now += PERIOD
        assert other.report()["report_fleet_test"]["last_success"] == 2 * PERIOD

    def test_who_succeeds_no_more_is_late(self, worker: Worker, kv: WatchedStore, clock: Clock) -> None:
        never = Job("never_test", PERIOD, NOTHING, fleet=True)
        once = Job("once_test", PERIOD, NOTHING, fleet=True)
        tasks = worker(never, once)
        tasks.turn(once)
        read(tasks)
        clock.now += LATE_PERIODS * PERIOD + LATE_SECONDS
        assert [tasks.report()[job.name]["late"] for job in (never, once)] == [False, False]
        kv.down = True
        clock.now += 1
        assert [tasks.report()[job.name]["late"] for job in (never, once)] == [True, True]

    @pytest.mark.parametrize("raw", [b"", b"{}", b"7", b'["success"]', b'["success", "soon"]', b"\xff"])
    def test_a_record_that_is_none(self, worker: Worker, kv: WatchedStore, raw: bytes) -> None:
        job = Job("strange_test", PERIOD, NOTHING, fleet=True)
        tasks = worker(job)
        kv.set("task:strange_test", raw)
        read(tasks)
        assert tasks.report()["strange_test"]["last_status"] == "unknown"
        tasks.turn(job)
        read(tasks)
        assert tasks.report()["strange_test"]["last_status"] == "success"


class TestThreads:
    def test_jobs_run_at_once_when_started_beside_each_other(self, worker: Worker) -> None:
        both = threading.Barrier(3)
        tasks = worker(*(Job(name, PERIOD, lambda: both.wait(PATIENT)) for name in ("first_test", "second_test")))
        tasks.start()
        both.wait(PATIENT)
        tasks.stop()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("task-", "APSched"))]

    def test_a_job_repeats_though_it_fails_until_stopped(self, worker: Worker) -> None:
        turns = threading.Semaphore(0)

        def work() -> None:
            turns.release()
            fail()

        tasks = worker(Job("repeating_test", 0.001, work))
        tasks.start()
        assert all(turns.acquire(timeout=PATIENT) for _ in range(3))
        tasks.stop()

    def test_a_fleet_job_repeats(self, tmp_path: Path) -> None:
        turns = threading.Semaphore(0)
        store = SqliteStore(tmp_path / "real.sqlite3")
        store.start()
        tasks = Tasks([Job("fleet_repeating_test", 0.05, turns.release, fleet=True)], store)
        tasks.start()
        assert all(turns.acquire(timeout=PATIENT) for _ in range(3))
        tasks.stop()
        store.close()

    def test_a_slow_job_does_not_run_beside_itself(self, worker: Worker) -> None:
        may_end, begun = threading.Event(), threading.Semaphore(0)
        others = threading.Semaphore(0)

        def slow() -> None:
            begun.release()
            assert may_end.wait(PATIENT)

        tasks = worker(Job("slow_test", 0.001, slow), Job("quick_test", 0.001, others.release))
        tasks.start()
        assert begun.acquire(timeout=PATIENT)
        assert all(others.acquire(timeout=PATIENT) for _ in range(50))
        assert not begun.acquire(blocking=False)
        may_end.set()
        assert begun.acquire(timeout=PATIENT), "and then again"
        tasks.stop()

    def test_jobs_that_wait_keep_no_quick_one_waiting(self, worker: Worker) -> None:
        may_end, turns = threading.Event(), threading.Semaphore(0)
        waiting = [Job(f"waiting_test_{n}", 0.001, lambda: may_end.wait(PATIENT)) for n in range(10)]
        tasks = worker(*waiting, Job("unhindered_test", 0.001, turns.release))
        tasks.start()
        assert all(turns.acquire(timeout=PATIENT) for _ in range(3))
        may_end.set()
        tasks.stop()


class TestStop:
    def test_what_must_not_be_left_undone_is_done_once_more(self, worker: Worker, clock: Clock) -> None:
        """What was noted since the last turn is not lost; other jobs, though due, are not begun any more."""
        flush, own, fleet = (threading.Semaphore(0) for _ in range(3))
        tasks = worker(
            Job("stop_flush_test", PERIOD, flush.release, at_stop=True),
            Job("stop_own_test", PERIOD, own.release),
            Job("stop_fleet_test", PERIOD, fleet.release, fleet=True),
        )
        tasks.start()
        assert all(each.acquire(timeout=PATIENT) for each in (flush, own, fleet))
        clock.now += PERIOD
        tasks.stop()
        assert flush.acquire(blocking=False)
        assert not any(each.acquire(blocking=False) for each in (flush, own, fleet))

    def test_a_running_job_comes_to_the_end_of_its_step(self, worker: Worker) -> None:
        steps: list[str] = []
        begun, stopping = threading.Event(), threading.Event()

        def work(may_go_on: Callable[[], bool]) -> None:
            while may_go_on():
                begun.set()
                assert stopping.wait(PATIENT)
                steps.append("x")

        tasks = worker(Job("stepwise_test", PERIOD, work, fleet=True, stepwise=True))
        tasks.start()
        assert begun.wait(PATIENT)
        tasks._stopping.set()
        stopping.set()
        tasks.stop()
        assert steps == ["x"]
        assert runs("stepwise_test", "success") == 1

    def test_a_job_that_hangs_is_given_up(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        begun, may_end, flushed = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

        def hang() -> None:
            begun.release()
            may_end.wait(PATIENT)

        monkeypatch.setattr(runner, "STOP_TIMEOUT", 0.01)
        tasks = worker(
            Job("hanging_test", PERIOD, hang, at_stop=True), Job("flush_test", PERIOD, flushed.release, at_stop=True)
        )
        tasks.start()
        assert begun.acquire(timeout=PATIENT)
        assert flushed.acquire(timeout=PATIENT)
        tasks.stop()
        assert not begun.acquire(blocking=False)
        assert flushed.acquire(blocking=False)
        assert ("task_given_up", "hanging_test") in [
            (record.message, vars(record).get("task")) for record in caplog.records
        ]
        may_end.set()

    def test_one_that_was_never_started(self, worker: Worker) -> None:
        flushed = threading.Semaphore(0)
        worker(Job("unstarted_test", PERIOD, flushed.release, at_stop=True)).stop()
        assert flushed.acquire(blocking=False)
