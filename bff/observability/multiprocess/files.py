"""One value file of one process, read incrementally.

The format is prometheus_client's (mmap_dict.py): an int32 that says how many bytes are used, four bytes of padding,
then entries of an int32 key length, the key (JSON, padded with blanks), a float64 value and a float64 timestamp. Keys
are appended and never move, so what was parsed once stays true, and one `struct` reads every value at once.
"""

import functools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

HEADER = 8
_USED = _LENGTH = struct.Struct("=i")
_VALUE_AND_TIMESTAMP = 16
ARCHIVE = "archive"


class CorruptFile(Exception):
    """A file that breaks its own format: truncated, overwritten, or never one of ours."""


@dataclass(frozen=True)
class FileName:
    """counter_{pid}.db, gauge_{mode}_{pid}.db. The owner is a pid, or begins with `archive`."""

    type: str
    mode: str
    owner: str

    @property
    def pid(self) -> int | None:
        return int(self.owner) if self.owner.isdigit() else None

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


class ValueFile:
    """`read` brings keys, values and timestamps up to date.

    A descriptor is held, so a file that is removed while it is being read stays whole.
    """

    def __init__(self, path: Path, name: FileName) -> None:
        """Raises FileNotFoundError."""
        self.path = path
        self.name = name
        self.keys: list[bytes] = []
        self.values: tuple[float, ...] = ()
        self.timestamps: tuple[float, ...] = ()  # of gauges; nobody asks for another's
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._timed = name.type == "gauge"
        self._parsed = HEADER
        self._layout: list[str] = []
        self._struct = struct.Struct("=")

    def close(self) -> None:
        os.close(self._fd)

    @property
    def inode(self) -> int:
        return os.fstat(self._fd).st_ino

    def read(self) -> None:
        """Raises CorruptFile, after which keys and values hold what could still be read."""
        data = os.pread(self._fd, self._parsed, 0)
        used = _USED.unpack_from(data)[0] if len(data) >= HEADER else 0
        if used == 0:
            return  # its process has only just made it
        if used > self._parsed:
            data = os.pread(self._fd, used, 0)
            self._parse(data)
        if len(data) >= self._struct.size:
            flat = self._struct.unpack_from(data)
            self.values, self.timestamps = (flat[::2], flat[1::2]) if self._timed else (flat, ())
        if self._parsed != used:
            raise CorruptFile(self.path.name)

    def _parse(self, data: bytes) -> None:
        """Take up the entries behind what was parsed before, as far as they are whole."""
        position, read_until = self._parsed, self._struct.size
        while position + 4 <= len(data):
            length = _LENGTH.unpack_from(data, position)[0]
            value_at = position + 4 + length + 8 - (length + 4) % 8
            if length <= 0 or value_at + _VALUE_AND_TIMESTAMP > len(data):
                break
            self.keys.append(data[position + 4 : position + 4 + length])
            self._layout.append(f"{value_at - read_until}x{'2d' if self._timed else 'd8x'}")
            position = read_until = value_at + _VALUE_AND_TIMESTAMP
        self._parsed = position
        self._struct = struct.Struct("=" + "".join(self._layout))
