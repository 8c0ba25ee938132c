"""The sum of all files: what each series is worth over every process that ever lived.

Counters, histograms and summaries add up. Files of one program mostly hold the same series in the same order, so a
file is a column; columns are brought into one order by a precomputed `itemgetter` and added row by row, all of it in C.
Sums are `math.fsum`, exact before the one rounding, so that a total cannot go back when the same numbers are added in
another order. Gauges follow their multiprocess mode, as in prometheus_client.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from bff.observability.multiprocess.files import CorruptFile, ValueFile

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Series:
    """One row. metric is the family's name, name the sample's (with _total, _bucket, _sum...)."""

    metric: str
    name: str
    labels: Labels


def parse_key(key: bytes) -> tuple[Series, str]:
    """(series, help text). Raises ValueError for what is not a key."""
    try:
        metric, name, labels, help_text = json.loads(key)
        return Series(metric, name, tuple(sorted(labels.items()))), help_text
    except (ValueError, TypeError, AttributeError) as err:
        raise ValueError("not a metric's key") from err


class Table:
    """Rows for the series of one type, in the order in which they were first seen; rows are never removed."""

    def __init__(self) -> None:
        self.rows: list[Series] = []
        self.help: dict[str, str] = {}
        self._of_series: dict[Series, int] = {}
        self._of_key: dict[bytes, int] = {}

    def row(self, key: bytes) -> int:
        """Raises ValueError. Two keys that differ in their help text only are one series."""
        row = self._of_key.get(key)
        if row is None:
            series, help_text = parse_key(key)
            row = self._of_series.setdefault(series, len(self.rows))
            if row == len(self.rows):
                self.rows.append(series)
                self.help.setdefault(series.metric, help_text)
            self._of_key[key] = row
        return row


class Column:
    """One file's values, in the table's order."""

    def __init__(self, file: ValueFile) -> None:
        self.file = file
        self._rows: list[int] = []
        self._arranged_for = (-1, -1)
        self._arrange: Callable[[Sequence[float]], tuple[float, ...]] = tuple
        self._twice: list[tuple[int, int]] = []

    def take_keys(self, table: Table) -> None:
        """Raises CorruptFile."""
        try:
            for key in self.file.keys[len(self._rows) :]:
                self._rows.append(table.row(key))
        except ValueError as err:
            raise CorruptFile(self.file.path.name) from err

    def values(self, size: int) -> tuple[float, ...]:
        """One value per row of the table, 0 where the file has none."""
        found = self.file.values[: len(self._rows)]
        if self._arranged_for != (len(self._rows), size):
            self._prepare(size)
        arranged = self._arrange((*found, 0.0))
        if self._twice:
            changed = list(arranged)
            for row, place in self._twice:
                changed[row] += found[place]
            arranged = tuple(changed)
        return arranged

    def _prepare(self, size: int) -> None:
        places = [-1] * size
        self._twice = []
        for place, row in enumerate(self._rows):
            if places[row] == -1:
                places[row] = place
            else:
                self._twice.append((row, place))
        self._arrange = _pick(places)
        self._arranged_for = (len(self._rows), size)


def _pick(places: Sequence[int]) -> Callable[[Sequence[float]], tuple[float, ...]]:
    if places == list(range(len(places))):
        size = len(places)
        return lambda values: tuple(values[:size])
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def total(columns: Iterable[Column], size: int) -> tuple[float, ...]:
    """The sum of each row; no column at all is no row."""
    rows = list(zip(*(column.values(size) for column in columns), strict=True))
    try:
        return tuple(map(math.fsum, rows))
    except (ValueError, OverflowError):  # infinities of both signs, or a sum too large: plain addition has an answer
        return tuple(map(sum, rows))


@dataclass(frozen=True)
class GaugeSample:
    series: Series
    help: str
    value: float


def gauges(files: Iterable[ValueFile]) -> Iterator[GaugeSample]:
    """Every gauge's samples. Few and small, so they are worked out anew each time. Raises CorruptFile."""
    found: dict[Series, tuple[float, float]] = {}
    helps: dict[str, str] = {}
    for file in files:
        mode = file.name.mode.removeprefix("live")
        for key, value, timestamp in zip(file.keys, file.values, file.timestamps, strict=True):
            if mode == "mostrecent" and not timestamp > 0:
                continue  # never set
            series, help_text = _parsed(file, key)
            helps.setdefault(series.metric, help_text)
            if mode == "all":
                series = Series(series.metric, series.name, (*series.labels, ("pid", file.name.owner)))
            found[series] = combine(mode, found.get(series), (value, timestamp))
    for series, (value, _) in found.items():
        yield GaugeSample(series, helps[series.metric], value)


def _parsed(file: ValueFile, key: bytes) -> tuple[Series, str]:
    try:
        return parse_key(key)
    except ValueError as err:
        raise CorruptFile(file.path.name) from err


def combine(mode: str, former: tuple[float, float] | None, found: tuple[float, float]) -> tuple[float, float]:
    """Two processes' (value, timestamp) of one gauge, by its mode without `live`."""
    if former is None:
        return found
    if mode == "mostrecent":
        return found if former[1] < found[1] else former
    match mode:
        case "min":
            return min(former[0], found[0]), 0.0
        case "max":
            return max(former[0], found[0]), 0.0
        case "sum":
            return former[0] + found[0], 0.0
    return found
