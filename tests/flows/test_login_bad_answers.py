"""The token endpoint's answer, as it must not be."""

from typing import Any

import pytest
import requests
from werkzeug.wrappers import Response

from tests.flows.assertions import ECHO, Witness
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, login
from tests.flows.provider import REMOVED, Answer, html, raising, reply


def huge() -> Response:
    return Response(b"{" + b" " * 2_000_000, content_type="application/json")


def redirecting() -> Response:
    return Response(status=307, headers={"Location": "https://evil.example/token"})


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (html(200), "error"),
        (html(400), "error"),
        (redirecting, "error"),
        (huge, "error"),
        (lambda: reply([]), "error"),
        (lambda: reply({}), "error"),
        (lambda: reply({"error": ["invalid_grant"]}, 400), "error"),
        (lambda: reply({"error": "invalid_grant"}, 200), "error"),
        (lambda: Response(b"\xff\xfe", content_type="application/json"), "error"),
        (lambda: Response(b"[" * 100_000, content_type="application/json"), "error"),
    ],
)
def test_the_token_endpoint_on_a_bad_day(
    bff: Site, browser: Browser, witness: Witness, counters: Counters, answer: Answer, status: str
) -> None:
    """It is the provider's fault: another attempt may succeed."""
    bff.idp.break_endpoint("token", answer)
    told = login(browser)
    witness.refused(told, "token_endpoint", status=503)
    assert told.headers["Retry-After"] == "5"
    assert counters.gained("bff_token_exchange_total") == {f"authorization_code {status}": 1}
    assert bff.idp.count("token") == 1, "a code is never sent twice"


@pytest.mark.parametrize(("error", "status"), [("invalid_grant", "invalid_grant"), (ECHO, "error")])
def test_a_refused_grant(
    bff: Site, browser: Browser, witness: Witness, counters: Counters, error: str, status: str
) -> None:
    """The provider's word about this very code: it is asked for no more of it."""
    bff.idp.break_endpoint("token", lambda: reply({"error": error, "error_description": ECHO}, 400))
    witness.refused(login(browser), "token_endpoint")
    assert counters.gained("bff_token_exchange_total") == {f"authorization_code {status}": 1}
    assert bff.idp.count("token") == 1, "a code is never sent twice"


@pytest.mark.parametrize(
    "answer",
    [
        html(500),
        html(503),
        html(429),
        lambda: reply({"error": "temporarily_unavailable"}, 503),
        raising(requests.ReadTimeout()),
        raising(requests.ConnectTimeout()),
        raising(requests.ConnectionError()),
        raising(requests.exceptions.ChunkedEncodingError()),
    ],
)
def test_a_token_endpoint_that_does_not_answer(
    bff: Site, browser: Browser, witness: Witness, counters: Counters, answer: Answer
) -> None:
    """It is the provider's outage, not the person's mistake: they are told to try again."""
    bff.idp.break_endpoint("token", answer)
    told = login(browser)
    witness.refused(told, "reach the identity provider right now", status=503, counted="token_endpoint")
    assert told.headers["Retry-After"] == "5"
    assert "/auth/login" in told.text
    assert counters.gained("bff_token_exchange_total") == {"authorization_code error": 1}
    assert bff.idp.count("token") == 1, "a code is never sent twice"


@pytest.mark.parametrize(
    ("content", "logged"),
    [
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": ECHO}, "unregistered"),
        ({"error": [ECHO]}, "unregistered"),
        ({}, "none"),
    ],
)
def test_the_log_says_what_was_wrong(
    bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture, content: dict[str, Any], logged: str
) -> None:
    bff.idp.break_endpoint("token", lambda: reply(content, 400))
    login(browser)
    (record,) = [record for record in caplog.records if record.message == "grant_refused"]
    assert vars(record)["error"] == logged


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": REMOVED},
        {"id_token": REMOVED},
        {"token_type": REMOVED},
        {"token_type": "mac"},
        {"token_type": 5},
        {"access_token": 7},
        {"access_token": ""},
        {"access_token": "h\u00e4sslich"},
        {"access_token": "\ud800"},
        {"access_token": "split\r\nheader"},
        {"id_token": {"a": 1}},
    ],
)
def test_a_token_response_without_what_it_must_have(
    bff: Site, browser: Browser, witness: Witness, change: dict[str, Any]
) -> None:
    bff.idp.token_response = change
    bff.idp.claims = {"name": REMOVED, "at_hash": REMOVED}
    witness.refused(login(browser), "token_endpoint", status=503)


@pytest.mark.parametrize(
    "change",
    [{"expires_in": life} for life in (REMOVED, "600", -1, 0, 1e300, True, None, [], 10**400)]
    + [{"refresh_token": REMOVED}, {"refresh_token": 5}, {"refresh_token": None}, {"scope": 7}, {"scope": REMOVED}]
    + [{"token_type": "bearer"}, {"token_type": "BEARER"}, {"surplus": {"deep": [1]}}],
)
def test_a_token_response_that_is_odd_but_usable(bff: Site, browser: Browser, change: dict[str, Any]) -> None:
    bff.idp.token_response = change
    assert login(browser).status_code == 302
    assert browser.verify().status_code == 200
