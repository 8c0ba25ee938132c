"""Memory-mapped values: prometheus_client's ValueClass over shared memory, in files of a slot.

The files are as prometheus_client writes them, with four differences:

- They belong to a slot (`slots`): a process continues where the slot's former process stopped.
- A value costs one store into mapped memory. The process id is not checked on every increment, since a fork hook
  renews the values.
- Disk space is reserved before it is mapped. A full disk raises an error instead of a SIGBUS; values then live in
  memory only, and one critical log line reports it.
- The latest exemplar of each bucket is kept, in a file beside the values.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import values as client_values
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess.exemplars import NAME as EXEMPLARS
from bff.observability.multiprocess.exemplars import ExemplarFile
from bff.observability.multiprocess.files import FileName
from bff.observability.multiprocess.growing import Cell, GrowingFile
from bff.observability.multiprocess.slots import Slot
from bff.observability.multiprocess.totals import combine

log = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class _Process:
    """The slot of this process and its files. After a fork, the child gets a slot and a lock of its own."""

    def __init__(self) -> None:
        self.lock, self.adding = threading.Lock(), _lock_of_threads()
        self.values: list[SharedValue] = []
        self._slot: Slot | None = None
        self._files: dict[str, GrowingFile | None] = {}  # None where it cannot be opened
        self._exemplars: ExemplarFile | None = None
        self._degraded = False

    def cell(self, name: FileName, key: bytes) -> Cell:
        """Call with the lock held. Shared memory if available, else memory of this process alone."""
        try:
            if name.kind not in self._files:
                self._files[name.kind] = None
                self._files[name.kind] = GrowingFile(self._path(f"{name.kind}_{{}}.db"))
            if file := self._files[name.kind]:
                return file.cell(key)
        except OSError as err:
            self._degrade(err)
        return Cell(memoryview(bytearray(16)).cast("d"), 0, None)

    def keep_exemplar(self, key: bytes, exemplar: Exemplar) -> None:
        """Call with the lock held."""
        try:
            if self._exemplars is None:
                self._exemplars = ExemplarFile(self._path(EXEMPLARS))
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
        for file in (*self._files.values(), self._exemplars, self._slot):
            if file is not None:
                file.close()
        self._files, self._exemplars, self._slot, self._degraded = {}, None, None, False

    def _path(self, pattern: str) -> Path:
        if self._slot is None:
            self._slot = Slot(_folder())
        return self._slot.path(pattern)

    def _degrade(self, err: OSError) -> None:
        if not self._degraded:
            self._degraded = True
            log.critical("metrics_not_shared", extra={"error": err.strerror, "folder": str(_folder())})


def _lock_of_threads() -> Any:
    """A native lock, for code that never waits and so never has to yield to another greenlet: gevent's take twice as
    long."""
    gevent = sys.modules.get("gevent.monkey")
    return gevent.get_original("_thread", "allocate_lock")() if gevent else threading.Lock()


def _after_fork() -> None:
    _process.begin_anew()


_process = _Process()
os.register_at_fork(after_in_child=_after_fork)


def _folder() -> Path:
    return Path(os.environ[FOLDER])


class SharedValue:
    """One float of one series, as prometheus_client's metrics use it. The process sees its own amount, from zero on.

    The amount of the slot's former processes stays in the file, and the process adds to it.
    """

    _multiprocess = True

    def __new__(cls, *_: Any, multiprocess_mode: str = "", **__: Any) -> "SharedValue":
        return super().__new__(_Extreme if multiprocess_mode in ("min", "max") else cls)

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
        """Call with the lock held, or before there is another thread."""
        self._view, self._index, former = _process.cell(self._name, self._key)
        added_up = self._name.type != "gauge" or self._name.mode == "sum"
        self._former = former or 0.0 if added_up else 0.0
        if self._name.mode == "all":  # one series per slot: the former process's value ends here
            self._view[self._index] = 0.0

    def inc(self, amount: float) -> None:
        with _process.adding:
            self._view[self._index] += amount

    def observe(self, amount: float, bucket: "SharedValue") -> None:
        """For the sum of a histogram: one observation, in this bucket."""
        with _process.adding:
            self._view[self._index] += amount
            bucket._view[bucket._index] += 1

    def inc_with(self, histograms: Iterable[tuple["SharedValue", "SharedValue"]], amount: float) -> None:
        """For a counter: adds 1, and one observation of an amount in each histogram, by sum and bucket."""
        with _process.adding:
            self._view[self._index] += 1
            for total, bucket in histograms:
                total._view[total._index] += amount
                bucket._view[bucket._index] += 1

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _process.adding:
            self._view[self._index] = self._former + value
            self._view[self._index + 1] = timestamp or 0.0

    def get(self) -> float:
        return self._view[self._index] - self._former

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Keeps exemplars of histograms only; no other metric here has any."""
        if self._name.type == "histogram":
            with _process.lock:
                _process.keep_exemplar(self._key, exemplar)

    def get_exemplar(self) -> None:
        """None: the scrape reads exemplars from the file."""
        return


class _Extreme(SharedValue):
    """For gauges of mode min or max: combines the former and the own value instead of adding them."""

    def place(self) -> None:
        self._view, self._index, former = _process.cell(self._name, self._key)
        self._extreme = None if former is None else (former, 0.0)
        self._keep(0.0)

    def inc(self, amount: float) -> None:
        with _process.adding:
            self._keep(self._own + amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _process.adding:
            self._keep(value)

    def get(self) -> float:
        return self._own

    def _keep(self, value: float) -> None:
        self._own = value
        self._view[self._index] = combine(self._name.mode, self._extreme, (value, 0.0))[0]


def install() -> bool:
    """Use SharedValue for every metric declared from now on, if PROMETHEUS_MULTIPROC_DIR is set."""
    if FOLDER in os.environ:
        client_values.ValueClass = SharedValue
    return FOLDER in os.environ
