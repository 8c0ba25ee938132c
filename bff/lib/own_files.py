"""Safe file opening in shared folders: opens only files and folders that this user owns, and never blocks.

Every local user may write to /dev/shm and /tmp. A FIFO there hangs a process that opens it, and a symbolic link leads
it elsewhere. The content of another user's file is under that user's control (CWE-59, CWE-377).
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR)  # a symbolic link, a socket or a FIFO without a reader, a folder


class NotOurs(PermissionError):
    """The path belongs to another user, or is not of the expected kind."""


def open_file(path: Path | str, flags: int = os.O_RDONLY, *, folder: int | None = None) -> int:
    """Returns the descriptor of a regular file that this user owns; a new file gets mode 0600.

    folder: the descriptor that path is relative to. Raises OSError, NotOurs.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)
    except OSError as err:
        if err.errno in _NO_FILE:
            raise NotOurs(f"{str(path)!r} is no file") from err
        raise
    return _checked(descriptor, stat.S_ISREG, str(path))


def open_folder(path: Path) -> int:
    """Returns the descriptor of a folder that this user owns and that is no symbolic link. Raises OSError, NotOurs."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    return _checked(descriptor, stat.S_ISDIR, str(path))


def require_folder(path: Path) -> None:
    """Checks a folder that the operator configured, perhaps by a symbolic link.

    The folder must belong to this user or to root, and must not be a shared one such as /tmp. Raises OSError, NotOurs.
    """
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
