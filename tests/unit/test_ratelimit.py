"""Limits: who is counted, what is said, and what holds while nobody can count. The windows are tests/contract's."""

import threading
from pathlib import Path

import pytest

from bff import ratelimit
from bff.crypto import Keyring
from bff.errors import RateLimited, StoreUnavailable
from bff.kv.sqlite import SqliteStore
from bff.ratelimit import Quota, RateLimiter, client_of
from bff.settings import RateLimit
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.support import counted

ALICE, BOB = "192.0.2.1", "192.0.2.2"
OPEN, CLOSED = RateLimit("beacon", 3, "minute"), RateLimit("login", 3, "minute", closed=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> WatchedStore:
    return WatchedStore(SqliteStore(tmp_path / "store.sqlite", clock))


def worker(store: WatchedStore, clock: Clock, *limits: RateLimit) -> RateLimiter:
    mac = Keyring([b"k" * 32]).mac("rate-limit")
    return RateLimiter(limits or (OPEN, CLOSED), store, mac, lambda client: f"of {client}", clock)


@pytest.fixture
def made(store: WatchedStore, clock: Clock) -> RateLimiter:
    return worker(store, clock)


def allowed(made: RateLimiter, address: str = ALICE, name: str = "beacon") -> bool:
    try:
        made.by_address(name, address)
    except RateLimited:
        return False
    return True


def test_so_many_and_no_more(made: RateLimiter) -> None:
    assert [allowed(made) for _ in range(5)] == [True, True, True, False, False]
    assert allowed(made, BOB)
    assert allowed(made, name="login")


def test_what_was_given_back_is_not_counted_again(made: RateLimiter) -> None:
    assert [allowed(made) for _ in range(3)] == [True] * 3
    made.give_back("beacon", ALICE)
    assert [allowed(made) for _ in range(2)] == [True, False]
    made.give_back("beacon", BOB)
    made.give_back("login", ALICE)
    assert not allowed(made), "another's, or another limit's"
    assert [allowed(made, BOB) for _ in range(5)] == [True] * 4 + [False]


def test_no_more_is_given_back_than_the_limit_has(made: RateLimiter) -> None:
    for _ in range(9):
        made.give_back("beacon", ALICE)
    assert [allowed(made) for _ in range(7)] == [True] * 6 + [False]


def test_what_was_given_back_is_remembered_of_so_many_clients(
    made: RateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "MOST_GIVEN_BACK", 2)
    for number in range(5):
        made.give_back("beacon", f"192.0.2.{number}")
    assert len(made._given_back._left) == 2


def test_the_window_moves(made: RateLimiter, clock: Clock) -> None:
    assert allowed(made)
    clock.now += 30
    assert [allowed(made) for _ in range(3)] == [True, True, False]
    clock.now += 29.9
    assert not allowed(made), "what was refused is not counted, and the first is still in the window"
    clock.now += 0.1
    assert [allowed(made) for _ in range(2)] == [True, False]
    clock.now += 30
    assert [allowed(made) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("per", "seconds"), [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)])
def test_how_long_a_window_is(store: WatchedStore, clock: Clock, per: str, seconds: int) -> None:
    made = worker(store, clock, RateLimit("beacon", 1, per))
    assert allowed(made)
    clock.now += seconds - 0.01
    assert not allowed(made)
    clock.now += 0.01
    assert allowed(made)


def test_workers_share_a_limit(store: WatchedStore, clock: Clock) -> None:
    fleet = [worker(store, clock) for _ in range(4)]
    assert sum(allowed(one) for one in fleet * 4) == 3


def test_a_session_is_the_same_wherever_it_comes_from(made: RateLimiter) -> None:
    assert [made.by_session("beacon", "s1") is not None for _ in range(3)] == [True] * 3
    with pytest.raises(RateLimited):
        made.by_session("beacon", "s1")
    assert made.by_session("beacon", "s2") is not None


def test_what_is_left(made: RateLimiter, clock: Clock) -> None:
    assert made.by_address("beacon", ALICE) == Quota(OPEN, 2, 60)
    clock.now += 12.4
    quota = made.by_address("beacon", ALICE)
    assert quota is not None
    assert quota.headers() == [("RateLimit-Policy", '"beacon";q=3;w=60'), ("RateLimit", '"beacon";r=1;t=48')]


def test_when_to_come_again(made: RateLimiter, clock: Clock) -> None:
    assert [allowed(made) for _ in range(3)] == [True] * 3
    clock.now += 12.4
    with pytest.raises(RateLimited) as refused:
        made.by_address("beacon", ALICE)
    assert refused.value.status == 429
    assert refused.value.headers == (
        ("Retry-After", "48"),
        ("RateLimit-Policy", '"beacon";q=3;w=60'),
        ("RateLimit", '"beacon";r=0;t=48'),
    )
    clock.now += 47.5
    assert not allowed(made)
    clock.now += 0.5
    assert allowed(made)


def test_about_who_goes_on_asking_the_store_is_not_asked(made: RateLimiter, store: WatchedStore, clock: Clock) -> None:
    assert [allowed(made) for _ in range(100)].count(True) == 3
    assert len(store.hits) == 4, "three that were let through, and the first that was not"
    assert not allowed(made, "192.0.2.1")
    assert allowed(made, BOB)
    clock.now += 60
    assert [allowed(made) for _ in range(100)].count(True) == 3
    assert len(store.hits) == 9


def test_a_violation_is_counted_each_time(made: RateLimiter) -> None:
    before = counted("bff_rate_limit_hits_total", limit="beacon")
    assert [allowed(made, "192.0.2.77") for _ in range(7)].count(False) == 4
    assert counted("bff_rate_limit_hits_total", limit="beacon") - before == 4
    assert counted("bff_rate_limit_violations_total", client_id="of 192.0.2.77") == 4


def test_with_the_store_away_each_limit_does_what_it_says(made: RateLimiter, store: WatchedStore) -> None:
    assert [allowed(made) for _ in range(4)] == [True, True, True, False]
    store.down = True
    assert [made.by_address("beacon", BOB) for _ in range(5)] == [None] * 5
    for _ in range(5):
        with pytest.raises(StoreUnavailable) as refused:
            made.by_address("login", BOB)
    assert dict(refused.value.headers).keys() == {"Retry-After"}
    assert not allowed(made), "of whom is known that it is too much, is refused all the same"
    store.down = False
    assert allowed(made, BOB, "login")


def test_the_store_holds_no_address(made: RateLimiter, store: WatchedStore) -> None:
    made.by_address("beacon", ALICE)
    made.by_session("login", "session-key")
    assert not [name for name in store.hits if ALICE in name or "session-key" in name]
    assert [name.partition(":")[0] for name in store.hits] == ["beacon", "login"]


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        (ALICE, BOB, False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("", "unix:", False),
    ],
)
def test_who_is_one_client(one: str, another: str, same: bool) -> None:
    assert (client_of(one) == client_of(another)) is same


def test_memory_is_bounded(store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MOST_REFUSED", 10)
    made = worker(store, clock, RateLimit("beacon", 1, "day"))
    for number in range(30):
        assert [allowed(made, f"192.0.2.{number}") for _ in range(3)] == [True, False, False]
    assert len(store.hits) == 60
    assert not allowed(made, "192.0.2.0"), "who was forgotten is asked about"
    assert len(store.hits) == 61


def test_threads_share_a_limit(store: WatchedStore, clock: Clock) -> None:
    made, passed = worker(store, clock, RateLimit("beacon", 50, "minute")), list[bool]()

    def ask() -> None:
        passed.extend(allowed(made) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(passed), sum(passed)) == (200, 50)
