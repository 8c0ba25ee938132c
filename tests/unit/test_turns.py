"""Calls of the store take turns: in their order, and for as long as others end."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bff.kv import turns
from bff.kv.turns import Turns
from tests.clock import Clock
from tests.contract.backends import eventually


def waits(pool: ThreadPoolExecutor, of: Turns, count: int) -> "Future[bool]":
    """A call that waits, behind count - 1 others."""
    call = pool.submit(of.acquire)
    assert eventually(lambda: len(of._waiting) == count)
    return call


def test_calls_that_wait_come_first_in_their_order() -> None:
    of = Turns(1, 60)
    assert of.acquire()
    with ThreadPoolExecutor(2) as pool:
        first, second = waits(pool, of, 1), waits(pool, of, 2)
        of.release()
        assert first.result(timeout=10)
        assert not of._free, "a call that comes now would find no place"
        assert not second.done()
        of.release()
        assert second.result(timeout=10)
    of.release()
    assert of.acquire()


@pytest.mark.parametrize(
    ("ends", "gives_up"),
    [((), 5.0), ((4.0,), 9.0), ((4.0, 8.0, 12.0), 17.0), (range(1, 30), turns.LONGEST)],
)
def test_a_call_waits_while_others_end(ends: Sequence[float], gives_up: float) -> None:
    """ends: seconds after its beginning."""
    clock = Clock()
    begun, of = clock(), Turns(1, 5, clock)
    for end in ends:
        clock.now = begun + end
        assert of._left(begun) > 0
        of.release()
    clock.now = begun + gives_up - 0.5
    assert of._left(begun) == 0.5
    clock.now = begun + gives_up
    assert of._left(begun) == 0


def test_a_call_that_gave_up_gets_no_turn() -> None:
    of = Turns(1, 0.01)
    assert of.acquire()
    assert not of.acquire()
    of.release()
    assert of.acquire()
    assert not of._free
