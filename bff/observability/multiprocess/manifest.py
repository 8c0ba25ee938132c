"""Which files in the folder count: the manifest says it, and a lock keeps it true while somebody reads or changes them.

The manifest names the archives that are current, and the files whose values are in them already. It is replaced by one
rename. A lock file is held shared by scrapes, and exclusively by whoever changes the manifest.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bff.observability.multiprocess.files import FileName, parse_name

LOCK = "lock"
MANIFEST = "manifest.json"
ARCHIVE = "archive-"
PATIENCE = 2.0
_POLL = 0.002


class Found(NamedTuple):
    """A value file in the folder."""

    path: str
    name: FileName
    inode: int

    @property
    def generation(self) -> int:
        """Of an archive; 0 for a process's file."""
        text = self.name.owner.removeprefix(ARCHIVE)
        return int(text) if self.name.pid is None and text.isdecimal() else 0


@dataclass(frozen=True)
class Manifest:
    """archives: file name by kind. taken: (file name, inode) of files whose values are in them."""

    generation: int = 0
    archives: dict[str, str] = field(default_factory=dict)
    taken: frozenset[tuple[str, int]] = frozenset()

    def counts(self, file: Found) -> bool:
        """Whether a file in the folder is part of the sum."""
        if file.name.owner.startswith(ARCHIVE):
            return self.archives.get(file.name.kind) == file.path
        return (file.path, file.inode) not in self.taken


@contextlib.contextmanager
def locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Raises OSError: the folder cannot be used, or (TimeoutError) a process that was stopped keeps the lock."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, kind: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as err:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from err
            time.sleep(_POLL)


def files(folder: Path) -> Iterator[Found]:
    """Every value file, whether it counts or not."""
    with os.scandir(folder) as listing:
        for entry in listing:
            name = parse_name(entry.name)
            with contextlib.suppress(FileNotFoundError):  # removed by hand, since removals of ours hold the lock
                if name is not None and entry.is_file(follow_symlinks=False):
                    yield Found(entry.name, name, entry.stat(follow_symlinks=False).st_ino)


def counted(folder: Path, manifest: Manifest) -> list[Found]:
    """The value files that count, in one order for everybody."""
    return sorted(found for found in files(folder) if manifest.counts(found))


def read(folder: Path) -> Manifest:
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        archives = {str(kind): str(path) for kind, path in content["archives"].items()}
        taken = frozenset((str(path), int(inode)) for path, inode in content["taken"])
        return Manifest(int(content["generation"]), archives, taken)
    except FileNotFoundError:
        return Manifest()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _newest_archives(folder)


def _newest_archives(folder: Path) -> Manifest:
    """The best guess when the manifest cannot be understood: each kind's archive with the highest number is current."""
    archives = sorted((found.generation, found.name.kind, found.path) for found in files(folder) if found.generation)
    newest = {kind: path for _, kind, path in archives}
    return Manifest(archives[-1][0] if archives else 0, newest)


def write(folder: Path, manifest: Manifest) -> None:
    """Raises OSError, with the former manifest in place."""
    content = {"generation": manifest.generation, "archives": manifest.archives, "taken": sorted(manifest.taken)}
    temporary = folder / f"{MANIFEST}.new"
    write_whole(temporary, json.dumps(content).encode())
    temporary.rename(folder / MANIFEST)


def write_whole(path: Path, content: bytes) -> None:
    """Raises OSError with nothing left behind."""
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
