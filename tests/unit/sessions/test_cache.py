"""The worker's session cache: truthful under races, gaps of the listener, and a full house."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bff.sessions.model import EndReason
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.counters import Counters
from tests.unit.sessions.conftest import Layer, Worker

LOOKUPS = "bff_session_cache_total"


@pytest.fixture
def warm(sessions: Layer) -> Layer:
    """Its listener says that messages arrive from now on."""
    sessions.cache._listening(True)
    return sessions


def test_the_second_look_costs_no_round_trip(warm: Layer, counters: Counters) -> None:
    _, session = warm.create()
    first = warm.cache.lookup(session.key, warm.clock())
    warm.kv.forget()
    assert warm.cache.lookup(session.key, warm.clock()) is first
    assert warm.kv.reads == []
    assert counters.gained(LOOKUPS) == {"miss": 1, "hit": 1}


def test_an_entry_lives_five_seconds(warm: Layer, clock: Clock, counters: Counters) -> None:
    _, session = warm.create()
    for seconds in (0, 4.9, 0.1):
        clock.now += seconds
        warm.cache.lookup(session.key, clock())
    assert counters.gained(LOOKUPS) == {"miss": 2, "hit": 1}


@pytest.mark.parametrize("back", [0, 30, 3600])
def test_a_clock_that_is_set_back_makes_no_entry_last(
    warm: Layer, clock: Clock, counters: Counters, back: float
) -> None:
    """The cache ages by the time that has passed; what is told to it is the time of day."""
    _, session = warm.create()
    warm.cache.lookup(session.key, clock())
    clock.now += 5
    warm.cache.lookup(session.key, clock() - back)
    assert counters.gained(LOOKUPS) == {"miss": 2}


def test_an_entry_lives_no_longer_than_its_session(worker: Worker, clock: Clock, counters: Counters) -> None:
    one = worker(lifetime=3, idle_timeout=3)
    one.cache._listening(True)
    _, session = one.create()
    one.cache.lookup(session.key, clock())
    clock.now += 3
    entry = one.cache.lookup(session.key, clock())
    assert entry is not None
    assert entry.session.expired(clock())
    assert counters.gained(LOOKUPS) == {"miss": 2}


def test_what_is_not_there_is_not_remembered(warm: Layer, counters: Counters) -> None:
    """Else a million made-up cookies would fill the cache."""
    for _ in range(3):
        assert warm.cache.lookup("0" * 64, warm.clock()) is None
    assert len(warm.cache) == 0
    assert counters.gained(LOOKUPS) == {"miss": 3}


def test_before_the_listener_is_connected_every_look_goes_to_the_store(sessions: Layer, counters: Counters) -> None:
    _, session = sessions.create()
    for _ in range(3):
        assert sessions.cache.lookup(session.key, sessions.clock()) is not None
    assert len(sessions.cache) == 0
    assert counters.gained(LOOKUPS) == {"bypass": 3}


def test_a_listener_that_is_lost_empties_the_cache(warm: Layer, counters: Counters) -> None:
    _, session = warm.create()
    warm.cache.lookup(session.key, warm.clock())
    warm.cache._listening(False)
    assert (len(warm.cache), warm.cache.truthful) == (0, False)
    warm.cache.lookup(session.key, warm.clock())
    assert len(warm.cache) == 0
    warm.cache._listening(True)
    warm.cache.lookup(session.key, warm.clock())
    assert len(warm.cache) == 1
    assert counters.gained(LOOKUPS) == {"miss": 2, "bypass": 1}


@pytest.mark.parametrize("what", ["this session ends", "another session ends", "the listener is lost", "it came back"])
def test_a_reader_that_was_overtaken_answers_but_keeps_nothing(warm: Layer, what: str) -> None:
    """The store has answered, and before the reader can keep the answer, the news arrives."""
    _, session = warm.create()

    def news() -> None:
        warm.kv.between = None
        if what.endswith("ends"):
            warm.cache.invalidate(session.key if what.startswith("this") else "another")
        else:
            warm.cache._listening(False)
            if what == "it came back":
                warm.cache._listening(True)

    warm.kv.between = news
    assert warm.cache.lookup(session.key, warm.clock()) is not None
    assert len(warm.cache) == 0


def test_an_end_is_heard_through_the_store(sessions: Layer, counters: Counters) -> None:
    sessions.cache.start()
    assert eventually(lambda: sessions.cache.truthful)
    _, session = sessions.create()
    sessions.cache.lookup(session.key, sessions.clock())
    sessions.store.end(session, EndReason.REVOKED)
    assert eventually(lambda: len(sessions.cache) == 0)
    assert counters.gained(LOOKUPS) == {"miss": 1, "invalidated": 1}


def test_news_of_sessions_that_are_not_cached_do_not_count(warm: Layer, counters: Counters) -> None:
    warm.cache.invalidate("0" * 64)
    assert counters.gained(LOOKUPS) == {}


def test_the_oldest_makes_room(worker: Worker, clock: Clock) -> None:
    one = worker(cache_size=2)
    one.cache._listening(True)
    keys = [one.create()[1].key for _ in range(3)]
    for key in keys:
        one.cache.lookup(key, clock())
    assert len(one.cache) == 2
    one.kv.forget()
    one.cache.lookup(keys[2], clock())
    one.cache.lookup(keys[1], clock())
    assert one.kv.reads == []
    one.cache.lookup(keys[0], clock())
    assert len(one.kv.reads) == 1


@pytest.mark.parametrize("off", [{"cache_ttl": 0.0}, {"cache_size": 0}])
def test_it_can_be_turned_off(worker: Worker, clock: Clock, off: dict[str, Any]) -> None:
    one = worker(**off)
    one.cache.start()
    _, session = one.create()
    one.cache.lookup(session.key, clock())
    assert len(one.cache) == 0
    assert not one.cache.truthful


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns a thousand times more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_many_threads_in_a_full_cache(worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    one = worker(cache_size=3)
    one.cache._listening(True)
    keys = [one.create()[1].key for _ in range(8)]
    found = {key: one.store.find(key) for key in keys}
    monkeypatch.setattr(one.store, "find", found.get)  # the race is in memory; a real store only slows it down

    def work(number: int) -> None:
        for turn in range(10_000):
            one.cache.lookup(keys[(turn * 5 + number) % 8], clock())
            if turn % 7 == number:
                one.cache.invalidate(keys[turn % 8])
            if turn % 50 == number:
                one.cache._listening(True)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))  # raises what a thread raised
    assert len(one.cache) <= 3
