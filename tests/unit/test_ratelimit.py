"""Moving windows: so many in any minute, for each client, in bounded memory."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.errors import RateLimited
from bff.ratelimit import Memory, RateLimits, client_of
from bff.settings import RateLimit
from tests.clock import Clock
from tests.unit.support import counted

ALICE, BOB = "192.0.2.1", "192.0.2.2"


def limits(clock: Clock, amount: int = 3, per: str = "minute") -> RateLimits:
    return RateLimits([RateLimit("beacon", amount, per)], Memory(clock), lambda client: f"of {client}", clock)


def allowed(made: RateLimits, address: str = ALICE) -> bool:
    try:
        made.check("beacon", address)
    except RateLimited:
        return False
    return True


def test_so_many_and_no_more() -> None:
    made = limits(Clock())
    assert [allowed(made) for _ in range(5)] == [True, True, True, False, False]
    assert allowed(made, BOB)


def test_the_window_moves() -> None:
    clock = Clock()
    made = limits(clock)
    assert allowed(made)
    clock.now += 30
    assert [allowed(made) for _ in range(3)] == [True, True, False]
    clock.now += 29.9
    assert not allowed(made), "what was refused is not counted, and the first is still in the window"
    clock.now += 0.1
    assert [allowed(made) for _ in range(2)] == [True, False]
    clock.now += 30
    assert [allowed(made) for _ in range(3)] == [True, True, False]


def test_when_to_come_again() -> None:
    clock = Clock()
    made = limits(clock, amount=2)
    assert allowed(made)
    clock.now += 12.4
    assert allowed(made)
    with pytest.raises(RateLimited) as refused:
        made.check("beacon", ALICE)
    assert (refused.value.status, refused.value.headers) == (429, (("Retry-After", "48"),))
    clock.now += 47
    assert not allowed(made)
    clock.now += 1
    assert allowed(made)


@pytest.mark.parametrize(("per", "seconds"), [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)])
def test_how_long_a_window_is(per: str, seconds: int) -> None:
    clock = Clock()
    made = limits(clock, 1, per)
    assert allowed(made)
    clock.now += seconds - 0.01
    assert not allowed(made)
    clock.now += 0.01
    assert allowed(made)


def test_a_violation_is_counted() -> None:
    before = counted("bff_rate_limit_hits_total", limit="beacon")
    made = limits(Clock(), amount=1)
    assert [allowed(made, "192.0.2.77") for _ in range(4)] == [True, False, False, False]
    assert counted("bff_rate_limit_hits_total", limit="beacon") - before == 3
    assert counted("bff_rate_limit_violations_total", client_id="of 192.0.2.77") == 3


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


def test_memory_is_bounded() -> None:
    storage = Memory(Clock(), most_keys=10)
    for number in range(1000):
        assert storage.acquire_entry(f"client {number}", 1, 60)
        assert not storage.acquire_entry(f"client {number}", 1, 60)
    assert storage.reset() == 10


def test_who_is_active_is_remembered() -> None:
    storage = Memory(Clock(), most_keys=2)
    assert storage.acquire_entry("active", 1, 60)
    for number in range(100):
        assert storage.acquire_entry(f"client {number}", 1, 60)
        assert not storage.acquire_entry("active", 1, 60)


def test_no_thread_is_started() -> None:
    """This is built before the fork."""
    before = threading.active_count()
    made = limits(Clock())
    assert allowed(made)
    assert threading.active_count() == before


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 5))
def test_no_stretch_of_time_holds_more(pauses: list[float], amount: int) -> None:
    clock = Clock()
    made, let_through = limits(clock, amount), []
    for pause in pauses:
        clock.now += pause
        if allowed(made):
            let_through.append(clock.now)
    for begin in let_through:
        assert sum(begin <= moment < begin + 60 for moment in let_through) <= amount


def test_threads_share_a_limit() -> None:
    made, passed = limits(Clock(), amount=100), list[bool]()

    def ask() -> None:
        passed.extend(allowed(made) for _ in range(100))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(passed), sum(passed)) == (400, 100)
