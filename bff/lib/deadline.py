"""Deadline propagation: calls of one request that together must end by a moment, however many of them there are.

Held by the thread (the greenlet, under gevent), and not by a context variable: work that a request hands to the
background copies those, and has all the time of its own.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Held(threading.local):
    moment = math.inf


_held = _Held()


@contextmanager
def ends_by(moment: float) -> Iterator[None]:
    """moment: on the clock of the clients that are called. An earlier one that holds already goes on holding."""
    before = _held.moment
    _held.moment = min(before, moment)
    try:
        yield
    finally:
        _held.moment = before


def left(now: float) -> float:
    """Seconds, at least none; infinitely many without a deadline."""
    return max(0.0, _held.moment - now)
