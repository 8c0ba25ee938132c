"""Verdicts that a worker remembers: so many, each until its time is over, by a clock that only goes forward."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class TTLCache(Generic[T]):
    def __init__(self, size: int) -> None:
        """size: how many entries there may be; the oldest makes room."""
        self._size = size
        self._entries: dict[bytes, tuple[T, float]] = {}
        self._changing = threading.Lock()  # a look-up takes no lock

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> T | None:
        entry = self._entries.get(key)
        return entry[0] if entry is not None and now < entry[1] else None

    def put(self, key: bytes, value: T, until: float) -> None:
        """until: when the value is not given out any more, by the clock of `get`."""
        with self._changing:
            self._entries.pop(key, None)
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = value, until
