"""One truthful scrape for all processes that share a folder."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.exposition import generate_latest as classic_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess import archive
from bff.observability.multiprocess.exemplars import read_exemplars
from bff.observability.multiprocess.files import CorruptFile, ValueFile
from bff.observability.multiprocess.page import Layout
from bff.observability.multiprocess.totals import Column, GaugeSample, Table, gauges, total

log = logging.getLogger(__name__)

SUMMED = ("counter", "histogram", "summary")


class _Summed:
    """All files of one type, and their sum."""

    def __init__(self, typ: str) -> None:
        self.table = Table()
        self.layout = Layout(typ, self.table)
        self.columns: dict[str, Column] = {}
        self.totals: tuple[float, ...] = ()

    def add_up(self) -> None:
        for column in self.columns.values():
            column.take_keys(self.table)
        self.totals = total(self.columns.values(), len(self.table.rows)) or (0.0,) * len(self.table.rows)
        self.layout.extend()


class MultiprocessCollector(Collector):
    """A prometheus_client collector, with a faster way to the page's text beside `collect`."""

    def __init__(self, folder: Path, on_corrupt: Callable[[str], None]) -> None:
        """on_corrupt: told the name of each file that was set aside."""
        self._folder = folder
        self._on_corrupt = on_corrupt
        self._lock = threading.Lock()
        self._files: dict[str, ValueFile] = {}
        self._gauges: dict[str, ValueFile] = {}
        self._degraded = False
        self._gauge_samples: list[GaugeSample] = []
        self._summed = {typ: _Summed(typ) for typ in SUMMED}

    @property
    def file_count(self) -> int:
        return len(self._files)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            self._read()
            metrics = [
                family.metric(summed.totals)
                for summed in self._summed.values()
                for family in summed.layout.families.values()
            ]
            return [*metrics, *self._gauge_metrics()]

    def text(self, *, openmetrics: bool, more: Sequence[Collector]) -> str:
        """The whole page in the classic text format or OpenMetrics 1.0, with what other collectors add."""
        with self._lock:
            self._read()
            if openmetrics:
                summed = "".join(self._openmetrics())
            else:
                summed = "".join(
                    family.text(each.totals)
                    for each in self._summed.values()
                    for family in each.layout.families.values()
                )
            rest = _Rest([*self._gauge_metrics(), *(metric for each in more for metric in each.collect())])
        write = openmetrics_text if openmetrics else classic_text
        return summed + write(rest).decode()

    def _openmetrics(self) -> Iterator[str]:
        exemplars = self._exemplars()
        for typ, each in self._summed.items():
            for family in each.layout.families.values():
                yield family.openmetrics(each.totals, exemplars.get(typ, {}))

    def _exemplars(self) -> dict[str, dict[int, Exemplar]]:
        """The latest exemplar of each row, by type."""
        found: dict[str, dict[int, Exemplar]] = {}
        for path in self._folder.glob("exemplars_*.bin"):
            for name, exemplar in read_exemplars(path):
                typ, _, key = name.partition(b":")
                rows = found.setdefault(typ.decode(), {})
                row = self._summed[typ.decode()].table.row(key)
                former = rows.get(row)
                if former is None or float(former.timestamp or 0) < float(exemplar.timestamp or 0):
                    rows[row] = exemplar
        return found

    def _gauge_metrics(self) -> list[Metric]:
        metrics: dict[str, Metric] = {}
        for sample in self._gauge_samples:
            series = sample.series
            metric = metrics.setdefault(series.metric, Metric(series.metric, sample.help, "gauge"))
            metric.add_sample(series.name, dict(series.labels), sample.value)
        return list(metrics.values())

    def _read(self) -> None:
        """Bring every file up to date; what cannot be had at all is worth a log line, never a failed scrape."""
        try:
            self._read_whole_files()
            self._degraded = False
        except OSError as err:
            if not self._degraded:
                self._degraded = True
                log.critical("metrics_folder_unusable", extra={"error": err.strerror})

    def _read_whole_files(self) -> None:
        """A broken file is set aside, and the others are read again without it."""
        while True:
            try:
                with archive.locked(self._folder, exclusive=False):
                    self._follow_folder()
                    for file in self._files.values():
                        file.read()
                for summed in self._summed.values():
                    summed.add_up()
                self._gauge_samples = list(gauges(self._gauges.values()))
                return
            except CorruptFile as err:
                archive.quarantine(self._folder, str(err), self._on_corrupt)

    def _follow_folder(self) -> None:
        """Open files that are new, let go of those that no longer count. Files are told apart by name and inode."""
        current = archive.value_files(self._folder, archive.read_manifest(self._folder))
        wanted = {f"{path}:{inode}": (path, name) for path, name, inode in current}
        for gone in self._files.keys() - wanted.keys():
            self._files.pop(gone).close()
            self._gauges.pop(gone, None)
            for summed in self._summed.values():
                summed.columns.pop(gone, None)
        for key in wanted.keys() - self._files.keys():
            path, name = wanted[key]
            file = self._files[key] = ValueFile(self._folder / path, name)
            if name.type == "gauge":
                self._gauges[key] = file
            else:
                self._summed[name.type].columns[key] = Column(file)


class _Rest:
    """What prometheus_client's own encoders shall write."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
