"""When turns come: by the clock for the fleet, apart from each other for workers, once after a pause."""

import threading
from collections.abc import Callable
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.tasks import Job
from bff.tasks.runner import LOOK, pause_of
from bff.tasks.schedule import JITTER, Schedule, aligned, spaced

PATIENT = 10
EXACT = 1e-6
NOW = st.floats(1_700_000_000, 1_900_000_000)
PERIOD = st.sampled_from([0.05, 0.3, 1.0, 1.5, 2.5, 5.0, 30.0, 60.0, 3600.0])


@given(NOW, PERIOD)
def test_the_fleet_looks_soon_after_the_beginning_of_each_interval(now: float, interval: float) -> None:
    due = now + aligned(interval)(now)
    begun = (floor(now / interval) + 1) * interval
    assert begun - EXACT <= due <= begun + JITTER * interval + EXACT


@given(NOW, PERIOD)
def test_every_period_has_its_look_and_soon_another(now: float, period: float) -> None:
    pause, last = pause_of(Job("fleet", period, lambda: None, fleet=True)), now
    seen: set[int] = set()
    while last < now + 3 * period and len(seen) < 100:
        due = last + pause(last)
        assert due - last <= LOOK * (1 + JITTER) + EXACT
        last = due
        seen.add(floor(last / period + EXACT))
    assert seen >= set(range(min(seen), max(seen) + 1))


@given(NOW, PERIOD)
def test_own_turns_come_a_period_apart_whatever_the_clock_says(now: float, period: float) -> None:
    assert (1 - JITTER) * period <= spaced(period)(now) <= (1 + JITTER) * period


def test_workers_drift_apart() -> None:
    for each in (spaced(10), aligned(10)):
        assert len({each(1_800_000_000) for _ in range(20)}) > 10


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


class Passing:
    """A clock by which time passes as `pause` has it, and no thread waits: each turn finds its successor overdue."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1000.0
        return self.now


def test_after_a_pause_there_is_one_turn() -> None:
    """However long the machine was suspended, the next pause is reckoned from the present."""
    turns, pauses = Turns(), iter([10.0, 3600.0])
    schedule = Schedule(monotonic=Passing())
    schedule.add("job", turns, lambda _now: next(pauses))
    schedule.start()
    assert turns.again()
    assert turns.again(), "which was due 990 seconds ago"
    assert schedule.stop(PATIENT) == []
    assert turns.count == 2


@pytest.mark.parametrize("late", [0.0, 500.0])
def test_a_pause_begins_with_the_turn(late: float) -> None:
    """A turn that takes long does not move the ones after it."""
    moments, asked = iter([100.0, 100.0 + late]), []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            self.set()
            return True

    schedule = Schedule(monotonic=lambda: next(moments))
    schedule._stopping = Stopping()
    schedule.add("job", lambda: None, lambda _now: 60.0)
    schedule.start()
    schedule._threads["job"].join(PATIENT)
    assert asked == [max(0.0, 60.0 - late)]


def test_no_job_keeps_another_waiting() -> None:
    schedule, may_end, turns = Schedule(), threading.Event(), Turns()
    for number in range(20):
        schedule.add(f"hangs-{number}", lambda: bool(may_end.wait(PATIENT)), spaced(60))  # type: ignore[arg-type]
    schedule.add("goes on", turns, spaced(0.001))
    schedule.start()
    assert all(turns.again() for _ in range(3))
    may_end.set()
    assert schedule.stop(PATIENT) == []


def test_no_turn_begins_after_a_stop() -> None:
    schedule, turns = Schedule(), Turns()
    schedule.add("job", turns, spaced(0.001))
    schedule.start()
    assert turns.again()
    assert schedule.stop(PATIENT) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "task-job"]


def test_what_hangs_is_named_and_left() -> None:
    begun, may_end = threading.Event(), threading.Event()
    schedule = Schedule()

    def hang() -> None:
        begun.set()
        may_end.wait(PATIENT)

    works: dict[str, Callable[[], None]] = {"hangs": hang, "ends": Turns()}
    for name, work in works.items():
        schedule.add(name, work, spaced(60))
    schedule.start()
    assert begun.wait(PATIENT)
    assert "hangs" in schedule.stop(0.01)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("task-")), (
        "a process ends without it"
    )
    may_end.set()
    assert schedule.stop(PATIENT) == []
