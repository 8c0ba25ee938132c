"""wsgi:app inside a sampled trace, as a tracing proxy and an OpenTelemetry SDK would have it."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

import wsgi

_inner = wsgi.app.wsgi_app


def _traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    context = SpanContext(
        trace_id=random.getrandbits(128) | 1,
        span_id=random.getrandbits(64) | 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    with use_span(NonRecordingSpan(context)):
        return _inner(environ, start_response)


app = wsgi.app
app.wsgi_app = _traced  # type: ignore[method-assign]
