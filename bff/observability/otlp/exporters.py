"""Factory: the SDK's exporters by protocol.

The exporters read headers, certificates and compression from the standard variables. The factory imports only the
configured protocol, since gRPC alone takes 30 MB; a gunicorn master imports it once for all of its workers.
"""

from collections.abc import Callable
from functools import partial

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from bff.settings import Signal

GRPC = "grpc"


def spans(signal: Signal, timeout: float) -> Callable[[], SpanExporter]:
    """A factory to call in the process that will use the exporter. timeout: seconds of an export, retries included."""
    if signal.protocol == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

        return partial(grpc.OTLPSpanExporter, signal.endpoint, timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

    return partial(http.OTLPSpanExporter, signal.endpoint, timeout=timeout)


def metrics(signal: Signal, timeout: float) -> Callable[[], MetricExporter]:
    """The same for metrics."""
    if signal.protocol == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

        return partial(grpc.OTLPMetricExporter, signal.endpoint, timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

    return partial(http.OTLPMetricExporter, signal.endpoint, timeout=timeout)
