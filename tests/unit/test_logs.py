"""JSON lines, correlated, without a credential in any of them."""

import datetime
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from bff.crypto import random_id
from bff.observability import logs
from bff.observability.logs import REDACTED, Formatter, correlation_id_for, redact

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
ID = "JWv6cS0PnHsAWg0WcWq0C9mUBGk6Fq6QVxXnBvqY3pA"  # what random_id() makes

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def outside_any_request() -> Iterator[None]:
    token = logs.correlation_id.set("")
    yield
    logs.correlation_id.reset(token)


@pytest.fixture
def log() -> tuple[logging.Logger, Lines]:
    """A logger that writes as the BFF does, and what it has written, one object a line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter())
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_event_level_time_and_fields(log: tuple[logging.Logger, Lines]) -> None:
    logger, lines = log
    logger.warning("session_ended", extra={"session": "abc", "reason": "logout"})
    (line,) = lines()
    assert datetime.datetime.fromisoformat(line.pop("time"))
    assert line.pop("pid") > 0
    assert line == {
        "level": "WARNING", "logger": "test", "event": "session_ended", "session": "abc", "reason": "logout",
    }  # fmt: skip


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        ID,
        f"Bearer {JWT}",
        "Bearer short-opaque",
        "bearer sh0rtopaque",
        "DPoP sh0rtopaque",
        "Basic YmZmOnNlY3JldA==",
        ID.encode().hex(),
        f"{ID}.{ID}",
    ],
)
@pytest.mark.parametrize("place", ["{}", "before {} after", "url=https://idp.example.com/?x={}&y=1", "['{}', 1]"])
def test_what_looks_like_a_credential_is_redacted_anywhere(
    log: tuple[logging.Logger, Lines], secret: str, place: str
) -> None:
    logger, lines = log
    text = place.format(secret)
    logger.info(text)
    logger.info("answer %s", text)
    logger.info("event", extra={"detail": text, "nested": {"deep": [text]}})
    for line in lines():
        written = json.dumps(line)
        assert secret.rsplit(maxsplit=1)[-1] not in written
        assert REDACTED in written


@pytest.mark.parametrize(
    "name",
    [
        "access_token", "refresh_token", "id_token", "token", "client_secret", "password", "cookie", "Set-Cookie",
        "Authorization", "code", "state", "nonce", "code_verifier", "client_assertion", "X-CSRF-Token",
    ],
)  # fmt: skip
def test_a_field_named_after_a_secret_is_redacted(log: tuple[logging.Logger, Lines], name: str) -> None:
    logger, lines = log
    logger.info("event", extra={"answer": {name: 'sh"ort\\', "other": "kept"}})
    logger.info(json.dumps({name: "short", "other": "kept"}))
    logger.info("%s", {name: "short", "other": "kept"})
    for line in lines():
        written = json.dumps(line)
        assert "ort" not in written
        assert REDACTED in written
        assert "kept" in written


def test_a_number_or_a_flag_is_no_secret(log: tuple[logging.Logger, Lines]) -> None:
    logger, lines = log
    logger.info("answered", extra={"code": 404, "token": None})
    assert (lines()[0]["code"], lines()[0]["token"]) == (404, None)


def test_tracebacks_are_redacted(log: tuple[logging.Logger, Lines]) -> None:
    logger, lines = log
    try:
        raise ValueError(f"cannot parse {JWT} from { ({'password': 'hunter2'})!r}")
    except ValueError:
        logger.exception("unexpected_error")
    (line,) = lines()
    assert "ValueError: cannot parse" in line["exc_info"]
    assert JWT not in line["exc_info"]
    assert "hunter2" not in line["exc_info"]


@pytest.mark.parametrize(
    "text",
    [
        "session_ended",
        "GET /auth/login 200",
        "bff.kv.redis_executor",
        "2026-01-01T00:00:00+00:00",
        "0123456789abcdef01234567",  # a session's reference
        "basic",
        "the bearer of this",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.text())
def test_no_id_survives_between_any_two_texts(before: str, after: str) -> None:
    secret = random_id()
    assert secret not in redact(f"{before} {secret} {after}")


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_a_redacted_line_is_still_json(fields: dict[str, object]) -> None:
    json.loads(redact(json.dumps(fields)))


@pytest.mark.parametrize("given_id", ["0123abcd", "a.b_c-d1", "x" * logs.MAX_CORRELATION_ID])
def test_a_well_formed_correlation_id_is_taken_over(given_id: str) -> None:
    assert correlation_id_for(given_id) == given_id
    assert redact(given_id) == given_id, "else the log could not be searched for it"


@pytest.mark.parametrize(
    "given_id", [None, "", "short", "x" * (logs.MAX_CORRELATION_ID + 1), "a b c d e f", "id\n12345678", "ä" * 10, ID]
)
def test_any_other_is_replaced_by_a_new_one(given_id: str | None) -> None:
    first, second = correlation_id_for(given_id), correlation_id_for(given_id)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert redact(first) == first


def test_lines_carry_the_correlation_id_of_their_request(log: tuple[logging.Logger, Lines]) -> None:
    logger, lines = log

    def request(value: str) -> None:
        logs.correlation_id.set(value)
        logger.info("inside")

    copy_context().run(request, "first-request")
    copy_context().run(request, "second-request")
    logger.info("outside")
    assert [line.get("correlation_id") for line in lines()] == ["first-request", "second-request", None]


def test_configure_sends_everything_to_standard_error_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    level = root.level
    try:
        logs.configure("warning")
        logging.getLogger("bff.somewhere").info("not_written")
        logging.getLogger("bff.somewhere").warning("written", extra={"token": "hidden"})
        logging.getLogger("urllib3.connectionpool").debug("https://idp.example.com/?code=hidden")
    finally:
        root.setLevel(level)
        logging.getLogger("urllib3").setLevel(logging.NOTSET)
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["token"]) == ("written", REDACTED)


def test_the_trace_at_hand_is_named() -> None:
    span = NonRecordingSpan(SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xB7AD6B7169203331, is_remote=True))
    record = logging.LogRecord("bff", logging.INFO, "", 0, "something_happened", (), None)
    with use_span(span):
        line = json.loads(Formatter().format(record))
    assert (line["trace_id"], line["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331")
    assert not {"trace_id", "span_id"} & json.loads(Formatter().format(record)).keys()
