"""The SDK's exporters by protocol.

What they are not given here (headers, certificates, compression) they take from the standard variables. Only what is
wanted is imported, since gRPC alone takes 30 MB: by a gunicorn master, for all of its workers.
"""

from collections.abc import Callable
from functools import partial

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from bff.settings import Signal

GRPC = "grpc"


def spans(signal: Signal, timeout: float) -> Callable[[], SpanExporter]:
    """What makes one, in the process that is to use it. timeout: seconds of an export, its repetitions included."""
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
