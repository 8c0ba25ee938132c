"""How totals are laid out: families of children, each child a few lines of text that are rendered when they change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from bff.observability.multiprocess.totals import Labels, Series, Table

Line = tuple[str, Labels]


class Child:
    """One labelled counter, or one labelled histogram with its buckets, count and sum."""

    def __init__(self) -> None:
        self._rows: dict[Line, int] = {}
        self._buckets: dict[float, int] = {}
        self._lines: list[Line] = []
        self._starts: list[str] = []
        self._pick: Callable[[Sequence[float]], Any] = tuple
        self._picked: Any = None
        self._text = ""

    def add(self, series: Series, row: int, histogram: bool) -> None:
        """Take in one more row."""
        bound = dict(series.labels).get("le") if histogram else None
        if bound is None:
            self._rows[series.name, series.labels] = row
        else:
            self._buckets[float(bound)] = row
        self._arrange(series)

    def text(self, totals: Sequence[float]) -> str:
        picked = self._pick(totals)
        if picked != self._picked:
            self._picked = picked
            values = self._values(picked)
            self._text = "".join(
                [f"{start}{floatToGoString(value)}\n" for start, value in zip(self._starts, values, strict=True)]
            )
        return self._text

    def text_with_exemplars(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> str:
        """OpenMetrics lines; exemplars by row."""
        rows = [*self._bucket_rows(), *[-1] * (len(self._lines) - len(self._buckets))]
        values = self._values(self._pick(totals))
        lines = []
        for start, value, row in zip(self._starts, values, rows, strict=True):
            exemplar = exemplars.get(row)
            lines.append(f"{start}{floatToGoString(value)}{_exemplar_text(exemplar) if exemplar else ''}\n")
        return "".join(lines)

    def has_exemplar(self, exemplars: Mapping[int, Exemplar]) -> bool:
        return not exemplars.keys().isdisjoint(self._buckets.values())

    def samples(self, totals: Sequence[float]) -> Iterator[tuple[str, dict[str, str], float]]:
        for (name, labels), value in zip(self._lines, self._values(self._pick(totals)), strict=True):
            yield name, dict(labels), value

    def _bucket_rows(self) -> list[int]:
        return [row for _, row in sorted(self._buckets.items())]

    def _arrange(self, series: Series) -> None:
        """Buckets by their bounds, the count that follows from them, then the rest."""
        labels = tuple(pair for pair in series.labels if pair[0] != "le")
        self._lines = [
            (f"{series.metric}_bucket", (*labels, ("le", floatToGoString(bound)))) for bound in sorted(self._buckets)
        ]
        if self._buckets:
            self._lines.append((f"{series.metric}_count", labels))
            self._rows.pop((f"{series.metric}_count", labels), None)
        self._lines += list(self._rows)
        self._starts = [line_start(*line) for line in self._lines]
        rows = [*self._bucket_rows(), *self._rows.values()]
        self._pick = itemgetter(*rows) if len(rows) > 1 else lambda totals: (totals[rows[0]],)
        self._picked = None

    def _values(self, picked: Sequence[float]) -> list[float]:
        """A file counts each bucket by itself; the exposition counts all that are at most its bound."""
        count = len(self._buckets)
        if not count:
            return list(picked)
        below, values = 0.0, []
        for value in picked[:count]:
            below += value
            values.append(below)
        return [*values, below, *picked[count:]]


class Family:
    def __init__(self, metric: str, help_text: str, typ: str) -> None:
        self.name = metric
        self.type = typ
        self.help = help_text
        self._children: dict[Labels, Child] = {}

    def add(self, series: Series, row: int) -> None:
        histogram = self.type == "histogram"
        labels = tuple(pair for pair in series.labels if pair[0] != "le") if histogram else series.labels
        self._children.setdefault(labels, Child()).add(series, row, histogram)

    def text(self, totals: Sequence[float]) -> str:
        name = f"{self.name}_total" if self.type == "counter" else self.name
        escaped = self.help.replace("\\", r"\\").replace("\n", r"\n")
        head = f"# HELP {name} {escaped}\n# TYPE {name} {self.type}\n"
        return head + "".join([child.text(totals) for child in self._children.values()])

    def openmetrics(self, totals: Sequence[float], exemplars: Mapping[int, Exemplar]) -> str:
        head = f"# HELP {self.name} {escape(self.help)}\n# TYPE {self.name} {self.type}\n"
        return head + "".join(
            child.text_with_exemplars(totals, exemplars)
            if exemplars and child.has_exemplar(exemplars)
            else child.text(totals)
            for child in self._children.values()
        )

    def metric(self, totals: Sequence[float]) -> Metric:
        metric = Metric(self.name, self.help, self.type)
        for child in self._children.values():
            for name, labels, value in child.samples(totals):
                metric.add_sample(name, labels, value)
        return metric


class Layout:
    """The families of one type, extended as the table grows."""

    def __init__(self, typ: str, table: Table) -> None:
        self._type = typ
        self._table = table
        self._laid_out = 0
        self.families: dict[str, Family] = {}

    def extend(self) -> None:
        for row, series in enumerate(self._table.rows[self._laid_out :], self._laid_out):
            family = self.families.get(series.metric)
            if family is None:
                family = Family(series.metric, self._table.help[series.metric], self._type)
                self.families[series.metric] = family
            family.add(series, row)
        self._laid_out = len(self._table.rows)


def line_start(name: str, labels: Labels) -> str:
    """A sample's line up to its value."""
    if not labels:
        return f"{name} "
    pairs = ",".join([f'{key}="{escape(value)}"' for key, value in sorted(labels)])
    return f"{name}{{{pairs}}} "


def escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exemplar_text(exemplar: Exemplar) -> str:
    labels = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(exemplar.labels.items()))
    return f" # {{{labels}}} {floatToGoString(exemplar.value)} {exemplar.timestamp}"
