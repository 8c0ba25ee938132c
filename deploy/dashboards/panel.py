"""Dashboard model, independent of Grafana's JSON: rows of panels, each with its queries and its explanation."""

from collections.abc import Sequence
from dataclasses import dataclass

RATE = "[$__rate_interval]"
JOB = 'job="$job"'


@dataclass(frozen=True)
class Query:
    """legend: in Grafana's way, {{label}} for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """meaning: the value, and the response to a bad one. unit: one of Grafana's. limit: values from here on are red;
    promise: values below it are red. single: the last value in big digits instead of a graph."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    limit: float | None = None
    promise: float | None = None
    single: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """name: of its file, and in its URL."""

    name: str
    title: str
    meaning: str
    rows: Sequence[Row]

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def rate(metric: str, by: str = "", **labels: str) -> str:
    """Rate per second, summed over workers and pods. by: labels to keep. A label's value is a regular expression."""
    kept = f" by ({by})" if by else ""
    return f"sum{kept} (rate({metric}{selected(**labels)}{RATE}))"


def selected(**labels: str) -> str:
    return "{" + ", ".join([JOB, *(f'{name}=~"{value}"' for name, value in labels.items())]) + "}"


def quantile(share: float, histogram: str, by: str = "", **labels: str) -> str:
    kept = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', kept, **labels)})"


def quantiles(histogram: str, **labels: str) -> list[Query]:
    return [Query(quantile(share, histogram, **labels), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)]


def share(part: str, whole: str) -> str:
    """The part's share of the whole; 0 where the part has no series."""
    return f"({part} or 0 * {whole}) / {whole}"
