"""Tracing facade: the current request's trace by the OpenTelemetry API, which does nothing until an SDK is installed.

Code that does something worth a span begins it here. That costs next to nothing while tracing is off, since a span is
made inside a trace only. Names and attributes follow the semantic conventions where there are any, else they begin with
`bff.`. Their values come from closed sets, and never from a person's data.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = [
    "CLIENT", "HEADERS", "INTERNAL", "NAME", "SERVER", "TRACE", "Span", "answered", "current", "exemplar", "failed",
    "ids", "is_sampled", "name_request", "outgoing", "server", "span",
]  # fmt: skip

NAME = "bff"
"""Name of the tracer that makes these spans."""
SERVER, CLIENT, INTERNAL = SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL
TRACE = "bff.trace"
"""Key in a request's WSGI environment: the ids of its trace and span, for its line in the access log."""
HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context."""

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer(NAME)
_NO_SPAN = nullcontext(INVALID_SPAN)
_NOWHERE = context.Context()
_TRACEPARENT = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_FLAGS = slice(53, 55)  # of a traceparent: two hexadecimal digits, and the lowest bit means sampled
_SAMPLED = frozenset("13579bdf")


def exemplar() -> dict[str, str] | None:
    """The exemplar labels that link a measurement to its trace (OpenMetrics); None unless the trace is sampled.

    This is on the hot path, so one comparison finds the usual answer.
    """
    span = get_current_span()
    return ids(span) if span is not INVALID_SPAN and span.get_span_context().trace_flags.sampled else None


def current() -> dict[str, str] | None:
    """trace_id and span_id of the current span, None outside a trace."""
    span = get_current_span()
    return ids(span) if span is not INVALID_SPAN else None


def ids(span: Span) -> dict[str, str] | None:
    """None for a span that belongs to no trace."""
    found = span.get_span_context()
    if not found.is_valid:
        return None
    return {"trace_id": format(found.trace_id, "032x"), "span_id": format(found.span_id, "016x")}


def outgoing() -> dict[str, str]:
    """The headers that pass the trace on to a called service (W3C Trace Context): traceparent, and tracestate if
    present. None outside a trace."""
    headers: dict[str, str] = {}
    if get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(headers)
    return headers


def is_sampled(traceparent: str) -> bool:
    """Whether the caller's trace is sampled. Undefined for a text that is no traceparent."""
    return traceparent[_FLAGS][1:] in _SAMPLED


def server(environ: MutableMapping[str, Any], name: str, attributes: Mapping[str, str]) -> AbstractContextManager[Span]:
    """A request's own span, a child of the caller's span in its headers. environ: its WSGI environment (PEP 3333)."""
    span = _TRACER.start_span(name, _caller(environ), SERVER, attributes)
    environ[TRACE] = ids(span)
    return _Current(span)


def _caller(environ: Mapping[str, Any]) -> context.Context:
    """The caller's span in the headers. The API's slower propagator reads unusual ones."""
    found = _TRACEPARENT.fullmatch(environ.get(_KEYS["traceparent"], ""))
    if found is None or _KEYS["tracestate"] in environ:
        return _PROPAGATOR.extract({header: environ[key] for header, key in _KEYS.items() if key in environ})
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(parent), _NOWHERE)


def span(
    name: str, attributes: Mapping[str, str], kind: SpanKind = INTERNAL, *, begins: bool = False
) -> AbstractContextManager[Span]:
    """A span in the current trace. begins: starts a new trace if there is none. An exception marks the span by its
    type alone, since messages may quote secrets."""
    outside = get_current_span() is INVALID_SPAN and not begins
    return _NO_SPAN if outside else _part(name, attributes, kind)


@contextmanager
def _part(name: str, attributes: Mapping[str, str], kind: SpanKind) -> Iterator[Span]:
    with _Current(_TRACER.start_span(name, None, kind, attributes)) as started:
        try:
            yield started
        except Exception as err:
            failed(started, type(err).__qualname__)
            raise


class _Current:
    """Makes a span the current one while entered. The API's own way costs three times as much."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)
        self._span.end()


def failed(span: Span, kind: str) -> None:
    """kind: of error, of a closed set."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def answered(span: Span, status: int) -> None:
    """The called service's HTTP status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        failed(span, str(status))


def name_request(method: str, route: str) -> None:
    """Name the current request's span after its route, as soon as the route is known. route: its template."""
    span = get_current_span()
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)


_KEYS = {header: f"HTTP_{header.upper()}" for header in HEADERS}
