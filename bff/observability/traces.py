"""The trace that a request belongs to, from the OpenTelemetry API, which knows of none until an SDK is installed."""

from opentelemetry.trace import INVALID_SPAN, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


def exemplar() -> dict[str, str] | None:
    """What leads from a measurement to its trace (OpenMetrics exemplar labels); None unless the trace is sampled.

    Asked on the hot path, so the usual answer is found by one comparison.
    """
    span = get_current_span()
    if span is INVALID_SPAN:
        return None
    context = span.get_span_context()
    if not (context.trace_flags.sampled and context.is_valid):
        return None
    return {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}


def outgoing() -> dict[str, str]:
    """The headers that tell a called service which trace it works for (W3C Trace Context: traceparent, and tracestate
    when there is one); none outside a trace."""
    headers: dict[str, str] = {}
    if get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(headers)
    return headers
