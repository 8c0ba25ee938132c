"""The store underneath everything that outlives a request: bytes by key, ordered indexes, logs, messages, locks.

Two implementations stand behind one Protocol: `redis.py` for production, `sqlite.py` for a machine without a Redis.
One contract suite (`tests/contract/`) runs against both. Every operation raises only `bff.errors.StoreUnavailable` (or
its `StoreTimeout`), when the store does not answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

PROBE, PROBE_LIFE = "probe", 10.0
"""The key that ping writes, and its life in seconds: a store may answer and refuse writes."""


@dataclass(frozen=True)
class Get:
    key: str = field(repr=False)


@dataclass(frozen=True)
class Set:
    key: str = field(repr=False)
    value: bytes = field(repr=False)
    ttl: float | None = None


@dataclass(frozen=True)
class Delete:
    key: str = field(repr=False)


@dataclass(frozen=True)
class IndexAdd:
    index: str
    member: str = field(repr=False)
    score: float
    only_present: bool = False
    ttl: float | None = None


@dataclass(frozen=True)
class IndexRemove:
    index: str
    member: str = field(repr=False)


@dataclass(frozen=True)
class IndexScore:
    index: str
    member: str = field(repr=False)


@dataclass(frozen=True)
class Publish:
    channel: str
    message: str = field(repr=False)


Operation = Get | Set | Delete | IndexAdd | IndexRemove | IndexScore | Publish


@dataclass
class Batch:
    """Transaction: operations that take effect together or not at all, in one round trip. A batch of reads runs in its
    order, and may see another client's change between two of its reads.

    `KeyValue.execute` returns one result per operation, in order: bytes or None for get, float or None for
    index_score, whether the key or member existed for delete and index_remove, None for the others.
    """

    operations: list[Operation] = field(default_factory=list)

    def get(self, key: str) -> Self:
        return self._add(Get(key))

    def set(self, key: str, value: bytes, ttl: float | None = None) -> Self:
        return self._add(Set(key, value, ttl))

    def delete(self, key: str) -> Self:
        return self._add(Delete(key))

    def index_add(
        self, index: str, member: str, score: float, *, only_present: bool = False, ttl: float | None = None
    ) -> Self:
        """Sets a member's score. `only_present` moves a member but never adds one; `ttl` is the whole index's life."""
        return self._add(IndexAdd(index, member, score, only_present, ttl))

    def index_remove(self, index: str, member: str) -> Self:
        return self._add(IndexRemove(index, member))

    def index_score(self, index: str, member: str) -> Self:
        return self._add(IndexScore(index, member))

    def publish(self, channel: str, message: str) -> Self:
        return self._add(Publish(channel, message))

    def _add(self, operation: Operation) -> Self:
        self.operations.append(operation)
        return self


class LogEntry(NamedTuple):
    """One entry of a log. id: its opaque name in the log."""

    id: str
    value: bytes

    def __repr__(self) -> str:
        return f"Entry({self.id})"


class Appended(NamedTuple):
    """length: entries in the log now. dropped: oldest entries that were removed for want of room."""

    length: int
    dropped: int


class Hit(NamedTuple):
    """The result of hits on a moving window. counted: whether they fitted in. hits: the number in the window now.
    retry_after: seconds until the oldest of them leaves it."""

    counted: bool
    hits: int
    retry_after: float


class Subscription(Protocol):
    def close(self) -> None:
        """Stops the listener and waits for its end."""


class KeyValue(Protocol):
    """ttl is in seconds, fractions allowed; None means for ever, except where a docstring differs."""

    def start(self) -> None:
        """Prepares the store in the process that uses it, after any fork."""

    def get(self, key: str) -> bytes | None: ...

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None: ...

    def delete(self, key: str) -> bool:
        """Deletes a key; returns whether it existed."""

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool: ...

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        """Replaces the value only if it is still `expected`. value=None deletes; ttl=None keeps the remaining life."""

    def execute(self, batch: Batch) -> list[Any]:
        """Runs a batch atomically; see Batch for the results."""

    def index_count(self, index: str, low: float, high: float) -> int:
        """The number of members with low <= score <= high; infinities allowed. O(log n)."""

    def index_range(
        self, index: str, low: float, high: float, limit: int, *, offset: int = 0, descending: bool = False
    ) -> list[tuple[str, float]]:
        """Up to `limit` members with low <= score <= high, lowest score first, or highest, after the first `offset`.
        See `bff.kv.paging` for all of a long index."""

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        """Appends values to a log, in this order, all or none; removes the oldest entries beyond `limit`."""

    def log_open(self, log: str, reader: str) -> None:
        """Makes `reader` the only reader of this log, from its oldest entry; the former reader loses it."""

    def log_read(self, log: str, reader: str, count: int) -> list[LogEntry] | None:
        """Up to `count` entries that this reader has not taken yet, oldest first; None when it is not, or no longer,
        the reader of the log. An entry stays until it is acknowledged: after `log_open` it is read again."""

    def log_acknowledge(self, log: str, ids: Sequence[str]) -> int:
        """Removes entries of any reader; returns how many existed."""

    def log_trim(self, log: str, age: float) -> int:
        """Removes entries older than so many seconds; returns their number."""

    def log_length(self, log: str) -> int:
        """The number of entries, taken ones included."""

    def window_hit(self, window: str, limit: int, period: float, hits: int = 1) -> Hit:
        """Counts a hit, unless `limit` of them were counted in the last `period` seconds; of several hits all or none.
        One clock counts for all clients of the store, so no period of that length has more. limit, hits: at least
        one."""

    def publish(self, channel: str, message: str) -> None: ...

    def subscribe(
        self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]
    ) -> Subscription:
        """Listens in a thread of its own. on_state(True): messages arrive from now on. on_state(False): some may have
        been missed. Reconnects by itself until closed."""

    def ping(self) -> None:
        """Raises StoreUnavailable unless the store answers, StoreRefuses (a subclass) unless it accepts a write."""

    def close(self) -> None: ...
