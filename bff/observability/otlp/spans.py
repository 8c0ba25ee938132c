"""Spans on their way out: collected in memory, sent in batches by a thread of the SDK's, counted when they are lost.

The SDK's queue throws the oldest span away when it is full and tells only its own log. So nobody enters it who finds no
room, which makes every loss one that is seen here: no room, an export that failed, or the process's end.
"""

import threading
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bff.observability.otlp.attribute_filter import filtered
from bff.settings import TelemetrySettings

SIGNAL = "spans"
Lost = Callable[[str, int], None]
"""Told the signal, and how much of it is lost."""


class QueueSlots:
    """How many spans wait or are just being sent."""

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
        """How many could leave: those who were cleared out have left already."""
        with self._lock:
            left = min(number, self._taken)
            self._taken -= left
            return left

    def close(self) -> int:
        """Let everybody leave, and nobody in any more; how many there were."""
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
        """Count what was not sent as lost, and break off what can be; nothing is taken any more."""
        if left := self._slots.close():
            self._lost(SIGNAL, left)
            self._exporter.shutdown()
