"""Value files as several processes write them, what they should add up to, and samples in a form to compare."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as classic_text
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as classic_families

from bff.observability.multiprocess.collector import MultiprocessCollector
from bff.observability.multiprocess.growing import GrowingFile
from bff.observability.multiprocess.slots import PREFIX, Slot, held
from bff.observability.multiprocess.totals import combine

Labels = Mapping[str, str]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
MODES = tuple(live + mode for live in ("", "live") for mode in ("all", "min", "max", "sum", "mostrecent"))
BOUNDS = ("0.1", "1.0", "10.0", "+Inf")

# prometheus_client leaves these without annotations.
stock_file: Callable[[str], Any] = MmapedDict
stock_collector: Callable[[CollectorRegistry, str], object] = MultiProcessCollector
stock_end: Callable[[str, str], None] = mark_process_dead
openmetrics_text: Callable[[CollectorRegistry], bytes] = openmetrics_exposition.generate_latest
openmetrics_families: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families


class Place(NamedTuple):
    """One value in the files of a process. kind: counter, histogram, summary, gauge_max..."""

    kind: str
    name: str
    labels: tuple[tuple[str, str], ...]
    key: str


def place(kind: str, metric: str, suffix: str, labels: Labels, help_text: str = "Help.") -> Place:
    key = mmap_key(metric, metric + suffix, list(labels), list(labels.values()), help_text)
    return Place(kind, metric + suffix, tuple(labels.items()), key)


def counter(labels: Labels, metric: str = "c", help_text: str = "Help.") -> Place:
    return place("counter", metric, "_total", labels, help_text)


def gauge(mode: str, labels: Labels) -> Place:
    return place(f"gauge_{mode}", f"g_{mode}", "", labels)


def bucket(bound: str, labels: Labels) -> Place:
    return place("histogram", "h", "_bucket", {**labels, "le": bound})


def histogram(labels: Labels) -> list[Place]:
    """Every value of one histogram, its sum first, as prometheus_client makes them."""
    return [place("histogram", "h", "_sum", labels), *(bucket(bound, labels) for bound in BOUNDS)]


def summary(labels: Labels) -> list[Place]:
    return [place("summary", "s", "_count", labels), place("summary", "s", "_sum", labels)]


class Process:
    """Takes a slot and writes its files, with prometheus_client's own code or with ours. Ends when it is closed."""

    started: ClassVar[list["Process"]] = []

    def __init__(self, folder: Path, *, ours: bool) -> None:
        self.started.append(self)
        self.values: dict[Place, tuple[float, float]] = {}
        self.ended = False
        self._slot = Slot(folder)
        self._folder = folder
        self._ours = ours
        self._files: dict[str, Any] = {}
        self._former: dict[Place, tuple[float, float] | None] = {}

    @property
    def owner(self) -> str:
        return self._slot.owner

    def path(self, kind: str) -> Path:
        return self._folder / f"{kind}_{self.owner}.db"

    def add(self, where: Place, amount: float) -> None:
        self.set(where, self.values.get(where, (0.0, 0.0))[0] + amount)

    def set(self, where: Place, value: float, timestamp: float = 0.0) -> None:
        """Of its own: what was in the slot before goes on counting."""
        self.values[where] = value, timestamp
        file = self._file(where.kind)
        if where not in self._former:
            self._former[where] = _found(file, where.key)
        stored, timestamp = _stored(where.kind, self._former[where], (value, timestamp))
        if isinstance(file, GrowingFile):
            view, index, _ = file.cell(where.key.encode())
            view[index], view[index + 1] = stored, timestamp
        else:
            file.write_value(where.key, stored, timestamp)

    @classmethod
    def close_all(cls) -> None:
        while cls.started:
            cls.started.pop().close()

    def close(self) -> None:
        if not self.ended:
            for file in self._files.values():
                file.close()
            self._files = {}
            self._slot.close()
            self.ended = True

    def _file(self, kind: str) -> Any:
        if kind not in self._files:
            path = self.path(kind)
            self._files[kind] = GrowingFile(path) if self._ours else stock_file(str(path))
        return self._files[kind]


def _found(file: Any, key: str) -> tuple[float, float] | None:
    """(value, timestamp) in the file before its new owner writes there."""
    if isinstance(file, GrowingFile):
        former = file.cell(key.encode()).former
        return None if former is None else (former, 0.0)
    return file.read_value(key) if key in file._positions else None  # to read one that is missing adds it


