"""Periodic exporter: sends the metrics at an interval, and once more when the worker stops, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from bff.observability.otlp.spans import Lost

log = logging.getLogger(__name__)

SIGNAL = "metrics"


class PeriodicMetricExporter:
    def __init__(self, exporter: MetricExporter, read: Callable[[], MetricsData], interval: float, lost: Lost) -> None:
        """interval: seconds."""
        self._exporter = exporter
        self._read = read
        self._interval = interval
        self._lost = lost
        self._stopping = threading.Event()
        self._ended = False
        self._sending = 0  # points in the export that runs now
        self._thread = threading.Thread(target=self._repeat, name="telemetry-metrics", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Send the last readings and end the thread; returns after that."""
        self._stopping.set()
        self._thread.join()
        self._exporter.shutdown()

    def give_up(self) -> None:
        """Count unsent points as lost, and abort the export."""
        self._ended = True
        if self._sending:
            self._lost(SIGNAL, self._sending)
            self._exporter.shutdown()

    def _repeat(self) -> None:
        while not self._stopping.wait(self._interval):
            self._send()
        self._send()

    def _send(self) -> None:
        data = self._read()
        self._sending = _points(data)
        if self._sending and not self._sent(data) and not self._ended:
            self._lost(SIGNAL, self._sending)
        self._sending = 0

    def _sent(self, data: MetricsData) -> bool:
        try:
            with suppress_instrumentation():
                return self._exporter.export(data) is MetricExportResult.SUCCESS
        except Exception:
            log.exception("metrics_not_exported")
            return False


def _points(data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
