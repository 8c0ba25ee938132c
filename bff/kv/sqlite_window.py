"""Moving windows in the embedded store: a row for each hit, until it leaves its window.

A call costs O(hits in the window) here; in Redis it costs the same for any number.
"""

import sqlite3

from bff.kv import Hit


def hit(db: sqlite3.Connection, window: str, limit: int, period: float, more: int, now: float) -> Hit:
    """Counts hits within the caller's transaction, so that no other process counts meanwhile."""
    db.execute("DELETE FROM hits WHERE name = ? AND at <= ?", (window, now - period))
    hits, oldest = db.execute("SELECT count(*), min(at) FROM hits WHERE name = ?", (window,)).fetchone()
    counted = hits + more <= limit
    if counted:
        db.executemany("INSERT INTO hits (name, at, ends_at) VALUES (?, ?, ?)", [(window, now, now + period)] * more)
    return Hit(counted, hits + more * counted, (now if oldest is None else oldest) + period - now)
