"""Snapshot: each file of the configuration is read once, and every part of a reading gets the same content.

`changed` compares at the end, so that a reading is rejected if a file was rewritten meanwhile.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

LONGEST = 8 * 1024 * 1024
"""Bytes of one file."""


class NotAFile(OSError):
    """A folder, a FIFO or a device: the read would fail or never end."""


def read_file(path: Path) -> bytes:
    """The content of a regular file, or of a link to one. Raises OSError, NotAFile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO without a writer hangs otherwise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile(errno.EINVAL, "not a file")
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise NotAFile(errno.EFBIG, "too long")
    return content


def list_folder(folder: Path) -> tuple[str, ...]:
    """The names in a folder; none where there is no such folder. Raises OSError."""
    try:
        return tuple(sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()


class Files:
    def __init__(
        self,
        read: Callable[[Path], bytes] = read_file,
        names: Callable[[Path], tuple[str, ...]] = list_folder,
    ) -> None:
        self._read = read
        self._list = names
        self._contents: dict[Path, bytes | Exception] = {}
        self._folders: dict[Path, tuple[str, ...] | Exception] = {}

    def text(self, path: Path) -> str:
        """Raises OSError, and ValueError (UnicodeDecodeError included)."""
        if path not in self._contents:
            self._contents[path] = _outcome(self._read, path)
        content = self._contents[path]
        if isinstance(content, Exception):
            raise content
        return content.decode()

    def names(self, folder: Path) -> tuple[str, ...]:
        """Raises OSError, ValueError."""
        if folder not in self._folders:
            self._folders[folder] = _outcome(self._list, folder)
        found = self._folders[folder]
        if isinstance(found, Exception):
            raise found
        return found

    def changed(self) -> list[Path]:
        """The files and folders that differ from what was read."""
        files = [path for path, was in self._contents.items() if not _same(was, _outcome(self._read, path))]
        folders = [path for path, was in self._folders.items() if not _same(was, _outcome(self._list, path))]
        return files + folders


def _outcome(read: Callable[[Path], _T], path: Path) -> _T | Exception:
    try:
        return read(path)
    except (OSError, ValueError) as err:  # ValueError: a path with a NUL, possible in YAML
        return err


def _same(one: object, other: object) -> bool:
    if isinstance(one, Exception):
        return type(one) is type(other)
    return one == other
