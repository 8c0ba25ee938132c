"""Who asks for the master, and when: never a request."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from bff.kv import redis_executor
from bff.kv.redis_pool import MasterPool
from tests.contract.backends import eventually

FIRST, SECOND = ("127.0.0.1", 1), ("127.0.0.1", 2)


class Asked:
    """Sentinels that answer as a test says, and note who asks."""

    def __init__(self) -> None:
        self.master: Any = FIRST
        self.answering = threading.Event()
        self.answering.set()
        self.by: list[threading.Thread] = []

    def discover_master(self, _service: str) -> Any:
        self.by.append(threading.current_thread())
        self.answering.wait(10)
        if self.master is None:
            raise redis.sentinel.MasterNotFoundError("none")
        return self.master

    def close(self) -> None:
        self.answering.set()


@pytest.fixture
def sentinels() -> Asked:
    return Asked()


@pytest.fixture
def pool(sentinels: Asked) -> Iterator[MasterPool]:
    made = MasterPool("main", sentinels, {}, patience=5)  # type: ignore[arg-type]  # all of them that it uses
    yield made
    sentinels.answering.set()
    made.stop()


def address(pool: MasterPool) -> Any:
    """What a new connection goes to."""
    proxy: Any = pool.proxy
    return proxy.get_master_address()


def test_the_asking_is_done_by_a_thread_of_its_own(pool: MasterPool, sentinels: Asked) -> None:
    assert [address(pool) for _ in range(3)] == [FIRST] * 3
    assert threading.current_thread() not in sentinels.by


def test_sentinels_that_hang_slow_nobody_who_knows_a_master(pool: MasterPool, sentinels: Asked) -> None:
    address(pool)
    sentinels.answering.clear()
    asked = len(sentinels.by)
    pool.doubt()
    assert eventually(lambda: len(sentinels.by) > asked), "one of them is waiting for an answer now"
    assert address(pool) == FIRST
    assert not sentinels.answering.is_set()


def test_a_doubt_is_asked_about_soon(pool: MasterPool, sentinels: Asked) -> None:
    address(pool)
    sentinels.master = SECOND
    pool.doubt()
    assert eventually(lambda: address(pool) == SECOND)


def test_while_nobody_answers_the_known_master_is_the_best_guess(pool: MasterPool, sentinels: Asked) -> None:
    address(pool)
    sentinels.master = None
    asked = len(sentinels.by)
    pool.doubt()
    assert eventually(lambda: len(sentinels.by) > asked)
    assert address(pool) == FIRST


def test_without_a_first_answer_there_is_none(pool: MasterPool, sentinels: Asked) -> None:
    sentinels.master = None
    with pytest.raises(redis.sentinel.MasterNotFoundError):
        address(pool)
    sentinels.master = FIRST
    pool.doubt()
    assert eventually(lambda: pool.master_address == FIRST)
    assert address(pool) == FIRST


@pytest.mark.parametrize(("said", "taken"), [(SECOND, SECOND), (("", 7), ("127.0.0.1", 7))])
def test_what_a_node_says_counts_at_once(pool: MasterPool, said: Any, taken: Any) -> None:
    """A node that does not know the name by which it is reached leaves it out."""
    address(pool)
    pool.take(said)
    assert address(pool) == taken


def test_a_listeners_peer_that_vanished_is_noticed_within_a_second() -> None:
    """It asks after some silence, and looks every WAKE seconds; each may come just before it would be noticed."""
    clock = [0.0]

    class Silent:
        pings = 0

        def can_read(self, timeout: float) -> bool:
            clock[0] += timeout
            return False

        def send_command(self, *_: str) -> None:
            self.pings += 1

    class Listening:
        stopped = threading.Event()

    link: Any = redis_executor.RedisExecutor.__new__(redis_executor.RedisExecutor)
    link._clock, link._pool = lambda: clock[0], None
    with pytest.raises(redis.TimeoutError):
        link._receive(Listening(), silent := Silent())
    assert silent.pings == 1
    assert clock[0] <= 1.0 + 1e-9
