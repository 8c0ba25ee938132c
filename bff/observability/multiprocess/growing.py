"""Append-only file in mapped memory: the writer's side of one value file, in prometheus_client's format (`files`)."""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

from bff.observability.multiprocess.files import HEADER, entries, entry, header, used_bytes

_FIRST_SIZE = 1 << 16


class Cell(NamedTuple):
    """The place of a value, and the number that the slot's former processes left there; None for a new key."""

    view: "memoryview[float]"
    at: int
    former: float | None


class GrowingFile:
    """This slot's file of one kind: keys are appended, and each gets its own eight bytes.

    The header is written last, so an entry counts only when it is complete, even if the process is killed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError. Continues where the slot's former process stopped."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._capacity = 0
        self._positions: dict[bytes, int] = {}
        self._used = HEADER
        self._former: dict[int, float] = {}
        try:
            self._take_up(os.fstat(self._fd).st_size)
            self._inherited = self._used
        except OSError:
            os.close(self._fd)
            raise

    def cell(self, key: bytes) -> Cell:
        """Raises OSError when there is no room."""
        position = self._positions.get(key)
        if position is None:
            position = self._append(key)
        elif position < self._inherited:
            self._former.setdefault(position, self._doubles[position // 8])
        return Cell(self._doubles, position // 8, self._former.get(position))

    def close(self) -> None:
        os.close(self._fd)  # the mapping lives as long as a view refers to it

    def _take_up(self, size: int) -> None:
        """Read the former entries without moving any, since a scrape may be reading. A broken tail is overwritten."""
        data = os.pread(self._fd, size, 0)
        for key, position in entries(data[: used_bytes(data)], HEADER):
            self._positions[key] = position
            self._used = position + 16
        capacity = _FIRST_SIZE
        while capacity < size:
            capacity *= 2
        self._reserve(capacity)
        if used_bytes(data) != self._used:
            self._map[:HEADER] = header(self._used)

    def _append(self, key: bytes) -> int:
        new = entry(key)
        while self._used + len(new) > self._capacity:
            self._reserve(2 * self._capacity)
        self._map[self._used : self._used + len(new)] = new
        self._used += len(new)
        self._map[:HEADER] = header(self._used)
        self._positions[key] = self._used - 16
        return self._used - 16

    def _reserve(self, capacity: int) -> None:
        """Map the file again with a larger size. Earlier cells write to the same pages through the former mapping."""
        os.posix_fallocate(self._fd, 0, capacity)
        self._map = mmap.mmap(self._fd, capacity)
        self._doubles = memoryview(self._map).cast("d")
        self._capacity = capacity
