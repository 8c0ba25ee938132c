"""Lease: one worker of the fleet does a periodic job in each period, and another takes over when it dies.

The lease's key holds the worker that does the job, for a few seconds that it renews during the work, or the number of
the last finished period. Set-if-absent and compare-and-set write both, so one of many workers gets the lease, and none
after the period was done:

    worker A                            worker B
    take(7): ours
    work, and the lease is renewed      take(7): held
    ... is killed, the life runs out
                                        take(7): ours, and the work is done once more
                                        finish: "over 7"
    ... or was only frozen
    finish: False, another worker had it
                                        take(7): over
                                        take(8): ours

A lease does not exclude two workers for certain: a frozen one goes on with its work until it asks. So two workers may
write the same, and each write of the work needs compare-and-set, or a transaction that only one can win.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum, auto

from bff.crypto import random_id
from bff.kv import KeyValue
from bff.kv.lock import renewed


class Taken(Enum):
    OURS = auto()
    HELD = auto()
    """Another worker has the lease, and may still fail."""
    OVER = auto()
    """The period's work is done."""


class Lease:
    """The lease of one turn of the work. Every method that asks the store raises StoreUnavailable."""

    def __init__(
        self, kv: KeyValue, name: str, life: float, owner: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """life: seconds after which a holder that did not renew has lost it. owner: one word, for operators that look
        into the store. clock: seconds, for this process alone."""
        self._kv = kv
        self._key = f"lease:{name}"
        self._life = life
        self._owner = f"{owner} {random_id()}"
        self._clock = clock
        self._period = 0
        self._ours = b""
        self._ends_at = float("-inf")

    def take(self, period: int) -> Taken:
        """Tries once, without waiting. A finished period is over also for workers with a clock that is behind."""
        asked_at, found = self._clock(), self._kv.get(self._key)
        self._period, self._ours = period, f"held {period} {self._owner}".encode()
        if found is None:
            taken = self._kv.set_if_absent(self._key, self._ours, self._life)
        elif not found.startswith(b"over "):
            return Taken.HELD
        elif int(found[5:]) >= period:
            return Taken.OVER
        else:
            taken = self._kv.compare_and_set(self._key, found, self._ours, self._life)
        if taken:
            self._ends_at = asked_at + self._life
        return Taken.OURS if taken else Taken.HELD

    def holds(self) -> bool:
        """Whether this process still has the lease by its own clock, without asking: between two steps of the work."""
        return self._clock() < self._ends_at

    def renewing(self) -> AbstractContextManager[None]:
        """Renews the lease while the block runs."""
        return renewed(self._renew, self._life / 3)

    def finish(self, remembered: float) -> bool:
        """Marks the period as over; False when the lease was lost before. remembered: seconds that the mark lives, so
        that a period of a wrong clock, far in the future, does not keep the others waiting."""
        return self._kv.compare_and_set(self._key, self._ours, f"over {self._period}".encode(), remembered)

    def _renew(self) -> bool:
        asked_at = self._clock()
        held = self._kv.compare_and_set(self._key, self._ours, self._ours, self._life)
        self._ends_at = asked_at + self._life if held else float("-inf")
        return held
