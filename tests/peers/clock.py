"""A clock that all processes of a deployment share. A test sets it forward, so that nobody waits for a token to end."""

import mmap
import struct
import time
from pathlib import Path

_AHEAD = struct.Struct("d")


class SharedClock:
    """Unix seconds, as many ahead of the machine's as the file says; no file yet is none."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_AHEAD.pack(0))
        with path.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), _AHEAD.size)

    def __call__(self) -> float:
        ahead: float = _AHEAD.unpack_from(self._ahead)[0]
        return time.time() + ahead

    def advance(self, seconds: float) -> None:
        _AHEAD.pack_into(self._ahead, 0, self() - time.time() + seconds)

    def reset(self) -> None:
        """What happens next is now, and a provider whose clock cannot be turned agrees again."""
        _AHEAD.pack_into(self._ahead, 0, 0)
