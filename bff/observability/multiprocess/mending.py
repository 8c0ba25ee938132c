"""Quarantine: a broken value file is set aside for an operator to inspect, and its readable entries keep counting."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from bff.observability.multiprocess.files import HEADER, ValueFile, entry, header
from bff.observability.multiprocess.folder import Found, locked, write_whole

log = logging.getLogger(__name__)

QUARANTINED = ".corrupt"


def mend(folder: Path, found: Found, on_corrupt: Callable[[str], object]) -> None:
    """Raises OSError; the readable part of the file then counts as before.

    Its process, if it lives, continues counting into the file that was set aside. Gauges of one process are set aside
    whole. on_corrupt: called with the name of each file that was set aside.
    """
    path = folder / found.path
    with locked(folder, exclusive=True):
        whole, content = _readable(path, found)
        if whole:  # another process has mended it
            return
        aside = path.with_suffix(QUARANTINED)
        aside.unlink(missing_ok=True)
        os.link(path, aside)
        if found.name.of_one_process:
            path.unlink()
        else:
            write_whole(path, content)
    # Outside the lock: the process that counts this may need it for a slot of its own.
    log.error("metrics_file_quarantined", extra={"file": found.path})
    on_corrupt(found.path)


def _readable(path: Path, found: Found) -> tuple[bool, bytes]:
    """(whether the file is whole, a whole copy of its readable entries)."""
    file = ValueFile(path, found.name)
    try:
        file.read()
    finally:
        file.close()
    timestamps = file.timestamps or (0.0,) * len(file.values)
    body = b"".join(entry(key.raw, *each) for key, *each in zip(file.keys, file.values, timestamps, strict=True))
    return file.whole, header(HEADER + len(body)) + body
