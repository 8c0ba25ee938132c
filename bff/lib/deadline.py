"""Deadline propagation: all calls of one request share one deadline.

The thread (the greenlet, under gevent) holds it, and not a context variable: background work of a request copies
context variables, and has its own time.
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
    """Sets a deadline for the block. moment: on the clock of the called clients. An earlier outer deadline stays."""
    before = _held.moment
    _held.moment = min(before, moment)
    try:
        yield
    finally:
        _held.moment = before


def left(now: float) -> float:
    """Seconds until the deadline, at least 0; infinity without one."""
    return max(0.0, _held.moment - now)
