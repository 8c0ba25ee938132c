"""Callers share a run, but none gets a result that began before the call. Steps are events; nobody sleeps."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest

from bff.lib.coalesced import CoalescedCall

PATIENCE = 10


class Work:
    """Runs that end when the test says so; each answers its own number."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[int] = SimpleQueue()
        self.outcomes: SimpleQueue[Exception | None] = SimpleQueue()
        self.runs = 0
        self.at_once = 0
        self.most_at_once = 0

    def __call__(self) -> int:
        self.runs += 1
        number = self.runs
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.put(number)
        outcome = self.outcomes.get(timeout=PATIENCE)
        self.at_once -= 1
        if outcome:
            raise outcome
        return number

    def wait_for_start(self) -> int:
        return self.begun.get(timeout=PATIENCE)

    def end(self, outcome: Exception | None = None) -> None:
        self.outcomes.put(outcome)


class Callers:
    """Threads that call, one after the other, each only when the one before is known to wait."""

    def __init__(self, shared: CoalescedCall[int]) -> None:
        self._shared = shared
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._waiting = threading.Semaphore(0)
        turn = shared._turn
        original: Callable[..., Any] = turn.wait

        def wait(timeout: float | None = None) -> bool:
            self._waiting.release()  # the lock is still held: whoever takes it next finds this caller waiting
            return bool(original(timeout))

        turn.wait = wait  # type: ignore[method-assign]

    def call(self) -> "Future[int]":
        return self._pool.submit(self._shared)

    def call_and_wait(self) -> "Future[int]":
        found = self.call()
        assert self._waiting.acquire(timeout=PATIENCE)
        return found

    def shutdown(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def callers(work: Work) -> Any:
    found = Callers(CoalescedCall(work))
    yield found
    found.shutdown()


def test_callers_one_after_the_other_each_have_a_run(work: Work) -> None:
    shared = CoalescedCall(work)
    for number in (1, 2, 3):
        work.end()
        assert shared() == number


def test_who_comes_during_a_run_waits_for_the_next_and_shares_it(work: Work, callers: Callers) -> None:
    first = callers.call()
    assert work.wait_for_start() == 1
    late = [callers.call_and_wait() for _ in range(4)]
    work.end()
    assert first.result(PATIENCE) == 1
    assert work.wait_for_start() == 2
    later = callers.call_and_wait()
    work.end()
    assert [each.result(PATIENCE) for each in late] == [2, 2, 2, 2]
    assert work.wait_for_start() == 3
    work.end()
    assert later.result(PATIENCE) == 3
    assert (work.runs, work.most_at_once) == (3, 1)


def test_a_failure_goes_to_its_own_caller_only(work: Work, callers: Callers) -> None:
    first = callers.call()
    assert work.wait_for_start() == 1
    late = [callers.call_and_wait() for _ in range(3)]
    work.end(ValueError("first"))
    with pytest.raises(ValueError, match="first"):
        first.result(PATIENCE)
    assert work.wait_for_start() == 2
    work.end(ValueError("second"))
    assert work.wait_for_start() == 3
    work.end()
    outcomes = [each.exception(PATIENCE) or each.result(PATIENCE) for each in late]
    assert sorted(map(str, outcomes)) == ["3", "3", "second"]
    assert work.most_at_once == 1
    work.end()
    assert callers.call().result(PATIENCE) == 4


def test_a_result_may_be_empty(work: Work) -> None:
    assert CoalescedCall(lambda: b"")() == b""
    assert CoalescedCall[None](lambda: None)() is None


def test_no_result_began_before_its_call() -> None:
    """Many threads, no order: each notes the clock before it calls, and a run answers the clock at its start."""
    lock = threading.Lock()
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        with lock:
            ticks += 1
            return ticks

    shared = CoalescedCall(tick)
    failures: list[tuple[int, int]] = []

    def caller() -> None:
        for _ in range(300):
            asked = tick()
            began = shared()
            if began < asked:
                failures.append((asked, began))

    threads = [threading.Thread(target=caller) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
