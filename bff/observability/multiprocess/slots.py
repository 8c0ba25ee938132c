"""Worker slots: a process counts in files named by a small number, its own as long as it holds a lock.

The kernel releases the lock when the process dies, however it dies. The next process takes the lowest free number and
continues counting in its predecessor's files. So an ending process needs no merge, and there are never more files than
for the most processes alive at once. Facts about one process end with it: its gauges in a `live` mode and its exemplars
count while the slot is held. The next process that takes the slot removes them.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
from pathlib import Path

from bff.observability.multiprocess.folder import locked_if_possible, taken

PREFIX = "slot"  # no digits alone: prometheus_client's files are named by pids
_OWNER = re.compile(rf"{PREFIX}\d+")
_OF_ONE_PROCESS = ("gauge_live*_{}.db", "exemplars_{}.bin")
_PID_WIDTH = 20


class Slot:
    """Holds a slot until it is closed, or its process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lowest free slot. Raises OSError: there are no locks, or no space.

        The folder's lock keeps scrapes from reading the slots meanwhile. Without it, the slot may be higher than
        needed.
        """
        self._folder = folder
        with locked_if_possible(folder, exclusive=True):
            self._take()

    def _take(self) -> None:
        for number in itertools.count():
            self.owner = f"{PREFIX}{number}"
            self._fd = os.open(self._folder / self.owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if taken(self._fd, fcntl.LOCK_EX):
                    self._begin()
                    return
            except OSError:
                os.close(self._fd)
                raise
            os.close(self._fd)

    def path(self, pattern: str) -> Path:
        """A file of this slot. Raises OSError once the folder was emptied, since another process may have the number
        then."""
        if not os.path.samestat(os.fstat(self._fd), os.stat(self._folder / self.owner)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return self._folder / pattern.format(self.owner)

    def close(self) -> None:
        """Closes the descriptor without unlocking: in a forked child the lock is the parent's until both have closed
        it."""
        os.close(self._fd)

    def _begin(self) -> None:
        for pattern in _OF_ONE_PROCESS:
            for path in self._folder.glob(pattern.format(self.owner)):
                path.unlink(missing_ok=True)
        os.pwrite(self._fd, str(os.getpid()).ljust(_PID_WIDTH).encode(), 0)


def held(folder: Path) -> dict[str, int]:
    """Process id by slot, of all held slots. Raises OSError.

    The folder is locked meanwhile: the check takes a free slot for a moment, and a starting process would skip it.
    """
    found = {}
    with locked_if_possible(folder, exclusive=False):
        for owner in filter(_OWNER.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError, ValueError):  # not a slot of ours
                pid = _pid_of_holder(folder / owner)
                found.update({owner: pid} if pid else {})
    return found


def _pid_of_holder(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not taken(descriptor, fcntl.LOCK_SH):
            return int(os.pread(descriptor, _PID_WIDTH, 0))
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
        return None
    finally:
        os.close(descriptor)
