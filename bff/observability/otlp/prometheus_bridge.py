"""Bridge: the five OTLP instruments, read from the values that Prometheus metrics have already counted.

A second recording would cost each request as much again, and the two would soon differ. Each worker sends its own
values since its start as a stream of its own (its `service.instance.id`), so that a backend adds the workers up. With
one shared stream, the last worker's value would replace the others.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics import MetricWrapperBase

from bff.observability import metrics

MILLISECONDS = 1000
_SCOPE = InstrumentationScope("bff")


class Instrument(NamedTuple):
    """wanted: selects series of the source by their labels. dropped: a label with the same value in all of them."""

    name: str
    source: MetricWrapperBase
    wanted: Callable[[Mapping[str, str]], bool] = lambda _: True
    dropped: str = ""


INSTRUMENTS = (
    Instrument("bff_forwardauth_duration_ms", metrics.VERIFY_DURATION),
    Instrument("bff_session_validation_duration_ms", metrics.SESSION_VALIDATION),
    Instrument(
        "bff_token_refresh_duration_ms",
        metrics.OAUTH_FLOW_DURATION,
        lambda labels: labels["flow_type"] == "refresh",
        "flow_type",
    ),
    Instrument(
        "bff_auth_requests_total", metrics.HTTP_REQUESTS, lambda labels: labels["endpoint"].startswith("/auth/")
    ),
    Instrument("bff_session_binding_failures_total", metrics.BINDING_FAILURES),
)

Series = tuple[tuple[str, str], ...]
Totals = dict[Series, dict[str, float]]
"""By labels: `sum` and the cumulative buckets by their bounds, or of a counter `total` alone."""


class PrometheusBridge:
    def __init__(self, resource: Resource, *, delta: bool, clock: Callable[[], int] = time.time_ns) -> None:
        """delta: report the change since the last reading, instead of since the start. clock: Unix nanoseconds."""
        self._resource = resource
        self._delta = delta
        self._clock = clock
        self._since = clock()
        self._base = {each.name: _totals(each) for each in INSTRUMENTS}

    def take(self) -> MetricsData:
        """The current readings, without points at zero."""
        now = self._clock()
        totals = {each.name: _totals(each) for each in INSTRUMENTS}
        found = [metric for each in INSTRUMENTS if (metric := self._metric(each, totals[each.name], now))]
        if self._delta:
            self._base, self._since = totals, now
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(_SCOPE, found, "")], "")])

    def _metric(self, instrument: Instrument, totals: Totals, now: int) -> Metric | None:
        base = self._base[instrument.name]
        changed = {labels: _since(base.get(labels, {}), values) for labels, values in totals.items()}
        series = {labels: values for labels, values in changed.items() if any(values.values())}
        if not series:
            return None
        temporality = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        described = next(iter(instrument.source.describe()))
        if described.type == "counter":
            points = [self._number(labels, values, now) for labels, values in series.items()]
            return Metric(instrument.name, described.documentation, "1", Sum(points, temporality, True))
        histograms = [self._histogram(labels, values, now) for labels, values in series.items()]
        return Metric(instrument.name, described.documentation, "ms", Histogram(histograms, temporality))

    def _number(self, labels: Series, values: Mapping[str, float], now: int) -> NumberDataPoint:
        return NumberDataPoint(dict(labels), self._since, now, int(values["total"]))

    def _histogram(self, labels: Series, values: Mapping[str, float], now: int) -> HistogramDataPoint:
        bounds = sorted((name for name in values if name != "sum"), key=float)
        cumulative = [int(values[bound]) for bound in bounds]
        counts = [here - before for here, before in zip(cumulative, [0, *cumulative], strict=False)]
        return HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=cumulative[-1],
            sum=values["sum"] * MILLISECONDS,
            bucket_counts=counts,
            explicit_bounds=[float(bound) * MILLISECONDS for bound in bounds[:-1]],
            min=None,  # type: ignore[arg-type]  # optional in OTLP, and not recorded
            max=None,  # type: ignore[arg-type]
        )


def _totals(instrument: Instrument) -> Totals:
    """The values that this process has counted so far."""
    found: Totals = {}
    for labels, name, value in _samples(instrument.source):
        if instrument.wanted(labels):
            bound = labels.pop("le", None)
            labels.pop(instrument.dropped, None)
            found.setdefault(tuple(labels.items()), {})[bound or name] = value
    return found


def _samples(source: MetricWrapperBase) -> Iterator[tuple[dict[str, str], str, float]]:
    for sample in (sample for family in source.collect() for sample in family.samples):
        kind = sample.name.rpartition("_")[2]
        if kind in ("bucket", "sum", "total"):
            yield dict(sample.labels), kind, sample.value


def _since(base: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    return {name: value - base.get(name, 0.0) for name, value in values.items()}
