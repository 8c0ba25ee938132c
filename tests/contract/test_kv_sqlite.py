"""What only the embedded store has: a file with permissions, other writers, and rows to tidy away."""

import fcntl
import itertools
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from bff.errors import StoreTimeout, StoreUnavailable
from bff.kv import Batch
from bff.kv.sqlite import SqliteStore
from tests.clock import Clock
from tests.contract.backends import eventually


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "bff.sqlite"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SqliteStore]:
    made = SqliteStore(path, clock, timeout=0.05)
    yield made
    made.close()


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_only_the_owner_can_read_it(store: SqliteStore, path: Path) -> None:
    store.set("k", b"v")
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {
        "bff.sqlite": 0o600,
        "bff.sqlite-shm": 0o600,
        "bff.sqlite-wal": 0o600,
    }
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_open_to_others_is_closed_to_them(store: SqliteStore, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch(0o644)
    store.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_opened_before_it_is_used(path: Path) -> None:
    SqliteStore(path)
    assert not path.parent.exists()


def test_survives_being_closed_and_opened(store: SqliteStore, path: Path, clock: Clock) -> None:
    store.set("k", b"v")
    store.close()
    with closing(SqliteStore(path, clock)) as again:
        assert again.get("k") == b"v"
    assert store.get("k") == b"v"


def test_many_workers_start_at_once(path: Path) -> None:
    gate = threading.Barrier(12)

    def start(number: int) -> None:
        with closing(SqliteStore(path)) as store:
            gate.wait(10)
            store.start()
            store.set(str(number), b"v")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(start, range(12)))
    assert rows(path, "kv") == 12


def test_workers_make_the_file_one_after_another(path: Path) -> None:
    """Two that switch to write-ahead logging together would fail with "database is locked"."""
    path.parent.mkdir(parents=True)
    folder = os.open(path.parent, os.O_RDONLY)
    with closing(SqliteStore(path)) as store, ThreadPoolExecutor(1) as pool:
        fcntl.flock(folder, fcntl.LOCK_EX)
        starting = pool.submit(store.start)
        with pytest.raises(TimeoutError):
            starting.result(0.2)
        os.close(folder)
        starting.result(5)


def test_another_writer_that_does_not_end_is_a_timeout(store: SqliteStore, path: Path) -> None:
    store.set("k", b"v")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreTimeout):
            store.set("k", b"w")
        assert store.get("k") == b"v", "readers do not wait for writers"
        other.execute("COMMIT")
    store.set("k", b"w")


def test_a_file_that_is_no_database(path: Path, store: SqliteStore) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is something else" * 100)
    with pytest.raises(StoreUnavailable) as caught:
        store.get("k")
    assert not isinstance(caught.value, StoreTimeout)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable):
        SqliteStore(tmp_path / "file" / "bff.sqlite").ping()


def test_a_failed_batch_leaves_no_trace_and_no_lock(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable):
        store.execute(Batch().set("k", b"v").index_add("i", "m", float("nan")))
    assert store.get("k") is None
    store.set("k", b"w")


def test_expired_rows_go_in_steps(store: SqliteStore, path: Path, clock: Clock) -> None:
    for number in range(500):
        store.set(f"old{number}", b"v", ttl=10)
        store.execute(Batch().index_add(f"i{number % 5}", str(number), number, ttl=10))
    assert (rows(path, "kv"), rows(path, "idx"), rows(path, "idx_life")) == (500, 500, 5)
    clock.now += 10
    left = [500]
    for _ in range(32 * 6):
        store.set("new", b"v")
        left.append(rows(path, "kv") - 1)
    steps = [before - after for before, after in itertools.pairwise(left)]
    assert max(steps) == 128, "no write removes more than a bounded number"
    assert (rows(path, "kv"), rows(path, "idx"), rows(path, "idx_life")) == (1, 0, 0)


def test_old_messages_go(store: SqliteStore, path: Path, clock: Clock) -> None:
    for _ in range(10):
        store.publish("c", "old")
    clock.now += 61
    store.publish("c", "new")
    assert rows(path, "messages") == 1


