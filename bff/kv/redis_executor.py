"""One call to Redis: connection pool, time limits, circuit breaker, metrics, errors.

Time limits. redis-py's own retries (ten by default, with pauses of up to a second) are off, so every wait happens at
most once and the first that runs out ends the call: for a free connection (`pool_wait` without another call's end,
since a burst of requests is no outage of Redis), for a new TCP connection (`connect_timeout` for each address of the
name), for TLS, AUTH and SELECT on it and then for the reply (`timeout` each). In practice: `timeout` on a server that
hangs, `connect_timeout` on a host that is gone. A thread of its own asks the sentinels, or the nodes of a cluster, for
the master; a call waits only for the first answer. The system's resolver has its own time limits.

Retries. The pool notices a connection that the server has closed before it sends anything, and replaces it, for every
operation. When a connection breaks later, a read is sent once more; a write is not, because it may have taken effect. A
command that a node of a cluster refuses because another one has the keys is sent to that node. While a slot moves, a
command with keys on both sides is retried for a moment (TRYAGAIN): it was not executed.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from bff.breaker import Breaker, BreakerState
from bff.errors import StoreBusy, StoreRefuses, StoreTimeout, StoreUnavailable
from bff.kv import redis_pool
from bff.kv.complaints import Complaints
from bff.kv.listener import ChannelListener
from bff.kv.redis_node import Command, RedisNode
from bff.kv.redis_url import RedisUrl
from bff.kv.turns import Turns
from bff.observability import metrics

Work = Callable[[RedisNode], Any]

PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.2)
"""Seconds between attempts at a command with keys on both sides of a moving slot."""
# A listener wakes this often to check whether it was closed; after so much silence it sends a PING, and waits so long
# for the reply. Each wait may end one wake-up late, and a vanished peer is still noticed within a second.
WAKE = 0.1
IDLE = 0.4
PATIENCE = 0.4
# Redis cannot persist a write, or has too few replicas for it.
REFUSALS = ("MISCONF", "NOREPLICAS")
# Errors of a former master: the next connection must find the new one.
STALE_MASTER_ERRORS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.MovedError,
    redis.exceptions.ClusterDownError,
)


class RedisExecutor:
    """Raises only StoreUnavailable and StoreTimeout. Connects on first use, so never before a fork."""

    def __init__(
        self,
        url: RedisUrl,
        namespace: str,
        *,
        timeout: float,
        connect_timeout: float,
        pool_size: int,
        pool_wait: float,
        breaker: Breaker,
        clock: Callable[[], float],
    ) -> None:
        self._url = url
        self._namespace = namespace
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._pool_size = pool_size
        self._pool_wait = pool_wait
        self._breaker = breaker
        self._clock = clock
        self._complaints = Complaints(str(url), clock)
        self._starting = threading.Lock()
        self._pid: int | None = None

    def start(self) -> None:
        """Drops a parent process's pool and creates this process's own, without a connection yet."""
        with self._starting:
            if self._pid != os.getpid():
                limits = {"timeout": self._timeout, "connect_timeout": self._connect_timeout}
                self._pool = redis_pool.make(self._url, self._namespace, size=self._pool_size, **limits)
                self._client: Any = redis.Redis(connection_pool=self._pool)
                self._turns = Turns(self._pool_size, self._pool_wait)
                self._pid = os.getpid()

    def close(self) -> None:
        if self._pid == os.getpid():
            self._pid = None
            redis_pool.close(self._pool)

    def execute(self, operation: str, *command: str | bytes | float, idempotent: bool = False) -> Any:
        """Sends one command. operation: the metric's label. idempotent: the command is safe to send twice."""
        return self._call(operation, lambda node: node.command(*command), idempotent)

    def script(self, operation: str, text: str, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        return self._call(operation, lambda node: node.script(text, keys, arguments))

    def transaction(self, operation: str, commands: Sequence[Command], *, only_reads: bool) -> list[Any]:
        """Sends MULTI/EXEC in one round trip. A single command needs neither, and reads must do without: a Redis
        without memory refuses to queue them. Their answers are in order, but not of the same moment."""
        atomic = len(commands) > 1 and not only_reads
        replies: list[Any] = self._call(
            operation, lambda node: node.batch(commands, atomic=atomic), idempotent=only_reads
        )
        return replies

    def listen(self, listener: ChannelListener, channel: str) -> None:
        """Serves a subscription on a connection of its own until that ends."""
        self._ensure_started()
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            with self._measured("subscribe"), _translated():
                connection.connect()
                connection.send_command("SUBSCRIBE", channel)
                connection.read_response()
            self._breaker.succeeded()  # the callbacks ask the store at once, and Redis has just answered
            listener.connected()
            with _translated():
                self._receive(listener, connection)
        finally:
            connection.disconnect()

    def _receive(self, listener: ChannelListener, connection: Any) -> None:
        """Delivers messages until closed. A PING after some silence detects a peer that vanished."""
        heard, asked = self._clock(), None
        while not listener.stopped.is_set():
            if connection.can_read(timeout=WAKE):
                kind, *_, body = connection.read_response()
                heard, asked = self._clock(), None
                if kind == b"message":
                    listener.deliver(body.decode())
            elif asked is not None and self._clock() - asked >= PATIENCE:
                raise redis.TimeoutError("No answer to PING")
            elif asked is None and self._clock() - heard >= IDLE:
                connection.send_command("PING")
                asked = self._clock()
            elif isinstance(self._pool, redis_pool.MasterPool) and self._pool.moved(connection):
                raise redis.ConnectionError("The master is another one now")

    def _ensure_started(self) -> None:
        if self._pid != os.getpid():
            self.start()

    def _call(self, operation: str, work: Work, idempotent: bool = False) -> Any:
        with self._measured(operation), _translated():
            self._ensure_started()
            if not self._turns.acquire():
                raise StoreBusy("No connection to Redis became free in time")
            try:
                return self._guarded(work, idempotent)
            finally:
                self._turns.release()

    def _guarded(self, work: Work, idempotent: bool) -> Any:
        if not self._breaker.allow():
            raise StoreUnavailable("Redis did not answer lately and is left alone for a moment")
        try:
            result = self._attempt(work, idempotent)
        except redis.ResponseError as err:
            self._breaker.succeeded()  # an error is an answer
            if isinstance(err, STALE_MASTER_ERRORS):
                self._pool.disconnect(inuse_connections=False)
                self._doubt()
            raise
        except redis.RedisError:
            self._breaker.failed()
            self._doubt()
            if self._breaker.state is not BreakerState.CLOSED:  # its idle siblings may be broken as well
                self._pool.disconnect(inuse_connections=False)
            raise
        self._breaker.succeeded()
        return result

    def _attempt(self, work: Work, idempotent: bool) -> Any:
        for pause in PAUSES:
            try:
                return self._sent(work, idempotent)
            except redis.exceptions.TryAgainError:
                time.sleep(pause)
        return self._sent(work, idempotent)

    def _sent(self, work: Work, idempotent: bool) -> Any:
        node = RedisNode(self._client, self._elsewhere)
        try:
            return work(node)
        except redis.exceptions.MovedError as err:  # another node has our keys now, and nothing was executed
            if isinstance(self._pool, redis_pool.MasterPool):
                self._pool.take((err.host, err.port))
            else:
                self._pool.disconnect(inuse_connections=False)
        except redis.exceptions.AskError as err:  # likewise, for these keys alone
            with self._elsewhere(err) as other:
                return work(other)
        except redis.ConnectionError as err:
            broken = type(err) is redis.ConnectionError  # its subclasses are answers: still loading, wrong password
            if not (broken and idempotent):
                raise
        return work(node)

    @contextmanager
    def _elsewhere(self, answer: redis.exceptions.AskError) -> Iterator[RedisNode]:
        client = redis_pool.one_connection(self._pool, (answer.host, answer.port))
        try:
            yield RedisNode(client, None)
        finally:
            client.close()

    def _doubt(self) -> None:
        if isinstance(self._pool, redis_pool.MasterPool):
            self._pool.doubt()

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        begun, status = self._clock(), "ok"
        try:
            yield
        except StoreUnavailable as err:
            status = _status(err)
            self._complaints.add(status, err)
            raise
        finally:
            metrics.redis_operation(operation, status, self._clock() - begun)


def _status(error: StoreUnavailable) -> str:
    if isinstance(error, StoreRefuses):
        return error.reason
    if isinstance(error, StoreBusy):
        return "busy"
    return "timeout" if isinstance(error, StoreTimeout) else "error"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.TimeoutError as err:
        raise StoreTimeout("Redis did not answer in time") from err
    except redis.exceptions.OutOfMemoryError as err:
        raise StoreRefuses("Redis is full", reason="full") from err
    except redis.exceptions.ReadOnlyError as err:
        raise StoreRefuses("Redis is read-only", reason="read_only") from err
    except redis.ResponseError as err:
        if str(err).startswith(REFUSALS):
            raise StoreRefuses("Redis takes no writes", reason="read_only") from err
        raise StoreUnavailable(f"Redis cannot be used ({type(err).__name__})") from err
    except redis.RedisError as err:
        raise StoreUnavailable(f"Redis cannot be used ({type(err).__name__})") from err
