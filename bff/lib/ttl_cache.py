"""TTL cache: a bounded number of entries of one worker, each with its own expiry by a monotonic clock."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class TTLCache(Generic[T]):
    def __init__(self, size: int) -> None:
        """size: the most entries; a new entry replaces the oldest one."""
        self._size = size
        self._entries: dict[bytes, tuple[T, float]] = {}
        self._changing = threading.Lock()  # for writers only: a look-up takes no lock

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> T | None:
        entry = self._entries.get(key)
        return entry[0] if entry is not None and now < entry[1] else None

    def put(self, key: bytes, value: T, until: float) -> None:
        """until: the moment of expiry, by the clock of `get`."""
        with self._changing:
            self._entries.pop(key, None)
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = value, until