def test_a_listener_finds_new_messages_after_all_old_ones_went(store: SqliteStore, clock: Clock) -> None:
    received: list[str] = []
    states: list[bool] = []
    store.publish("c", "before")
    store.subscribe("c", received.append, states.append)
    assert eventually(lambda: states == [True])
    clock.now += 61
    store.publish("d", "removes the first")
    clock.now += 61
    store.publish("c", "now")
    assert eventually(lambda: received == ["now"])


def test_a_listener_returns_after_the_file_was_unusable(path: Path, clock: Clock) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is something else" * 100)
    received: list[str] = []
    states: list[bool] = []
    with closing(SqliteStore(path, clock)) as store:
        store.subscribe("c", received.append, states.append)
        path.unlink()
        assert eventually(lambda: states == [True])
        store.publish("c", "now")
        assert eventually(lambda: received == ["now"])


def test_idle_connections_are_used_again(store: SqliteStore, path: Path) -> None:
    """As many connections as calls under way at once, not as many as threads that ever called."""
    for _ in range(20):
        thread = threading.Thread(target=store.set, args=("k", b"v"))
        thread.start()
        thread.join()
    descriptors = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert descriptors.count(path.resolve()) == 1


def removed(path: Path, *, alone: bool) -> None:
    for file in [path] if alone else list(path.parent.glob(f"{path.name}*")):
        file.unlink()


@pytest.mark.parametrize("alone", [True, False], ids=["the file alone", "all of it"])
def test_a_deleted_file_is_no_store_until_a_worker_makes_one(path: Path, clock: Clock, alone: bool) -> None:
    """Then it is everybody's: there are never two."""
    with closing(SqliteStore(path, clock)) as old, closing(SqliteStore(path, clock)) as idle:
        for each in (old, idle):
            each.set("k", b"old")
        removed(path, alone=alone)
        calls: list[Callable[[], object]] = [
            lambda: old.get("k"),
            lambda: old.set("k", b"v"),
            old.ping,
            lambda: idle.get("k"),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()
        assert not path.exists(), "none of them makes a file"
        with closing(SqliteStore(path, clock)) as new:
            new.start()
            assert old.get("k") is None
            new.set("k", b"new")
            old.set("other", b"new")
            assert [each.get("k") for each in (old, idle, new)] == [b"new"] * 3
            assert [each.get("other") for each in (old, idle, new)] == [b"new"] * 3
            old.ping()


def test_another_file_in_its_place_is_the_store(path: Path, tmp_path: Path, clock: Clock) -> None:
    other = tmp_path / "backup.sqlite"
    with closing(SqliteStore(other, clock)) as backup:
        backup.set("k", b"from the backup")
    with closing(SqliteStore(path, clock)) as store:
        store.set("k", b"v")
        removed(path, alone=False)
        other.rename(path)
        assert store.get("k") == b"from the backup"


def test_a_listener_leaves_a_deleted_file_for_the_next_one(path: Path, clock: Clock) -> None:
    heard: list[str] = []
    states: list[bool] = []
    with closing(SqliteStore(path, clock)) as store:
        store.start()
        store.subscribe("c", heard.append, states.append)
        assert eventually(lambda: states == [True])
        removed(path, alone=True)
        assert eventually(lambda: states == [True, False])
        with closing(SqliteStore(path, clock)) as new:
            new.start()
            assert eventually(lambda: states == [True, False, True])
            new.publish("c", "hello")
            assert eventually(lambda: heard == ["hello"])


def test_a_transaction_under_way_while_the_file_is_replaced(path: Path, clock: Clock) -> None:
    with closing(SqliteStore(path, clock)) as store:
        store.start()
        with store._file.writing(clock()):
            removed(path, alone=True)
            with closing(SqliteStore(path, clock)) as new:
                new.set("k", b"new")
                assert store.get("k") == b"new"
        assert store.get("k") == b"new", "its connection is not lent again"
