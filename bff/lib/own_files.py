"""Safe opening in shared folders: opens only this user's own regular files and folders, and never blocks.

Every local user may write in /dev/shm and /tmp. A FIFO there hangs a process that opens it, a symbolic link leads it
elsewhere, and the content of a foreign file is its owner's choice (CWE-59, CWE-377).
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR)  # a symbolic link, a socket or a FIFO without a reader, a folder


class NotOurs(PermissionError):
    """The file is of an unexpected kind, or belongs to another user."""


def open_file(path: Path | str, flags: int = os.O_RDONLY, *, folder: int | None = None) -> int:
    """A descriptor of this user's own regular file; a new file is readable for its owner alone. folder: a descriptor
    that path is relative to. Raises OSError, NotOurs."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)
    except OSError as err:
        if err.errno in _NO_FILE:
            raise NotOurs(f"{str(path)!r} is no file") from err
        raise
    return _checked(descriptor, stat.S_ISREG, str(path))


def open_folder(path: Path) -> int:
    """A descriptor of this user's own folder, which must be no symbolic link. Raises OSError, NotOurs."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    return _checked(descriptor, stat.S_ISDIR, str(path))


def require_folder(path: Path) -> None:
    """Checks a folder that an operator configured, perhaps by a link: it must belong to this user or to the system, and
    must not be shared. Raises OSError, NotOurs."""
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
