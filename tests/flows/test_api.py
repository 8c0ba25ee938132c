"""The API proxy: which requests reach a service, as what, and what comes back."""

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from bff.http import ResponseTruncated
from tests.flows.api import ROUTES, ApiSites, call, refusal
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, SESSION, Site, SiteFactory


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    return ApiSites(new_site, tmp_path)


@pytest.fixture
def bff(api: ApiSites) -> Site:
    return api()


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


# On the way to a service.


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/api/orders", "/v1/orders"),
        ("GET", "/api/orders?a=1&b=%2f&a=%7e", "/v1/orders?a=1&b=%2f&a=%7e"),
        ("PUT", "/api/orders/7", "/v1/orders/7"),
        ("DELETE", "/api/orders/a%2Cb", "/v1/orders/a%2Cb"),
        ("GET", "/api/reports/2026/11", "/reports/daily/2026/11"),
        ("GET", "/api/whole/a/b", "/v1/api/whole/a/b"),
    ],
)
def test_where_it_goes(alice: Browser, api: ApiSites, method: str, path: str, target: str) -> None:
    assert call(alice, method, path).status_code == 200
    assert (api.orders.last["method"], api.orders.last["target"]) == (method, target)


@pytest.mark.parametrize("raw", ["/api/%6frders/caf%c3%a9~%7E?q=%e4{|}", "/api/orders/7?"])
def test_the_target_goes_on_byte_for_byte(alice: Browser, api: ApiSites, bff: Site, raw: str) -> None:
    """Also where a client library would write it otherwise."""
    headers = {"Cookie": alice.cookie_header(BFF), "User-Agent": alice.agent}
    answer = Client(bff.app, use_cookies=False).get(
        "/api/orders/x", base_url=BFF, headers=headers, environ_overrides={"RAW_URI": raw, "REMOTE_ADDR": alice.address}
    )
    assert answer.status_code == 200
    assert api.orders.last["target"] == "/v1" + raw.removeprefix("/api")


def test_what_a_service_is_told(alice: Browser, api: ApiSites) -> None:
    answer = call(
        alice,
        "PUT",
        "/api/orders/7",
        json={"a": 1},
        headers={
            "X-Correlation-ID": "c" * 20, "X-Tenant": "t1", "If-Match": '"1"', "X-User-ID": "mallory",
            "X-HTTP-Method-Override": "DELETE", "Authorization": "Bearer mallory", "X-Forwarded-For": "198.51.100.1",
        },
    )  # fmt: skip
    assert answer.status_code == 200
    told = api.orders.last["headers"]
    told.pop("Authorization")
    assert told == {
        "Host": "orders.example",
        "User-Agent": alice.agent,
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": "8",
        "If-Match": '"1"',
        "X-Tenant": "t1",
        "X-Correlation-Id": "c" * 20,
        "X-Original-User": "auth:account:default:alice",
        "X-Forwarded-For": alice.address,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example",
        "Forwarded": f"for={alice.address};host=app.example;proto=https",
    }
    assert api.orders.last["body"] == '{"a":1}' or api.orders.last["body"] == '{"a": 1}'


def test_each_service_gets_its_own_token(alice: Browser, api: ApiSites, bff: Site) -> None:
    call(alice, "GET", "/api/orders")
    own = api.orders.token
    call(alice, "GET", "/api/invoices/1")
    exchanged = api.billing.token
    call(alice, "GET", "/api/reports/x")
    service = api.orders.token
    call(alice, "GET", "/api/public")
    assert None not in (own, exchanged, service)
    assert len({own, exchanged, service}) == 3
    assert all(str(token).startswith("Bearer ") for token in (own, exchanged, service))
    assert api.orders.token is None


def test_a_trace_goes_on(alice: Browser, api: ApiSites) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    call(alice, "GET", "/api/orders", headers={"traceparent": trace})
    assert api.orders.last["headers"]["Traceparent"] == trace


