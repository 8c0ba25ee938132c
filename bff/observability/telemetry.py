"""OpenTelemetry: traces and metrics to a collector by OTLP, started after the fork, flushed when the worker stops.

Only imported when something is to be exported. Building makes no thread and no connection, so it may happen in a
gunicorn master; `start` and `stop` belong to the worker. No request notices what a collector does or does not do: what
cannot be sent is counted in bff_telemetry_dropped_total, and a stop waits no longer than STOP_WITHIN.
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
"""Seconds for what is still to be sent."""

SERVICE = "bff-service"
UNTRACED = r"^https?://[^/]+/(?:health(?:[/?]|$)|metrics(?:[?]|$)|static/)"
"""Addresses that machines ask every few seconds."""

# Libraries of OpenTelemetry read these when they are imported or first used.
OWN_VARIABLES = {"OTEL_PROPAGATORS": "tracecontext", "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database"}


class Telemetry:
    def __init__(self, settings: Settings) -> None:
        config = settings.telemetry
        self._settings = settings
        self._make_spans = exporters.spans(config.traces, config.timeout) if config.traces else None
        self._make_metrics = exporters.metrics(config.metrics, config.timeout) if config.metrics else None
        self._stops: list[tuple[Callable[[], None], Callable[[], None]]] = []  # send the rest; give it up
        os.environ.update(OWN_VARIABLES)
        self._calls = _calls(settings) if config.traces else ()

    def instrument(self, app: Any) -> None:
        """Give every request that Flask answers a span; before anything else is hooked into the app, a
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
        """Never raises: the worker serves without traces rather than not at all."""
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
        """Send what there is; what cannot be sent in time is lost, and counted."""
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
        propagate.set_global_textmap(TraceContextTextMapPropagator())  # and so no baggage
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
        """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win, but each worker is an instance of its own."""
        ours = {
            "service.name": SERVICE,
            "service.version": self._settings.version,
            "deployment.environment": self._settings.environment,
        }
        instance = Resource({"service.instance.id": str(uuid.uuid4())})
        return Resource.create(ours).merge(OTELResourceDetector().detect()).merge(instance)


def _named(span: Span, environ: dict[str, Any]) -> None:
    """Called by the instrumentation at a request's begin. Where no route fits it would take the path for a name."""
    environ[traces.TRACE] = traces.ids(span)
    if span.is_recording() and "http.route" not in getattr(span, "attributes", {}):
        span.update_name(labels.method(environ["REQUEST_METHOD"]))


def _calls(settings: Settings) -> tuple[Any, ...]:
    """What makes calls of `requests` and of Redis parts of their traces."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    return (RequestsInstrumentor(), *((RedisInstrumentor(),) if settings.store.redis_url else ()))
