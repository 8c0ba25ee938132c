"""OpenTelemetry pipeline: sends traces and metrics to a collector by OTLP, from after the fork until the worker stops.

Only imported when an export is configured. Building makes no thread and no connection, so it may happen in a gunicorn
master; `start` and `stop` belong to the worker. A slow or absent collector never delays a request: unsent data is
counted in bff_telemetry_dropped_total, and a stop waits no longer than STOP_WITHIN.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bff.observability import labels, metrics, traces
from bff.observability.otlp import exporters, log_throttle, proxy_provider
from bff.observability.otlp.metric_exporter import PeriodicMetricExporter
from bff.observability.otlp.prometheus_bridge import PrometheusBridge
from bff.observability.otlp.sampler import Bounded, TokenBucket, named
from bff.observability.otlp.spans import BoundedProcessor
from bff.settings import Settings

log = logging.getLogger(__name__)

STOP_WITHIN = 2.5
"""Seconds that a stop waits for unsent data."""

SERVICE = "bff-service"
UNTRACED = r"^https?://[^/]+/(?:health(?:[/?]|$)|metrics(?:[?]|$)|static/)"
"""Addresses that probes and scrapers request every few seconds."""

# Libraries of OpenTelemetry read these when they are imported or first used.
OWN_VARIABLES = {"OTEL_PROPAGATORS": "tracecontext", "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database"}


class Telemetry:
    def __init__(self, settings: Settings) -> None:
        config = settings.telemetry
        self._settings = settings
        self._make_spans = exporters.spans(config.traces, config.timeout) if config.traces else None
        self._make_metrics = exporters.metrics(config.metrics, config.timeout) if config.metrics else None
        self._stops: list[tuple[Callable[[], None], Callable[[], None]]] = []  # flush; abort
        os.environ.update(OWN_VARIABLES)
        self._calls = _calls(settings) if config.traces else ()

    def instrument(self, app: Any) -> None:
        """Add a span to every request that Flask answers. Call it before any other hook is installed in the app, a
        flask.Flask."""
        if self._make_spans is None:
            return
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        proxy_provider.installed()
        FlaskInstrumentor.instrument_app(
            app,
            request_hook=_named,
            excluded_urls=UNTRACED,
            enable_commenter=False,
            meter_provider=NoOpMeterProvider(),
        )

    def start(self) -> None:
        """Never raises: a worker without traces is better than none."""
        log_throttle.silence()
        try:
            resource = self._resource()
            if self._make_spans is not None:
                self._trace(self._make_spans(), resource)
            if self._make_metrics is not None:
                self._measure(self._make_metrics(), resource)
        except Exception:
            log.exception("telemetry_not_started")

    def stop(self) -> None:
        """Flush within the time limit; the rest is dropped and counted."""
        proxy_provider.installed().delegate = NoOpTracerProvider()
        for instrumentor in self._calls:
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
        stops, self._stops = self._stops, []
        deadline = time.monotonic() + STOP_WITHIN
        threads = [threading.Thread(target=flush, daemon=True) for flush, _ in stops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for _, give_up in stops:
            give_up()

    def _trace(self, exporter: Any, resource: Resource) -> None:
        from opentelemetry import propagate

        config = self._settings.telemetry
        bucket = TokenBucket(config.traces_per_second, time.monotonic)
        provider = TracerProvider(
            Bounded(named(config.sampler, config.sampler_ratio), bucket), resource, shutdown_on_exit=False
        )
        processor = BoundedProcessor(exporter, config, metrics.telemetry_dropped)
        provider.add_span_processor(processor)
        propagate.set_global_textmap(TraceContextTextMapPropagator())  # thereby without baggage
        proxy_provider.installed().delegate = provider
        for instrumentor in self._calls:
            instrumentor.instrument(meter_provider=NoOpMeterProvider())
        self._stops.append((provider.shutdown, processor.give_up))

    def _measure(self, exporter: Any, resource: Resource) -> None:
        config = self._settings.telemetry
        readings = PrometheusBridge(resource, delta=config.metrics_delta)
        periodic = PeriodicMetricExporter(exporter, readings.take, config.metrics_interval, metrics.telemetry_dropped)
        self._stops.append((periodic.shutdown, periodic.give_up))

    def _resource(self) -> Resource:
        """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence, but each worker is an instance of its own."""
        ours = {
            "service.name": SERVICE,
            "service.version": self._settings.version,
            "deployment.environment": self._settings.environment,
        }
        instance = Resource({"service.instance.id": str(uuid.uuid4())})
        return Resource.create(ours).merge(OTELResourceDetector().detect()).merge(instance)


def _named(span: Span, environ: dict[str, Any]) -> None:
    """The instrumentation calls it when a request begins. Without a matching route, it would use the path as the
    name."""
    environ[traces.TRACE] = traces.ids(span)
    if span.is_recording() and "http.route" not in getattr(span, "attributes", {}):
        span.update_name(labels.method(environ["REQUEST_METHOD"]))


def _calls(settings: Settings) -> tuple[Any, ...]:
    """The instrumentations that add calls of `requests` and of Redis to their traces."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    return (RequestsInstrumentor(), *((RedisInstrumentor(),) if settings.store.redis_url else ()))
