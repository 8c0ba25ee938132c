"""Deadline propagation: all outbound calls of one request share one deadline.

The thread holds the deadline (the greenlet, under gevent). A context variable would be copied into background work,
which has its own time.
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
    """moment: by the clock of the HTTP clients. An earlier deadline that is already set stays in force."""
    before = _held.moment
    _held.moment = min(before, moment)
    try:
        yield
    finally:
        _held.moment = before


def left(now: float) -> float:
    """Seconds until the deadline: 0 or more, infinite without a deadline."""
    return max(0.0, _held.moment - now)
