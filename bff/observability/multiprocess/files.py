"""Incremental reader: one value file of one slot.

The format is prometheus_client's (mmap_dict.py). It begins with an int32, the number of used bytes, and four bytes of
padding. Each entry is an int32 key length, the key (JSON, padded with blanks), a float64 value and a float64 timestamp.
Keys are appended and never move, so a parsed layout stays valid, and one `struct` reads every value at once.
"""

import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from sys import intern
from typing import NamedTuple

from bff.observability.multiprocess.keys import Key, parse_key

HEADER = 8
_USED = _LENGTH = struct.Struct("=i")
_DOUBLES = struct.Struct("=dd")


class FileName(NamedTuple):
    """counter_{owner}.db, gauge_{mode}_{owner}.db. The owner is a slot; prometheus_client's own is a process id."""

    type: str
    mode: str
    owner: str

    @property
    def live(self) -> bool:
        """Whether its values end with their process."""
        return self.mode.startswith("live")

    @property
    def of_one_process(self) -> bool:
        """Whether each of its values belongs to one process, and is never combined with another file's."""
        return self.live or self.mode == "all"

    @property
    def kind(self) -> str:
        """Files of one kind can be added up: counter, histogram, summary, gauge_sum..."""
        return f"{self.type}_{self.mode}" if self.mode else self.type


@functools.lru_cache(maxsize=4096)
def parse_name(name: str) -> FileName | None:
    """None for a file that is not a value file."""
    stem, extension = os.path.splitext(name)
    parts = stem.split("_")
    if extension != ".db":
        return None
    if len(parts) == 2 and parts[0] in ("counter", "histogram", "summary"):
        return FileName(parts[0], "", parts[1])
    if len(parts) == 3 and parts[0] == "gauge":
        return FileName(*parts)
    return None


def used_bytes(data: bytes) -> int:
    """The number of used bytes in a file's header; 0 in a file that was just created."""
    return int(_USED.unpack_from(data)[0]) if len(data) >= HEADER else 0


def header(used: int) -> bytes:
    return _USED.pack(used) + b"\0\0\0\0"


def entry(key: bytes, value: float = 0.0, timestamp: float = 0.0) -> bytes:
    padding = 8 - (len(key) + _LENGTH.size) % 8
    return _LENGTH.pack(len(key)) + key + b" " * padding + _DOUBLES.pack(value, timestamp)


def entries(data: bytes, position: int) -> Iterator[tuple[bytes, int]]:
    """(key, offset of its value) of each whole entry from position on; ends at the first broken one."""
    while position + _LENGTH.size <= len(data):
        length = _LENGTH.unpack_from(data, position)[0]
        key_at = position + _LENGTH.size
        value_at = key_at + length + 8 - (length + _LENGTH.size) % 8
        position = value_at + _DOUBLES.size
        if length <= 0 or position > len(data):
            return
        yield data[key_at : key_at + length], value_at


# Workers write the same keys in the same order, so a few layouts serve all files.
_compiled = functools.lru_cache(maxsize=64)(struct.Struct)


class ValueFile:
    """`read` updates keys, values and timestamps.

    `whole` becomes false when the file breaks its own format: truncated, overwritten, or never one of ours. Its
    readable entries stay available.
    """

    def __init__(self, path: Path, name: FileName) -> None:
        """Raises OSError."""
        self.path = path
        self.name = name
        self.whole = True
        self.keys: list[Key] = []
        self.values: tuple[float, ...] = ()
        self.timestamps: tuple[float, ...] = ()  # of gauges; no other type needs them
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._timed = name.type == "gauge"
        self._only_keys = True
        self._parsed = HEADER
        self._layout: list[str] = []
        self._values_end = 0
        self._struct = struct.Struct("=")

    def close(self) -> None:
        os.close(self._fd)

    def read(self) -> None:
        """Raises OSError."""
        data = os.pread(self._fd, self._parsed, 0)
        used = used_bytes(data)
        if used > self._parsed:
            # A broken header may hold any number, so the file's size bounds the memory.
            data = os.pread(self._fd, min(used, os.fstat(self._fd).st_size), 0)
            self._parse(data)
        if len(data) >= self._struct.size:
            flat = self._struct.unpack_from(data)
            self.values, self.timestamps = (flat[::2], flat[1::2]) if self._timed else (flat, ())
        self.whole = self._only_keys and (used or HEADER) == self._parsed

    def _parse(self, data: bytes) -> None:
        """Parse the entries appended since; skips those without a valid key."""
        for raw, value_at in entries(data, self._parsed):
            self._parsed = value_at + _DOUBLES.size
            try:
                self.keys.append(parse_key(raw, histogram=self.name.type == "histogram"))
            except ValueError:
                self._only_keys = False
                continue
            self._layout.append(intern(f"{value_at - self._values_end}x{'2d' if self._timed else 'd8x'}"))
            self._values_end = value_at + _DOUBLES.size
        self._struct = _compiled("=" + "".join(self._layout))
