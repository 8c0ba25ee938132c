"""Distributed lock with an owner and a life, built on set-if-absent and compare-and-set alone.

    worker A                         worker B
    acquire() -> True
                                     acquire() -> False
    renew() -> True   (call is slow)
    ... is killed, the life runs out
                                     acquire() -> True
    release() -> False: no longer A's to release

The owner token makes the last line safe: a late release can never free another worker's lock.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bff.crypto import random_id
from bff.errors import StoreUnavailable
from bff.kv import KeyValue


class Lock:
    def __init__(self, kv: KeyValue, name: str, ttl: float) -> None:
        """ttl: seconds after which an owner that did not renew has lost the lock."""
        self._kv = kv
        self._key = f"lock:{name}"
        self._ttl = ttl
        self._owner = random_id().encode()

    def acquire(self) -> bool:
        """Tries once, without waiting."""
        return self._kv.set_if_absent(self._key, self._owner, self._ttl)

    def renew(self) -> bool:
        """Restarts the life; False when the lock was lost."""
        return self._kv.compare_and_set(self._key, self._owner, self._owner, self._ttl)

    def release(self) -> bool:
        """Releases the lock; False when it was lost before."""
        return self._kv.compare_and_set(self._key, self._owner, None)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Keeps an acquired lock while the block runs, for any time, and releases it then.

        The lock expires by itself when the process dies. A store that fails meanwhile costs the lock at worst.
        """
        try:
            with renewed(self.renew, self._ttl / 3):
                yield
        finally:
            with suppress(StoreUnavailable):
                self.release()


@contextmanager
def renewed(renew: Callable[[], bool], every: float) -> Iterator[None]:
    """Calls renew every so many seconds, in a thread, while the block runs or until it returns False."""
    over = threading.Event()
    renewing = threading.Thread(target=_renew_until, args=(over, renew, every), name="kv-lock", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()


def _renew_until(over: threading.Event, renew: Callable[[], bool], every: float) -> None:
    while not over.wait(every):
        with suppress(StoreUnavailable):
            if not renew():
                return
