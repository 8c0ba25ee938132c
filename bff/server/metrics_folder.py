"""Lock file with an owner: the folder in which a master's workers count (PROMETHEUS_MULTIPROC_DIR).

Without that variable the folder is a private one on tmpfs, where other users may write as well. A folder there that
does not belong to this user is skipped and logged.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from bff.lib import own_files

log = logging.getLogger(__name__)

OWNER = "owner"
_LEFT = ("*.db*", "*.bin", "*.corrupt", "slot*", "left_*", "cpu_seconds.json*", "configuration_*.json*")
_LONGEST_NAME = 64  # of a file that another user may have named


def private() -> Path:
    """A new folder for this master and its workers alone. Removes the folders of killed masters."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made inside
    home = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    remove_abandoned(home)
    return _new(home)


def configured(folder: Path, *, upgrading: bool) -> None:
    """Prepare an operator's folder: a fresh start empties it, an upgrade continues counting in it. Raises OSError
    where it belongs to another user or cannot be used."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own_files.require_folder(folder)
    if upgrading:
        if (folder / OWNER).exists():
            hold(folder)
        return
    for pattern in _LEFT:
        for file in folder.glob(pattern):
            file.unlink()


def hold(folder: Path) -> None:
    """Take a lock that the kernel releases with the end of this master and the last of its workers. Raises OSError."""
    descriptor = own_files.open_file(folder / OWNER, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_abandoned(home: Path) -> None:
    """Remove private folders of masters that were killed before they could."""
    foreign = []
    for folder in home.glob(f"bff-metrics-{os.getuid()}-*"):
        try:
            _remove_unless_held(folder)
        except (PermissionError, NotADirectoryError):
            foreign.append(folder.name)
        except OSError:  # held, or removed meanwhile
            continue
    if foreign:
        extra = {"folder": str(home), "amount": len(foreign), "example": foreign[0][:_LONGEST_NAME]}
        log.warning("foreign_metrics_folder_ignored", extra=extra)


def _new(home: Path) -> Path:
    """Create and lock a folder. It gets its final name last, so that no other master finds it unlocked."""
    folder = Path(tempfile.mkdtemp(prefix=".bff-metrics-", dir=home))
    hold(folder)
    return folder.rename(home / f"bff-metrics-{os.getuid()}-{folder.name.rpartition('-')[2]}")


def _remove_unless_held(folder: Path) -> None:
    descriptor = own_files.open_folder(folder)
    try:
        owner = own_files.open_file(OWNER, folder=descriptor)
        with suppress(BlockingIOError), os.fdopen(owner) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
