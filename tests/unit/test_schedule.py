"""When turns come: by the clock for the fleet, apart from each other for workers, once after a pause."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor

import apscheduler.schedulers.base
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.tasks import Job
from bff.tasks.runner import LOOK, trigger
from bff.tasks.schedule import JITTER, Aligned, Schedule, Spaced
from tests.clock import Clock

PATIENT = 10
MICROSECOND = 1e-6  # as exact as a datetime is
NOW = st.floats(1_700_000_000, 1_900_000_000)
PERIOD = st.sampled_from([0.05, 0.3, 1.0, 1.5, 2.5, 5.0, 30.0, 60.0, 3600.0])


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@given(NOW, PERIOD)
def test_the_fleet_looks_soon_after_the_beginning_of_each_interval(now: float, interval: float) -> None:
    now = moment(now).timestamp()
    due = Aligned(interval).get_next_fire_time(None, moment(now)).timestamp()
    begun = (floor(now / interval) + 1) * interval
    assert begun - MICROSECOND <= due <= begun + JITTER * interval + MICROSECOND


@given(NOW, PERIOD)
def test_every_period_has_its_look_and_soon_another(now: float, period: float) -> None:
    looks, due = trigger(Job("fleet", period, lambda: None, fleet=True)), moment(now)
    seen: set[int] = set()
    last = now
    while due.timestamp() < now + 3 * period and len(seen) < 100:
        due = looks.get_next_fire_time(due, due)
        assert due.timestamp() - last <= LOOK * (1 + JITTER) + MICROSECOND
        last = due.timestamp()
        seen.add(floor(last / period + MICROSECOND))
    assert seen >= set(range(min(seen), max(seen) + 1))


@given(NOW, PERIOD, st.floats(0, 1e6))
def test_own_turns_come_a_period_after_the_last_whatever_was_missed(now: float, period: float, pause: float) -> None:
    due = Spaced(period).get_next_fire_time(moment(now - pause), moment(now)).timestamp()
    assert (1 - JITTER) * period - 2 * MICROSECOND <= due - now <= (1 + JITTER) * period + 2 * MICROSECOND


def test_workers_drift_apart() -> None:
    for each in (Spaced(10), Aligned(10)):
        assert len({each.get_next_fire_time(None, moment(1_800_000_000)) for _ in range(20)}) > 10


class Turns:
    """A job that counts its turns. `again` waits for the next."""

    def __init__(self) -> None:
        self.count = 0
        self._done = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self._done.release()

    def again(self) -> bool:
        return self._done.acquire(timeout=PATIENT)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What APScheduler takes for the time."""
    clock = Clock()

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Shifted":
            return cls.fromtimestamp(clock(), tz)

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Shifted)
    return clock


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    return Schedule(clock)


def looked(schedule: Schedule) -> None:
    """The loop looks at the clock and has handed out what was due then."""
    schedule._scheduler._process_jobs()


def started(schedule: Schedule, clock: Clock, period: float) -> Turns:
    turns = Turns()
    schedule.add("job", turns, Spaced(period), patient=False)
    schedule.start()
    assert turns.again()
    return turns


def test_after_a_pause_there_is_one_turn(schedule: Schedule, clock: Clock) -> None:
    turns = started(schedule, clock, period=10)
    clock.now += timedelta(days=1).total_seconds()
    looked(schedule)
    assert turns.again()
    looked(schedule)
    schedule.stop(PATIENT)
    assert turns.count == 2


def test_a_clock_that_was_set_back_makes_nobody_wait(schedule: Schedule, clock: Clock) -> None:
    turns = started(schedule, clock, period=10)
    clock.now -= 3600
    looked(schedule)
    clock.now += 12
    looked(schedule)
    assert turns.again()
    schedule.stop(PATIENT)
    assert turns.count == 2


def test_what_was_due_but_not_begun_is_dropped(schedule: Schedule) -> None:
    begun, may_end, waiting = threading.Semaphore(0), threading.Event(), Turns()

    def hang() -> None:
        begun.release()
        may_end.wait(PATIENT)

    for name in ("first", "second"):
        schedule.add(name, hang, Spaced(60), patient=False)
    schedule.add("third", waiting, Spaced(60), patient=False)
    schedule.start()
    assert begun.acquire(timeout=PATIENT)
    assert begun.acquire(timeout=PATIENT)
    looked(schedule)
    assert sorted(schedule.stop(0.01)) == ["first", "second"]
    may_end.set()
    assert schedule._threads["default"].left_after(time.monotonic() + PATIENT) == []
    assert waiting.count == 0


def test_what_hangs_is_named_and_left(schedule: Schedule, clock: Clock) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        may_end.wait(PATIENT)

    for name, work, patient in (("hangs", hang, True), ("ends", Turns(), False)):
        run: Callable[[], None] = work
        schedule.add(name, run, Spaced(60), patient=patient)
    schedule.start()
    assert begun.wait(PATIENT)
    assert schedule.stop(0.01) == ["hangs"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("task-")), (
        "a process ends without it"
    )
    may_end.set()
