"""Where a process keeps its metric values: prometheus_client's ValueClass over shared memory, written to its own files.

The same files as prometheus_client writes, with three differences. A value costs one store into mapped memory: the
process id is not asked on every increment, since a fork announces itself. Disk space is reserved before it is mapped,
so a full disk is an error here and not a SIGBUS there; values then live in memory only, and one loud line says so. And
the latest exemplar of each bucket is kept, in a file beside the values.
"""

import logging
import mmap
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import values as client_values
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess.exemplars import ExemplarFile
from bff.observability.multiprocess.files import HEADER, FileName, ValueFile

log = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FIRST_SIZE = 1 << 16
_USED = struct.Struct("=ii")
Slot = tuple["memoryview[float]", int]


class _File:
    """This process's file of one kind: keys are appended, and each gets its own eight bytes."""

    def __init__(self, path: Path, name: FileName) -> None:
        """Raises OSError. Goes on where a former process with the same pid left off."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._capacity = 0
        self._positions: dict[bytes, int] = {}
        former = ValueFile(path, name)
        former.read()
        former.close()
        self._used = HEADER
        self._reserve(max(_FIRST_SIZE, os.fstat(self._fd).st_size))
        for key, value in zip(former.keys, former.values, strict=True):
            view, index = self.slot(key)
            view[index] = value

    def slot(self, key: bytes) -> Slot:
        """Raises OSError when there is no room."""
        position = self._positions.get(key)
        if position is None:
            position = self._append(key)
        return self._doubles, position // 8

    def close(self) -> None:
        os.close(self._fd)  # mapped memory stays as long as something points into it

    def _append(self, key: bytes) -> int:
        padded = key + b" " * (8 - (len(key) + 4) % 8)
        entry = struct.pack(f"=i{len(padded)}sdd", len(key), padded, 0.0, 0.0)
        while self._used + len(entry) > self._capacity:
            self._reserve(2 * self._capacity)
        self._map[self._used : self._used + len(entry)] = entry
        self._used += len(entry)
        self._map[:HEADER] = _USED.pack(self._used, 0)
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
        self.lock = threading.Lock()
        self.values: list[SharedValue] = []
        self._files: dict[str, _File] = {}
        self.exemplars: ExemplarFile | None = None
        self._degraded = False
        os.register_at_fork(after_in_child=self._begin_anew)

    def slot(self, name: FileName, key: bytes) -> Slot:
        """Lock held. Shared memory, or, when there is none to be had, memory of this process alone."""
        try:
            return self._file(name).slot(key)
        except OSError as err:
            self._degrade(err)
            return memoryview(bytearray(8)).cast("d"), 0

    def keep_exemplar(self, name: FileName, key: bytes, exemplar: Exemplar) -> None:
        """Lock held."""
        try:
            if self.exemplars is None:
                self.exemplars = ExemplarFile(_folder() / f"exemplars_{os.getpid()}.bin")
            self.exemplars.keep(f"{name.kind}:".encode() + key, exemplar)
        except OSError as err:
            self._degrade(err)

    def _file(self, name: FileName) -> _File:
        file = self._files.get(name.kind)
        if file is None:
            path = _folder() / f"{name.kind}_{os.getpid()}.db"
            file = self._files[name.kind] = _File(path, name)
        return file

    def _degrade(self, err: OSError) -> None:
        if not self._degraded:
            self._degraded = True
            log.critical("metrics_not_shared", extra={"error": err.strerror, "folder": str(_folder())})

    def _begin_anew(self) -> None:
        self.lock = threading.Lock()
        self._files, self.exemplars, self._degraded = {}, None, False
        for value in self.values:
            value.place()


_process = _Process()


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
        with _process.lock:
            self._view[self._index] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _process.lock:
            self._view[self._index] = value
            if len(self._view) > 1:
                self._view[self._index + 1] = timestamp or 0.0

    def get(self) -> float:
        return self._view[self._index]

    def set_exemplar(self, exemplar: Exemplar) -> None:
        with _process.lock:
            _process.keep_exemplar(self._name, self._key, exemplar)

    def get_exemplar(self) -> None:
        """They are read by the scrape, from the file."""
        return


def install() -> bool:
    """Use SharedValue for every metric declared from now on, if PROMETHEUS_MULTIPROC_DIR says that workers share."""
    if FOLDER in os.environ:
        client_values.ValueClass = SharedValue
    return FOLDER in os.environ
