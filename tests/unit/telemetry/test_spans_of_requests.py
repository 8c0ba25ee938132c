"""Spans by hand: whose child they are, what they say of failures, and that there are none where nobody traces."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, get_current_span

from bff.observability import traces
from tests.recorded_spans import recording

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{CALLER}-01"


def request(traceparent: str = SAMPLED, **more: str) -> dict[str, Any]:
    return {"HTTP_TRACEPARENT": traceparent, **more}


def test_a_requests_span_is_a_child_of_its_callers() -> None:
    environ = request(HTTP_TRACESTATE="vendor=x")
    with recording() as recorded:
        with traces.server(environ, "GET /auth/verify", {"http.route": "/auth/verify"}) as span:
            assert get_current_span() is span
            assert traces.outgoing()["tracestate"] == "vendor=x"
        assert get_current_span() is INVALID_SPAN
        (found,) = recorded.spans()
    assert found.parent
    assert (f"{found.parent.trace_id:032x}", f"{found.parent.span_id:016x}") == (TRACE, CALLER)
    assert (found.kind, found.attributes) == (SpanKind.SERVER, {"http.route": "/auth/verify"})
    assert environ[traces.TRACE] == {"trace_id": TRACE, "span_id": f"{found.get_span_context().span_id:016x}"}  # type: ignore[union-attr]


def test_of_an_unsampled_trace_nothing_is_kept_but_its_name() -> None:
    with recording() as recorded:
        with traces.server(request(SAMPLED[:-2] + "00"), "GET /auth/verify", {}):
            assert traces.exemplar() is None
            assert traces.outgoing()["traceparent"].startswith(f"00-{TRACE}-")
            assert traces.outgoing()["traceparent"].endswith("-00")
        assert recorded.spans() == []


def test_a_flood_is_cut_off_for_everybody_behind_us() -> None:
    with recording(rate=2) as recorded:
        flags = []
        for _ in range(5):
            with traces.server(request(), "GET /auth/verify", {}):
                with traces.span("decision", {}):
                    pass
                flags.append(traces.outgoing()["traceparent"][-2:])
        assert len(recorded.spans()) == 4
    assert [int(each, 16) & 1 for each in flags] == [1, 1, 0, 0, 0]


def test_a_part_of_a_trace() -> None:
    with recording() as recorded:
        with (
            traces.server(request(), "GET /api/orders", {}),
            traces.span("GET orders", {"bff.service": "orders"}, traces.CLIENT) as span,
        ):
            traces.answered(span, 200)
        inner, outer = recorded.spans()
    assert inner.parent
    assert outer.context
    assert inner.parent.span_id == outer.context.span_id
    assert inner.attributes == {"bff.service": "orders", "http.response.status_code": 200}
    assert inner.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("status", [400, 404, 503])
def test_a_call_that_was_refused_is_an_error(status: int) -> None:
    with recording() as recorded:
        with traces.span("GET orders", {}, begins=True) as span:
            traces.answered(span, status)
        (found,) = recorded.spans()
    assert found.attributes == {"http.response.status_code": status, "error.type": str(status)}
    assert found.status.status_code is StatusCode.ERROR


def test_a_failure_is_told_by_its_kind_alone() -> None:
    with recording() as recorded:
        with pytest.raises(RuntimeError), traces.span("refresh", {}, begins=True):
            raise RuntimeError("a secret")
        (found,) = recorded.spans()
    assert found.attributes == {"error.type": "RuntimeError"}
    assert (found.status.status_code, found.status.description, found.events) == (StatusCode.ERROR, None, ())


def test_outside_a_trace_there_is_no_part_of_one() -> None:
    with recording() as recorded:
        with traces.span("decision", {}) as span:
            assert span is INVALID_SPAN
            traces.answered(span, 500)
        assert recorded.spans() == []
        with traces.span("refresh", {}, begins=True):
            pass
        assert recorded.span("refresh").parent is None


def test_nobody_records() -> None:
    with traces.span("refresh", {}, begins=True) as span:
        assert not span.is_recording()
    environ = request()
    with traces.server(environ, "GET /auth/verify", {}):
        assert traces.current() == environ[traces.TRACE]


def test_a_route_names_its_request() -> None:
    with recording() as recorded:
        with traces.server(request(), "GET /api/<anything:_rest>", {}):
            traces.name_request("GET", "/api/people/{who}")
        found = recorded.span("GET /api/people/{who}")
    assert found.attributes == {"http.route": "/api/people/{who}"}
    traces.name_request("GET", "/nobody/traces")


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.text("0123456789abcdef-", max_size=80),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,20})?", fullmatch=True),
    st.just("00-" + "f" * 8000),
    st.just(SAMPLED + "," + SAMPLED),
    st.just("ff" + SAMPLED[2:]),
    st.just(f"00-{'0' * 32}-{CALLER}-01"),
)


@given(traceparent=HOSTILE, tracestate=st.one_of(st.text(max_size=600), st.just("a=b," * 2000)))
def test_headers_of_any_kind_do_no_harm(traceparent: str, tracestate: str) -> None:
    """What comes out is a valid trace with a state of at most 512 characters, whatever came in."""
    assert traces.is_sampled(traceparent) in (True, False)
    with recording(), traces.server(request(traceparent, HTTP_TRACESTATE=tracestate), "GET /auth/verify", {}):
        passed_on = traces.outgoing()
    assert len(passed_on["traceparent"]) == len(SAMPLED)
    assert len(passed_on.get("tracestate", "")) <= 512


@pytest.mark.parametrize("flags", range(0, 256, 5))
def test_the_flag_is_the_lowest_bit(flags: int) -> None:
    assert traces.is_sampled(f"{SAMPLED[:-2]}{flags:02x}") == bool(flags & 1)


@pytest.mark.parametrize("text", ["", "01", SAMPLED[:-1], SAMPLED[:-2]])
def test_what_is_too_short_says_nothing(text: str) -> None:
    assert not traces.is_sampled(text)
