"""Reports of browsers: read strictly, judged whole, reduced to names and numbers; nothing of them is quoted."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.beacon.reports import LONGEST, BeaconEvent, read
from bff.errors import ReportRefused, ReportUnreadable

VITAL = {"event": "web_vital", "name": "LCP", "value": 2.5}


def refusal(body: bytes | Any) -> ReportRefused:
    """What a report is refused with; anything but bytes is sent as JSON."""
    with pytest.raises(ReportRefused) as refused:
        read(body if isinstance(body, bytes) else json.dumps(body).encode())
    return refused.value


def accepted(report: Any) -> list[BeaconEvent]:
    return read(json.dumps(report).encode())


@pytest.mark.parametrize(
    ("report", "events"),
    [
        ({"event": "page_view"}, [BeaconEvent("page_view")]),
        (
            [{"event": "page_view"}, {"event": "anything else"}],
            [BeaconEvent("page_view"), BeaconEvent("anything else")],
        ),
        (VITAL, [BeaconEvent("web_vital", "LCP", 2.5)]),
        ({"event": "web_vital", "name": "CLS", "value": 0}, [BeaconEvent("web_vital", "CLS", 0.0)]),
        ([{"event": "x"}] * 50, [BeaconEvent("x")] * 50),
    ],
)
def test_events(report: Any, events: list[BeaconEvent]) -> None:
    assert accepted(report) == events


@pytest.mark.parametrize(
    "report",
    [
        {"event": "page_view", "path": "/orders/123e4567-e89b-12d3-a456-426614174000?tab=items#top"},
        {"event": "page_view", "path": "/", "attributes": {"referrer": "https://www.example.org/", "locale": "de-AT"}},
        {"event": "route_change", "attributes": {"from": "/a", "to": "/b/42", "duration_ms": 132.4, "cached": True}},
        {"event": "spa_error", "attributes": {
            "message": "TypeError: Cannot read properties of undefined (reading 'map')",
            "source": "https://app.example/assets/index-Bk3dJ2f9.js", "line": 12, "column": 34567,
            "release": "8ced2f59f5c7bea3344e35d2d53e1f8f8eb9fcd8", "version": "2.14.0-rc.1+build.5",
        }},
        {"event": "api_error", "attributes": {
            "method": "POST", "status": 503, "endpoint": "/api/orders", "correlation_id":
            "4bf92f3577b34da6a3ce929d0e0e4736", "retry": None, "started_at": 1712345678901,
        }},
        {"event": "experiment", "attributes": {"experiment": "checkout_button_2024", "variant": "B", "weight": 0.5}},
        {"event": "device", "attributes": {"viewport": "1920x1080", "mobile": False, "connection": "4g", "memory": 8,
            "browser": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}},
        {"event": "search", "attributes": {"results": 12, "took": "0.12 s", "query_length": 8}},
        {"event": "größe geändert", "path": "/münchen", "attributes": {"wert": "Größe 42"}},
        {"event": "", "attributes": {}} | {"event": "x" * 64},
        VITAL | {"path": "/", "attributes": {"rating": "good", "element": "main > img.hero"}},
    ],
)  # fmt: skip
def test_what_applications_report(report: Any) -> None:
    assert len(accepted(report)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"page_view", b"{", b"[1,]", b"{'event': 'x'}", b'{"event": "x"} {}', b'{"event": "x",}',
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"event": "x"}', b'{"event": "\xe9"}', b'{"event": "x", "event": "y"}',
        b'{"event": "x", "attributes": {"a": 1, "a": 1}}', b'{"event": "x", "attributes": {"a": 1, "\\u0061": 2}}',
        b'{"event": "web_vital", "name": "LCP", "value": NaN}', b'[{"event": "x", "value": -Infinity}]', b"Infinity",
        b'{"event": "web_vital", "name": "LCP", "value": 1e999}', b"1" * 5000, b'{"event": "\n"}', b'{"event": "x}',
        '{"event": "x"}'.encode("utf-16"), b"[" * 5000, b'{"a":' * 5000, b"[" * 1000 + b"]" * 1000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000, b"[" * 18 + b"]" * 18,
    ],
)  # fmt: skip
def test_what_is_not_strict_json(body: bytes) -> None:
    error = refusal(body)
    assert (type(error), error.status, error.code) == (ReportUnreadable, 400, "bad_json")


@pytest.mark.parametrize(
    ("report", "where"),
    [
        ([], "from 1 to 50"),
        ([{"event": "x"}] * 51, "from 1 to 50"),
        (None, "The report:"),
        ("page_view", "The report:"),
        ([["page_view"]], "[0]:"),
        ({}, "event:"),
        ({"event": ""}, "event:"),
        ({"event": "x" * 65}, "event:"),
        ({"event": None}, "event:"),
        ({"event": 7}, "event:"),
        ({"event": "x", "extra": 1}, "extra:"),
        ({"event": "x", "extra 1": 1}, "*:"),
        ([{"event": "x"}, {"event": "x", "events": []}], "[1].events:"),
        ({"event": "web_vital"}, "name:"),
        ({"event": "web_vital", "name": "LCP"}, "value:"),
        ({"event": "page_view", "value": 1}, "value:"),
        ({"event": "page_view", "name": "LCP"}, "name:"),
        (VITAL | {"name": "FID"}, "name:"),
        (VITAL | {"value": "2.5"}, "value:"),
        (VITAL | {"value": True}, "value:"),
        (VITAL | {"value": None}, "value:"),
        (VITAL | {"value": -0.1}, "value:"),
        (VITAL | {"value": 2500}, "value:"),
        (VITAL | {"value": 10**400}, "value:"),
        ({"event": "x", "path": 7}, "path:"),
        ({"event": "x", "path": "/" * 1025}, "path:"),
        ({"event": "x", "attributes": []}, "attributes:"),
        ({"event": "x", "attributes": {"a": {}}}, "attributes.a"),
        ({"event": "x", "attributes": {"a": ["b"]}}, "attributes.a"),
        ({"event": "x", "attributes": {"a": "- " * 600}}, "attributes.a"),
        ({"event": "x", "attributes": {"": 1}}, "attributes.*"),
        ({"event": "x", "attributes": {"n" * 65: 1}}, "attributes.*"),
        ({"event": "x", "attributes": {f"a{n}": n for n in range(21)}}, "attributes:"),
    ],
)
def test_what_the_schema_refuses(report: Any, where: str) -> None:
    error = refusal(report)
    assert (error.status, error.code) == (422, "schema")
    assert where in error.detail


@pytest.mark.parametrize(
    ("report", "code", "where"),
    [
        ({"event": "alice@example.com"}, "personal_data", "event looks"),
        ({"event": "x", "password": "hunter2"}, "secret", "password looks"),
        ([{"event": "x"}, {"event": "x", "attributes": {"eMail": 1}}], "personal_data", "[1].attributes.eMail looks"),
        ({"event": "x", "attributes": {"deep": [{"session-id": 0}]}}, "secret", "attributes.deep[0].session-id looks"),
        ({"event": "x", "attributes": {"card": 4111111111111111}}, "personal_data", "attributes.card looks"),
        ({"event": "x", "attributes": {"alice@example.com": 1}}, "personal_data", "attributes.* looks"),
        ({"event": "x", "attributes": {"password hunter2": 1}}, "secret", "attributes.* looks"),
        ({"event": "x", "path": "/reset?token=hunter2"}, "secret", "path looks"),
        ("+49 170 1234567", "personal_data", "The report looks"),
    ],
)  # fmt: skip
def test_secrets_and_personal_data_are_refused_by_path(report: Any, code: str, where: str) -> None:
    error = refusal(report)
    assert (error.status, error.code) == (422, code)
    assert error.detail.startswith(where)
    for value in ("hunter2", "alice", "4111", "1234567"):
        assert value not in error.detail


plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30)
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)
event = st.fixed_dictionaries(
    {"event": st.text(min_size=1, max_size=12)},
    optional={"path": anything, "attributes": anything, "name": anything, "value": anything, "more": anything},
)


@given(anything | event | st.lists(event, max_size=3))
def test_any_json_has_an_answer(report: Any) -> None:
    try:
        events = len(accepted(report))
    except ReportRefused as refused:
        events = refused.status
    assert 1 <= events <= 50 or events in (400, 422)


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    assert refusal(body).status in (400, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * LONGEST,
        b'{"a":' * (LONGEST // 5),
        b"[" + b"1," * (LONGEST // 2 - 2) + b"1]",
        json.dumps(
            [{"event": "x", "attributes": {str(n): "%25" * 5 for n in range(6)}, "y": 1} for _ in range(50)]
        ).encode(),
        json.dumps({f"{n}@": "4 " * 8 for n in range(500)}).encode(),
        b'"' + b"%25" * (LONGEST // 3 - 1) + b'"',
    ],
)
def test_time_is_bounded(body: bytes) -> None:
    assert len(body) <= LONGEST
    start = time.process_time()
    refusal(body)
    assert time.process_time() - start < 2
