"""A tracer provider that keeps its spans, behind the one that the API knows; the calls of `requests` are among them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NoOpTracerProvider

from bff.observability.otlp import proxy_provider
from bff.observability.otlp.sampler import Bounded, TokenBucket, named
from bff.observability.telemetry import OWN_VARIABLES


class Recorded:
    def __init__(self, sampler: Sampler) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    def spans(self) -> list[ReadableSpan]:
        """Those that ended, in that order."""
        return list(self._kept.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans() if span.name == name]
        return found


@contextmanager
def recording(rate: float = 1e6) -> Iterator[Recorded]:
    found = Recorded(Bounded(named("parentbased_always_on", 1.0), TokenBucket(rate, lambda: 0.0)))
    os.environ.update(OWN_VARIABLES)
    proxy_provider.installed().delegate = found.provider
    RequestsInstrumentor().instrument(meter_provider=NoOpMeterProvider())
    try:
        yield found
    finally:
        RequestsInstrumentor().uninstrument()
        proxy_provider.installed().delegate = NoOpTracerProvider()
