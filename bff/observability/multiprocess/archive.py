"""Folds the files of dead processes into one archive per kind, so that a scrape reads live files only.

What counts is said by one small file, the manifest: which archives are current, and which files are in them already.
It is replaced by one rename, so a crash at any moment leaves either the state before or the state after, never values
counted twice or not at all:

    1. write the new archive under a new name             (not in the manifest: does not count)
    2. replace the manifest: new archive, files it took    <- the moment when it happens
    3. remove those files and the former archive          (left over after a crash: removed by the next run)

A lock file is held exclusively meanwhile; scrapes hold it shared.
"""

import contextlib
import fcntl
import json
import logging
import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bff.observability.multiprocess.files import ARCHIVE, HEADER, CorruptFile, FileName, ValueFile, parse_name
from bff.observability.multiprocess.totals import combine, parse_key

log = logging.getLogger(__name__)

LOCK = "lock"
MANIFEST = "manifest.json"
QUARANTINED = ".corrupt"
Entries = dict[bytes, tuple[float, float]]


@dataclass(frozen=True)
class Manifest:
    """archives: file name by kind. taken: (name, inode) of files whose values are in them."""

    generation: int = 0
    archives: dict[str, str] = field(default_factory=dict)
    taken: frozenset[tuple[str, int]] = frozenset()

    def counts(self, name: str, parsed: FileName, inode: int) -> bool:
        """Whether a file in the folder is part of the sum."""
        if parsed.owner.startswith(ARCHIVE):
            return self.archives.get(parsed.kind) == name
        return (name, inode) not in self.taken


@contextlib.contextmanager
def locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Raises OSError when the folder cannot be written to."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return Manifest()
    taken = frozenset((name, inode) for name, inode in content["taken"])
    return Manifest(content["generation"], content["archives"], taken)


def value_files(folder: Path, manifest: Manifest) -> Iterator[tuple[str, FileName, int]]:
    """The files that count now: names and inodes."""
    for entry in os.scandir(folder):
        parsed = parse_name(entry.name)
        if parsed is not None and manifest.counts(entry.name, parsed, entry.inode()):
            yield entry.name, parsed, entry.inode()


def compact(folder: Path, is_dead: Callable[[int], bool], on_corrupt: Callable[[str], None]) -> int:
    """Take in the files of every process that is_dead; how many files. Raises OSError, and nothing is lost then.

    Gauges of a `live` mode end with their process. Those of mode `all` stay, because their label is the process.
    """
    with locked(folder, exclusive=True):
        manifest = read_manifest(folder)
        _remove_left_over(folder, manifest)
        dead = [
            (folder / path, name)
            for path, name, _ in value_files(folder, manifest)
            if name.pid is not None and is_dead(name.pid) and name.mode != "all"
        ]
        ended = [path for path, name in dead if name.mode.startswith("live")]
        kept = [(path, name) for path, name in dead if not name.mode.startswith("live")]
        _take(folder, manifest, kept, on_corrupt)
        for path in ended:
            path.unlink(missing_ok=True)
        for path in folder.glob("exemplars_*.bin"):
            owner = path.stem.rpartition("_")[2]
            if owner.isdigit() and is_dead(int(owner)):
                path.unlink(missing_ok=True)
    return len(dead)


def quarantine(folder: Path, name: str, on_corrupt: Callable[[str], None]) -> None:
    """Set a broken file aside; what can be read of it stays counted. Raises OSError."""
    parsed = parse_name(name)
    with locked(folder, exclusive=True):
        manifest = read_manifest(folder)
        _remove_left_over(folder, manifest)
        if parsed is not None and (folder / name).exists():
            _take(folder, manifest, [(folder / name, parsed)], on_corrupt)


def _take(
    folder: Path, manifest: Manifest, files: list[tuple[Path, FileName]], on_corrupt: Callable[[str], None]
) -> None:
    if not files:
        return
    broken: set[Path] = set()
    archives = dict(manifest.archives)
    taken = set()
    generation = manifest.generation + 1
    for kind in {name.kind for _, name in files}:
        entries: Entries = {}
        if kind in archives:
            _add(entries, folder / archives[kind], broken)
        for path, name in files:
            if name.kind == kind:
                taken.add((path.name, _add(entries, path, broken)))
        archives[kind] = f"{kind}_{ARCHIVE}-{generation}.db"
        _write(folder / archives[kind], _file_bytes(entries))
    current = Manifest(generation, archives, frozenset(taken))
    _write_manifest(folder, current)
    for path in broken:
        path.rename(path.with_suffix(QUARANTINED))
        log.error("metrics_file_quarantined", extra={"file": path.name})
        on_corrupt(path.name)
    _remove_left_over(folder, current)


def _add(entries: Entries, path: Path, broken: set[Path]) -> int:
    """Add a file's values to entries; its inode."""
    name = parse_name(path.name)
    assert name is not None  # noqa: S101 - every caller found the file by its name
    file = ValueFile(path, name)
    try:
        file.read()
    except CorruptFile:
        broken.add(path)
    mode = name.mode if name.type == "gauge" else "total"
    timestamps = file.timestamps or (0.0,) * len(file.values)
    for key, value, timestamp in zip(file.keys, file.values, timestamps, strict=False):
        if not _is_key(key):
            broken.add(path)
            continue
        former = entries.get(key)
        entries[key] = (value, timestamp) if former is None else _combined(mode, former, (value, timestamp))
    inode = file.inode
    file.close()
    return inode


def _is_key(key: bytes) -> bool:
    try:
        parse_key(key)
    except ValueError:
        return False
    return True


def _combined(mode: str, former: tuple[float, float], found: tuple[float, float]) -> tuple[float, float]:
    return (_sum_rounded_up(former[0], found[0]), 0.0) if mode == "total" else combine(mode, former, found)


def _sum_rounded_up(one: float, other: float) -> float:
    """What is archived must never be less than what it replaces, or a total could go back by the last bit."""
    result = one + other
    if not math.isfinite(result):
        return result
    rest = math.fsum((one, other, -result))
    return math.nextafter(result, math.inf) if rest > 0 else result


def _file_bytes(entries: Entries) -> bytes:
    body = bytearray()
    for key, (value, timestamp) in entries.items():
        padded = key + b" " * (8 - (len(key) + 4) % 8)
        body += struct.pack(f"=i{len(padded)}sdd", len(key), padded, value, timestamp)
    return struct.pack("=ii", HEADER + len(body), 0) + bytes(body)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = {"generation": manifest.generation, "archives": manifest.archives, "taken": sorted(manifest.taken)}
    temporary = folder / f"{MANIFEST}.new"
    _write(temporary, json.dumps(content).encode())
    temporary.rename(folder / MANIFEST)


def _write(path: Path, content: bytes) -> None:
    """Raises OSError with nothing left behind."""
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _remove_left_over(folder: Path, manifest: Manifest) -> None:
    """Files whose values are in an archive, and archives that are not current."""
    for entry in list(os.scandir(folder)):
        parsed = parse_name(entry.name)
        if parsed is not None and not manifest.counts(entry.name, parsed, entry.inode()):
            Path(entry.path).unlink(missing_ok=True)
