"""What leaves of a span, and that every span that does not leave is counted."""

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from bff.observability.otlp.attribute_filter import filtered
from bff.observability.otlp.spans import BoundedProcessor, CountedExporter, QueueSlots
from bff.settings import TelemetrySettings

SECRET = "eyJhbGciOiJub25lIn0.a-secret"
PATIENCE = 10


def span(kind: SpanKind = SpanKind.SERVER, **attributes: object) -> ReadableSpan:
    context = SpanContext(1, 2, False, TraceFlags(1), TraceState([("who", "knows")]))
    return ReadableSpan(
        name="GET /auth/login",
        context=context,
        parent=SpanContext(1, 3, True),
        resource=Resource({"service.name": "bff-service"}),
        attributes={name.replace("__", "."): value for name, value in attributes.items()},  # type: ignore[misc]
        events=[Event("exception", {"exception.message": SECRET})],
        links=[Link(context, {"secret": SECRET})],
        kind=kind,
        status=Status(StatusCode.ERROR, SECRET),
        start_time=5,
        end_time=7,
    )


def test_what_is_listed_is_shown() -> None:
    found = filtered(span(http__route="/auth/login", http__response__status_code=302, bff__outcome="allowed"))
    assert found.attributes == {
        "http.route": "/auth/login", "http.response.status_code": 302, "bff.outcome": "allowed",
    }  # fmt: skip
    assert (found.name, found.kind, found.start_time, found.end_time) == ("GET /auth/login", SpanKind.SERVER, 5, 7)
    assert found.parent
    assert (found.parent.span_id, found.get_span_context().span_id) == (3, 2)  # type: ignore[union-attr]
    assert found.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", SpanKind)
@pytest.mark.parametrize(
    "name",
    [
        "url.path", "url.query", "http.target", "http.url", "client.address", "net.peer.ip", "user_agent.original",
        "http.request.header.cookie", "http.request.header.authorization", "exception.message", "db.statement",
        "enduser.id", "http.request.method_original", "network.peer.address",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_not(kind: SpanKind, name: str) -> None:
    assert filtered(span(kind, **{name: SECRET})).attributes == {}


@pytest.mark.parametrize("name", ["server.address", "server.port", "url.full"])
def test_a_host_is_shown_of_calls_only(name: str) -> None:
    """Of a request to us it is whatever the client sent."""
    assert filtered(span(SpanKind.SERVER, **{name: "x"})).attributes == {}
    assert filtered(span(SpanKind.CLIENT, **{name: "x"})).attributes


@pytest.mark.parametrize(
    "url",
    [
        f"https://idp.example:8443/token?code={SECRET}",
        f"https://idp.example:8443/token#{SECRET}",
        f"https://{SECRET}:{SECRET}@idp.example:8443/token",
    ],
)
def test_addresses_are_shown_without_query(url: str) -> None:
    assert filtered(span(SpanKind.CLIENT, url__full=url)).attributes == {"url.full": "https://idp.example:8443/token"}


@given(
    kind=st.sampled_from(SpanKind),
    names=st.lists(st.text("abcdehlpqrstu._", min_size=1).filter(lambda name: not name.startswith("bff."))),
)
def test_no_other_word_gets_out(kind: SpanKind, names: list[str]) -> None:
    found = filtered(span(kind, **dict.fromkeys(names, SECRET)))
    assert SECRET not in f"{found.to_json()}{found.events}{found.links}{found.status.description}"
    assert "knows" not in f"{found.get_span_context()}"


class Sent(SpanExporter):
    """Keeps what it is given, once it may go on."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = result
        self.going = threading.Event()
        self.called = threading.Event()
        self.ended = False

    def shutdown(self) -> None:
        self.ended = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        assert self.going.wait(PATIENCE)
        self.spans += spans
        return self.result


class Lost:
    def __init__(self) -> None:
        self.spans = 0

    def __call__(self, signal: str, amount: int) -> None:
        assert signal == "spans"
        self.spans += amount


def pipeline(exporter: SpanExporter, queue: int = 8) -> tuple[TracerProvider, BoundedProcessor, Lost]:
    lost = Lost()
    settings = TelemetrySettings(spans_queue=queue, spans_batch=queue // 2, spans_delay=0.01)
    processor = BoundedProcessor(exporter, settings, lost)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider, processor, lost


def record(provider: TracerProvider, number: int) -> None:
    tracer = provider.get_tracer("test")
    for _ in range(number):
        tracer.start_span("a span").end()


def test_what_is_taken_is_not_lost() -> None:
    exporter = Sent()
    exporter.going.set()
    provider, processor, lost = pipeline(exporter)
    for _ in range(5):
        record(provider, 8)
        processor.force_flush()
    provider.shutdown()
    processor.give_up()
    assert (len(exporter.spans), lost.spans) == (40, 0)


def test_whom_there_is_no_room_for_is_lost() -> None:
    exporter = Sent()
    provider, processor, lost = pipeline(exporter)
    record(provider, 4)
    assert exporter.called.wait(PATIENCE)
    record(provider, 10)  # four are under way, and four may wait
    assert lost.spans == 6
    exporter.going.set()
    provider.shutdown()
    processor.give_up()
    assert (len(exporter.spans), lost.spans) == (8, 6)


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, None])
def test_what_the_collector_refuses_is_lost(result: SpanExportResult | None) -> None:
    exporter = Sent(result) if result else Broken()
    exporter.going.set()
    provider, processor, lost = pipeline(exporter)
    record(provider, 4)
    provider.shutdown()
    processor.give_up()
    assert lost.spans == 4


class Broken(Sent):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("This exporter is broken.")


def test_what_waits_when_the_process_ends_is_lost_once() -> None:
    exporter = Sent(SpanExportResult.FAILURE)
    provider, processor, lost = pipeline(exporter)
    record(provider, 6)
    assert exporter.called.wait(PATIENCE)
    processor.give_up()
    assert (lost.spans, exporter.ended) == (6, True)
    exporter.going.set()
    provider.shutdown()
    record(provider, 1)
    assert lost.spans == 7, "those under way are not counted again, and nobody enters any more"


def test_an_exporter_is_asked_for_what_is_shown() -> None:
    exporter = Sent()
    exporter.going.set()
    CountedExporter(exporter, QueueSlots(1), Lost()).export([span(url__path=SECRET)])
    assert [each.attributes for each in exporter.spans] == [{}]


@given(st.lists(st.one_of(st.just("enter"), st.integers(1, 5), st.just("clear")), max_size=40))
def test_room_is_never_overdrawn(steps: list[str | int]) -> None:
    room, inside, closed = QueueSlots(3), 0, False
    for step in steps:
        if step == "enter":
            assert room.acquire() == (inside < 3 and not closed)
            inside = min(3, inside + 1) if not closed else inside
        elif step == "clear":
            assert room.close() == inside
            inside, closed = 0, True
        else:
            left = min(int(step), inside)
            assert room.release(int(step)) == left
            inside -= left