def _stored(kind: str, former: tuple[float, float] | None, own: tuple[float, float]) -> tuple[float, float]:
    typ, _, mode = kind.partition("_")
    if former is None or (typ == "gauge" and mode not in ("min", "max", "sum")):
        return own
    return combine(mode or "sum", former, own)


def nobody(name: str) -> None:
    """on_corrupt, where every file is whole."""
    raise AssertionError(f"{name} was set aside")


class Scrapers(ExitStack):
    """Makes collectors, each like a worker of its own that answers scrapes, and closes them."""

    def new(self, folder: Path, on_corrupt: Callable[[str], object] = nobody) -> MultiprocessCollector:
        return self.enter_context(closing(MultiprocessCollector(folder, on_corrupt)))


def scraped(folder: Path) -> Samples:
    """What a worker finds that has never scraped before."""
    with Scrapers() as scrapers:
        return samples(scrapers.new(folder).collect())


def expected(processes: Iterable[Process]) -> Samples:
    """What a scrape shows, worked out from the definitions. processes: in the order in which they started."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, float]]] = defaultdict(list)
    modes: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for process in processes:
        for where, value in process.values.items():
            mode = where.kind.partition("_")[2]
            if mode.startswith("live") and process.ended:
                continue
            own = (("pid", process.owner),) if mode in ("all", "liveall") else ()
            series = where.name, frozenset((*where.labels, *own))
            found[series].append(value)
            modes[series] = mode.removeprefix("live")
    combined = {series: _combined(modes[series], values) for series, values in found.items()}
    return _cumulative({series: value for series, value in combined.items() if value is not None})


def _combined(mode: str, values: list[tuple[float, float]]) -> float | None:
    if mode == "mostrecent":
        value, timestamp = max(values, key=lambda each: each[1])
        return value if timestamp > 0 else None
    if mode == "all":  # of one slot
        return values[-1][0]
    numbers = [value for value, _ in values]
    return {"min": min, "max": max}.get(mode, math.fsum)(numbers)


def _cumulative(samples: Samples) -> Samples:
    """Buckets count all that are at most their bound, and the last one counts everything."""
    others = {series: value for series, value in samples.items() if not series[0].endswith("_bucket")}
    buckets: dict[frozenset[tuple[str, str]], dict[float, tuple[str, float]]] = defaultdict(dict)
    for (name, labels), value in samples.items():
        if name.endswith("_bucket"):
            bound = dict(labels)["le"]
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets[rest][float(bound)] = bound, value
    for labels, counts in buckets.items():
        below = 0.0
        for _, (bound, value) in sorted(counts.items()):
            below += value
            others["h_bucket", labels | {("le", bound)}] = below
        others["h_count", labels] = below
    return others


def samples(metrics: Iterable[Metric]) -> Samples:
    found: Samples = {}
    for metric in metrics:
        for sample in metric.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in found, f"twice on one page: {series}"
            found[series] = sample.value
    return found


def every_way(collector: MultiprocessCollector) -> list[Samples]:
    """One scrape each through collect and both text formats; prometheus_client's own parsers read those back."""
    classic = collector.text(openmetrics=False, more=()).decode()
    openmetrics = collector.text(openmetrics=True, more=()).decode()
    return [
        samples(collector.collect()),
        samples(classic_families(classic)),
        samples(openmetrics_families(openmetrics)),
    ]


def stock(folder: Path) -> list[Samples]:
    """The same through prometheus_client's own collector and encoders, once it was told which processes have ended."""
    for owner in {path.name for path in folder.glob(f"{PREFIX}*")} - held(folder).keys():
        stock_end(owner, str(folder))
    registry = CollectorRegistry()
    stock_collector(registry, str(folder))
    return [
        samples(registry.collect()),
        samples(classic_families(classic_text(registry).decode())),
        samples(openmetrics_families(openmetrics_text(registry).decode())),
    ]


def difference(one: Samples, other: Samples) -> dict[object, tuple[float | None, float | None]]:
    """Empty when both have the same samples, values within 1e-12."""
    return {
        series: (one.get(series), other.get(series))
        for series in one.keys() | other.keys()
        if series not in one or series not in other or not _same(one[series], other[series])
    }


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12) or (math.isnan(one) and math.isnan(other))


def decreased(before: Samples, after: Samples) -> dict[object, tuple[float, float | None]]:
    """What of the samples that may only grow did not; gauges are left out."""
    return {
        series: (value, after.get(series))
        for series, value in before.items()
        if not series[0].startswith("g_") and not after.get(series, -math.inf) >= value
    }
