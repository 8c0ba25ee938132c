"""Where a process keeps its metric values: prometheus_client's ValueClass over shared memory, written to its own files.

The same files as prometheus_client writes, with three differences. A value costs one store into mapped memory: the
process id is not asked on every increment, since a fork announces itself. Disk space is reserved before it is mapped,
so a full disk is an error here and not a SIGBUS there; values then live in memory only, and one loud line says so. And
the latest exemplar of each bucket is kept, in a file beside the values.
"""

import logging
import mmap
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import values as client_values
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess.exemplars import ExemplarFile
from bff.observability.multiprocess.files import HEADER, FileName, entries, entry, header, used_bytes
from bff.observability.multiprocess.manifest import locked

log = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FIRST_SIZE = 1 << 16
Slot = tuple["memoryview[float]", int]


class GrowingFile:
    """This process's file of one kind: keys are appended, and each gets its own eight bytes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError. Goes on where a former process with the same pid left off."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._capacity = 0
        self._positions: dict[bytes, int] = {}
        self._used = HEADER
        try:
            self._take_up(os.fstat(self._fd).st_size)
        except OSError:
            os.close(self._fd)
            raise

    def slot(self, key: bytes) -> Slot:
        """Raises OSError when there is no room."""
        position = self._positions.get(key)
        if position is None:
            position = self._append(key)
        return self._doubles, position // 8

    def close(self) -> None:
        os.close(self._fd)  # mapped memory stays as long as something points into it

    def _take_up(self, size: int) -> None:
        """Nothing moves, since a scrape may be reading; what cannot be read at the end is given up."""
        data = os.pread(self._fd, size, 0)
        for key, position in entries(data[: used_bytes(data)], HEADER):
            self._positions[key] = position
            self._used = position + 16
        capacity = _FIRST_SIZE
        while capacity < size:
            capacity *= 2
        self._reserve(capacity)
        if used_bytes(data) != self._used:
            self._map[:HEADER] = header(self._used)

    def _append(self, key: bytes) -> int:
        new = entry(key)
        while self._used + len(new) > self._capacity:
            self._reserve(2 * self._capacity)
        self._map[self._used : self._used + len(new)] = new
        self._used += len(new)
        self._map[:HEADER] = header(self._used)
        self._positions[key] = self._used - 16
        return self._used - 16

    def _reserve(self, capacity: int) -> None:
        """Map the file anew, larger. Slots given out before write to the same pages through the former mapping."""
        os.posix_fallocate(self._fd, 0, capacity)
        self._map = mmap.mmap(self._fd, capacity)
        self._doubles = memoryview(self._map).cast("d")
        self._capacity = capacity


class _Process:
    """The files of this process. A fork makes the child start with files, and a lock, of its own."""

    def __init__(self) -> None:
        self.lock, self.adding = threading.Lock(), _lock_of_threads()
        self.values: list[SharedValue] = []
        self._files: dict[str, GrowingFile | None] = {}  # None where there is none to be had
        self._exemplars: ExemplarFile | None = None
        self._degraded = False

    def slot(self, name: FileName, key: bytes) -> Slot:
        """Lock held. Shared memory, or, when there is none to be had, memory of this process alone."""
        try:
            if name.kind not in self._files:
                self._open(name)
            if file := self._files[name.kind]:
                return file.slot(key)
        except OSError as err:
            self._degrade(err)
        return memoryview(bytearray(16)).cast("d"), 0

    def keep_exemplar(self, key: bytes, exemplar: Exemplar) -> None:
        """Lock held."""
        try:
            if self._exemplars is None:
                self._exemplars = ExemplarFile(_folder() / f"exemplars_{os.getpid()}.bin")
            self._exemplars.keep(key, exemplar)
        except OSError as err:
            self._degrade(err)

    def begin_anew(self) -> None:
        """In the child, after a fork."""
        self.lock, self.adding = threading.Lock(), _lock_of_threads()
        self.close()
        for value in self.values:
            value.place()

    def close(self) -> None:
        for file in (*self._files.values(), self._exemplars):
            if file is not None:
                file.close()
        self._files, self._exemplars, self._degraded = {}, None, False

    def _open(self, name: FileName) -> None:
        """The folder is locked, so that nobody takes the file for one of a dead process with the same pid."""
        self._files[name.kind] = None
        path = _folder() / f"{name.kind}_{os.getpid()}.db"
        with locked(_folder(), exclusive=False):
            if name.mode.startswith("live"):
                path.unlink(missing_ok=True)  # its values ended with that process
            self._files[name.kind] = GrowingFile(path)

    def _degrade(self, err: OSError) -> None:
        if not self._degraded:
            self._degraded = True
            log.critical("metrics_not_shared", extra={"error": err.strerror, "folder": str(_folder())})


def _lock_of_threads() -> Any:
    """For what never waits, so that no greenlet needs to hear of it: gevent's own locks take twice as long."""
    gevent = sys.modules.get("gevent.monkey")
    return gevent.get_original("_thread", "allocate_lock")() if gevent else threading.Lock()


def _after_fork() -> None:
    _process.begin_anew()


_process = _Process()
os.register_at_fork(after_in_child=_after_fork)


def _folder() -> Path:
    return Path(os.environ[FOLDER])


class SharedValue:
    """What prometheus_client's metrics call: one float of one series."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        self._name = FileName(typ, multiprocess_mode if typ == "gauge" else "", "")
        self._key = mmap_key(metric_name, name, list(labelnames), list(labelvalues), help_text).encode()
        with _process.lock:
            self.place()
            _process.values.append(self)

    def place(self) -> None:
        """Lock held, or nobody else there yet."""
        self._view, self._index = _process.slot(self._name, self._key)

    def inc(self, amount: float) -> None:
        with _process.adding:
            self._view[self._index] += amount

    def observe(self, amount: float, bucket: "SharedValue") -> None:
        """As the sum of a histogram: one observation, in this bucket."""
        with _process.adding:
            self._view[self._index] += amount
            bucket._view[bucket._index] += 1

    def inc_with(self, histograms: Iterable[tuple["SharedValue", "SharedValue"]], amount: float) -> None:
        """Of a counter: one, and one observation of an amount in each of them, by sum and bucket."""
        with _process.adding:
            self._view[self._index] += 1
            for total, bucket in histograms:
                total._view[total._index] += amount
                bucket._view[bucket._index] += 1

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _process.adding:
            self._view[self._index] = value
            self._view[self._index + 1] = timestamp or 0.0

    def get(self) -> float:
        return self._view[self._index]

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Kept for histograms; the metrics that want them are."""
        if self._name.type == "histogram":
            with _process.lock:
                _process.keep_exemplar(self._key, exemplar)

    def get_exemplar(self) -> None:
        """They are read by the scrape, from the file."""
        return


def install() -> bool:
    """Use SharedValue for every metric declared from now on, if PROMETHEUS_MULTIPROC_DIR says that workers share."""
    if FOLDER in os.environ:
        client_values.ValueClass = SharedValue
    return FOLDER in os.environ
