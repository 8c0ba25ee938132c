"""Sliding-window rate limiter: named limits per client, shared by all workers and pods (ADR 19).

The store counts. While the store does not answer, an open limit admits every request, and a closed one refuses every
request.
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
"""Most clients with a refund; beyond it the oldest refund is dropped."""
MOST_REFUSED = 10_000
"""Most refused clients that a worker remembers; beyond it the oldest one is forgotten and costs a round trip again."""

_IPV6_SITE = 64  # bits of the prefix within which one host may choose any address (RFC 6177)


@dataclass(frozen=True)
class Quota:
    """The rest of a limit. resets: seconds until more of it is left."""

    limit: RateLimit
    remaining: int
    resets: float

    def headers(self) -> list[tuple[str, str]]:
        """The headers of draft-ietf-httpapi-ratelimit-headers-10."""
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
        """mac: makes the names of windows, so that the store holds no address. pseudonym: returns a client's name for a
        metric's label. clock: seconds, for this process alone."""
        self._limits = {limit.name: limit for limit in limits}
        self._kv = kv
        self._mac = mac
        self._pseudonym = pseudonym
        self._refused = _Refused(clock)
        self._given_back = _GivenBack()

    def by_address(self, name: str, address: str) -> Quota | None:
        """Counts one request of the client at this address.

        Returns None when the request was admitted uncounted. Raises RateLimited, counted; StoreUnavailable when the
        limit is closed.
        """
        return self._check(self._limits[name], client_of(address))

    def by_session(self, name: str, key: str, hits: int = 1) -> Quota | None:
        """Counts a request of the session with this key, from any address. hits: how many requests it counts as."""
        return self._check(self._limits[name], key, hits)

    def give_back(self, name: str, address: str) -> None:
        """Refunds one request of the client at this address: its next request in this worker is not counted."""
        limit = self._limits[name]
        self._given_back.add(self._window(limit, client_of(address)), limit.amount)

    def forget(self) -> None:
        """Forgets refused clients, after the store has lost its windows."""
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
            if hit.hits >= limit.amount:  # else the window has room for a smaller request
                self._refused.note(window, wait)
        metrics.rate_limited(limit.name, self._pseudonym(client))
        headers = [("Retry-After", str(_whole(wait))), *Quota(limit, left, wait).headers()]
        raise RateLimited(limit.name, headers=headers)


class _GivenBack:
    """Refunds: admits as many later requests uncounted, because a hit cannot be removed from the store's window."""

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
    """Remembers refused clients until their window frees up, so repeated requests cost no store round trip.

    A full window has no room until its oldest hit leaves it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, window: str) -> float | None:
        """Returns the seconds until the window frees up; None when the store must be asked."""
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
    """Returns the client at this address: a whole IPv6 /64, because one host may use every address in it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, _IPV6_SITE), strict=False)) if isinstance(parsed, IPv6Address) else address


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
