"""Lock file: the folder that the processes share, its value files, and the lock under which slots and files change.

Scrapes hold the lock shared while they look at the slots. A process that takes a slot, mends a file or writes an
account holds it exclusively.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bff.observability.multiprocess.files import FileName, parse_name

LOCK = "lock"
PATIENCE = 2.0
_POLL = 0.002


class Found(NamedTuple):
    """A value file in the folder."""

    path: str
    name: FileName
    inode: int


@contextlib.contextmanager
def locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Raises OSError: the folder cannot be used, or (TimeoutError) a process that was stopped keeps the lock."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_if_possible(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """For work that is correct without the lock as well."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locked(folder, exclusive=exclusive))
        yield


def _wait_for(descriptor: int, kind: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not taken(descriptor, kind):
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        time.sleep(_POLL)


def taken(descriptor: int, kind: int) -> bool:
    """Whether this process took the file's lock at once. Raises OSError where there are no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def value_files(folder: Path) -> Iterator[Found]:
    """Raises OSError."""
    with os.scandir(folder) as listing:
        for entry in listing:
            name = parse_name(entry.name)
            with contextlib.suppress(FileNotFoundError):  # a live gauge's file may be removed at any time
                if name is not None and entry.is_file(follow_symlinks=False):
                    yield Found(entry.name, name, entry.stat(follow_symlinks=False).st_ino)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by one rename. On failure it raises OSError, leaves the former file in place, and removes its
    draft."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.write_bytes(content)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
