"""The embedded store: one SQLite file shared by every worker of a machine, for development and small tests.

SQLite has one writer at a time, so each operation that writes is one short transaction and thereby atomic across
threads and processes. Expired rows are invisible at once and removed later. Messages are rows that each listener polls
for, cheaply. Counting an index costs O(members counted) here, O(log n) in Redis.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
    sqlite_log,
    sqlite_window,
)
from bff.kv.listener import ChannelListener
from bff.kv.sqlite_file import SqliteFile

T = TypeVar("T")
Work = Callable[[sqlite3.Connection, float], T]

BUSY_TIMEOUT = 2.0
SHORTEST_TTL = 0.001
POLL = 0.02
MESSAGE_LIFE = 60.0
MESSAGES_PRUNED = 128


class SqliteStore:
    """bff.kv.KeyValue in a file. clock: seconds since the epoch; timeout: seconds to wait for another writer."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, timeout: float = BUSY_TIMEOUT) -> None:
        self._path = path
        self._clock = clock
        self._file = SqliteFile(path, timeout)
        self._listeners: set[ChannelListener] = set()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r})"

    def start(self) -> None:
        self._file.open()

    def get(self, key: str) -> bytes | None:
        return self._read(lambda db, now: _get(db, key, now))

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._write(lambda db, now: _set(db, key, value, ttl, now))

    def delete(self, key: str) -> bool:
        return self._write(lambda db, now: _delete(db, key, now))

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            if _get(db, key, now) is not None:
                return False
            _set(db, key, value, ttl, now)
            return True

        return self._write(work)

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            if _get(db, key, now) != expected:
                return False
            _replace(db, key, value, ttl, now)
            return True

        return self._write(work)

    def execute(self, batch: Batch) -> list[Any]:
        def work(db: sqlite3.Connection, now: float) -> list[Any]:
            return [_apply(db, operation, now) for operation in batch.operations]

        only_reads = all(isinstance(operation, Get | IndexScore) for operation in batch.operations)
        return self._read(work) if only_reads else self._write(work)

    def index_count(self, index: str, low: float, high: float) -> int:
        return self._read(lambda db, now: int(db.execute(INDEX_COUNT, (index, low, high, now)).fetchone()[0]))

    def index_range(
        self, index: str, low: float, high: float, limit: int, *, offset: int = 0, descending: bool = False
    ) -> list[tuple[str, float]]:
        query = INDEX_RANGE_DOWN if descending else INDEX_RANGE
        return self._read(lambda db, now: db.execute(query, (index, low, high, now, limit, offset)).fetchall())

    def log_append(self, log: str, values: Sequence[bytes], limit: int) -> Appended:
        return self._write(lambda db, now: sqlite_log.append(db, log, values, limit, now))

    def log_open(self, log: str, reader: str) -> None:
        self._write(lambda db, _now: sqlite_log.open_for(db, log, reader))

    def log_read(self, log: str, reader: str, count: int) -> list[LogEntry] | None:
        return self._write(lambda db, _now: sqlite_log.read(db, log, reader, count))

    def log_acknowledge(self, log: str, ids: Sequence[str]) -> int:
        return self._write(lambda db, _now: sqlite_log.acknowledge(db, log, ids))

    def log_trim(self, log: str, age: float) -> int:
        return self._write(lambda db, now: sqlite_log.trim(db, log, now - age))

    def log_length(self, log: str) -> int:
        return self._read(lambda db, _now: sqlite_log.length(db, log))

    def window_hit(self, window: str, limit: int, period: float, hits: int = 1) -> Hit:
        # Reads the clock within the transaction: a hit that waited for another writer must not count as an earlier one.
        return self._write(lambda db, _now: sqlite_window.hit(db, window, limit, period, hits, self._clock()))

    def publish(self, channel: str, message: str) -> None:
        self._write(lambda db, now: _publish(db, channel, message, now))

    def subscribe(
        self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]
    ) -> Subscription:
        listener = ChannelListener(lambda me: self._listen(me, channel), on_message, on_state, self._listeners.discard)
        self._listeners.add(listener)
        return listener

    def ping(self) -> None:
        self.set(PROBE, b"", PROBE_LIFE)

    def close(self) -> None:
        for listener in list(self._listeners):
            listener.close()
        self._file.close()

    def _read(self, work: Work[T]) -> T:
        with self._file.reading() as db:
            return work(db, self._clock())

    def _write(self, work: Work[T]) -> T:
        now = self._clock()
        with self._file.writing(now) as db:
            return work(db, now)

    def _listen(self, listener: ChannelListener, channel: str) -> None:
        with self._file.connection() as db:
            seen = db.execute(NEWEST_MESSAGE).fetchone()[0]
            version = None
            listener.connected()
            while not listener.stopped.wait(POLL):
                self._file.is_there()
                before, version = version, db.execute("PRAGMA data_version").fetchone()
                if version == before:  # no other connection has written anything
                    continue
                for number, body in db.execute(NEW_MESSAGES, (channel, seen)).fetchall():
                    seen = number
                    listener.deliver(body)


