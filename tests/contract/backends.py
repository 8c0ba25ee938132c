"""What the contract suite needs of a store beyond KeyValue: a second instance, passing time, emptiness."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import redis

from bff.kv import KeyValue
from bff.kv.redis import RedisStore
from bff.kv.sqlite import SqliteStore
from tests.peers.redis import RedisCluster, RedisServer

POLL = 0.01
# Tests of faults choose their own; everywhere else a busy machine must not look like an outage.
PATIENT = 5.0


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Poll until the condition holds; False when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


class Backend(ABC):
    """One place where data lives. address: how another process opens it (see worker.py)."""

    address: str

    def __init__(self) -> None:
        self._stores: list[KeyValue] = []

    def open(self) -> KeyValue:
        """Another instance of the store upon the same data, closed when the test ends."""
        store = self._open()
        store.start()
        self._stores.append(store)
        return store

    def close(self) -> None:
        while self._stores:
            self._stores.pop().close()

    @abstractmethod
    def _open(self) -> KeyValue: ...

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Let so much time pass at once."""

    @abstractmethod
    def fresh(self) -> KeyValue:
        """An instance upon an empty place; those opened before are closed."""


class SqliteBackend(Backend):
    """Time passes because the injected clock says so."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.address = str(path)
        self._ahead = 0.0
        self._files = 0

    def _open(self) -> KeyValue:
        return SqliteStore(self.path, lambda: time.time() + self._ahead, timeout=PATIENT)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def fresh(self) -> KeyValue:
        self.close()
        self._files += 1
        self.path = self.path.with_name(f"{self._files}.sqlite")
        return self.open()


class RedisBackend(Backend):
    """Redis has its own clock, so time passes by shortening the remaining life of every key, and by making what is
    noted with its time older."""

    def __init__(self, server: RedisServer | RedisCluster) -> None:
        super().__init__()
        self.address = server.url
        self._admin: redis.Redis = server.admin()
        self._admin.flushall()

    def _open(self) -> KeyValue:
        return RedisStore(self.address, timeout=PATIENT)

    def advance(self, seconds: float) -> None:
        for key in list(self._admin.scan_iter(count=1000)):
            left = self._admin.pttl(key)
            if left >= 0:
                self._admin.pexpire(key, left - int(seconds * 1000))  # not above zero: gone at once
            if key.startswith((b"bff:w:", b"{bff}:w:")):
                for place, at in enumerate(self._admin.lrange(key, 0, -1)):
                    self._admin.lset(key, place, str(int(at) - int(seconds * 1_000_000)))

    def fresh(self) -> KeyValue:
        self.close()
        self._admin.flushall()
        return self.open()

    def close(self) -> None:
        super().close()
        self._admin.close()  # reconnects by itself when used again
