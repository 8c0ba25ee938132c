"""The BFF's own spans are what the SDK's would be, as far as anything of them is shown."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from bff.observability import traces
from bff.observability.otlp import own
from bff.observability.otlp.sampler import Bounded, TokenBucket, named
from bff.observability.otlp.shown import shown

RESOURCE = Resource({"service.name": "bff-service", "numbers": [1, 2]})
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
STATE = TraceState([("vendor", "value")])


class Counted(IdGenerator):
    """1, 2, 3, ..."""

    def __init__(self, *, random: bool) -> None:
        self._latest = 0
        self._random = random

    def generate_span_id(self) -> int:
        self._latest += 1
        return self._latest

    generate_trace_id = generate_span_id

    def is_trace_id_random(self) -> bool:
        return self._random


@dataclasses.dataclass
class Pipeline:
    tracer: Tracer
    kept: InMemorySpanExporter

    def shown(self) -> list[dict[str, Any]]:
        return [facts(shown(span)) for span in self.kept.get_finished_spans()]


def facts(span: ReadableSpan) -> dict[str, Any]:
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < span.start_time <= span.end_time
    return {
        "name": span.name,
        "context": span.get_span_context(),
        "parent": span.parent,
        "resource": span.resource,
        "attributes": dict(span.attributes or {}),
        "kind": span.kind,
        "status": span.status.status_code,
        "scope": span.instrumentation_scope,
    }


def pipeline(of: type[TracerProvider], *, sampler: str = "parentbased_always_on", random: bool = True) -> Pipeline:
    kept = InMemorySpanExporter()
    provider = of(
        Bounded(named(sampler, 1.0), TokenBucket(100, lambda: 0.0)),
        RESOURCE,
        shutdown_on_exit=False,
        id_generator=Counted(random=random),
    )
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Pipeline(provider.get_tracer(traces.NAME), kept)


def caller(flags: int, state: TraceState | None = None, *, remote: bool = True, trace: int = TRACE) -> Context:
    return set_span_in_context(NonRecordingSpan(SpanContext(trace, SPAN, remote, TraceFlags(flags), state)))


def plain(tracer: Tracer) -> Span:
    return tracer.start_span("name")


def described(tracer: Tracer) -> Span:
    return tracer.start_span("name", caller(1), SpanKind.SERVER, {"http.route": "/a", "bff.outcome": "error"})


def changed(tracer: Tracer) -> Span:
    span = described(tracer)
    span.set_attribute("bff.outcome", "allowed")
    span.set_attributes({"http.response.status_code": 200, "error.type": "500"})
    span.update_name("another")
    return span


def failed(tracer: Tracer) -> Span:
    span = plain(tracer)
    span.set_status(StatusCode.ERROR, "words")
    return span


def failed_otherwise(tracer: Tracer) -> Span:
    span = plain(tracer)
    span.set_status(Status(StatusCode.ERROR, "words"))
    return span


def eventful(tracer: Tracer) -> Span:
    span = plain(tracer)
    span.add_event("happened", {"bff.outcome": "secret"})
    span.add_link(SpanContext(TRACE, SPAN, is_remote=True))
    span.record_exception(ValueError("secret"))
    return span


def ended_before(tracer: Tracer) -> Span:
    span = changed(tracer)
    span.end()
    span.set_attribute("bff.outcome", "late")
    span.set_attributes({"bff.late": True})
    return span


def with_child(tracer: Tracer) -> Span:
    with tracer.start_as_current_span("parent") as parent:
        tracer.start_span("child").end()
        assert get_current_span() is parent
    return parent


def within(flags: int, state: TraceState | None = None, **more: Any) -> Callable[[Tracer], Span]:
    return lambda tracer: tracer.start_span("name", caller(flags, state, **more))


SPANS: Mapping[str, Callable[[Tracer], Span]] = {
    "plain": plain,
    "described": described,
    "changed": changed,
    "failed": failed,
    "failed otherwise": failed_otherwise,
    "eventful": eventful,
    "ended before": ended_before,
    "with a child": with_child,
    "a call begins no trace": lambda tracer: tracer.start_span("name", kind=SpanKind.CLIENT),
    "of a recorded trace": within(1),
    "of a trace that is not": within(0),
    "with random ids": within(2),
    "recorded, with random ids": within(3),
    "with tracestate": within(1, STATE),
    "of no trace": within(1, trace=0),
    "of our own": within(1, remote=False),
}


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("sampler", ["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"])
@pytest.mark.parametrize("made", SPANS.values(), ids=SPANS.keys())
def test_as_the_sdk_would_make_it(made: Callable[[Tracer], Span], sampler: str, random: bool) -> None:
    theirs, ours = (pipeline(of, sampler=sampler, random=random) for of in (TracerProvider, own.Provider))
    for each in (theirs, ours):
        span = made(each.tracer)
        span.end()
        span.end()
        assert not span.is_recording()
    assert ours.shown() == theirs.shown()
    assert made(ours.tracer).get_span_context() == made(theirs.tracer).get_span_context()


def test_only_of_our_own_name() -> None:
    provider = own.Provider(shutdown_on_exit=False)
    assert isinstance(provider.get_tracer(traces.NAME), own.OwnTracer)
    assert not isinstance(provider.get_tracer("opentelemetry.instrumentation.flask", "1.0"), own.OwnTracer)


def test_a_flood_is_bounded() -> None:
    ours = pipeline(own.Provider)
    for _ in range(200):
        ours.tracer.start_span("name", caller(1)).end()
    assert len(ours.shown()) == 100


def test_a_named_resource_is_the_resource() -> None:
    named_so = own.Named(RESOURCE)
    assert named_so == RESOURCE
    assert hash(named_so) == hash(RESOURCE)
    assert {RESOURCE: "found"}[named_so] == "found"
