"""Store epoch: a random value that is written once; its absence or change shows that the store lost its data.

Each worker compares it every second, beside the health check, and then drops its copies of the lost data. One worker,
by set-if-absent in the new store, counts the reset for the fleet, logs it, and counts out the lost sessions, so that
created minus destroyed stays the number of live ones.
"""

import logging
from collections.abc import Callable, Sequence

from bff.crypto import digest, random_id
from bff.kv import KeyValue
from bff.observability import metrics
from bff.sessions.model import EndReason
from bff.sessions.store import SessionStore

log = logging.getLogger(__name__)

EPOCH = "epoch"
COUNTED_FOR = 86400.0


class Resets:
    def __init__(self, kv: KeyValue, sessions: SessionStore, forget: Sequence[Callable[[], None]]) -> None:
        """forget: functions that clear this worker's copies of the store's data."""
        self._kv = kv
        self._sessions = sessions
        self._forget = forget
        self._epoch: bytes | None = None
        self._counted_in = 0

    def check(self) -> None:
        """Raises StoreUnavailable."""
        counted_in = self._sessions.counted_in()  # read before the epoch, so it belongs to that epoch or is not used
        epoch = self._current()
        if self._epoch is not None and epoch != self._epoch:
            for forget in self._forget:
                forget()
            self._count(self._epoch)
            counted_in = 0  # sessions may have begun since; the next check counts them
        self._epoch, self._counted_in = epoch, counted_in

    def _current(self) -> bytes:
        found = self._kv.get(EPOCH)
        if found is None:
            self._kv.set_if_absent(EPOCH, random_id().encode())
            found = self._kv.get(EPOCH)
        return found or b""

    def _count(self, former: bytes) -> None:
        if self._kv.set_if_absent(f"reset:{digest(former.decode())}", b"", COUNTED_FOR):
            metrics.store_reset()
            metrics.session_destroyed(EndReason.STORE_RESET, self._counted_in)
            log.critical("store_reset", extra={"sessions_lost": self._counted_in})
