"""A sampled trace leaves its ids in the histograms of what it went through; any other trace leaves nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    get_current_span,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import REGISTRY

from bff.observability import metrics
from bff.observability.traces import _caller, exemplar, outgoing

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
IDS = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}


def span(trace: int = TRACE, own: int = SPAN, flags: int = TraceFlags.SAMPLED) -> Span:
    return NonRecordingSpan(SpanContext(trace, own, is_remote=True, trace_flags=TraceFlags(flags)))


def test_of_the_current_sampled_trace() -> None:
    assert exemplar() is None
    with use_span(span()):
        assert exemplar() == IDS
        with use_span(span(trace=1, own=2)):
            assert exemplar() == {"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}
        assert exemplar() == IDS
    assert exemplar() is None


@pytest.mark.parametrize("other", [span(flags=TraceFlags.DEFAULT), span(trace=0), span(own=0), INVALID_SPAN])
def test_of_no_other(other: Span) -> None:
    with use_span(other):
        assert exemplar() is None


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_TRACEPARENT": st.sampled_from(
            [f"00-{IDS['trace_id']}-{IDS['span_id']}-{flags}" for flags in ("00", "01", "03", "ff")]
        )
        | st.from_regex(r"(00|01|ff)-(0{32}|[0-9a-fA-F]{32})-(0{16}|[0-9a-f]{16})-[0-9a-f]{2}(-a)?\s*"),
        "HTTP_TRACESTATE": st.sampled_from(["vendor=value", "", "=", "a" * 600]),
    },
)


@given(HEADERS)
def test_the_caller_is_who_the_headers_name(environ: dict[str, str]) -> None:
    named = TraceContextTextMapPropagator().extract(
        {key.removeprefix("HTTP_").lower(): value for key, value in environ.items()}
    )
    assert get_current_span(_caller(environ)).get_span_context() == get_current_span(named).get_span_context()


def test_headers_for_a_called_service() -> None:
    with use_span(span()):
        assert outgoing() == {"traceparent": f"00-{IDS['trace_id']}-{IDS['span_id']}-01"}
    with use_span(span(flags=TraceFlags.DEFAULT)):
        assert outgoing()["traceparent"].endswith("-00"), "the called service decides for itself"
    for other in (span(trace=0), span(own=0), INVALID_SPAN):
        with use_span(other):
            assert outgoing() == {}
    assert outgoing() == {}


@pytest.mark.parametrize(
    ("metric", "record"),
    [
        ("http_request_duration_seconds", lambda: metrics.http_request("GET", "/traced", 200, 0.02)),
        ("http_request_duration_seconds", lambda: metrics.http_recorder("PUT", "/traced", 200)(0.02, exemplar())),
        ("bff_oauth_flow_duration_seconds", lambda: metrics.oauth_flow("logout", 0.02)),
        ("bff_authz_latency_seconds", lambda: metrics.authz_recorder("orders", "read", "allow")(0.02, exemplar())),
    ],
)
def test_recorded_with_the_observation(metric: str, record: Callable[[], None]) -> None:
    record()
    assert TRACE not in traces_of(metric)
    with use_span(span(trace=TRACE - 1, flags=TraceFlags.DEFAULT)):
        record()
    with use_span(span()):
        record()
    assert {TRACE - 1, TRACE} & traces_of(metric) == {TRACE}
    with use_span(span(trace=2)):
        record()


def traces_of(metric: str) -> set[int]:
    return {
        int(sample.exemplar.labels["trace_id"], 16)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == f"{metric}_bucket" and sample.exemplar
    }
