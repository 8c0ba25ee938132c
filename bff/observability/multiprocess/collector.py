"""Incremental collector: one exact scrape for all processes that share a folder."""

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.exposition import generate_latest as classic_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from bff.observability.multiprocess import exemplars, slots
from bff.observability.multiprocess.files import ValueFile
from bff.observability.multiprocess.folder import Found, value_files
from bff.observability.multiprocess.keys import parse_key
from bff.observability.multiprocess.mending import mend
from bff.observability.multiprocess.page import Family, Layout
from bff.observability.multiprocess.totals import Column, ValueTable, gauges, total

log = logging.getLogger(__name__)


class _Summed:
    """All files of one type that can be added up, and their sums."""

    def __init__(self, typ: str) -> None:
        self.layout = Layout(typ, ValueTable())
        self.columns: dict[Found, Column] = {}
        self.totals: tuple[float, ...] = ()

    def add_up(self) -> None:
        table = self.layout.table
        for column in self.columns.values():
            column.take_keys(table)
        self.totals = total(self.columns.values(), len(table.rows))
        self.layout.extend()


class _Gauges:
    """All gauges. Their series may end: one in a `live` mode ends with its process."""

    def __init__(self) -> None:
        self.layout = Layout("gauge", ValueTable())
        self.totals: tuple[float, ...] = ()

    def combine(self, files: Iterable[ValueFile]) -> None:
        found, helps = gauges(files)
        if self.layout.table.rows != list(found):
            self.layout = Layout("gauge", ValueTable())
            for series in found:
                self.layout.table.row(series, helps[series.metric])
            self.layout.extend()
        self.totals = tuple(found.values())


class MultiprocessCollector(Collector):
    """A prometheus_client collector; `text` renders the page faster than `collect`."""

    def __init__(self, folder: Path, on_corrupt: Callable[[str], object]) -> None:
        """on_corrupt: called with the name of each file that was set aside."""
        self._folder = folder
        self._on_corrupt = on_corrupt
        self._lock = threading.Lock()
        self._files: dict[Found, ValueFile] = {}
        self._held: Collection[str] = ()
        self._degraded = False
        self._summed = {typ: _Summed(typ) for typ in ("counter", "histogram", "summary")}
        self._gauges = _Gauges()

    @property
    def file_count(self) -> int:
        return len(self._files)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            self._read()
            latest = self._exemplars()
            return [family.metric(totals, latest) for family, totals in self._families()]

    def text(self, *, openmetrics: bool, more: Sequence[Collector]) -> bytes:
        """The whole page in the classic text format or OpenMetrics 1.0, with the metrics of other collectors."""
        with self._lock:
            self._read()
            if openmetrics:
                latest = self._exemplars()
                page = "".join([family.openmetrics(totals, latest) for family, totals in self._families()])
            else:
                page = "".join([family.text(totals) for family, totals in self._families()])
        added = _Added([metric for each in more for metric in each.collect()])
        return page.encode() + (openmetrics_text if openmetrics else classic_text)(added)

    def close(self) -> None:
        """Close every file; the next scrape opens them again."""
        with self._lock:
            self._keep([])

    def _families(self) -> Iterator[tuple[Family, tuple[float, ...]]]:
        parts: list[_Summed | _Gauges] = [*self._summed.values(), self._gauges]
        for part in parts:
            for family in part.layout.families.values():
                yield family, part.totals

    def _exemplars(self) -> dict[int, Exemplar]:
        """The latest exemplar of each bucket, by its row among the histograms."""
        found: dict[int, Exemplar] = {}
        rows = self._summed["histogram"].layout.table
        for owner in self._held:
            for raw, exemplar in exemplars.read_exemplars(self._folder / exemplars.NAME.format(owner)):
                row = rows.find(parse_key(raw, histogram=True).series)
                if row is not None and (row not in found or _when(found[row]) < _when(exemplar)):
                    found[row] = exemplar
        return found

    def _read(self) -> None:
        """Read the changes of every file. An unusable folder causes a log line, never a failed scrape."""
        try:
            self._follow_folder()
            for file in self._files.values():
                file.read()
            self._set_broken_files_aside()
            self._degraded = False
        except OSError as err:
            if not self._degraded:
                self._degraded = True
                log.critical("metrics_folder_unusable", extra={"error": err.strerror})
        for summed in self._summed.values():
            summed.add_up()
        self._gauges.combine(file for file in self._files.values() if file.name.type == "gauge")

    def _follow_folder(self) -> None:
        """Open new files and close removed ones, by name and inode. Live gauges count while their slot is held."""
        self._held = slots.held(self._folder)
        files = value_files(self._folder)
        counted = sorted(found for found in files if not found.name.live or found.name.owner in self._held)
        if counted == list(self._files):
            return
        self._keep(counted)
        for found in counted:
            if found not in self._files:
                with contextlib.suppress(FileNotFoundError):  # a live gauge's file, removed meanwhile
                    self._open(found)
        self._files = {found: self._files[found] for found in counted if found in self._files}

    def _keep(self, counted: Sequence[Found]) -> None:
        """Close all other files."""
        for gone in self._files.keys() - set(counted):
            self._files.pop(gone).close()
            for summed in self._summed.values():
                summed.columns.pop(gone, None)

    def _open(self, found: Found) -> None:
        file = self._files[found] = ValueFile(self._folder / found.path, found.name)
        if found.name.type in self._summed:
            self._summed[found.name.type].columns[found] = Column(file)

    def _set_broken_files_aside(self) -> None:
        for found, file in self._files.items():
            if not file.whole:
                mend(self._folder, found, self._on_corrupt)


class _Added:
    """Passes the other collectors' metrics to prometheus_client's encoders."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _when(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0)
