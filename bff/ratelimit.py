"""Rate limiter: named limits over a sliding window log in the store, shared by all workers and pods (ADR 19).

Each limit fails open or closed: while the store does not answer, an open one admits every request, a closed one none.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from bff.crypto import Mac
from bff.errors import RateLimited, StoreUnavailable
from bff.kv import KeyValue
from bff.observability import metrics
from bff.settings import RateLimit

MOST_GIVEN_BACK = 10_000
"""Clients with credits in memory; beyond that, the oldest are counted again."""
MOST_REFUSED = 10_000
"""Refused clients in memory; beyond that, the store is asked again about the oldest."""

_IPV6_SITE = 64  # bits of addresses that every host may choose from (RFC 6177)


@dataclass(frozen=True)
class Quota:
    """The rest of a limit. resets: seconds until the rest grows."""

    limit: RateLimit
    remaining: int
    resets: float

    def headers(self) -> list[tuple[str, str]]:
        """The header fields of draft-ietf-httpapi-ratelimit-headers-10."""
        name = self.limit.name
        return [
            ("RateLimit-Policy", f'"{name}";q={self.limit.amount};w={self.limit.seconds}'),
            ("RateLimit", f'"{name}";r={self.remaining};t={_whole(self.resets)}'),
        ]


class RateLimiter:
    def __init__(
        self,
        limits: Iterable[RateLimit],
        kv: KeyValue,
        mac: Mac,
        pseudonym: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        """mac: makes names for the store, so that it holds no address. pseudonym: maps a client to a metric's label.
        clock: seconds, for this process alone."""
        self._limits = {limit.name: limit for limit in limits}
        self._kv = kv
        self._mac = mac
        self._pseudonym = pseudonym
        self._refused = _Refused(clock)
        self._given_back = _GivenBack()

    def by_address(self, name: str, address: str) -> Quota | None:
        """Counts one request of the client at this address; None when the store could not count.

        Returns None when the request was admitted uncounted. Raises RateLimited, counted; StoreUnavailable when the
        limit is closed.
        """
        return self._check(self._limits[name], client_of(address))

    def by_session(self, name: str, key: str, hits: int = 1) -> Quota | None:
        """The same for a session, from any address. key: the session's. hits: the weight of the request."""
        return self._check(self._limits[name], key, hits)

    def give_back(self, name: str, address: str) -> None:
        """Credits a request that proved valid: the next one of this address is not counted in this worker."""
        limit = self._limits[name]
        self._given_back.add(self._window(limit, client_of(address)), limit.amount)

    def forget(self) -> None:
        """Drops the remembered refusals, since the store has lost its windows."""
        self._refused.forget()

    def _window(self, limit: RateLimit, client: str) -> str:
        return f"{limit.name}:{self._mac.sign(client)}"

    def _check(self, limit: RateLimit, client: str, hits: int = 1) -> Quota | None:
        window = self._window(limit, client)
        if hits == 1 and self._given_back.take(window):
            return None
        wait, left = self._refused.wait(window), 0
        if wait is None:
            try:
                hit = self._kv.window_hit(window, limit.amount, limit.seconds, hits)
            except StoreUnavailable:
                if limit.closed:
                    raise
                return None
            if hit.counted:
                return Quota(limit, limit.amount - hit.hits, hit.retry_after)
            wait, left = hit.retry_after, max(0, limit.amount - hit.hits)
            if hit.hits >= limit.amount:  # else there is room for a smaller weight
                self._refused.note(window, wait)
        metrics.rate_limited(limit.name, self._pseudonym(client))
        headers = [("Retry-After", str(_whole(wait))), *Quota(limit, left, wait).headers()]
        raise RateLimited(limit.name, headers=headers)


class _GivenBack:
    """Credits of clients: requests to admit uncounted, since a hit in the store's window cannot be taken back."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, window: str, most: int) -> None:
        with self._lock:
            self._left[window] = min(self._left.pop(window, 0) + 1, most)
            if len(self._left) > MOST_GIVEN_BACK:
                self._left.popitem(last=False)

    def take(self, window: str) -> bool:
        if window not in self._left:
            return False
        with self._lock:
            left = self._left.pop(window, 0)
            if left > 1:
                self._left[window] = left - 1
        return left > 0


class _Refused:
    """Remembers refused clients until their window frees up, so repeated requests cost no store round trip."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, window: str) -> float | None:
        """Seconds until the client may try again; None for a client that is not refused."""
        until = self._until.get(window)
        if until is None:
            return None
        left = until - self._clock()
        if left > 0:
            return left
        with self._lock:
            self._until.pop(window, None)
        return None

    def forget(self) -> None:
        with self._lock:
            self._until.clear()

    def note(self, window: str, seconds: float) -> None:
        with self._lock:
            self._until[window] = self._clock() + seconds
            if len(self._until) > MOST_REFUSED:
                self._until.popitem(last=False)


def client_of(address: str) -> str:
    """The client of an address: all of an IPv6 /64, since one host may use every address in it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, _IPV6_SITE), strict=False)) if isinstance(parsed, IPv6Address) else address


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
