"""Facts about the processes of one gunicorn master, found out when asked: how many, how heavy, why they were replaced.

Processes find one another by the value files that each keeps in the metrics folder.
"""

import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bff.observability import metrics
from bff.observability.multiprocess import archive
from bff.observability.multiprocess.files import parse_name

log = logging.getLogger(__name__)

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOTE = "left_{pid}"

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
_BUILD = ("bff_build_info", "gauge", ("version", "python"), "What is running.")
FILES = ("bff_metrics_files", "gauge", (), "Value files that a scrape reads.")
# Name, type, labels and meaning of what is found out at scrape time.
FACTS = (_BUILD, _CPU, _RESIDENT, _FDS, _MAX_FDS, _STARTED, FILES)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def note_leaving(folder: Path, reason: str) -> None:
    """Said by a worker that leaves in an orderly way: why."""
    try:
        (folder / _NOTE.format(pid=os.getpid())).write_text(reason)
    except OSError as err:
        log.warning("leaving_not_noted", extra={"error": err.strerror})


def bury(folder: Path, pid: int, *, timed_out: bool) -> None:
    """Said by the master when a worker is gone: count why, and fold its files into the archive."""
    note = folder / _NOTE.format(pid=pid)
    try:
        reason = note.read_text()
        note.unlink()
    except OSError:
        reason = "timeout" if timed_out else "killed"
    metrics.worker_left(reason)
    try:
        archive.compact(folder, lambda owner: not alive(owner), metrics.file_quarantined)
    except OSError as err:
        log.error("metrics_not_compacted", extra={"error": err.strerror})


class BuildInfo(Collector):
    def __init__(self, version: str) -> None:
        self._labels = [version, platform.python_version()]

    def collect(self) -> Iterable[Metric]:
        name, _, labels, meaning = _BUILD
        family = GaugeMetricFamily(name, meaning, labels=labels)
        family.add_metric(self._labels, 1)
        yield family


class Processes(Collector):
    """process_* as prometheus_client has them for one process, summed over the master and its live workers.

    CPU seconds include those of workers that are gone: the kernel adds a waited-for child's time to its parent's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        found = [facts for pid in self._pids() if (facts := _facts(pid))]
        if not found:
            return
        yield CounterMetricFamily(_CPU[0], _CPU[-1], value=sum(each["cpu"] for each in found))
        for fact, key in ((_RESIDENT, "rss"), (_FDS, "fds"), (_MAX_FDS, "max_fds")):
            yield GaugeMetricFamily(fact[0], fact[-1], value=sum(each[key] for each in found))
        yield GaugeMetricFamily(_STARTED[0], _STARTED[-1], value=min(each["started"] for each in found))

    def _pids(self) -> Iterator[int]:
        names = (parse_name(entry.name) for entry in os.scandir(self._folder))
        yield from sorted({name.pid for name in names if name is not None and name.pid is not None})


def _facts(pid: int) -> dict[str, float] | None:
    """None for a process that is gone, or on a system without /proc."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        limits = (_PROC / str(pid) / "limits").read_text()
        descriptors = len(os.listdir(_PROC / str(pid) / "fd"))
    except OSError:
        return None
    soft = next((line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")), "0")
    return {
        "cpu": sum(int(ticks) for ticks in fields[11:15]) / _TICKS,
        "rss": int(fields[21]) * _PAGE,
        "fds": descriptors,
        "max_fds": float(soft) if soft.isdigit() else float("inf"),
        "started": _boot_time() + int(fields[19]) / _TICKS,
    }


def _boot_time() -> float:
    return time.time() - float((_PROC / "uptime").read_text().split()[0])
