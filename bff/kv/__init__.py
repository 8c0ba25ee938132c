"""The store underneath everything that outlives a request: bytes by key, ordered indexes, logs, messages, locks.

Two real implementations stand behind one Protocol: `redis.py` for production, `sqlite.py` for a machine with
nothing installed. One contract suite (`tests/contract/`) runs against both. Every operation raises
`bff.errors.StoreUnavailable` (or its `StoreTimeout`) when the store does not answer, and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

PROBE, PROBE_LIFE = "probe", 10.0
"""The key that ping writes, and for how many seconds: a store may answer, and take no writes."""


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
    """Operations that take effect together or not at all, in one round trip. A batch that only reads is read in its
    order, and may see a change of others between two of its reads.

    `KeyValue.execute` answers one result per operation, in order: bytes or None for get, float or None for
    index_score, whether something was there for delete and index_remove, None for the others.
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
        """Put member at score. `only_present` moves a member but never adds one; `ttl` is the whole index's life."""
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
    """One entry of a log. id: its name in there, opaque."""

    id: str
    value: bytes

    def __repr__(self) -> str:
        return f"Entry({self.id})"


class Appended(NamedTuple):
    """length: how many entries the log holds now. dropped: how many of the oldest fell out for want of room."""

    length: int
    dropped: int


class Hit(NamedTuple):
    """What a moving window said to hits. counted: whether it fitted in. hits: how many are in the window now. frees:
    seconds until the oldest of them is out of it."""

    counted: bool
    hits: int
    retry_after: float


class Subscription(Protocol):
    def close(self) -> None:
        """Stop listening and wait for the listener to end."""


class KeyValue(Protocol):
    """ttl is in seconds, fractions allowed; None means for ever, except where a line says otherwise."""

    def start(self) -> None:
        """Called in the process that will use the store, after any fork."""

    def get(self, key: str) -> bytes | None: ...

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None: ...

    def delete(self, key: str) -> bool:
        """Whether there was something to delete."""

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool: ...

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        """Replace the value only if it still is `expected`. value=None deletes; ttl=None keeps the remaining life."""

    def execute(self, batch: Batch) -> list[Any]:
        """Run a batch atomically; see Batch for the results."""

    def index_count(self, index: str, low: float, high: float) -> int:
        """How many members have low <= score <= high; infinities allowed. O(log n)."""

    def index_range(
        self, index: str, low: float, high: float, limit: int, *, offset: int = 0, descending: bool = False
    ) -> list[tuple[str, float]]:
        """Up to `limit` members with low <= score <= high, lowest score first, or highest; the first `offset` of them
        are passed over. See `bff.kv.paging` for all of a long index."""

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        """Add to the end of a log, in this order, all or none; of more than `limit` entries the oldest fall out."""

    def log_open(self, log: str, reader: str) -> None:
        """From now on `reader` reads this log, from its oldest entry, and whoever read it before reads no more."""

    def log_read(self, log: str, reader: str, count: int) -> list[LogEntry] | None:
        """The next up to `count` entries that this reader has not taken yet, oldest first; None when it is not, or no
        longer, the reader of the log. An entry stays until it is acknowledged: it is there again after `log_open`."""

    def log_acknowledge(self, log: str, ids: Sequence[str]) -> int:
        """Remove entries, whoever took them; how many were there."""

    def log_trim(self, log: str, age: float) -> int:
        """Remove what was appended more than so many seconds ago; how many that were."""

    def log_length(self, log: str) -> int:
        """How many entries there are, taken ones included."""

    def window_hit(self, window: str, limit: int, period: float, hits: int = 1) -> Hit:
        """Count a hit now, unless `limit` of them were counted in the last `period` seconds; of several hits all or
        none. By one clock for all who ask, so that no stretch of time that long has more. limit, hits: at least one."""

    def publish(self, channel: str, message: str) -> None: ...

    def subscribe(
        self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]
    ) -> Subscription:
        """Listen in a thread of its own. on_state(True) says that messages arrive from now on; on_state(False) that
        some may have been missed. Reconnects by itself until closed."""

    def ping(self) -> None:
        """Raise StoreUnavailable unless the store answers, StoreRefuses (one of its kinds) unless it takes a write."""

    def close(self) -> None: ...
