"""Lock file with an owner: the folder in which a master's workers count (PROMETHEUS_MULTIPROC_DIR).

Without that variable it is a private one on tmpfs, where anybody may write as well. What is not this user's own is
stepped around there, and said in the log.
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
_LONGEST_NAME = 64  # of a file that anybody may have named


def private() -> Path:
    """A new folder for this master and its workers alone; those of masters that were killed are removed."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made inside
    home = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    remove_abandoned(home)
    return _new(home)


def configured(folder: Path, *, upgrading: bool) -> None:
    """Make an operator's folder ready: emptied for a fresh start, as it is for an upgrade, which goes on counting.
    Raises OSError where it is not theirs or cannot be used."""
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
    """A lock that ends with this master and the last of its workers, however they end. Raises OSError."""
    descriptor = own_files.open_file(folder / OWNER, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_abandoned(home: Path) -> None:
    """Private folders of masters that were killed before they could tidy up."""
    foreign = []
    for folder in home.glob(f"bff-metrics-{os.getuid()}-*"):
        try:
            _remove_unless_held(folder)
        except (PermissionError, NotADirectoryError):
            foreign.append(folder.name)
        except OSError:  # held, or it has gone meanwhile
            continue
    if foreign:
        extra = {"folder": str(home), "amount": len(foreign), "example": foreign[0][:_LONGEST_NAME]}
        log.warning("foreign_metrics_folder_ignored", extra=extra)


def _new(home: Path) -> Path:
    """Nobody can find it before it is held."""
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
