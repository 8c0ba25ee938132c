import threading

import pytest
from prometheus_client import REGISTRY

from bff.breaker import Breaker, BreakerState
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("test", failures=3, reset_after=1.0, clock=clock)


def openings() -> float:
    return REGISTRY.get_sample_value("circuit_breaks_total", {"service": "test"}) or 0.0


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


def test_starts_closed(breaker: Breaker) -> None:
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allow()


def test_opens_at_the_limit_and_not_before(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.allow()
    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow()


def test_only_failures_in_a_row_count(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED


def test_lets_one_probe_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 0.99
    assert not breaker.allow()
    clock.now += 0.01
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.allow() for _ in range(5)] == [True, False, False, False, False]


def test_a_good_probe_closes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert all(breaker.allow() for _ in range(5))
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED, "the count starts anew"


def test_a_bad_probe_opens_for_another_period(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1
    assert breaker.allow()
    clock.now += 0.5
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    clock.now += 0.99
    assert not breaker.allow()
    clock.now += 0.01
    assert breaker.allow()


def test_a_lost_probe_is_replaced(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1
    assert breaker.allow(), "this one never reports back"
    clock.now += 1
    assert [breaker.allow(), breaker.allow()] == [True, False]
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_a_late_failure_does_not_prolong_the_opening(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 0.9
    breaker.failed()
    clock.now += 0.1
    assert breaker.allow()


def test_doubts_ask_to_be_settled_and_open_nothing(breaker: Breaker) -> None:
    assert [breaker.doubted() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert breaker.allow()
    breaker.succeeded()
    assert [breaker.doubted() for _ in range(3)] == [False, False, True], "only doubts in a row count"
    breaker.broken()
    assert breaker.state is BreakerState.OPEN


def test_a_probes_doubt_is_settled_at_once(breaker: Breaker, clock: Clock) -> None:
    before = openings()
    breaker.broken()
    assert not breaker.doubted(), "a late one says nothing new"
    clock.now += 1
    assert breaker.allow()
    assert breaker.doubted()
    breaker.broken()
    assert (breaker.state, openings()) == (BreakerState.OPEN, before + 1)
    clock.now += 1
    assert breaker.allow()
    assert breaker.doubted()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_counts_one_opening_per_outage(breaker: Breaker, clock: Clock) -> None:
    before = openings()
    fail(breaker, 10)
    for _ in range(3):
        clock.now += 1
        assert breaker.allow()
        breaker.failed()
    assert openings() == before + 1
    breaker.succeeded()
    fail(breaker, 3)
    assert openings() == before + 2


def test_many_threads_share_one_probe(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 1
    start = threading.Barrier(16)
    answers: list[bool] = []

    def ask() -> None:
        start.wait(10)
        answers.append(breaker.allow())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [False] * 15 + [True]
