"""How one call reaches Redis: pool, time limits, breaker, metrics, errors.

How long a call can take. redis-py's own repetitions (ten by default, with pauses of up to a second) are off, so every
wait happens at most once and the first that runs out ends the call: for a free connection (`pool_wait` without another
call's end, since a burst of requests is no outage of Redis), for the TCP connection if one must be made
(`connect_timeout` for each address of the name), for TLS, AUTH and SELECT on it and then for the reply (`timeout`
each). In practice: `timeout` on a server that hangs, `connect_timeout` on a host that is gone. Sentinels, or the nodes
of a cluster, are asked for the master by a thread of their own; a call waits for them only until there was a first
answer. Resolving a name takes what the system's resolver takes.

What is repeated. A pooled connection that the server has closed meanwhile is noticed before anything is sent and
replaced, for every operation. When it breaks later, a read is sent once more; a write is not, because it may have
taken effect. What a node of a cluster refuses because another one has the keys is sent to that one. While a slot moves,
what concerns keys on both sides is tried again for a moment (TRYAGAIN): nothing was done.
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
"""Seconds between attempts, while a slot moves, at what concerns keys on both sides."""
# A listener wakes this often to see whether it was closed; after so much silence it asks, and then waits so long. Each
# wait may end a waking later, and a peer that vanished is noticed within a second all the same.
WAKE = 0.1
IDLE = 0.4
PATIENCE = 0.4
# It cannot persist what it is told, or has too few replicas to tell it to.
REFUSALS = ("MISCONF", "NOREPLICAS")
# What a former master says: the next connection must find the new one.
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
        """Forget what a parent process may have left and make this process's own pool; no connection yet."""
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
        """operation: the metric's label. idempotent: sending it twice does no harm."""
        return self._call(operation, lambda node: node.command(*command), idempotent)

    def script(self, operation: str, text: str, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        return self._call(operation, lambda node: node.script(text, keys, arguments))

    def transaction(self, operation: str, commands: Sequence[Command], *, only_reads: bool) -> list[Any]:
        """MULTI/EXEC in one round trip; a single command needs neither, and reads do not, either: a Redis without
        memory refuses to queue them. They are then answered in their order, but not all at the same moment."""
        atomic = len(commands) > 1 and not only_reads
        replies: list[Any] = self._call(
            operation, lambda node: node.batch(commands, atomic=atomic), idempotent=only_reads
        )
        return replies

    def listen(self, listener: ChannelListener, channel: str) -> None:
        """One life of a subscription, on a connection of its own."""
        self._ensure_started()
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            with self._measured("subscribe"), _translated():
                connection.connect()
                connection.send_command("SUBSCRIBE", channel)
                connection.read_response()
            self._breaker.succeeded()  # whoever hears of it asks the store at once, and it answers again
            listener.connected()
            with _translated():
                self._receive(listener, connection)
        finally:
            connection.disconnect()

    def _receive(self, listener: ChannelListener, connection: Any) -> None:
        """Deliver until closed. A peer that vanished without a word is found by asking it after some silence."""
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
            if self._breaker.state is not BreakerState.CLOSED:  # its idle siblings are not to be trusted either
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
        except redis.exceptions.MovedError as err:  # somebody else has our keys now, and nothing was done
            if isinstance(self._pool, redis_pool.MasterPool):
                self._pool.take((err.host, err.port))
            else:
                self._pool.disconnect(inuse_connections=False)
        except redis.exceptions.AskError as err:  # likewise, of these alone
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
