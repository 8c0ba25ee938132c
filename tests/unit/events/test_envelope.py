"""CloudEvents 1.0, whatever the values are."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.events.envelope import CloudEvent, enveloped, from_bytes, parsed, timestamp
from bff.events.model import EVENTS, LONGEST, MARK, EventType, Topic
from tests.unit.events.support import LOGIN, SOURCE, valid
from tests.unit.support import counted

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def made(
    event_type: EventType, data: dict[str, Any], correlation_id: str = "c-1", trace: str | None = None
) -> CloudEvent:
    return enveloped(
        event_type, data, source=SOURCE, now=1_800_000_000.1239, correlation_id=correlation_id, traceparent=trace
    )


def faults(fault: str) -> float:
    return counted("bff_event_faults_total", fault=fault)


def test_says_what_happened_where_when_and_why() -> None:
    event = made(EventType.LOGIN_SUCCEEDED, LOGIN, trace=TRACE)
    content = dict(valid(event.content))
    assert len(str(content.pop("id"))) == 32
    assert content == {
        "specversion": "1.0",
        "source": "https://app.example",
        "type": "auth.login.succeeded",
        "time": "2027-01-15T08:00:00.123Z",
        "datacontenttype": "application/json",
        "subject": "s1",
        "correlationid": "c-1",
        "traceparent": TRACE,
        "data": {"session": "s1", "idp": "default"},
    }
    assert (event.topic, event.key) == (Topic.AUTH, "s1")
    assert repr(event) == "Event(auth.login.succeeded)", "and no data"


def test_no_two_have_one_id() -> None:
    assert len({made(EventType.LOGOUT, LOGIN).content["id"] for _ in range(1000)}) == 1000


def test_what_there_is_not_is_not_said() -> None:
    content = made(EventType.RETURN_URL_REFUSED, {}, correlation_id="").content
    assert not {"subject", "correlationid", "traceparent"} & content.keys()
    valid(content)


def test_the_key_is_the_session_else_the_user() -> None:
    assert made(EventType.SESSION_ENDED, {"session": "s1", "user": "u1", "idp": "i", "reason": "r"}).key == "s1"
    assert made(EventType.AUTHZ_DECISION, {"user": "u1"}).key == "u1"
    assert made(EventType.LOGIN_FAILED, {"reason": "nonce"}).key == ""


@pytest.mark.parametrize("event_type", EventType)
def test_an_event_that_says_nothing_is_delivered_marked(event_type: EventType) -> None:
    before = faults("missing")
    content = valid(made(event_type, {}).content)
    required = {name for name, field in EVENTS[event_type].fields.items() if field.required}
    assert content["data"] == dict.fromkeys(required, MARK)
    assert faults("missing") == before + len(required)


class Hostile:
    def __repr__(self) -> str:
        raise AssertionError("nobody asked")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("field", "value", "said", "fault"),
    [
        ("route", "r" * LONGEST, "r" * LONGEST, ""),
        ("route", "r" * (LONGEST + 1), "r" * LONGEST, "too_long"),
        ("route", "ключ 鍵 🔑 \x00\u2028", "ключ 鍵 🔑 \x00\u2028", ""),
        ("route", "lone \ud800", MARK, "unserialisable"),
        ("route", "é" * LONGEST + "\ud800", "é" * LONGEST, "too_long"),
        ("route", b"bytes", MARK, "unserialisable"),
        ("route", None, MARK, "unserialisable"),
        ("route", 7, MARK, "unserialisable"),
        ("route", Hostile(), MARK, "unserialisable"),
        ("route", {"an": "object"}, MARK, "unserialisable"),
        ("latency", 0.25, 0.25, ""),
        ("latency", 3, 3, ""),
        ("latency", math.nan, MARK, "unserialisable"),
        ("latency", -math.inf, MARK, "unserialisable"),
        ("latency", 10**400, MARK, "unserialisable"),
        ("latency", True, MARK, "unserialisable"),
        ("latency", Decimal("0.5"), MARK, "unserialisable"),
        ("latency", "0.5", MARK, "unserialisable"),
        ("passed", False, False, ""),
        ("passed", 0, MARK, "unserialisable"),
    ],
)
def test_a_value_that_cannot_be_said_is_marked(field: str, value: object, said: object, fault: str) -> None:
    data = dict.fromkeys(EVENTS[EventType.AUTHZ_DECISION].fields, "x") | {"latency": 1, "passed": True}
    before = faults(fault)
    content = valid(made(EventType.AUTHZ_DECISION, {**data, field: value}).content)
    assert content["data"] == {**data, field: said}
    assert not fault or faults(fault) == before + 1


def test_lists_are_proved_word_by_word() -> None:
    roles = ("clerk", 7, "\ud800", *["r"] * LONGEST)
    content = valid(made(EventType.CLAIMS_CHANGED, {"session": "s", "user": "u", "roles": roles}).content)
    assert content["data"]["roles"][:4] == ["clerk", MARK, MARK, "r"]
    assert len(content["data"]["roles"]) == LONGEST


def test_what_is_not_declared_does_not_leave() -> None:
    before = faults("undeclared")
    content = valid(made(EventType.LOGOUT, {"session": "s1", "email": "a@example.com", "token": "t"}).content)
    assert content["data"] == {"session": "s1"}
    assert faults("undeclared") == before + 2


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=5,
)


@given(event_type=st.sampled_from(EventType), values=st.lists(ANYTHING, min_size=10, max_size=10), trace=st.booleans())
def test_whatever_the_values_are_it_is_an_event(event_type: EventType, values: list[Any], trace: bool) -> None:
    data = dict(zip(EVENTS[event_type].fields, values, strict=False))
    event = made(event_type, data, trace=TRACE if trace else None)
    read = json.loads(event.body)
    valid(read)
    assert from_bytes(event.to_bytes()) == event
    assert read == event.content


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"[1,2,3]", b'["audit","k"]', b'["nowhere","k",{}]', b"\xff"])
def test_bytes_that_are_no_event(raw: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_bytes(raw)


@given(st.floats(0, 4e9))
def test_times_are_in_utc_and_can_be_read(now: float) -> None:
    assert timestamp(now).endswith("Z")
    assert abs(parsed(timestamp(now)) - now) < 0.0011
