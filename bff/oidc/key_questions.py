"""Token buckets: how often tokens with an unknown key id make the BFF fetch a provider's keys.

Anybody can invent such tokens. So a key id is asked for once in a while, and each purpose has fetches of its own:
Bearer and logout tokens, which strangers may send, leave those of logins and refreshes alone. For each purpose a
provider is asked MOST + 60 / ASKED_AGAIN_AFTER times in a minute at most.
"""

import hashlib
import threading
from collections.abc import Callable
from enum import Enum, auto

from bff.lib.ttl_cache import TTLCache

ASKED_AGAIN_AFTER = 10.0
"""Seconds after which the same key id is asked for again, and in which one more fetch is allowed."""
MOST = 3
"""Fetches at once, for so many keys that are new at the same moment."""


class Purpose(Enum):
    """What a signed token is checked for."""

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
        """Whether keys may be fetched because of this key id, now, for this purpose."""
        name, now, asked = hashlib.sha256(repr(kid).encode()).digest(), self._clock(), self._asked[purpose]
        with self._changing:
            if asked.get(name, now) or not self._buckets[purpose].take(now):
                return False
            asked.put(name, True, now + ASKED_AGAIN_AFTER)
            return True
