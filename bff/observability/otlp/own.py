"""The BFF's own spans, at a third of what the SDK's cost: a verify must not take twice as long because it is traced.

The SDK's span takes anything from any thread: each attribute is examined and stored under two locks, beside lists of
events and links, none of which is ever shown (shown.py). What bff.observability.traces makes has a few attributes, each
a string or a number, so they are kept in a dict. The rest is the SDK's: the sampler, the ids, and where spans go.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time_ns
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    use_span,
)
from opentelemetry.util.types import Attributes, AttributeValue

from bff.observability import traces

_UNSET = Status(StatusCode.UNSET)


class Provider(TracerProvider):
    """The SDK's, but for the spans of bff.observability.traces."""

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **options: Any) -> Tracer:
        if instrumenting_module_name != traces.NAME:
            return super().get_tracer(instrumenting_module_name, *args, **options)
        into = Destination(self._active_span_processor, self.resource, InstrumentationScope(traces.NAME, ""))
        return OwnTracer(self.sampler, self.id_generator, into)


class Named(Resource):
    """A resource by which spans are grouped: its hash, of a JSON text, is made once and not for each of them."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Destination(NamedTuple):
    processor: SpanProcessor
    resource: Resource
    scope: InstrumentationScope


class OwnTracer(Tracer):
    def __init__(self, sampler: Sampler, ids: IdGenerator, into: Destination) -> None:
        self._sampler = sampler
        self._ids = ids
        self._into = into

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *args: Any,
        **options: Any,
    ) -> Span:
        """As the SDK does it: a child of the context's span, the current one by default."""
        parent: SpanContext | None = get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, flags = parent.trace_id, parent.trace_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            parent, trace_id = None, self._ids.generate_trace_id()
            flags = TraceFlags.RANDOM_TRACE_ID if self._ids.is_trace_id_random() else TraceFlags.DEFAULT
        sampled = self._sampler.should_sample(context, trace_id, name, kind, attributes)
        recorded = sampled.decision.is_sampled()
        own = SpanContext(
            trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(flags | TraceFlags.SAMPLED if recorded else flags),
            trace_state=sampled.trace_state,
        )
        return OwnSpan(self._into, name, own, parent, kind, attributes or {}) if recorded else NonRecordingSpan(own)

    @contextmanager
    def start_as_current_span(self, *args: Any, **options: Any) -> Iterator[Span]:  # type: ignore[override]
        with use_span(self.start_span(*args, **options), end_on_exit=True) as span:
            yield span


class OwnSpan(NonRecordingSpan, ReadableSpan):
    """Events, links, and the words of a status are let go, as its first base does. When it has ended, the second one
    reads it."""

    _context: SpanContext
    _events = _links = ()
    _end_time: int | None = None

    def __init__(
        self,
        into: Destination,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
    ) -> None:
        self._context = context
        self._into = into
        self._resource = into.resource
        self._instrumentation_scope = into.scope
        self._name = name
        self._parent = parent
        self._kind = kind
        self._attributes = self._given = dict(attributes)
        self._status = _UNSET
        self._start_time = time_ns()

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self._end_time is None:
            self._given.update(attributes)

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._end_time is None:
            self._status = Status(status.status_code if isinstance(status, Status) else status)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time_ns()
            self._into.processor.on_end(self)
