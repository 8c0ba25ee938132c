"""An embedded store that may be down, and an outbox upon it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bff.events.outbox import Outbox
from bff.kv.sqlite import SqliteStore
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.events import support


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[WatchedStore]:
    store = WatchedStore(SqliteStore(tmp_path / "store.sqlite", clock))
    yield store
    store.close()


@pytest.fixture
def box(kv: WatchedStore, clock: Clock) -> Outbox:
    return support.outbox(kv, clock)