# Who may.


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/nothing", (404, "not_found")),
        ("GET", "/api/orders/7/lines", (404, "not_found")),
        ("GET", "/api/", (404, "not_found")),
        ("PUT", "/api/orders", (405, "method_not_allowed")),
        ("GET", "/api/orders/a%2fb", (400, "bad_path")),
        ("GET", "/api/orders/%2e%2e", (400, "bad_path")),
        ("GET", "/api//orders", (400, "bad_path")),
        ("GET", "/api/orders", (401, "unauthenticated")),
        ("POST", "/api/orders", (401, "unauthenticated")),
        ("GET", "/api/machines", (401, "token_required")),
    ],
)
def test_who_may_not(bff: Site, api: ApiSites, method: str, path: str, expected: tuple[int, str]) -> None:
    headers = {"Accept": "*/*"}
    answer = Client(bff.app, use_cookies=False).open(
        "/api/x", method=method, base_url=BFF, headers=headers, environ_overrides={"RAW_URI": path}
    )
    assert refusal(answer) == expected
    assert api.orders.seen == []
    if expected[0] == 405:
        assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_a_change_needs_proof_that_it_comes_from_here(alice: Browser, api: ApiSites, counters: Counters) -> None:
    assert refusal(alice.fetch("/api/orders", method="POST", json={})) == (403, "missing_cookie")
    assert call(alice, "POST", "/api/orders", json={}).status_code == 200
    assert len(api.orders.seen) == 1
    assert counters.gained("bff_csrf_violations_total") == {"missing_cookie": 1}


def test_an_open_route_needs_nothing_and_tells_nothing(bff: Site, api: ApiSites) -> None:
    stranger = bff.browser()
    assert stranger.fetch("/api/public", method="POST", json={}).status_code == 200
    assert "X-Original-User" not in api.orders.last["headers"]


def test_a_scope_that_the_token_lacks(alice: Browser, api: ApiSites) -> None:
    assert refusal(alice.fetch("/api/scoped")) == (403, "insufficient_scope")
    assert api.orders.seen == []


def test_a_limit_holds_for_each_session(bff: Site, api: ApiSites, counters: Counters) -> None:
    alice, again = bff.logged_in(), bff.logged_in()
    assert [alice.fetch("/api/limited").status_code for _ in range(3)] == [200, 200, 429]
    assert again.fetch("/api/limited").status_code == 200
    assert alice.fetch("/api/orders").status_code == 200
    assert counters.gained("bff_rate_limit_hits_total") == {"route:limited": 1}


# The body.


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1024, 200), (1025, 413)])
def test_a_body_has_a_limit(alice: Browser, api: ApiSites, size: int, status: int) -> None:
    answer = call(alice, "POST", "/api/orders", headers={"Content-Type": "text/plain"}, json=None, data=b"x" * size)
    assert answer.status_code == status
    assert len(api.orders.seen) == (status == 200)


# On the way back.


def test_what_comes_back(alice: Browser, api: ApiSites) -> None:
    api.orders.then(
        201,
        "made",
        {
            "ETag": '"1"', "Location": "/v1/orders/9", "Set-Cookie": f"{SESSION}=stolen", "X-Correlation-ID": "theirs",
            "Strict-Transport-Security": "max-age=0", "Access-Control-Allow-Origin": "*", "Content-Type": "text/plain",
        },
    )  # fmt: skip
    answer = call(alice, "PUT", "/api/orders/7", headers={"X-Correlation-ID": "d" * 20})
    assert (answer.status_code, answer.text) == (201, "made")
    headers = dict(answer.headers)
    assert headers == {
        "ETag": '"1"',
        "Location": "/v1/orders/9",
        "Content-Type": "text/plain",
        "Content-Length": "4",
        "Cache-Control": "private, no-cache",
        "Vary": "Cookie",
        "X-Content-Type-Options": "nosniff",
        "X-Correlation-ID": "d" * 20,
    }
    assert api.orders.closed == 1


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 404, 418, 500, 502, 503])
def test_an_answer_is_the_services_own(alice: Browser, api: ApiSites, counters: Counters, status: int) -> None:
    api.orders.then(status, "" if status in (204, 304) else "its own words")
    answer = alice.fetch("/api/orders/7")
    assert answer.status_code == status
    assert answer.text == ("" if status in (204, 304) else "its own words")
    assert counters.gained("bff_upstream_requests_total") == {f"orders {status}": 1}
    assert counters.gained("http_requests_total")[f"GET orders-item {status}"] == 1
    assert api.orders.closed == 1


