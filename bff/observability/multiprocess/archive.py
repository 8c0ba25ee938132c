"""Folds the files of dead processes into one archive per kind, so that a scrape reads live files only.

A crash at any moment leaves either the state before or the state after, never values counted twice or not at all:

    1. write the new archive under a new name             (not in the manifest: does not count)
    2. replace the manifest: new archive, files it took    <- the moment when it happens
    3. remove those files and the former archive          (left over after a crash: removed by the next run)
    4. replace the manifest: no files taken               (their names and inodes may come again)
"""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from bff.observability.multiprocess import manifest as manifests
from bff.observability.multiprocess.exemplars import PATTERN as EXEMPLARS
from bff.observability.multiprocess.files import HEADER, FileName, ValueFile, entry, header
from bff.observability.multiprocess.manifest import ARCHIVE, Found, Manifest, locked
from bff.observability.multiprocess.totals import combine

log = logging.getLogger(__name__)

QUARANTINED = ".corrupt"
Entries = dict[bytes, tuple[float, float]]


def compact(folder: Path, is_dead: Callable[[int], bool], on_corrupt: Callable[[str], object]) -> int:
    """Take in the files of every process that is_dead; how many files. Raises OSError, and nothing is lost then.

    Gauges of a `live` mode end with their process. Those of mode `all` stay, because their label is the process.
    on_corrupt: told the name of each file that was set aside.
    """
    with locked(folder, exclusive=True):
        manifest = _tidied(folder)
        dead = [
            found
            for found in manifests.counted(folder, manifest)
            if found.name.pid is not None and is_dead(found.name.pid) and found.name.mode != "all"
        ]
        ended = [found for found in dead if found.name.mode.startswith("live")]
        broken = _take(folder, manifest, [found for found in dead if found not in ended])
        for found in ended:
            (folder / found.path).unlink(missing_ok=True)
        for path in folder.glob(EXEMPLARS):
            owner = path.stem.rpartition("_")[2]
            if owner.isdecimal() and is_dead(int(owner)):
                path.unlink(missing_ok=True)
    _tell(broken, on_corrupt)
    return len(dead)


def quarantine(folder: Path, name: str, on_corrupt: Callable[[str], object]) -> None:
    """Set a file aside if it is broken; what can be read of it stays counted. Raises OSError.

    Its process, if it lives, goes on counting into the file that was set aside. Gauges of one process go with it.
    """
    with locked(folder, exclusive=True):
        manifest = _tidied(folder)
        broken = [
            found
            for found in manifests.counted(folder, manifest)
            if found.path == name and not _read(folder, found).whole  # somebody else may have seen to it
        ]
        own = [found for found in broken if found.name.mode == "all" or found.name.mode.startswith("live")]
        others = _take(folder, manifest, [found for found in broken if found not in own])
        _set_aside(folder, own)
    _tell([*own, *others], on_corrupt)


def _tidied(folder: Path) -> Manifest:
    """Finish what a run that did not come to its end has left."""
    manifest = manifests.read(folder)
    for found in manifests.files(folder):
        if not manifest.counts(found):
            (folder / found.path).unlink(missing_ok=True)
    if manifest.taken:
        manifest = replace(manifest, taken=frozenset())
        manifests.write(folder, manifest)
    return manifest


def _take(folder: Path, manifest: Manifest, files: list[Found]) -> list[Found]:
    """Fold files into the archives; those of them, and those archives, that were broken."""
    if not files:
        return []
    broken: list[Found] = []
    archives = dict(manifest.archives)
    generation = manifest.generation + 1
    former = [found for found in manifests.counted(folder, manifest) if found.generation]
    for kind in sorted({found.name.kind for found in files}):
        sources = dict.fromkeys(found for found in [*former, *files] if found.name.kind == kind)
        archives[kind] = f"{kind}_{ARCHIVE}{generation}.db"
        manifests.write_whole(folder / archives[kind], _merged(folder, sources, broken))
    taken = frozenset((found.path, found.inode) for found in files)
    manifests.write(folder, Manifest(generation, archives, taken))
    _set_aside(folder, broken)
    _tidied(folder)
    return broken


def _merged(folder: Path, sources: Iterable[Found], broken: list[Found]) -> bytes:
    """One file's content with the values of all sources."""
    entries: Entries = {}
    for found in sources:
        file = _read(folder, found)
        if not file.whole:
            broken.append(found)
        timestamps = file.timestamps or (0.0,) * len(file.values)
        for key, value, timestamp in zip(file.keys, file.values, timestamps, strict=True):
            former = entries.get(key.raw)
            entries[key.raw] = _combined(found.name, former, (value, timestamp)) if former else (value, timestamp)
    body = b"".join(entry(raw, *values) for raw, values in entries.items())
    return header(HEADER + len(body)) + body


def _read(folder: Path, found: Found) -> ValueFile:
    file = ValueFile(folder / found.path, found.name)
    try:
        file.read()
    finally:
        file.close()
    return file


def _combined(name: FileName, former: tuple[float, float], found: tuple[float, float]) -> tuple[float, float]:
    if name.type == "gauge":
        return combine(name.mode, former, found)
    return _sum_rounded_up(former[0], found[0]), 0.0


def _sum_rounded_up(one: float, other: float) -> float:
    """What is archived must never be less than what it replaces, or a total could go back by the last bit."""
    result = one + other
    if not math.isfinite(result):
        return result
    rest = math.fsum((one, other, -result))
    return math.nextafter(result, math.inf) if rest > 0 else result


def _set_aside(folder: Path, broken: Iterable[Found]) -> None:
    for found in broken:
        path = folder / found.path
        path.rename(path.with_suffix(QUARANTINED))


def _tell(broken: Iterable[Found], on_corrupt: Callable[[str], object]) -> None:
    """Outside the lock: whoever counts this may need it for a file of its own."""
    for found in broken:
        log.error("metrics_file_quarantined", extra={"file": found.path})
        on_corrupt(found.path)
