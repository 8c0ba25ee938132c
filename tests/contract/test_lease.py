"""The lease of a periodic job: one holder, one time per period, a follower for who is gone; on every store."""

import threading

import pytest

from bff.kv import KeyValue
from bff.kv.lease import Lease, Taken
from tests.clock import Clock
from tests.contract.backends import Backend, eventually
from tests.contract.test_kv import SOON, STRETCH, Stretched, together

LIFE = 100.0
LONG = 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(kv: KeyValue, clock: Clock, life: float = LIFE) -> Lease:
    return Lease(kv, "l", life, "test:1", clock)


def test_has_one_holder_and_one_turn_a_period(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    mine, yours = lease(kv, clock), lease(backend.open(), clock)
    assert mine.take(7) is Taken.OURS
    assert [yours.take(period) for period in (6, 7, 8)] == [Taken.HELD] * 3
    assert mine.finish(LONG)
    assert [each.take(period) for each in (mine, yours) for period in (6, 7)] == [Taken.OVER] * 4
    assert yours.take(8) is Taken.OURS


@pytest.mark.parametrize("before", [None, 6])
def test_one_of_many_gets_it(kv: KeyValue, clock: Clock, before: int | None) -> None:
    if before is not None:
        first = lease(kv, clock)
        assert first.take(before) is Taken.OURS
        assert first.finish(LONG)
    taken = together(16, lambda _: lease(kv, clock).take(7))
    assert (taken.count(Taken.OURS), taken.count(Taken.HELD)) == (1, 15)


def test_who_is_gone_is_followed_when_the_life_is_over(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    mine, yours = lease(kv, clock), lease(kv, clock)
    assert mine.take(7) is Taken.OURS
    backend.advance(LIFE - 1)
    assert yours.take(7) is Taken.HELD
    backend.advance(1)
    assert yours.take(7) is Taken.OURS


def test_a_late_holder_harms_nobody(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    mine, yours = lease(kv, clock), lease(kv, clock)
    assert mine.take(7) is Taken.OURS
    backend.advance(LIFE)
    assert yours.take(7) is Taken.OURS
    assert not mine.finish(LONG)
    assert mine.take(7) is Taken.HELD
    assert yours.finish(LONG)
    assert not mine.finish(LONG)
    assert mine.take(7) is Taken.OVER


def test_a_late_holder_is_not_believed_when_nobody_followed(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    mine = lease(kv, clock)
    assert mine.take(7) is Taken.OURS
    backend.advance(LIFE)
    assert not mine.finish(LONG), "somebody may have followed and be gone again"
    assert lease(kv, clock).take(7) is Taken.OURS


def test_a_holder_knows_by_itself_when_the_life_is_over(kv: KeyValue, clock: Clock) -> None:
    mine = lease(kv, clock)
    assert not mine.holds()
    assert mine.take(7) is Taken.OURS
    clock.now += LIFE - 0.1
    assert mine.holds()
    clock.now += 0.1
    assert not mine.holds()
    yours = lease(kv, clock)
    assert yours.take(7) is Taken.HELD
    assert not yours.holds()


def test_what_is_over_is_forgotten_in_the_end(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    """So a clock that was wrong by years stops nobody."""
    mine = lease(kv, clock)
    assert mine.take(7_000_000) is Taken.OURS
    assert mine.finish(60)
    backend.advance(59)
    assert lease(kv, clock).take(7) is Taken.OVER
    backend.advance(1)
    assert lease(kv, clock).take(7) is Taken.OURS


def test_kept_for_as_long_as_the_work_goes_on(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    """The work takes several lives of the lease, and nobody else gets it meanwhile."""
    patient = Stretched(kv)
    mine, yours = lease(patient, clock, SOON), lease(backend.open(), clock)
    assert mine.take(7) is Taken.OURS
    with mine.renewing():
        for _ in range(5):
            backend.advance(SOON * STRETCH * 0.6)
            clock.now += SOON * 0.6
            assert patient.renewed()
            assert mine.holds()
            assert yours.take(8) is Taken.HELD
    assert mine.finish(LONG)


def test_who_learns_that_it_was_lost_stops(kv: KeyValue, backend: Backend, clock: Clock) -> None:
    mine, yours = lease(kv, clock, SOON), lease(backend.open(), clock)
    assert mine.take(7) is Taken.OURS
    with mine.renewing():
        kv.delete("lease:l")
        assert yours.take(7) is Taken.OURS
        assert eventually(lambda: not mine.holds()), "though the clock stands still"
        assert eventually(lambda: "kv-lock" not in {thread.name for thread in threading.enumerate()})
    assert not mine.finish(LONG)
    assert yours.finish(LONG)


def test_names_are_apart_and_the_holder_can_be_found(kv: KeyValue, clock: Clock) -> None:
    assert lease(kv, clock).take(7) is Taken.OURS
    assert Lease(kv, "m", LIFE, "test:2", clock).take(7) is Taken.OURS
    held = kv.get("lease:m")
    assert held is not None
    assert held.split()[:3] == [b"held", b"7", b"test:2"]
