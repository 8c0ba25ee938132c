"""Bulkhead queue: requests wait in order, without a thread, while their service's share of the threads is taken.

So a burst is answered a little later. A slow service's surplus is refused (503 busy) without having held a thread.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from bff.bulkhead import BUSY_TIMEOUT, Bound, Bulkhead, Place
from bff.server.waiting import Waiting

_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/")


BoundFor = Callable[[str, str], Bound | None]
"""Returns the bulkhead of the service by method and target; None for a request that goes to no service."""


def asked(data: bytes | bytearray) -> tuple[str, str]:
    """Method and target of the request that data begins with; empty strings if it begins with none."""
    line = _LINE.match(data)
    return (line[1].decode(), line[2].decode()) if line else ("", "")


class Parking:
    def __init__(self) -> None:
        self._waiting = Waiting(BUSY_TIMEOUT)
        self._bound: dict[Any, Bound] = {}
        self._awaited: Counter[Bulkhead] = Counter()

    def __len__(self) -> int:
        return len(self._bound)

    def enter(self, connection: Any, bound: Bound, now: float) -> Place | None:
        """A place for its request; None when it must wait behind the requests that wait for the same service."""
        place = None if self._awaited[bound.bulkhead] else bound.bulkhead.try_enter()
        if place is None:
            self._waiting.hold(connection, 0, now)
            self._bound[connection] = bound
            self._awaited[bound.bulkhead] += 1
        return place

    def entered(self) -> Iterator[tuple[Any, Place]]:
        """Removes and returns the connections for which there is a place now."""
        full: set[Bulkhead] = set()
        for connection in tuple(self._waiting):
            bulkhead = self._bound[connection].bulkhead
            place = None if bulkhead in full else bulkhead.try_enter()
            if place is None:
                full.add(bulkhead)
                continue
            self._end(connection)
            yield connection, place

    def refused(self, now: float) -> Iterator[tuple[Any, Bound]]:
        """Removes and returns the connections that waited too long. Those of one service are in order, so the first
        one that is not late ends its search."""
        moving: set[Bulkhead] = set()
        for connection in self._waiting.due(now):
            bulkhead = self._bound[connection].bulkhead
            if bulkhead in moving or not bulkhead.is_late(self._waiting[connection], now):
                moving.add(bulkhead)
                continue
            yield connection, self._end(connection)

    def _end(self, connection: Any) -> Bound:
        self._waiting.end(connection)
        bound = self._bound.pop(connection)
        self._awaited[bound.bulkhead] -= 1
        return bound