@pytest.mark.parametrize(
    ("said", "passed", "varies"),
    [
        ({"Cache-Control": "max-age=60"}, "private, max-age=60", "Cookie"),
        ({"Cache-Control": "s-maxage=60", "Vary": "Accept"}, "private", "Accept, Cookie"),
        ({"Expires": "Thu, 01 Dec 2094 16:00:00 GMT"}, "private, no-cache", "Cookie"),
        ({"Surrogate-Control": "max-age=60", "CDN-Cache-Control": "max-age=60"}, "private, no-cache", "Cookie"),
        ({"Cache-Control": "public, max-age=60"}, "public, max-age=60", None),
    ],
)
@pytest.mark.parametrize("status", [200, 304, 404])
def test_what_a_session_opened_is_kept_from_others(
    alice: Browser, api: ApiSites, status: int, said: dict[str, str], passed: str, varies: str | None
) -> None:
    api.orders.then(status, "", said)
    headers = alice.fetch("/api/orders").headers
    assert (headers["Cache-Control"], headers.get("Vary")) == (passed, varies)
    assert not {"Expires", "Surrogate-Control", "CDN-Cache-Control"} & set(headers.keys())


def test_an_open_route_is_cached_as_its_service_says(bff: Site, api: ApiSites) -> None:
    stranger = bff.browser()
    assert "Cache-Control" not in stranger.fetch("/api/public").headers
    api.orders.then(200, "", {"Cache-Control": "s-maxage=60", "Vary": "Accept"})
    headers = stranger.fetch("/api/public").headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("s-maxage=60", "Accept")


@pytest.mark.parametrize("path", ["/api/orders", "/api/public"])
def test_a_service_commands_nobody_but_its_page(alice: Browser, api: ApiSites, path: str) -> None:
    commands = {
        "X-Accel-Redirect": "/bff-verify", "X-Envoy-Ratelimited": "true", "NEL": "{}", "Report-To": "{}",
        "Authorization": "Bearer x", "X-User-ID": "mallory", "Refresh": "0", "SourceMap": "/x",
        "Access-Control-Allow-Origin": "*", "X-Other": "1",
    }  # fmt: skip
    api.orders.then(200, "", {**commands, "X-Total-Count": "7", "Connection": "close, ETag", "ETag": '"1"'})
    headers = alice.fetch(path).headers
    assert not {name.lower() for name in (*commands, "ETag", "Connection")} & {name.lower() for name, _ in headers}
    assert headers.get("X-Total-Count") == ("7" if path == "/api/orders" else None)


@pytest.mark.parametrize("length", ["-2", "+5", "0x5", "abc", "1, 2", ""])
def test_an_answer_of_no_length_is_none(alice: Browser, api: ApiSites, length: str) -> None:
    def broken(_: Any) -> Response:
        response = Response("hello")
        response.automatically_set_content_length = False
        response.headers["Content-Length"] = length
        return response

    api.orders.answers.append(broken)
    assert refusal(alice.fetch("/api/orders")) == (502, "upstream_unreachable")
    assert api.orders.closed == 1


def test_a_205_has_no_body(alice: Browser, api: ApiSites) -> None:
    api.orders.then(205, "a body")
    answer = alice.fetch("/api/orders")
    assert (answer.status_code, answer.headers["Content-Length"], answer.data) == (205, "0", b"")


def test_head_has_the_headers_only(alice: Browser, api: ApiSites) -> None:
    api.orders.then(200, "seven bytes"[:7])
    answer = alice.fetch("/api/orders", method="HEAD")
    assert (answer.headers["Content-Length"], answer.data) == ("7", b"")
    assert (api.orders.last["method"], api.orders.closed) == ("HEAD", 1)


def test_an_answer_that_breaks_off_breaks_off(alice: Browser, api: ApiSites) -> None:
    def broken() -> Any:
        yield b"half"
        raise ResponseTruncated("connection")

    api.orders.then(200, broken())
    with pytest.raises(ResponseTruncated):
        alice.fetch("/api/orders")
    assert api.orders.closed == 1


def test_unmatched_addresses_make_no_label(bff: Site, counters: Counters) -> None:
    for each in range(5):
        bff.browser().fetch(f"/api/nothing/{each}")
    assert counters.gained("http_requests_total") == {"GET unmatched 404": 5}


def test_the_sample_is_what_the_tests_think(bff: Site) -> None:
    assert bff.services.settings.problems == ()
    assert {route.id for route in bff.services.settings.routes} >= {"orders-list", "whole"}
    assert "orders-list" in ROUTES
