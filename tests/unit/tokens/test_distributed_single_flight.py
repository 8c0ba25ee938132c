"""One works and the others take its result: in one worker, between workers, and when the one is killed.

Nobody sleeps here: who waits moves the clock that the store lives by.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bff.errors import StoreUnavailable
from bff.kv.lock import Lock
from bff.kv.sqlite import SqliteStore
from bff.tokens.distributed_single_flight import LOCK_LIFE, DistributedSingleFlight, InProgress, SingleFlightTimeout
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.store import WatchedStore

Make = Callable[..., DistributedSingleFlight]


class Shelf:
    """Where results lie for everybody, as the store does."""

    def __init__(self) -> None:
        self.result: str | None = None
        self.worked = 0
        self._changing = threading.Lock()

    def look(self) -> str | None:
        return self.result

    def work(self) -> str:
        with self._changing:
            self.worked += 1
            self.result = f"result {self.worked}"
        return self.result


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[WatchedStore]:
    store = WatchedStore(SqliteStore(tmp_path / "store.sqlite", clock))
    yield store
    store.close()


@pytest.fixture
def make(kv: WatchedStore, clock: Clock) -> Make:
    """Flights of several workers on one store."""

    def wait(seconds: float) -> None:
        clock.now += seconds

    return lambda **changes: DistributedSingleFlight(kv, **{"clock": clock, "wait": wait, **changes})


class Held:
    """Work that goes on until the test lets it end."""

    def __init__(self, end: Callable[[], str]) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self._end = end

    def __call__(self) -> str:
        self.begun.set()
        assert self.let_go.wait(10)
        return self._end()


def followers(flight: DistributedSingleFlight) -> int:
    """How many threads wait for the one who leads."""
    return sum(len(vars(first)["_condition"]._waiters) for first in flight._single_flight._calls.values())


def refuse() -> str:
    raise ValueError("no")


def test_alone_it_works(make: Make, shelf: Shelf) -> None:
    assert make().run("n", shelf.look, shelf.work) == ("result 1", True)


def test_the_lock_is_free_afterwards(make: Make, shelf: Shelf, kv: WatchedStore) -> None:
    flight = make()
    flight.run("n", shelf.look, shelf.work)
    with pytest.raises(ValueError, match="no"):
        flight.run("n", lambda: None, refuse)
    assert Lock(kv, "n", 1).acquire()


def test_what_is_there_already_is_taken(make: Make, shelf: Shelf) -> None:
    """Somebody may have finished just before the lock was got."""
    shelf.result = "there"
    assert make().run("n", shelf.look, shelf.work) == ("there", False)
    assert shelf.worked == 0


def test_names_are_apart(make: Make, shelf: Shelf) -> None:
    flight = make()

    def outer() -> str:
        return flight.run("other", shelf.look, shelf.work, wait=False)[0]

    assert flight.run("n", shelf.look, outer) == ("result 1", True)


def test_threads_of_one_worker_share_the_result(make: Make, shelf: Shelf) -> None:
    flight, held = make(), Held(shelf.work)
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(flight.run, "n", shelf.look, held)
        assert held.begun.wait(10)
        others = [pool.submit(flight.run, "n", shelf.look, shelf.work) for _ in range(15)]
        assert eventually(lambda: followers(flight) == 15)
        held.let_go.set()
        assert first.result(10) == ("result 1", True)
        assert [each.result(10) for each in others] == [("result 1", False)] * 15
    assert shelf.worked == 1


def test_threads_of_one_worker_share_the_failure(make: Make, shelf: Shelf) -> None:
    flight, held = make(), Held(refuse)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(flight.run, "n", shelf.look, held)
        assert held.begun.wait(10)
        others = [pool.submit(flight.run, "n", shelf.look, shelf.work) for _ in range(3)]
        assert eventually(lambda: followers(flight) == 3)
        held.let_go.set()
        for each in (first, *others):
            with pytest.raises(ValueError, match="no"):
                each.result(10)
    assert shelf.worked == 0
    assert flight.run("n", shelf.look, shelf.work) == ("result 1", True)  # nobody is taken for busy any more


def test_who_has_no_patience_does_not_wait_for_a_thread(make: Make, shelf: Shelf) -> None:
    flight, held = make(), Held(shelf.work)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flight.run, "n", shelf.look, held)
        assert held.begun.wait(10)
        with pytest.raises(InProgress):
            flight.run("n", shelf.look, shelf.work, wait=False)
        held.let_go.set()
        assert first.result(10) == ("result 1", True)


def test_an_impatient_leader_does_not_speak_for_a_patient_follower(
    make: Make, shelf: Shelf, kv: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader finds another worker at it and gives up; who followed it has time to wait for that worker."""
    flight, elsewhere = make(), Lock(kv, "n", LOCK_LIFE)
    assert elsewhere.acquire()
    asked, let_go, acquire = threading.Event(), threading.Event(), kv.set_if_absent

    def slowly(key: str, value: bytes, ttl: float | None = None) -> bool:
        if threading.current_thread().name.startswith("impatient"):
            asked.set()
            assert let_go.wait(10)
        return acquire(key, value, ttl)

    monkeypatch.setattr(kv, "set_if_absent", slowly)
    with ThreadPoolExecutor(1, "impatient") as hasty, ThreadPoolExecutor(1, "patient") as calm:
        leader = hasty.submit(flight.run, "n", shelf.look, shelf.work, wait=False)
        assert asked.wait(10)
        follower = calm.submit(flight.run, "n", shelf.look, shelf.work)
        assert eventually(lambda: followers(flight) == 1)
        let_go.set()
        with pytest.raises(InProgress):
            leader.result(10)
        assert follower.result(10) == ("result 1", True)  # the other worker's lock ended while it waited


