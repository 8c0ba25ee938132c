"""Errors as problem details or as a small page, and what every answer carries."""

import json
import logging

import pytest
from werkzeug.test import TestResponse

from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, login

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


def problem(answer: TestResponse) -> dict[str, object]:
    assert answer.content_type == "application/problem+json"
    content: dict[str, object] = json.loads(answer.data)
    assert content["status"] == answer.status_code
    assert content["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert content["type"] == f"urn:problem-type:bff:{content['code']}"
    return content


@pytest.mark.parametrize("path", ["/nothing", "/auth/nothing", "/auth/verify/x", "/%2e%2e/etc/passwd", "/auth/login/"])
def test_unknown_addresses(browser: Browser, counters: Counters, path: str) -> None:
    answer = browser.fetch(path)
    assert answer.status_code == 404
    assert problem(answer)["code"] == "not_found"
    assert "passwd" not in answer.text
    assert counters.gained("http_requests_total") == {"GET unmatched 404": 1}


def test_a_million_addresses_are_one_series(browser: Browser, counters: Counters) -> None:
    for number in range(50):
        browser.send(f"VERB{number}", f"/unknown/{number}", {})
    assert counters.gained("http_requests_total") == {"other unmatched 404": 50}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/auth/login", "GET, HEAD, OPTIONS"),
        ("DELETE", "/auth/session", "GET, HEAD, OPTIONS"),
        ("PUT", "/auth/logout", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_unknown_methods(browser: Browser, method: str, path: str, allow: str) -> None:
    answer = browser.fetch(path, method=method)
    assert answer.status_code == 405
    assert ", ".join(sorted(answer.headers["Allow"].split(", "))) == allow
    assert problem(answer)["code"] == "method_not_allowed"


def test_without_a_session(browser: Browser) -> None:
    content = problem(browser.fetch("/auth/csrf"))
    assert content["code"] == "unauthenticated"
    assert content["login_url"] == f"{BFF}/auth/login"


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, True),
        ({"Sec-Fetch-Mode": "navigate", "Accept": "application/json"}, True),
        ({"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, True),
        ({"Accept": "application/xhtml+xml"}, True),
        ({"Accept": "TEXT/HTML;q=1"}, True),
        ({}, False),
        ({"Accept": "*/*"}, False),
        ({"Accept": "application/json, text/html"}, False),
        ({"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, False),
        ({"Sec-Fetch-Mode": "no-cors"}, False),
        ({"Sec-Fetch-Mode": ""}, False),
        ({"Accept": ",;,"}, False),
    ],
)
def test_who_gets_a_page(browser: Browser, headers: dict[str, str], page: bool) -> None:
    answer = browser.send("GET", "/auth/csrf", headers)
    assert answer.status_code == 401
    assert answer.content_type == ("text/html; charset=utf-8" if page else "application/problem+json")
    assert ("<h1>Login required</h1>" in answer.text) is page


def test_the_page_says_what_the_problem_says(browser: Browser) -> None:
    page = browser.navigate("/auth/login?return_to=https://evil.example")
    assert page.status_code == 400
    for text in ("The return address is not allowed", "400", "invalid_return_to", page.headers["X-Correlation-ID"]):
        assert text in page.text


@pytest.mark.parametrize("given", ["12345678", "a" * 39, "7c0e9d9e-1f6b-4a3c-9d7e-2b1f0a9c8d7e", "trace_1.span_2"])
def test_a_well_formed_correlation_id_comes_back(browser: Browser, given: str) -> None:
    for path in ("/health/live", "/auth/verify", "/nothing"):
        assert browser.fetch(path, headers={"X-Correlation-ID": given}).headers["X-Correlation-ID"] == given


@pytest.mark.parametrize("given", ["", "short", "a" * 40, "a" * 9000, "with blank 1", "<script>1</script>", "ä" * 10])
def test_any_other_is_replaced(browser: Browser, given: str) -> None:
    for path in ("/health/live", "/auth/verify", "/nothing"):
        answer = browser.fetch(path, headers={"X-Correlation-ID": given})
        assert len(answer.headers["X-Correlation-ID"]) == 32
        assert not given or given not in answer.text + str(answer.headers)


@pytest.mark.parametrize("path", ["/health/live", "/auth/session", "/auth/csrf", "/auth/callback", "/nothing"])
def test_headers_of_every_answer(browser: Browser, path: str) -> None:
    headers = browser.fetch(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers


@pytest.mark.parametrize("navigation", [True, False])
def test_a_fault_of_our_own_tells_nothing(
    bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture, navigation: bool
) -> None:
    login(browser)
    bff.store.crash = RuntimeError("a detail of the inside")
    answer = browser.fetch("/auth/csrf", headers=NAVIGATION if navigation else None)
    assert answer.status_code == 500
    assert "internal_error" in answer.text
    for word in ("Traceback", "RuntimeError", "a detail", "store", ".py"):
        assert word not in answer.text
    assert answer.headers.getlist("Set-Cookie") == []
    assert answer.headers["X-Correlation-ID"]
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.getMessage() == "unexpected_error"
    assert record.exc_info is not None


def test_a_fault_of_our_own_is_counted_as_the_request_it_was(bff: Site, browser: Browser, counters: Counters) -> None:
    login(browser)
    counters.start()
    bff.store.crash = RuntimeError()
    browser.fetch("/auth/session")
    assert counters.gained("http_requests_total") == {"GET /auth/session 500": 1}


def test_head_has_no_body(browser: Browser) -> None:
    answer = browser.send("HEAD", "/auth/csrf", {})
    assert answer.status_code == 401
    assert answer.data == b""
