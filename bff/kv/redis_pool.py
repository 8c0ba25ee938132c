"""Where connections to Redis come from: one server, or whichever server the sentinels call the master."""

import contextlib
import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from bff.kv.redis_url import RedisUrl

untyped: Any = redis.sentinel  # whose functions carry no types

# How often, in seconds, a pool asks the sentinels whether the master is still the same.
FOLLOW = 1.0
NO = ("false", "no", "0")


def make(url: RedisUrl, *, timeout: float, connect_timeout: float, size: int) -> redis.ConnectionPool:
    """A pool that has not connected to anything yet; times in seconds."""
    limits = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "retry": Retry(NoBackoff(), 0),  # redis-py would try ten more times, with pauses
        "health_check_interval": 0,
        "protocol": 2,
        "driver_info": None,  # saves two CLIENT SETINFO round trips
    }
    # A name for operators to see. Giving it is also the round trip that a connection needs before it may rest in the
    # pool: TLS 1.3 session tickets arrive with its reply, else redis-py takes them for a forgotten answer.
    options: dict[str, Any] = {"client_name": "bff"} | dict(url.options)
    sentinel_login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    options |= {"username": url.username, "password": url.password, "db": url.db, "max_connections": size} | limits
    if url.scheme == "redis+sentinel":
        return MasterPool(url.service, Sentinels(url.hosts, sentinel_login | limits), options)
    if url.scheme == "unix":
        return redis.ConnectionPool(redis.UnixDomainSocketConnection, path=url.path, **options)
    options["host"], options["port"] = url.hosts[0]
    if url.scheme == "rediss":
        options["ssl_check_hostname"] = options.get("ssl_check_hostname", "true").lower() not in NO
        return redis.ConnectionPool(redis.SSLConnection, **options)
    return redis.ConnectionPool(**options)


def close(pool: redis.ConnectionPool) -> None:
    """Connections under way are left to those who use them."""
    pool.disconnect(inuse_connections=False)
    if isinstance(pool, MasterPool):
        pool.sentinel_manager.close()


class Sentinels(redis.sentinel.Sentinel):
    def __init__(self, hosts: Sequence[tuple[str, int]], options: dict[str, Any]) -> None:
        untyped.Sentinel.__init__(self, hosts, sentinel_kwargs=options)

    def discover_master(self, service_name: str) -> Any:
        """redis-py moves the sentinel that answered to the front of the list along which other threads are walking,
        so that these ask one twice and another never. Each walks along a list of its own instead."""
        walker: Any = copy.copy(self)
        walker.sentinels = list(self.sentinels)
        address = untyped.Sentinel.discover_master(walker, service_name)
        self.sentinels = walker.sentinels
        return address


class MasterPool(redis.sentinel.SentinelConnectionPool):
    """After a switch the sentinels leave a former master that is alive as it was for some ten seconds: connections to
    it still work, but what is written there is lost and what is published elsewhere does not arrive. redis-py asks for
    the master only when it connects; this pool asks again every second."""

    def __init__(
        self,
        service: str,
        sentinels: Sentinels,
        options: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ask_at = clock()
        untyped.SentinelConnectionPool.__init__(self, service, sentinels, **options)

    def get_connection(self, command_name: str | None = None, *keys: Any, **options: Any) -> redis.Connection:
        self._follow()
        return super().get_connection()

    def moved(self, connection: redis.Connection) -> bool:
        """Whether the connection leads to a former master."""
        self._follow()
        return bool((connection.host, connection.port) != self.master_address)

    def _follow(self) -> None:
        now = self._clock()
        if now >= self._ask_at:
            self._ask_at = now + FOLLOW
            with contextlib.suppress(redis.RedisError):  # without sentinels the known master is the best guess
                untyped.SentinelConnectionPool.get_master_address(self)  # drops idle connections to another
