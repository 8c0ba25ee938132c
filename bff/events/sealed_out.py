"""Lease rotation: entries that no key of this worker opens are never acknowledged, and offered to workers with the key.

Another instance on the same store has keys of its own, and a pod that is ahead in a rotation has a newer one. So the
delivering worker skips such an entry, which stays in its place, and does not read it again before it next leads. Some
time later, the worker hands the lease on and rests, so that another worker may take it. If the oldest entry is still
the same at the next leadership, the worker leads twice as long before it hands the lease on.
"""

import logging
from collections.abc import Callable

from bff.observability import metrics

log = logging.getLogger(__name__)

FIRST_TERM = 5.0
LONGEST_TERM = 300.0
"""Seconds after which a worker hands the lease on: the first time, and at most."""
REST = 3.0
"""Seconds for which it then leaves the lease to other workers, which try every second."""

Name = tuple[str, str]


class SealedOut:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._term = FIRST_TERM
        self._known: Name | None = None  # the oldest one, when the log was last read from its beginning
        self._oldest: Name | None = None  # of the entries skipped since then
        self._passed = 0
        self._elected_at = self._rests_until = float("-inf")
        self._first_reading = False

    def elected(self) -> None:
        """This worker delivers from now on."""
        self._elected_at, self._first_reading = self._monotonic(), True

    def begin(self) -> None:
        """The worker reads the log from its oldest entry, or stops reading it."""
        self._oldest, self._passed = None, 0
        metrics.outbox_sealed_out(0)

    def add(self, name: Name) -> None:
        self._passed += 1
        if self._oldest is None:
            self._oldest = name
            self._compare(name)

    def counted(self) -> None:
        """Record the number of skipped entries, after the whole log was read."""
        metrics.outbox_sealed_out(self._passed)
        if self._oldest is None:
            self._known, self._term = None, FIRST_TERM

    def due(self) -> bool:
        """Whether another worker should try now; the worker then reads no more entries."""
        return self._known is not None and self._monotonic() - self._elected_at >= self._term

    def rest(self) -> None:
        self._rests_until = self._monotonic() + REST

    def rests(self) -> bool:
        return self._monotonic() < self._rests_until

    def _compare(self, oldest: Name) -> None:
        first, self._first_reading = self._first_reading, False
        if oldest == self._known:
            if first:
                self._term = min(2 * self._term, LONGEST_TERM)
            return
        self._known, self._term = oldest, FIRST_TERM
        log.error("events_sealed_out", extra={"log": oldest[0], "entry": oldest[1]})
