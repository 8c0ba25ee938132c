"""The production store: Redis 7 or newer, single, over TLS, by socket file, behind Sentinel, or one slot of a cluster.

Each operation here is one command, one script or one transaction; `redis_executor` limits its time.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from bff.breaker import Breaker
from bff.errors import StoreUnavailable
from bff.kv import (
    PROBE,
    PROBE_LIFE,
    Appended,
    Batch,
    Delete,
    Get,
    Hit,
    IndexAdd,
    IndexRemove,
    IndexScore,
    LogEntry,
    Operation,
    Publish,
    Set,
    Subscription,
    redis_pool,
    redis_url,
)
from bff.kv.listener import ChannelListener
from bff.kv.redis_executor import RedisExecutor
from bff.kv.redis_node import Command
from bff.kv.redis_scripts import COMPARE_AND_SET, LOG_APPEND, LOG_OPEN, LOG_TRIM, WINDOW_HIT

NO_SUCH_GROUP = "NOGROUP"


class RedisStore:
    """bff.kv.KeyValue in Redis.

    Keys begin with the namespace and `k:` for values, `i:` for indexes, `l:` for logs, `w:` for windows, `c:` for
    channels, so that names of two kinds never collide. The metrics' operation is the method's name, but batch for
    execute.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.25,
        connect_timeout: float | None = None,
        pool_size: int = 32,
        pool_wait: float = 5.0,
        namespace: str = "bff:",
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Times in seconds; connect_timeout defaults to `timeout`. pool_size: concurrent calls of this process;
        pool_wait: how long further calls wait while none of those ends. Raises ValueError for a bad URL."""
        self._url = redis_url.parse(url)
        self._namespace = redis_pool.one_slot(namespace) if self._url.scheme in redis_url.CLUSTER else namespace
        self._listeners: set[ChannelListener] = set()
        self._executor = RedisExecutor(
            self._url,
            self._namespace,
            timeout=timeout,
            connect_timeout=timeout if connect_timeout is None else connect_timeout,
            pool_size=pool_size,
            pool_wait=pool_wait,
            breaker=breaker or Breaker("redis"),
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"RedisStore({str(self._url)!r})"

    def start(self) -> None:
        self._executor.start()

    def get(self, key: str) -> bytes | None:
        value: bytes | None = self._executor.execute("get", "GET", self._key(key), idempotent=True)
        return value

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._executor.execute("set", "SET", self._key(key), value, *_px(ttl))

    def delete(self, key: str) -> bool:
        return bool(self._executor.execute("delete", "DEL", self._key(key)))

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        return bool(self._executor.execute("set_if_absent", "SET", self._key(key), value, "NX", *_px(ttl)))

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        replacement = () if value is None else (value, *_px(ttl)[1:])
        arguments = (expected, *replacement)
        return bool(self._executor.script("compare_and_set", COMPARE_AND_SET, [self._key(key)], arguments))

    def execute(self, batch: Batch) -> list[Any]:
        if not batch.operations:
            return []
        plan = [self._commands(operation) for operation in batch.operations]
        only_reads = all(isinstance(operation, Get | IndexScore) for operation in batch.operations)
        commands = [command for part in plan for command in part]
        replies = iter(self._executor.transaction("batch", commands, only_reads=only_reads))
        answers = [[next(replies) for _ in part] for part in plan]
        return [_result(operation, answer[0]) for operation, answer in zip(batch.operations, answers, strict=True)]

    def index_count(self, index: str, low: float, high: float) -> int:
        return int(self._executor.execute("index_count", "ZCOUNT", self._index(index), low, high, idempotent=True))

    def index_range(
        self, index: str, low: float, high: float, limit: int, *, offset: int = 0, descending: bool = False
    ) -> list[tuple[str, float]]:
        span = (high, low, "BYSCORE", "REV") if descending else (low, high, "BYSCORE")
        command = ("ZRANGE", self._index(index), *span, "LIMIT", offset, limit, "WITHSCORES")
        flat = self._executor.execute("index_range", *command, idempotent=True)
        return [(member.decode(), float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        length, dropped = self._executor.script("log_append", LOG_APPEND, [self._log(log)], (limit, *values))
        return Appended(int(length), int(dropped))

    def log_open(self, log: str, reader: str) -> None:
        self._executor.script("log_open", LOG_OPEN, [self._log(log)], (reader,))

    def log_read(self, log: str, reader: str, count: int) -> list[LogEntry] | None:
        # NOACK: Redis keeps only the reader's position in the stream, so a new `log_open` starts at the oldest entry.
        command = ("XREADGROUP", "GROUP", reader, reader, "COUNT", count, "NOACK", "STREAMS", self._log(log), ">")
        try:
            reply = self._executor.execute("log_take", *command)
        except StoreUnavailable as err:
            if str(err.__cause__).startswith(NO_SUCH_GROUP):
                return None
            raise
        streams = reply.values() if isinstance(reply, dict) else (entries for _, entries in reply or ())
        return [LogEntry(name.decode(), fields[b"v"]) for entries in streams for name, fields in entries]

    def log_acknowledge(self, log: str, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        return int(self._executor.execute("log_acknowledge", "XDEL", self._log(log), *ids, idempotent=True))

    def log_trim(self, log: str, age: float) -> int:
        return int(self._executor.script("log_trim", LOG_TRIM, [self._log(log)], (math.floor(age * 1000),)))

    def log_length(self, log: str) -> int:
        return int(self._executor.execute("log_length", "XLEN", self._log(log), idempotent=True))

    def window_hit(self, window: str, limit: int, period: float, hits: int = 1) -> Hit:
        arguments = (limit, math.ceil(period * 1_000_000), hits)
        counted, length, frees = self._executor.script(
            "window_hit", WINDOW_HIT, [f"{self._namespace}w:{window}"], arguments
        )
        return Hit(bool(counted), int(length), int(frees) / 1_000_000)

    def publish(self, channel: str, message: str) -> None:
        self._executor.execute("publish", "PUBLISH", self._channel(channel), message)

    def subscribe(
        self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]
    ) -> Subscription:
        name = self._channel(channel)
        listener = ChannelListener(
            lambda me: self._executor.listen(me, name), on_message, on_state, self._listeners.discard
        )
        self._listeners.add(listener)
        return listener

    def ping(self) -> None:
        self._executor.execute("ping", "SET", self._key(PROBE), b"", *_px(PROBE_LIFE), idempotent=True)

    def close(self) -> None:
        for listener in list(self._listeners):
            listener.close()
        self._executor.close()

    def _key(self, key: str) -> str:
        return f"{self._namespace}k:{key}"

    def _index(self, name: str) -> str:
        return f"{self._namespace}i:{name}"

    def _log(self, name: str) -> str:
        return f"{self._namespace}l:{name}"

    def _channel(self, name: str) -> str:
        return f"{self._namespace}c:{name}"

    def _commands(self, operation: Operation) -> list[Command]:
        """The commands of an operation; the first one's reply is the operation's result."""
        command: Command
        match operation:
            case Get(key):
                command = ("GET", self._key(key))
            case Set(key, value, ttl):
                command = ("SET", self._key(key), value, *_px(ttl))
            case Delete(key):
                command = ("DEL", self._key(key))
            case IndexAdd():
                return self._index_add(operation)
            case IndexRemove(index, member):
                command = ("ZREM", self._index(index), member)
            case IndexScore(index, member):
                command = ("ZSCORE", self._index(index), member)
            case Publish(channel, message):
                command = ("PUBLISH", self._channel(channel), message)
        return [command]

    def _index_add(self, add: IndexAdd) -> list[Command]:
        key = self._index(add.index)
        commands: list[Command] = [("ZADD", key, *(["XX"] if add.only_present else []), add.score, add.member)]
        if add.ttl is not None:  # GT treats a key without a life as immortal, so NX sets one first
            commands += [("PEXPIRE", key, _milliseconds(add.ttl), option) for option in ("NX", "GT")]
        return commands


def _milliseconds(ttl: float) -> int:
    return max(1, math.ceil(ttl * 1000))


def _px(ttl: float | None) -> tuple[str | int, ...]:
    return () if ttl is None else ("PX", _milliseconds(ttl))


def _result(operation: Operation, reply: Any) -> Any:
    match operation:
        case Get():
            return reply
        case Delete() | IndexRemove():
            return bool(reply)
        case IndexScore():
            return None if reply is None else float(reply)
    return None
