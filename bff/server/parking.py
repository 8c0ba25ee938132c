"""Requests for a service whose share of the threads is taken: each waits for a place without a thread, in its order.

So a burst is answered a little later, and a slow service's surplus is refused (503 busy) without having held a thread.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from bff.bulkhead import BUSY_TIMEOUT, Bound, Bulkhead, Place
from bff.server.waiting import Waiting

_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/")


BoundFor = Callable[[str, str], Bound | None]
"""Says so by method and target; None for what no service gets."""


def asked(data: bytes | bytearray) -> tuple[str, str]:
    """Method and target of the request that data begins with; empty for what is none."""
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
        """A place for its request; None when it has to wait for one, behind those that wait for the same service."""
        place = None if self._awaited[bound.bulkhead] else bound.bulkhead.try_enter()
        if place is None:
            self._waiting.hold(connection, 0, now)
            self._bound[connection] = bound
            self._awaited[bound.bulkhead] += 1
        return place

    def entered(self) -> Iterator[tuple[Any, Place]]:
        """Those for which there is a place now."""
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
        """Those that waited too long. Of each service the first ones are: all behind them came later."""
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
