"""Which connections a worker gives up, and which requests wait for a place at their service."""

from bff.bulkhead import BUSY_LONGEST, BUSY_TIMEOUT, Bound, Bulkhead
from bff.server.parking import Parking, asked
from bff.server.waiting import Waiting
from tests.clock import Clock


def test_each_has_the_same_time_whatever_arrives_meanwhile() -> None:
    waiting = Waiting(10.0)
    waiting.hold("a", 1, 100.0)
    waiting.hold("b", 1, 105.0)
    waiting.hold("a", 2, 109.0)
    assert waiting.until("a") == 110.0
    assert [waiting.due(109.9), waiting.due(110.0), waiting.due(115.0)] == [[], ["a"], ["a", "b"]]
    waiting.end("a")
    waiting.end("a")
    assert (waiting.due(115.0), "a" in waiting, len(waiting)) == (["b"], False, 1)


def test_the_oldest_are_due_while_too_much_is_held() -> None:
    waiting = Waiting(10.0, budget=10)
    for name, size in (("a", 4), ("b", 4), ("c", 2)):
        waiting.hold(name, size, 100.0)
    assert waiting.due(100.0) == []
    waiting.hold("c", 7, 101.0)
    assert waiting.due(101.0) == ["a", "b"]
    waiting.end("b")
    waiting.hold("c", 6, 101.0)
    assert waiting.due(101.0) == []


def bound(most: int) -> Bound:
    return Bound(Bulkhead("orders", most), "orders-read", "/api/orders", streaming=False)


def test_requests_wait_in_their_order_for_places_of_their_own_service() -> None:
    parking, orders, billing = Parking(), bound(1), bound(1)
    place = parking.enter("a", orders, 0.0)
    assert place is not None
    assert parking.enter("b", orders, 0.0) is parking.enter("c", orders, 0.0) is None
    assert parking.enter("d", billing, 0.0) is not None
    assert list(parking.entered()) == []
    place.leave()
    assert parking.enter("e", orders, 0.0) is None, "those that wait come first"
    assert [connection for connection, _place in parking.entered()] == ["b"]


def test_who_waits_too_long_is_refused() -> None:
    parking, orders = Parking(), bound(1)
    place = parking.enter("a", orders, 0.0)
    assert parking.enter("b", orders, 0.0) is parking.enter("c", orders, 1.0) is None
    assert list(parking.refused(BUSY_TIMEOUT)) == [("b", orders)]
    assert list(parking.refused(BUSY_TIMEOUT)) == []
    assert len(parking) == 1
    if place is not None:
        place.leave()
    assert [connection for connection, _place in parking.entered()] == ["c"]
    assert len(parking) == 0


def test_those_behind_wait_on_while_places_are_left() -> None:
    clock, parking = Clock(0.0), Parking()
    orders = Bound(Bulkhead("orders", 1, clock=clock), "orders-read", "/api/orders", streaming=False)
    billing = bound(1)
    places = [parking.enter("a", orders, 0.0), parking.enter("b", billing, 0.0)]
    waiting = {"c": orders, "d": billing, "e": orders}
    assert [parking.enter(connection, where, 0.0) for connection, where in waiting.items()] == [None] * 3
    clock.now = 1.0
    if (first := places[0]) is not None:
        first.leave()
    places += [place for _, place in parking.entered()]
    assert list(parking.refused(BUSY_TIMEOUT)) == [("d", billing)], "of the service that has left no place"
    assert list(parking.refused(BUSY_TIMEOUT + 1)) == [("e", orders)]
    assert len(parking) == 0


def test_they_wait_so_long_at_most() -> None:
    clock, parking = Clock(0.0), Parking()
    orders = Bound(Bulkhead("orders", 1, clock=clock), "orders-read", "/api/orders", streaming=False)
    place = parking.enter("a", orders, 0.0)
    assert parking.enter("b", orders, 0.0) is None
    clock.now = BUSY_LONGEST - 0.5
    if place is not None:
        place.leave()
    assert list(parking.refused(BUSY_LONGEST - 0.1)) == []
    assert list(parking.refused(BUSY_LONGEST)) == [("b", orders)]


def test_what_is_asked() -> None:
    assert asked(b"GET /api/x?y HTTP/1.1\r\n\r\n") == ("GET", "/api/x?y")
    assert asked(b"GET /api/x") == asked(b"") == ("", "")
