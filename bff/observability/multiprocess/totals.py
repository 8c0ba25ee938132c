"""Columnar sums: the value of each series over every process that ever lived.

Counters, histograms and summaries add up. Files of one program mostly hold the same series in the same order, so a file
is a column. A precomputed `itemgetter` brings columns into one order, and they are added row by row, all in C. Sums are
`math.fsum`, exact before the one rounding, so that a total cannot decrease when the same numbers are added in another
order. Gauges follow their multiprocess mode, as in prometheus_client.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

from bff.observability.multiprocess.files import ValueFile
from bff.observability.multiprocess.keys import Series

_ABSENT = -1  # also the index of the zero appended to a file's values


class ValueTable:
    """Rows for the series of one type, in the order in which they were first seen; rows are never removed."""

    def __init__(self) -> None:
        self.rows: list[Series] = []
        self.help: dict[str, str] = {}
        self._of_series: dict[Series, int] = {}

    def row(self, series: Series, help_text: str) -> int:
        row = self._of_series.setdefault(series, len(self.rows))
        if row == len(self.rows):
            self.rows.append(series)
            self.help.setdefault(series.metric, help_text)
        return row

    def find(self, series: Series) -> int | None:
        return self._of_series.get(series)


class Column:
    """One file's values, in the table's order."""

    def __init__(self, file: ValueFile) -> None:
        self._file = file
        self._rows: list[int] = []
        self._arranged_for = (_ABSENT, _ABSENT)
        self._arrange: Callable[[Sequence[float]], tuple[float, ...]] | None = None
        self._twice: list[tuple[int, int]] = []

    def take_keys(self, table: ValueTable) -> None:
        self._rows += [table.row(key.series, key.help) for key in self._file.keys[len(self._rows) :]]

    def values(self, size: int) -> Iterator[tuple[float, ...]]:
        """One value per row of the table, 0 where the file has none. A second tuple follows for each row that the
        file has twice: two keys of one series may differ in their help text."""
        if self._arranged_for != (len(self._rows), size):
            self._prepare(size)
        found = self._file.values
        if self._arrange is None:
            yield found
            return
        yield self._arrange((*found, 0.0))
        for row, place in self._twice:
            yield (*(0.0,) * row, found[place], *(0.0,) * (size - row - 1))

    def _prepare(self, size: int) -> None:
        places = [_ABSENT] * size
        self._twice = []
        for place, row in enumerate(self._rows):
            if places[row] == _ABSENT:
                places[row] = place
            else:
                self._twice.append((row, place))
        self._arrange = None if places == list(range(len(self._rows))) else pick(places)
        self._arranged_for = (len(self._rows), size)


def pick(places: Sequence[int]) -> Callable[[Sequence[float]], tuple[float, ...]]:
    """A function that picks the values at these places out of a sequence."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def total(columns: Iterable[Column], size: int) -> tuple[float, ...]:
    """The sum of each of the table's rows."""
    found = [values for column in columns for values in column.values(size)]
    try:
        return tuple(map(math.fsum, zip(*found, strict=True))) or (0.0,) * size
    except (ValueError, OverflowError):
        return tuple(map(_sum, zip(*found, strict=True)))


def _sum(values: Sequence[float]) -> float:
    """Infinities of both signs, or a sum too large, have no exact sum; plain addition has an answer."""
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        return sum(values)


def gauges(files: Iterable[ValueFile]) -> tuple[dict[Series, float], dict[str, str]]:
    """Every gauge's value, and the help text of each family. Computed at each scrape, since gauges are few and
    small."""
    found: dict[Series, tuple[float, float]] = {}
    helps: dict[str, str] = {}
    for file in files:
        mode = file.name.mode.removeprefix("live")
        for key, value, timestamp in zip(file.keys, file.values, file.timestamps, strict=True):
            if mode == "mostrecent" and not timestamp > 0:
                continue  # never set
            series = key.series
            if mode == "all":
                series = series._replace(labels=(*series.labels, ("pid", file.name.owner)))
            helps.setdefault(series.metric, key.help)
            found[series] = combine(mode, found.get(series), (value, timestamp))
    return {series: value for series, (value, _) in found.items()}, helps


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
