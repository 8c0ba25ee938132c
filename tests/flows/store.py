"""The real embedded store, watched: what was asked of it, and out of order when a test says so."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bff.errors import StoreUnavailable
from bff.kv import Appended, Batch, Get, Hit, IndexScore, KeyValue, LogEntry, Subscription


class WatchedStore:
    """bff.kv.KeyValue around another one.

    down: every call fails. calls_left: it goes down after so many more. crash: what every call raises instead.
    refusal: what every write raises, while reads go on.
    between: called when a batch has run and its caller does not know the results yet.
    """

    def __init__(self, inner: KeyValue) -> None:
        self.inner = inner
        self.down = False
        self.calls_left: int | None = None
        self.crash: Exception | None = None
        self.refusal: StoreUnavailable | None = None
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.hits: list[str] = []
        self.between: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        self.inner.start()

    def get(self, key: str) -> bytes | None:
        self._read("get", key)
        return self.inner.get(key)

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._write("set", key)
        self.inner.set(key, value, ttl)

    def delete(self, key: str) -> bool:
        self._write("delete", key)
        return self.inner.delete(key)

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        self._write("set_if_absent", key)
        return self.inner.set_if_absent(key, value, ttl)

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        self._write("compare_and_set", key)
        return self.inner.compare_and_set(key, expected, value, ttl)

    def execute(self, batch: Batch) -> list[Any]:
        only_reads = all(isinstance(operation, Get | IndexScore) for operation in batch.operations)
        what = ",".join(type(operation).__name__ for operation in batch.operations)
        (self._read if only_reads else self._write)("execute", what)
        results = self.inner.execute(batch)
        if self.between is not None:
            self.between()
        return results

    def index_count(self, index: str, low: float, high: float) -> int:
        self._read("index_count", index)
        return self.inner.index_count(index, low, high)

    def index_range(
        self, index: str, low: float, high: float, limit: int, *, offset: int = 0, descending: bool = False
    ) -> list[tuple[str, float]]:
        self._read("index_range", index)
        return self.inner.index_range(index, low, high, limit, offset=offset, descending=descending)

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        self._up()
        return self.inner.log_append(log, values, limit)

    def log_open(self, log: str, reader: str) -> None:
        self._up()
        self.inner.log_open(log, reader)

    def log_read(self, log: str, reader: str, count: int) -> list[LogEntry] | None:
        self._up()
        return self.inner.log_read(log, reader, count)

    def log_acknowledge(self, log: str, ids: Sequence[str]) -> int:
        self._up()
        return self.inner.log_acknowledge(log, ids)

    def log_trim(self, log: str, age: float) -> int:
        self._up()
        return self.inner.log_trim(log, age)

    def log_length(self, log: str) -> int:
        self._up()
        return self.inner.log_length(log)

    def window_hit(self, window: str, limit: int, period: float, hits: int = 1) -> Hit:
        """Not one of the calls that are counted: it is asked before each of them, and changes nothing of theirs."""
        if self.down:
            raise StoreUnavailable
        self.hits.append(window)
        return self.inner.window_hit(window, limit, period, hits)

    def publish(self, channel: str, message: str) -> None:
        self._write("publish", channel)
        self.inner.publish(channel, message)

    def subscribe(
        self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]
    ) -> Subscription:
        return self.inner.subscribe(channel, on_message, on_state)

    def ping(self) -> None:
        self._read("ping", "")
        self._taking()
        self.inner.ping()

    def close(self) -> None:
        self.inner.close()

    def forget(self) -> None:
        """Begin a new record of calls."""
        self.reads, self.writes = [], []

    def _read(self, verb: str, what: str) -> None:
        self._answering()
        self.reads.append(f"{verb} {what}")

    def _write(self, verb: str, what: str) -> None:
        self._answering()
        self._taking()
        self.writes.append(f"{verb} {what}")

    def _up(self) -> None:
        """Logs are down with the rest, and neither recorded nor counted: what happened is noted beside what happens."""
        if self.down:
            raise StoreUnavailable("out of order")

    def _taking(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _answering(self) -> None:
        if self.crash is not None:
            raise self.crash
        with self._lock:
            if self.calls_left is not None:
                self.calls_left -= 1
                self.down = self.down or self.calls_left < 0
        if self.down:
            raise StoreUnavailable("out of order")
