"""Bounded queue: spans wait in memory, a thread of the SDK sends them in batches, and every lost span is counted.

The SDK's queue drops the oldest span when it is full, and only its own log mentions it. So spans are counted before
they enter that queue. Every loss is then counted here: a full queue, a failed export, or the end of the process.
"""

import threading
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bff.observability.otlp.attribute_filter import filtered
from bff.settings import TelemetrySettings

SIGNAL = "spans"
Lost = Callable[[str, int], None]
"""Called with the signal and the number of lost spans or points."""


class QueueSlots:
    """Counts the spans that wait or are being sent."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._taken = 0

    def acquire(self) -> bool:
        with self._lock:
            if self._taken >= self._size:
                return False
            self._taken += 1
            return True

    def release(self, number: int) -> int:
        """The number of slots released; those that `close` has cleared were released before."""
        with self._lock:
            left = min(number, self._taken)
            self._taken -= left
            return left

    def close(self) -> int:
        """Release all slots, and grant no more; returns how many were taken."""
        with self._lock:
            left, self._taken, self._size = self._taken, 0, 0
            return left


class CountedExporter(SpanExporter):
    def __init__(self, exporter: SpanExporter, slots: QueueSlots, lost: Lost) -> None:
        self._exporter = exporter
        self._slots = slots
        self._lost = lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export([filtered(span) for span in spans])
        finally:
            left = self._slots.release(len(spans))
            if left and result is not SpanExportResult.SUCCESS:
                self._lost(SIGNAL, left)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class BoundedProcessor(BatchSpanProcessor):
    def __init__(self, exporter: SpanExporter, settings: TelemetrySettings, lost: Lost) -> None:
        self._slots = QueueSlots(settings.spans_queue)
        self._lost = lost
        self._exporter = CountedExporter(exporter, self._slots, lost)
        super().__init__(
            self._exporter,
            max_queue_size=settings.spans_queue,
            schedule_delay_millis=settings.spans_delay * 1000,
            max_export_batch_size=settings.spans_batch,
        )

    def on_end(self, span: ReadableSpan) -> None:
        if self._slots.acquire():
            super().on_end(span)
        else:
            self._lost(SIGNAL, 1)

    def give_up(self) -> None:
        """Count unsent spans as lost, abort the export, and accept no more spans."""
        if left := self._slots.close():
            self._lost(SIGNAL, left)
            self._exporter.shutdown()
