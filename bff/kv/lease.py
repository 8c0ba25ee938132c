"""Of all workers of the fleet, one does a periodic job in each period; and when that one dies, another does.

Under the lease's key stands who is at it, for a few seconds that are renewed as long as the work goes on, or which
period is over. Both are put there by set-if-absent and compare-and-set, so one of many gets the lease, and none after
the period was done:

    worker A                            worker B
    take(7): ours
    work, and the lease is renewed      take(7): held
    ... is killed, the life runs out
                                        take(7): ours, and the work is done once more
                                        finish: "over 7"
    ... or was only frozen
    finish: False, somebody else was at it
                                        take(7): over
                                        take(8): ours

What a lease promises ends there: who was frozen goes on with its work for the moment until it asks. So whatever the
work writes must bear being written by two, by compare-and-set or in a transaction that only one can win.
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
    """By somebody else, who may yet fail."""
    OVER = auto()
    """The period's work is done."""


class Lease:
    """For one turn of the work. Every method that asks the store raises StoreUnavailable."""

    def __init__(
        self, kv: KeyValue, name: str, life: float, owner: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """life: seconds after which a holder that did not renew has lost it. owner: shown to whoever looks into the
        store, one word. clock: seconds, for this process alone."""
        self._kv = kv
        self._key = f"lease:{name}"
        self._life = life
        self._owner = f"{owner} {random_id()}"
        self._clock = clock
        self._period = 0
        self._ours = b""
        self._ends_at = float("-inf")

    def take(self, period: int) -> Taken:
        """One try, without waiting. A period that is over is over for everybody whose clock is behind as well."""
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
        """Whether the lease is ours as far as this process can know without asking: between two steps of the work."""
        return self._clock() < self._ends_at

    def renewing(self) -> AbstractContextManager[None]:
        """Renew the lease for as long as the block runs."""
        return renewed(self._renew, self._life / 3)

    def finish(self, remembered: float) -> bool:
        """The period's work is done; False when the lease was lost before. remembered: seconds for which the others
        are told so; after that a period that some wrong clock has put far into the future keeps nobody waiting."""
        return self._kv.compare_and_set(self._key, self._ours, f"over {self._period}".encode(), remembered)

    def _renew(self) -> bool:
        asked_at = self._clock()
        held = self._kv.compare_and_set(self._key, self._ours, self._ours, self._life)
        self._ends_at = asked_at + self._life if held else float("-inf")
        return held