def _apply(db: sqlite3.Connection, operation: Operation, now: float) -> Any:
    match operation:
        case Get(key):
            return _get(db, key, now)
        case Delete(key):
            return _delete(db, key, now)
        case IndexRemove(index, member):
            return _index_remove(db, index, member, now)
        case IndexScore(index, member):
            row = db.execute(INDEX_SCORE, (index, member, now)).fetchone()
            return row and row[0]
    return _put(db, operation, now)


def _put(db: sqlite3.Connection, operation: Set | IndexAdd | Publish, now: float) -> None:
    match operation:
        case Set(key, value, ttl):
            _set(db, key, value, ttl, now)
        case IndexAdd():
            _index_add(db, operation, now)
        case Publish(channel, message):
            _publish(db, channel, message, now)


def _get(db: sqlite3.Connection, key: str, now: float) -> bytes | None:
    row = db.execute("SELECT value FROM kv WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)", (key, now))
    found: tuple[bytes] | None = row.fetchone()
    return found and found[0]


def _set(db: sqlite3.Connection, key: str, value: bytes, ttl: float | None, now: float) -> None:
    expires_at = None if ttl is None else now + max(ttl, SHORTEST_TTL)
    db.execute("INSERT OR REPLACE INTO kv (key, value, expires_at) VALUES (?, ?, ?)", (key, value, expires_at))


def _delete(db: sqlite3.Connection, key: str, now: float) -> bool:
    deleted = db.execute("DELETE FROM kv WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)", (key, now))
    return deleted.rowcount > 0


def _replace(db: sqlite3.Connection, key: str, value: bytes | None, ttl: float | None, now: float) -> None:
    if value is None:
        _delete(db, key, now)
    elif ttl is None:
        db.execute("UPDATE kv SET value = ? WHERE key = ?", (value, key))
    else:
        _set(db, key, value, ttl, now)


def _index_add(db: sqlite3.Connection, add: IndexAdd, now: float) -> None:
    _expire_index(db, add.index, now)
    db.execute(INDEX_MOVE if add.only_present else INDEX_PUT, (add.index, add.member, add.score))
    if add.ttl is not None:
        db.execute(INDEX_LENGTHEN, (add.index, now + max(add.ttl, SHORTEST_TTL)))


def _index_remove(db: sqlite3.Connection, index: str, member: str, now: float) -> bool:
    _expire_index(db, index, now)
    removed = db.execute("DELETE FROM idx WHERE name = ? AND member = ?", (index, member)).rowcount > 0
    if removed:  # as in Redis, an empty index is deleted together with its life
        db.execute(INDEX_FORGET_EMPTY, (index,))
    return removed


def _expire_index(db: sqlite3.Connection, index: str, now: float) -> None:
    """Empties an expired index before a write: its old members must not come back."""
    if db.execute("DELETE FROM idx_life WHERE name = ? AND expires_at <= ?", (index, now)).rowcount:
        db.execute("DELETE FROM idx WHERE name = ?", (index,))


def _publish(db: sqlite3.Connection, channel: str, message: str, now: float) -> None:
    db.execute("INSERT INTO messages (channel, body, at) VALUES (?, ?, ?)", (channel, message, now))
    db.execute(OLD_MESSAGES, (MESSAGES_PRUNED, now - MESSAGE_LIFE))


INDEX_COUNT = """
SELECT count(*) FROM idx WHERE name = ? AND score BETWEEN ? AND ?
AND NOT EXISTS (SELECT 1 FROM idx_life WHERE idx_life.name = idx.name AND expires_at <= ?)
"""
INDEX_RANGE = """
SELECT member, score FROM idx WHERE name = ? AND score BETWEEN ? AND ?
AND NOT EXISTS (SELECT 1 FROM idx_life WHERE idx_life.name = idx.name AND expires_at <= ?)
ORDER BY score, member LIMIT ? OFFSET ?
"""
INDEX_RANGE_DOWN = INDEX_RANGE.replace("score, member LIMIT", "score DESC, member DESC LIMIT")
INDEX_SCORE = """
SELECT score FROM idx WHERE name = ? AND member = ?
AND NOT EXISTS (SELECT 1 FROM idx_life WHERE idx_life.name = idx.name AND expires_at <= ?)
"""
INDEX_PUT = "INSERT OR REPLACE INTO idx (name, member, score) VALUES (?, ?, ?)"
INDEX_MOVE = "UPDATE idx SET score = ?3 WHERE name = ?1 AND member = ?2"
INDEX_LENGTHEN = """
INSERT INTO idx_life (name, expires_at) SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM idx WHERE name = ?1)
ON CONFLICT (name) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)
"""
INDEX_FORGET_EMPTY = "DELETE FROM idx_life WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM idx WHERE name = ?1)"
NEWEST_MESSAGE = "SELECT coalesce(max(id), 0) FROM messages"
NEW_MESSAGES = "SELECT id, body FROM messages WHERE channel = ? AND id > ? ORDER BY id"
OLD_MESSAGES = "DELETE FROM messages WHERE id < (SELECT min(id) FROM messages) + ? AND at < ?"
