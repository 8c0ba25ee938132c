"""Collector of process facts at scrape time: number, memory and CPU of one gunicorn master's processes, and exits.

Processes find one another by the slots that they hold in the metrics folder.
"""

import functools
import json
import logging
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bff.observability import metrics
from bff.observability.multiprocess import slots
from bff.observability.multiprocess.folder import locked, write_whole

log = logging.getLogger(__name__)

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOTE = "left_{pid}"
_ACCOUNT = "cpu_seconds.json"

_CPU = ("process_cpu_seconds_total", "counter", (), "CPU seconds of all processes, ended workers included.")
_RESIDENT = (
    "process_resident_memory_bytes",
    "gauge",
    (),
    "Resident memory of the live processes, shared pages included.",
)
_FDS = ("process_open_fds", "gauge", (), "Open file descriptors of the live processes.")
_MAX_FDS = ("process_max_fds", "gauge", (), "File descriptors that the live processes may open.")
_STARTED = ("process_start_time_seconds", "gauge", (), "When the oldest live process started, in Unix seconds.")
_BUILD = ("bff_build_info", "gauge", ("version", "python"), "The running version.")
FILES = ("bff_metrics_files", "gauge", (), "Value files that a scrape reads.")
# Name, type, labels and meaning of the facts that a scrape computes.
FACTS = (_BUILD, _CPU, _RESIDENT, _FDS, _MAX_FDS, _STARTED, FILES)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a file's name may hold any number
        return False
    except PermissionError:
        return True
    return True


def record_exit(folder: Path, reason: str) -> None:
    """Call in a worker that stops in an orderly way: write down the reason."""
    try:
        (folder / _NOTE.format(pid=os.getpid())).write_text(reason)
    except OSError as err:
        log.warning("leaving_not_noted", extra={"error": err.strerror})


def count_leaving(folder: Path, pid: int, *, timed_out: bool) -> None:
    """Call in the master after a worker has exited: count the reason.

    A worker that the master stops for a late answer may still find time to stop in an orderly way.
    """
    note = folder / _NOTE.format(pid=pid)
    try:
        reason = note.read_text()
        note.unlink()
    except OSError:
        reason = "killed"
    metrics.worker_left("timeout" if timed_out else reason)


class BuildInfo(Collector):
    def __init__(self, version: str) -> None:
        self._labels = [version, platform.python_version()]

    def collect(self) -> Iterable[Metric]:
        name, _, labels, meaning = _BUILD
        family = GaugeMetricFamily(name, meaning, labels=labels)
        family.add_metric(self._labels, 1)
        yield family


class Processes(Collector):
    """prometheus_client's process_* metrics, summed over the master and its live workers.

    CPU seconds include those of exited workers: the kernel adds a waited-for child's time to its parent's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        found = _processes(_pids(self._folder))
        if not found:
            return
        yield CounterMetricFamily(_CPU[0], _CPU[-1], value=_cpu_seconds(self._folder, found))
        for fact, values in (
            (_RESIDENT, (process.resident for process in found)),
            (_FDS, (process.descriptors for process in found)),
            (_MAX_FDS, (process.most_descriptors for process in found)),
        ):
            yield GaugeMetricFamily(fact[0], fact[-1], value=sum(values))
        yield GaugeMetricFamily(_STARTED[0], _STARTED[-1], value=min(process.started for process in found))


class Process(NamedTuple):
    """started in Unix seconds, cpu in seconds and with ended children, resident in bytes."""

    started: float
    pid: int
    cpu: float
    resident: float
    descriptors: float
    most_descriptors: float

    @property
    def identity(self) -> str:
        return f"{self.pid} {self.started}"


def hand_over_cpu_account(folder: Path) -> None:
    """Call in a master that leaves its folder to another one: its CPU seconds still count."""
    own = _process(os.getpid())
    try:
        if own is not None:
            _account(folder, {}, ended={own.identity: own.cpu})
    except OSError as err:
        log.warning("cpu_seconds_not_noted", extra={"error": err.strerror})


def _cpu_seconds(folder: Path, found: Iterable[Process]) -> float:
    live = {process.identity: process.cpu for process in found}
    try:
        return _account(folder, live, ended={})
    except OSError:
        return sum(live.values())


def _account(folder: Path, live: Mapping[str, float], ended: Mapping[str, float]) -> float:
    """CPU seconds of all live processes and of the masters that ended. Raises OSError.

    Never less than before: for a moment, a worker that has just exited is in no process's account.
    """
    path = folder / _ACCOUNT
    with locked(folder, exclusive=True):
        former, all_ended = _former_account(path)
        all_ended |= ended
        reported = max(former, sum({**live, **all_ended}.values()))
        write_whole(path, json.dumps([reported, all_ended]).encode())
    return reported


def _former_account(path: Path) -> tuple[float, dict[str, float]]:
    """(last reported value, CPU seconds of ended masters)."""
    try:
        reported, ended = json.loads(path.read_bytes())
        return float(reported), {str(identity): float(seconds) for identity, seconds in ended.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return 0.0, {}


def _pids(folder: Path) -> Iterable[int]:
    try:
        return slots.held(folder).values()
    except OSError:
        return ()


def _processes(pids: Iterable[int]) -> list[Process]:
    """Reads parents before their children, so that no process is counted by itself and again by its parent."""
    known = sorted((int(fields[19]), pid) for pid in pids if (fields := _stat(pid)))
    return [process for _, pid in known if (process := _process(pid))]


def _stat(pid: int) -> list[str]:
    """The fields behind the command's name in /proc/PID/stat (proc(5)); empty when there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _process(pid: int) -> Process | None:
    """None for a process that has exited, or on a system without /proc."""
    fields = _stat(pid)
    try:
        limits = (_PROC / str(pid) / "limits").read_text()
        descriptors = len(os.listdir(_PROC / str(pid) / "fd"))
        boot = _boot_time()
    except OSError:
        return None
    if not fields:
        return None
    most = next((line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")), "0")
    return Process(
        boot + int(fields[19]) / _TICKS,
        pid,
        cpu=sum(int(ticks) for ticks in fields[11:15]) / _TICKS,
        resident=int(fields[21]) * _PAGE,
        descriptors=descriptors,
        most_descriptors=float(most) if most.isdigit() else float("inf"),
    )


@functools.cache
def _boot_time() -> float:
    """Unix seconds. Raises OSError."""
    lines = (_PROC / "stat").read_text().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith("btime")), 0.0)
