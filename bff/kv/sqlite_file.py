"""The file of the embedded store: schema, connection pool, transactions, pruning.

A connection serves one thread at a time. A process never uses, nor closes, a connection that it inherited
(https://www.sqlite.org/howtocorrupt.html, section 2.6). The pool lends connections rather than binding them to threads,
so that a worker with short-lived threads or greenlets opens no file per request.

Before each use the worker checks that the file is still the same. After a loss there is no store until a starting
worker has created a file, or an operator has put one back; then all workers go on with that one.
"""

import fcntl
import itertools
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bff.errors import StoreRefuses, StoreTimeout, StoreUnavailable

SCHEMA = """
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kv_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS idx (
    name TEXT NOT NULL, member TEXT NOT NULL, score REAL NOT NULL, PRIMARY KEY (name, member)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idx_score ON idx (name, score, member);
CREATE TABLE IF NOT EXISTS idx_life (name TEXT PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idx_life_expiry ON idx_life (expires_at);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, value BLOB NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS log_name ON log (name, id);
CREATE TABLE IF NOT EXISTS log_state (
    name TEXT PRIMARY KEY, length INTEGER NOT NULL DEFAULT 0, reader TEXT, taken INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hits (id INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL, ends_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS hits_name ON hits (name, at);
CREATE INDEX IF NOT EXISTS hits_end ON hits (ends_at);
"""

# Every 32nd write removes up to 128 expired rows of a kind: more than these writes can have added, in a short time.
PRUNE_EVERY = 32
PRUNE_ROWS = 128
PRUNE = (
    "DELETE FROM kv WHERE key IN (SELECT key FROM kv WHERE expires_at <= :now LIMIT :rows)",
    "DELETE FROM idx WHERE (name, member) IN (SELECT idx.name, idx.member FROM idx_life CROSS JOIN idx USING (name)"
    " WHERE expires_at <= :now LIMIT :rows)",
    "DELETE FROM hits WHERE id IN (SELECT id FROM hits WHERE ends_at <= :now LIMIT :rows)",
    "DELETE FROM idx_life WHERE expires_at <= :now AND NOT EXISTS (SELECT 1 FROM idx WHERE idx.name = idx_life.name)",
)


class SqliteFile:
    """Raises only StoreUnavailable and StoreTimeout. timeout: seconds to wait for another writer."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._opening = threading.Lock()
        self._pid: int | None = None
        self._identity: tuple[int, int] | None = None
        self._idle: deque[sqlite3.Connection] = deque()
        self._inherited: list[sqlite3.Connection] = []
        self._writes = itertools.count(1)

    def open(self) -> None:
        """Prepares the file for this process; several processes may do so at the same time."""
        with _translated():
            self._ensure_open()

    def close(self) -> None:
        if self._pid == os.getpid():
            self._pid = None
            while self._idle:
                self._idle.pop().close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of the caller's own, closed after the block."""
        with _translated():
            self._ensure_open()
            db = self._connect()
            try:
                yield db
            finally:
                db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: one consistent view."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self, now: float) -> Iterator[sqlite3.Connection]:
        """A write transaction, exclusive among writers; some of them also remove expired rows."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db
            if next(self._writes) % PRUNE_EVERY == 0:
                for statement in PRUNE:
                    db.execute(statement, {"now": now, "rows": PRUNE_ROWS})

    def is_there(self) -> None:
        """Raises StoreUnavailable when the opened file is gone, or was replaced."""
        with _translated():
            if _identity(self._path) != self._identity:
                raise StoreUnavailable("The store's file is another one now")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with _translated():
            self._ensure_open()
            idle = self._idle
            db = self._borrow(idle)
            try:
                db.execute(begin)
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.close()  # rolls back; the pool never gets a half-used connection
                raise
            self._give_back(db, idle)

    def _borrow(self, idle: deque[sqlite3.Connection]) -> sqlite3.Connection:
        try:
            return idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, db: sqlite3.Connection, idle: deque[sqlite3.Connection]) -> None:
        if self._pid == os.getpid() and idle is self._idle:
            idle.append(db)
        else:  # the store was closed meanwhile, or its file was replaced
            db.close()

    def _ensure_open(self) -> None:
        if self._pid != os.getpid():
            self._open()
        elif _identity(self._path) != self._identity:
            self._open_another()

    def _open(self) -> None:
        with self._opening:
            if self._pid == os.getpid():
                return
            self._inherited.extend(self._idle)  # kept, because collecting them would close them
            self._idle = deque()
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._prepare(make=True)
            self._pid = os.getpid()

    def _open_another(self) -> None:
        with self._opening:
            if _identity(self._path) == self._identity:
                return
            former, self._idle = self._idle, deque()
            while former:
                former.pop().close()
            self._prepare(make=False)

    def _prepare(self, *, make: bool) -> None:
        # A lock, since switching to WAL fails at once, without the busy timeout, when two processes try together.
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if make:
                self._make()
            identity = _identity(self._path)
            db = self._connect()
            try:
                db.executescript(SCHEMA)
            finally:
                db.close()
            self._identity = identity
        finally:
            os.close(folder)

    def _make(self) -> None:
        if not self._path.exists():
            for kind in ("-wal", "-shm"):  # left by a deleted file; its last users may still have them open
                self._path.with_name(self._path.name + kind).unlink(missing_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)

    def _connect(self) -> sqlite3.Connection:
        """Connects to the existing file, and never creates one."""
        place = f"file:{quote(str(self._path))}?mode=rw"
        db = sqlite3.connect(place, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous=NORMAL")
        return db


def _identity(path: Path) -> tuple[int, int]:
    """Raises OSError."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


_REFUSALS = {sqlite3.SQLITE_FULL: "full", sqlite3.SQLITE_READONLY: "read_only"}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreTimeout("The store's file is locked by another writer") from err
        if code in _REFUSALS:
            raise StoreRefuses("The store's file takes no writes", reason=_REFUSALS[code]) from err
        raise StoreUnavailable("The store's file cannot be used") from err
    except OSError as err:
        raise StoreUnavailable("The store's file cannot be opened") from err
