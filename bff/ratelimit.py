"""How often one client may ask: named limits over a moving window, on the `limits` library.

Windows are kept in this process's memory for now, so a client gets each limit once in every worker. A later storage,
shared by all workers, takes the place of `Memory` and nothing else changes. The library's own memory storage is not
used: it starts a thread where it is built, which is before the fork; it reads the time by itself; and it keeps an entry
for every key that it ever saw, which here means every address that ever sent a request (limits 5.8).
"""

import math
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from bff.errors import RateLimited
from bff.observability import metrics
from bff.settings import RateLimit

MOST_KEYS = 10_000
"""Above this the key that was quiet the longest is forgotten: who owns more addresses than that is not held by a limit
per address."""

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_IPV6_SITE = 64  # every host gets that many bits of addresses to choose from (RFC 6177)


class RateLimits:
    def __init__(
        self, limits: Iterable[RateLimit], storage: Storage, pseudonym: Callable[[str], str], clock: Callable[[], float]
    ) -> None:
        """pseudonym: what stands for a client in a metric's label. clock: the storage's own, Unix seconds."""
        self._items = {limit.name: _item(limit) for limit in limits}
        self._limiter = MovingWindowRateLimiter(storage)
        self._pseudonym = pseudonym
        self._clock = clock

    def check(self, name: str, address: str) -> None:
        """Count one request of the client at this address. Raises RateLimited, counted."""
        item, client = self._items[name], client_of(address)
        if self._limiter.hit(item, client):
            return
        metrics.rate_limited(name, self._pseudonym(client))
        wait = self._limiter.get_window_stats(item, client).reset_time - self._clock()
        raise RateLimited(name, headers=[("Retry-After", str(max(1, math.ceil(wait))))])


def client_of(address: str) -> str:
    """Who has this address: all of an IPv6 /64, since one host may use every address in it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, _IPV6_SITE), strict=False)) if isinstance(parsed, IPv6Address) else address


def _item(limit: RateLimit) -> RateLimitItem:
    return RateLimitItemPerSecond(limit.amount, _SECONDS[limit.per], namespace=limit.name)


class Memory(Storage, MovingWindowSupport):
    """Moving windows in this process: for each key the times of its hits, oldest first."""

    base_exceptions = ()

    def __init__(self, clock: Callable[[], float], most_keys: int = MOST_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._most_keys = most_keys
        self._hits: OrderedDict[str, array[float]] = OrderedDict()
        self._lock = threading.Lock()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether so many more hits fit into the last `expiry` seconds; only then they are counted."""
        with self._lock:
            now = self._clock()
            hits = self._hits[key] = self._recent(key, now - expiry)
            self._hits.move_to_end(key)
            if len(self._hits) > self._most_keys:
                self._hits.popitem(last=False)
            if len(hits) + amount > limit:
                return False
            hits.extend([now] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """(when the oldest hit of the window was, how many there are)."""
        with self._lock:
            now = self._clock()
            hits = self._recent(key, now - expiry)
            return (hits[0] if hits else now), len(hits)

    def _recent(self, key: str, since: float) -> "array[float]":
        hits = self._hits.get(key)
        if hits is None:
            return array("d")
        del hits[: bisect_right(hits, since)]
        return hits

    def check(self) -> bool:
        return True

    def clear(self, key: str) -> None:
        with self._lock:
            self._hits.pop(key, None)

    def reset(self) -> int:
        with self._lock:
            forgotten = len(self._hits)
            self._hits.clear()
            return forgotten

    # Fixed windows, which the library wants every storage to have; nothing here uses them.

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        raise NotImplementedError("moving windows only")

    def get(self, key: str) -> int:
        raise NotImplementedError("moving windows only")

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError("moving windows only")
