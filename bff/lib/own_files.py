"""Safe opening in shared folders: only what is this user's own is opened, and nothing that makes the opener wait.

Anybody may write in /dev/shm and /tmp. A FIFO there hangs a process that opens it, a symbolic link leads it elsewhere,
and a foreign file says what its owner likes (CWE-59, CWE-377).
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR)  # a symbolic link, a socket or a FIFO without a reader, a folder


class NotOurs(PermissionError):
    """Of a kind that was not expected there, or another user's."""


def open_file(path: Path | str, flags: int = os.O_RDONLY, *, folder: int | None = None) -> int:
    """A descriptor of a regular file of this user's, for its owner alone if it is created. folder: a descriptor that
    path is relative to. Raises OSError, NotOurs."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)
    except OSError as err:
        if err.errno in _NO_FILE:
            raise NotOurs(f"{str(path)!r} is no file") from err
        raise
    return _checked(descriptor, stat.S_ISREG, str(path))


def open_folder(path: Path) -> int:
    """A descriptor of a folder of this user's that is no symbolic link. Raises OSError, NotOurs."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    return _checked(descriptor, stat.S_ISDIR, str(path))


def require_folder(path: Path) -> None:
    """For a folder that an operator named, perhaps by a link of theirs: it must be this user's or the system's, and
    none that everybody shares. Raises OSError, NotOurs."""
    for found in (path.lstat(), path.stat()):
        if found.st_uid not in (0, os.geteuid()):
            raise NotOurs(f"{str(path)!r} belongs to another user")
    if not path.is_dir():
        raise NotADirectoryError(f"{str(path)!r} is no folder")
    if found.st_mode & stat.S_ISVTX and found.st_mode & stat.S_IWOTH:
        raise NotOurs(f"{str(path)!r} is shared by everybody; name a folder of its own in it")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{str(path)!r} cannot be written to")


def _checked(descriptor: int, is_kind: Callable[[int], bool], path: str) -> int:
    found = os.fstat(descriptor)
    if is_kind(found.st_mode) and found.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise NotOurs(f"{path!r} is another user's, or of another kind")
