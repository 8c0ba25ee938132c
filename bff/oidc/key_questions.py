"""Token buckets: bound how often tokens with an unknown key id make the BFF fetch a provider's keys.

Any client can invent such tokens. So the BFF fetches once per key id and ASKED_AGAIN_AFTER seconds. Each purpose has
its own bucket, so Bearer and logout tokens from untrusted clients use up no fetch of a login or refresh. For each
purpose the BFF fetches at most MOST + 60 / ASKED_AGAIN_AFTER times in a minute.
"""

import hashlib
import threading
from collections.abc import Callable
from enum import Enum, auto

from bff.lib.ttl_cache import TTLCache

ASKED_AGAIN_AFTER = 10.0
"""Seconds until the same key id may cause another fetch, and until a bucket gains one more fetch."""
MOST = 3
"""A bucket's size: fetches in one burst, for several keys that are new at the same moment."""


class Purpose(Enum):
    """The use for which a signed token is verified."""

    LOGIN = auto()
    REFRESH = auto()
    LOGOUT = auto()
    BEARER = auto()


class _Bucket:
    def __init__(self, now: float) -> None:
        self.left = float(MOST)
        self.filled_at = now

    def take(self, now: float) -> bool:
        self.left = min(MOST, self.left + (now - self.filled_at) / ASKED_AGAIN_AFTER)
        self.filled_at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class KeyQuestions:
    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds that only go forward."""
        self._clock = clock
        self._changing = threading.Lock()
        now = clock()
        self._buckets = {purpose: _Bucket(now) for purpose in Purpose}
        self._asked: dict[Purpose, TTLCache[bool]] = {purpose: TTLCache(16) for purpose in Purpose}

    def allow(self, purpose: Purpose, kid: str | None) -> bool:
        """Returns whether this key id may cause a fetch now, for this purpose, and counts the fetch."""
        name, now, asked = hashlib.sha256(repr(kid).encode()).digest(), self._clock(), self._asked[purpose]
        with self._changing:
            if asked.get(name, now) or not self._buckets[purpose].take(now):
                return False
            asked.put(name, True, now + ASKED_AGAIN_AFTER)
            return True