class TestTwoWorkers:
    def test_one_works_and_the_other_takes_the_result(self, make: Make, shelf: Shelf) -> None:
        held, waited = Held(shelf.work), threading.Event()

        def wait(_seconds: float) -> None:
            waited.set()

        one, two = make(), make(wait=wait)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(one.run, "n", shelf.look, held)
            assert held.begun.wait(10)
            second = pool.submit(two.run, "n", shelf.look, shelf.work)
            assert waited.wait(10)
            held.let_go.set()
            assert first.result(10) == ("result 1", True)
            assert second.result(10) == ("result 1", False)
        assert shelf.worked == 1

    def test_who_waited_works_when_nothing_came_of_it(self, make: Make, shelf: Shelf) -> None:
        held, waited = Held(refuse), threading.Event()
        one, two = make(), make(wait=lambda _seconds: waited.set())
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(one.run, "n", shelf.look, held)
            assert held.begun.wait(10)
            second = pool.submit(two.run, "n", shelf.look, shelf.work)
            assert waited.wait(10)
            held.let_go.set()
            with pytest.raises(ValueError, match="no"):
                first.result(10)
            assert second.result(10) == ("result 1", True)

    def test_who_has_no_patience_does_not_wait_for_a_worker(self, make: Make, shelf: Shelf, kv: WatchedStore) -> None:
        assert Lock(kv, "n", LOCK_LIFE).acquire()
        with pytest.raises(InProgress):
            make().run("n", shelf.look, shelf.work, wait=False)

    def test_a_holder_that_died_is_followed(self, make: Make, shelf: Shelf, kv: WatchedStore, clock: Clock) -> None:
        assert Lock(kv, "n", LOCK_LIFE).acquire()  # by a process that is no more, so nobody renews it
        start = clock()
        assert make().run("n", shelf.look, shelf.work) == ("result 1", True)
        assert LOCK_LIFE <= clock() - start < LOCK_LIFE + 0.2

    def test_a_holder_that_is_always_there_takes_too_long(
        self, make: Make, shelf: Shelf, kv: WatchedStore, clock: Clock
    ) -> None:
        lock, start = Lock(kv, "n", LOCK_LIFE), clock()
        assert lock.acquire()

        def wait(seconds: float) -> None:
            clock.now += seconds
            assert lock.renew()

        with pytest.raises(SingleFlightTimeout):
            make(wait=wait, patience=15.0).run("n", shelf.look, shelf.work)
        assert 15.0 <= clock() - start < 15.2
        assert shelf.worked == 0

    def test_pauses_grow_to_a_tenth_of_a_second(self, make: Make, shelf: Shelf, kv: WatchedStore, clock: Clock) -> None:
        assert Lock(kv, "n", 1).acquire()
        pauses: list[float] = []

        def wait(seconds: float) -> None:
            pauses.append(seconds)
            clock.now += seconds

        make(wait=wait).run("n", shelf.look, shelf.work)
        assert pauses[:5] == [0.02, 0.04, 0.08, 0.1, 0.1]


def test_a_thread_that_leads_for_ever_takes_too_long(make: Make, shelf: Shelf) -> None:
    flight, held = make(patience=0.001), Held(shelf.work)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flight.run, "n", shelf.look, held)
        assert held.begun.wait(10)
        with pytest.raises(SingleFlightTimeout):
            flight.run("n", shelf.look, shelf.work)
        held.let_go.set()
        assert first.result(10) == ("result 1", True)


@pytest.mark.parametrize("calls_left", [0, 1])
def test_the_store_is_down(make: Make, shelf: Shelf, kv: WatchedStore, calls_left: int) -> None:
    """At the lock nothing was done yet. Later it costs the lock, which ends by itself, but not the result."""
    flight = make()
    kv.calls_left = calls_left
    if calls_left == 0:
        with pytest.raises(StoreUnavailable):
            flight.run("n", shelf.look, shelf.work)
        assert shelf.worked == 0
    else:
        assert flight.run("n", shelf.look, shelf.work) == ("result 1", True)
    kv.calls_left, kv.down = None, False
    assert flight.run("n", lambda: None, shelf.work)[1]
