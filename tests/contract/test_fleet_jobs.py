"""A job of the fleet is done once in each period by twelve workers in three pods, whoever of them dies, on every store.

What holds to the letter: each period's work is done; it is done once, unless its lease was lost while it was under way,
and then once more by the follower; and one turn a period counts as the successful one.
"""

import random
from collections.abc import Callable
from itertools import count

import pytest
from prometheus_client import REGISTRY

from bff.kv import KeyValue
from bff.tasks import Job, Tasks
from bff.tasks.runner import LEASE_LIFE, LOOK
from bff.tasks.schedule import JITTER
from tests.clock import Clock
from tests.contract.backends import Backend
from tests.contract.fleet import PODS, WORKERS, Fate, Fleet, Worker
from tests.contract.test_kv import together

PERIODS = {"sweep": 10.0, "mail": 5.0}
START = 1_800_000_000.0
TEN = range(int(START // 10), int(START // 10) + 10)
TWENTY = range(int(START // 5), int(START // 5) + 20)
BEFORE = 2.0
"""Seconds before the first of these periods in which the fleet starts."""

TAKEN_OVER_WITHIN = LEASE_LIFE + LOOK * (1 + JITTER)
numbers = count()


@pytest.fixture
def names() -> dict[str, str]:
    """By what a job is here, its name: new ones for each test, since counters go on counting."""
    number = next(numbers)
    return {name: f"{name}_{number}_test" for name in PERIODS}


@pytest.fixture
def fleet(backend: Backend, names: dict[str, str]) -> Fleet:
    random.seed(7)
    return Fleet(backend, {names[name]: period for name, period in PERIODS.items()}, START - BEFORE)


def ten_periods(fleet: Fleet) -> None:
    """Of the slower job, until shortly before any clock of the fleet comes to the eleventh."""
    fleet.run_until(START + 10 * PERIODS["sweep"] - 2 * max(PODS.values()))


def counted(name: str, status: str) -> float:
    return REGISTRY.get_sample_value("bff_background_tasks_total", {"task_type": name, "status": status}) or 0.0


def test_each_job_runs_once_per_period(fleet: Fleet, names: dict[str, str]) -> None:
    sweep, mail = names.values()
    ten_periods(fleet)
    assert len(fleet.workers) == len(PODS) * WORKERS == 12
    assert fleet.counts(fleet.begun, sweep, TEN) == fleet.counts(fleet.done, sweep, TEN) == [1] * 10
    assert fleet.counts(fleet.begun, mail, TWENTY) == fleet.counts(fleet.done, mail, TWENTY) == [1] * 20
    of_the_first, after = 1, 11  # the period in which the fleet started, and one for whom each of them was not
    assert counted(sweep, "success") == of_the_first + 10
    assert counted(sweep, "skipped") == (of_the_first + 10) * after
    assert counted(sweep, "failed") == 0


def test_the_work_goes_round(fleet: Fleet, names: dict[str, str]) -> None:
    """Whoever looks first does it, and chance decides who that is."""
    who: set[int] = set()

    def note(worker: Worker) -> None:
        who.add(id(worker))

    fleet.fates = {(names["mail"], period): note for period in TWENTY}
    ten_periods(fleet)
    assert len(who) > 3


def killed(_fleet: Fleet, _name: str) -> Fate:
    return Worker.die


def killed_when_all_was_done(fleet: Fleet, name: str) -> Fate:
    def fate(worker: Worker) -> None:
        fleet.done[name, int(worker.clock() // fleet._periods[name])].append(fleet.clock())
        worker.die()

    return fate


def frozen(fleet: Fleet, _name: str) -> Fate:
    def fate(worker: Worker) -> None:
        worker.frozen = True
        fleet.run_for(TAKEN_OVER_WITHIN + 1)
        worker.frozen = False

    return fate


def forgotten(fleet: Fleet, name: str) -> Fate:
    """By a store that was failed over, say."""

    def fate(worker: Worker) -> None:
        fleet.pass_in_store()
        worker.line.inner.delete(f"lease:{name}")
        fleet.run_for(LOOK + 1)

    return fate


@pytest.mark.parametrize(
    ("loss", "done", "failed"),
    [(killed, 1, 0), (killed_when_all_was_done, 2, 0), (frozen, 2, 1), (forgotten, 2, 1)],
)
def test_a_lost_lease_has_one_follower(
    fleet: Fleet, names: dict[str, str], loss: Callable[[Fleet, str], Fate], done: int, failed: int
) -> None:
    """In five of ten periods. done: how often the work is done there. failed: turns there that count as failed; who was
    killed counts nothing."""
    sweep, mail = names.values()
    lost = TEN[1::2]
    fleet.fates = {(sweep, period): loss(fleet, sweep) for period in lost}
    ten_periods(fleet)
    assert not fleet.fates
    assert len(fleet.workers) == 12
    assert fleet.counts(fleet.begun, sweep, TEN) == [1, 2] * 5
    assert fleet.counts(fleet.done, sweep, TEN) == [1, done] * 5
    assert (counted(sweep, "success"), counted(sweep, "failed")) == (1 + 10, failed * 5)
    for first, second in (fleet.begun[sweep, period] for period in lost):
        assert second - first <= TAKEN_OVER_WITHIN
    assert fleet.counts(fleet.done, mail, TWENTY) == [1] * 20, "the other job notices nothing"


def test_a_slow_job_overlaps_with_itself_nowhere(fleet: Fleet, names: dict[str, str]) -> None:
    """Within the life of its lease, since nobody renews it in a time that only a test moves: test_lease does that."""
    mail, under_way, most = names["mail"], [0], [0]

    def slow(_worker: Worker) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        fleet.run_for(LEASE_LIFE / 2)
        under_way[0] -= 1

    fleet.fates = {(mail, period): slow for period in TWENTY}
    ten_periods(fleet)
    assert most == [1]
    assert fleet.counts(fleet.done, mail, TWENTY[:-1]) == [1] * 19


def test_all_at_the_same_moment(backend: Backend, names: dict[str, str]) -> None:
    """Twelve threads that really race, for ten periods."""
    clock, ran = Clock(START), []
    job = Job(names["sweep"], PERIODS["sweep"], lambda: ran.append(clock.now), fleet=True)
    stores: list[KeyValue] = [backend.open() for _ in PODS]
    workers = [Tasks([job], stores[number % len(stores)], clock, clock) for number in range(12)]
    for number in range(10):
        together(len(workers), lambda each: workers[each].turn(job))
        assert len(ran) == number + 1
        clock.now += PERIODS["sweep"]
        backend.advance(PERIODS["sweep"])
    assert (counted(job.name, "success"), counted(job.name, "skipped")) == (10, 110)
