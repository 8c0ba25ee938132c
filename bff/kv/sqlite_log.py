"""Logs in the embedded store: numbered rows, and for each log its length, its reader and the reader's position.

Every function runs within its caller's transaction, so its changes are atomic for all other processes.
"""

import sqlite3
from collections.abc import Sequence

from bff.kv import Appended, LogEntry


def append(db: sqlite3.Connection, log: str, values: Sequence[bytes], limit: int, now: float) -> Appended:
    db.executemany("INSERT INTO log (name, value, at) VALUES (?, ?, ?)", [(log, value, now) for value in values])
    db.execute(LENGTHEN, (log, len(values)))
    surplus = length(db, log) - limit
    dropped = _shorten(db, log, db.execute(DROP_OLDEST, (log, surplus)).rowcount) if surplus > 0 else 0
    return Appended(length(db, log), dropped)


def open_for(db: sqlite3.Connection, log: str, reader: str) -> None:
    db.execute(LENGTHEN, (log, 0))
    db.execute("UPDATE log_state SET reader = ?, taken = 0 WHERE name = ?", (reader, log))


def read(db: sqlite3.Connection, log: str, reader: str, count: int) -> list[LogEntry] | None:
    state = db.execute("SELECT reader, taken FROM log_state WHERE name = ?", (log,)).fetchone()
    if state is None or state[0] != reader:
        return None
    rows = db.execute(NEXT, (log, state[1], count)).fetchall()
    if rows:
        db.execute("UPDATE log_state SET taken = ? WHERE name = ?", (rows[-1][0], log))
    return [LogEntry(str(number), value) for number, value in rows]


def acknowledge(db: sqlite3.Connection, log: str, ids: Sequence[str]) -> int:
    removed = db.executemany("DELETE FROM log WHERE name = ? AND id = ?", [(log, int(each)) for each in ids])
    return _shorten(db, log, max(0, removed.rowcount))


def trim(db: sqlite3.Connection, log: str, before: float) -> int:
    """Removes entries from before that time, by the clock of the entries' timestamps."""
    return _shorten(db, log, db.execute(DROP_OLDER, (log, before)).rowcount)


def length(db: sqlite3.Connection, log: str) -> int:
    row = db.execute("SELECT length FROM log_state WHERE name = ?", (log,)).fetchone()
    return int(row[0]) if row else 0


def _shorten(db: sqlite3.Connection, log: str, removed: int) -> int:
    if removed:
        db.execute("UPDATE log_state SET length = length - ? WHERE name = ?", (removed, log))
    return removed


LENGTHEN = """
INSERT INTO log_state (name, length) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET length = length + excluded.length
"""
DROP_OLDEST = "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE name = ? ORDER BY id LIMIT ?)"
DROP_OLDER = """
DELETE FROM log WHERE name = ?1
AND id < coalesce((SELECT min(id) FROM log WHERE name = ?1 AND at >= ?2), 9223372036854775807)
"""
NEXT = "SELECT id, value FROM log WHERE name = ? AND id > ? ORDER BY id LIMIT ?"
