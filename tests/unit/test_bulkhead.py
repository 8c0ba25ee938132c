"""A service's share: exact under threads, and never lost."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from prometheus_client import REGISTRY

from bff.bulkhead import BUSY_LONGEST, BUSY_TIMEOUT, Bulkhead, Place
from bff.errors import Busy
from tests.clock import Clock


def rejections(service: str) -> float:
    return REGISTRY.get_sample_value("bff_bulkhead_rejections_total", {"service": service}) or 0.0


def test_as_many_as_there_are_places() -> None:
    bulkhead = Bulkhead("full", 2)
    first, _second = bulkhead.enter(), bulkhead.enter()
    before = rejections("full")
    with pytest.raises(Busy) as refused:
        bulkhead.enter()
    assert (refused.value.status, refused.value.code, dict(refused.value.headers)) == (
        503,
        "busy",
        {"Retry-After": "1"},
    )
    assert rejections("full") - before == 1
    assert bulkhead.try_enter() is None
    first.leave()
    first.leave()
    again = bulkhead.try_enter()
    assert (again is None, bulkhead.try_enter() is None) == (False, True), "each place is left once"


def test_a_forgotten_place_is_free_again() -> None:
    bulkhead = Bulkhead("forgotten", 1)
    place: Place | None = bulkhead.enter()
    assert bulkhead.try_enter() is None
    del place
    assert bulkhead.try_enter() is not None


def test_many_at_once() -> None:
    bulkhead, ready = Bulkhead("many", 3), Barrier(8)

    def enter(_: int) -> Place | None:
        ready.wait()
        return bulkhead.try_enter()

    with ThreadPoolExecutor(8) as pool:
        places = [place for place in pool.map(enter, range(8)) if place is not None]
    assert len(places) == 3


def test_a_request_may_wait_for_a_place() -> None:
    bulkhead = Bulkhead("patient", 1, patience=10)
    place = bulkhead.enter()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bulkhead.enter)
        place.leave()
        assert waiting.result(timeout=10).bulkhead is bulkhead
    assert rejections("patient") == 0


def test_one_that_waits_is_late_when_no_place_is_left_or_after_long() -> None:
    clock = Clock()
    begun, bulkhead = clock(), Bulkhead("moving", 1, clock=clock)
    assert not bulkhead.is_late(begun, begun + BUSY_TIMEOUT - 0.5)
    assert bulkhead.is_late(begun, begun + BUSY_TIMEOUT)
    for _ in range(7):
        place = bulkhead.enter()
        clock.now += BUSY_TIMEOUT - 0.5
        assert not bulkhead.is_late(begun, clock()) or clock() >= begun + BUSY_LONGEST
        place.leave()
    assert bulkhead.is_late(begun, clock()), "although places are left"
    assert not bulkhead.is_late(clock() - BUSY_TIMEOUT, clock())


@pytest.mark.parametrize(("moves", "longest"), [(False, BUSY_TIMEOUT), (True, BUSY_LONGEST)])
def test_it_waits_as_long_by_itself(moves: bool, longest: float) -> None:
    """While each look at its condition is half a second later; and a place was left just then, or none ever."""
    clock = Clock()
    bulkhead = Bulkhead("waits", 1, BUSY_TIMEOUT, BUSY_LONGEST, clock)
    _place, begun = bulkhead.enter(), clock()

    def wait(timeout: float | None = None) -> bool:
        clock.now += 0.5
        bulkhead._left_at = clock() if moves else 0.0
        return True

    bulkhead._changed.wait = wait  # type: ignore[method-assign]
    with pytest.raises(Busy):
        bulkhead.enter()
    assert clock() - begun == longest
