"""Proxy: a tracer provider that delegates to the SDK's provider while there is one.

OpenTelemetry's API accepts one provider for the life of a process. Libraries get their tracers when the app is built,
in a gunicorn master. The SDK's provider has threads and connections, so it exists only from the fork to the worker's
last request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider, Span, Tracer, TracerProvider
from opentelemetry.util.types import Attributes


class ProxyTracerProvider(TracerProvider):
    def __init__(self) -> None:
        self.delegate: TracerProvider = NoOpTracerProvider()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        return _ProxyTracer(self, instrumenting_module_name, instrumenting_library_version, schema_url, attributes)


class _ProxyTracer(Tracer):
    def __init__(self, provider: ProxyTracerProvider, *described: Any) -> None:
        self._provider = provider
        self._described = described
        self._known: tuple[TracerProvider, Tracer] | None = None

    def start_span(self, *args: Any, **options: Any) -> Span:
        return self._tracer().start_span(*args, **options)

    @contextmanager
    def start_as_current_span(self, *args: Any, **options: Any) -> Iterator[Span]:  # type: ignore[override]
        with self._tracer().start_as_current_span(*args, **options) as span:
            yield span

    def _tracer(self) -> Tracer:
        provider = self._provider.delegate
        if self._known is None or self._known[0] is not provider:
            self._known = provider, provider.get_tracer(*self._described)
        return self._known[1]


def installed() -> ProxyTracerProvider:
    """The process's own provider, registered with the API."""
    present = trace.get_tracer_provider()
    if isinstance(present, ProxyTracerProvider):
        return present
    provider = ProxyTracerProvider()
    trace.set_tracer_provider(provider)
    return provider
