"""Cached rendering: families of children, each child a few lines of text that are rendered when they change."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import escape_label_name, escape_metric_name
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from bff.observability.multiprocess.keys import BOUND, Labels, Series
from bff.observability.multiprocess.totals import ValueTable, pick

Line = tuple[str, Labels]
Values = tuple[float, ...]


class Block:
    """Lines that are rendered together: one histogram's or summary's, or all of a counter."""

    def __init__(self, metric: str, *, complete: bool) -> None:
        """complete: whether the page may show it yet. Prometheus needs whole histograms, with their last bucket."""
        self.complete = complete
        self._metric = metric
        self._rows: dict[Line, int] = {}
        self._buckets: dict[float, tuple[Line, int]] = {}
        self._lines: list[Line] = []
        self._template = ""
        self._pick: Callable[[Sequence[float]], Values] = tuple
        self._picked: Values | None = None
        self._text = ""

    def add(self, series: Series, row: int, bound: str | None) -> None:
        """Add one row; bound: of a bucket."""
        line = series.name, series.labels
        if bound is None:
            self._rows[line] = row
        else:
            self._buckets[float(bound)] = line, row
            self.complete = math.inf in self._buckets
        self._lines = []

    def text(self, totals: Sequence[float]) -> str:
        if not self._lines:
            self._arrange()
        picked = self._pick(totals)
        if picked != self._picked:
            self._picked = picked
            values = self._values(picked)
            self._text = self._template % (values if math.isfinite(sum(values)) else tuple(map(_GoFloat, values)))
        return self._text

    def text_with_exemplars(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> str:
        """OpenMetrics lines; exemplars by row. Buckets come first."""
        lines = self.text(totals).split("\n")
        for number, row in enumerate(self._bucket_rows()):
            if row in exemplars:
                lines[number] += _exemplar_text(exemplars[row])
        return "\n".join(lines)

    def has_exemplar(self, exemplars: Mapping[int, Exemplar]) -> bool:
        return any(row in exemplars for _, row in self._buckets.values())

    def samples(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> Iterator[Sample]:
        if not self._lines:
            self._arrange()
        values = self._values(self._pick(totals))
        rows = [*self._bucket_rows(), *[None] * (len(values) - len(self._buckets))]
        for (name, labels), value, row in zip(self._lines, values, rows, strict=True):
            yield Sample(name, dict(labels), value, None, None if row is None else exemplars.get(row))

    def _bucket_rows(self) -> list[int]:
        return [self._buckets[bound][1] for bound in sorted(self._buckets)]

    def _arrange(self) -> None:
        """Arrange the lines: buckets by their bounds, the count derived from them, then the rest."""
        self._lines = [self._buckets[bound][0] for bound in sorted(self._buckets)]
        if self._buckets:
            labels = tuple(pair for pair in self._lines[0][1] if pair[0] != BOUND)
            self._lines.append((f"{self._metric}_count", labels))
            self._rows.pop(self._lines[-1], None)
        self._lines += self._rows
        self._template = "".join([line_start(*line).replace("%", "%%") + "%r\n" for line in self._lines])
        self._pick = pick([*self._bucket_rows(), *self._rows.values()])
        self._picked = None

    def _values(self, picked: Values) -> Values:
        """Cumulate the buckets: a file counts each by itself, the exposition counts all values up to its bound."""
        count = len(self._buckets)
        if not count:
            return picked
        upto = tuple(accumulate(picked[:count]))
        return (*upto, upto[-1], *picked[count:])


class Family:
    def __init__(self, metric: str, help_text: str, typ: str) -> None:
        self.name = metric
        self.type = typ
        self.help = help_text
        self._blocks: dict[Labels, Block] = {}

    def add(self, series: Series, row: int) -> None:
        labels, bound = series.labels, None
        if self.type == "histogram":
            labels = tuple(pair for pair in series.labels if pair[0] != BOUND)
            bound = dict(series.labels).get(BOUND)
        # OpenMetrics requires the lines of one histogram or summary to be side by side.
        group = () if self.type in ("counter", "gauge") else labels
        if group not in self._blocks:
            self._blocks[group] = Block(self.name, complete=self.type != "histogram")
        self._blocks[group].add(series, row, bound)

    def text(self, totals: Sequence[float]) -> str:
        name = f"{self.name}_total" if self.type == "counter" else self.name
        escaped = self.help.replace("\\", r"\\").replace("\n", r"\n")
        return self._head(name, escaped) + "".join([block.text(totals) for block in self._shown()])

    def openmetrics(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> str:
        lines = [
            block.text_with_exemplars(totals, exemplars)
            if exemplars and block.has_exemplar(exemplars)  # rows of histograms; other types have no buckets
            else block.text(totals)
            for block in self._shown()
        ]
        return self._head(self.name, escape(self.help)) + "".join(lines)

    def metric(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> Metric:
        metric = Metric(self.name, self.help, self.type)
        for block in self._shown():
            metric.samples += block.samples(totals, exemplars)
        return metric

    def _shown(self) -> list[Block]:
        return [block for block in self._blocks.values() if block.complete]

    def _head(self, name: str, help_text: str) -> str:
        name = escape_metric_name(name)
        return f"# HELP {name} {help_text}\n# TYPE {name} {self.type}\n"


class Layout:
    """The families of one type, extended as the table grows."""

    def __init__(self, typ: str, table: ValueTable) -> None:
        self.table = table
        self._type = typ
        self._laid_out = 0
        self.families: dict[str, Family] = {}

    def extend(self) -> None:
        for row, series in enumerate(self.table.rows[self._laid_out :], self._laid_out):
            family = self.families.get(series.metric)
            if family is None:
                family = Family(series.metric, self.table.help[series.metric], self._type)
                self.families[series.metric] = family
            family.add(series, row)
        self._laid_out = len(self.table.rows)


def line_start(name: str, labels: Labels) -> str:
    """A sample's line up to its value."""
    pairs = ",".join([f'{escape_label_name(key)}="{escape(value)}"' for key, value in sorted(labels)])
    return escape_metric_name(name) + (f"{{{pairs}}} " if pairs else " ")


def escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _GoFloat(float):
    """Prints infinities and NaN as Prometheus does; finite numbers look the same in both."""

    def __repr__(self) -> str:
        return str(floatToGoString(float(self)))


def _exemplar_text(exemplar: Exemplar) -> str:
    labels = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(exemplar.labels.items()))
    return f" # {{{labels}}} {floatToGoString(exemplar.value)} {exemplar.timestamp}"
