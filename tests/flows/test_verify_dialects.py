"""One question in the words of each reverse proxy: the same answers, and nothing believed that it did not say."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import EnvironBuilder, TestResponse

from bff.server.access_log import JsonLogger
from tests.flows.browser import ON_VERIFY_BIND, VERIFY_BIND, Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, OTHER_APP, Site, SiteFactory

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
PROFILES = """
profiles:
  pages: {unauthenticated: redirect}
  legacy: {authz: pdp, resource: legacy}
"""
POLICY = """
permit(principal, action == Action::"GET", resource) when { resource has host && resource.host == "app.example" };
@reason("The archive is closed.") forbid(principal, action, resource == legacy::"/archive");
"""
Ask = Callable[..., TestResponse]


def nginx(browser: Browser, method: str, url: str, headers: dict[str, str], profile: str = "") -> TestResponse:
    original = {"X-Original-Method": method, "X-Original-URL": url, "X-Forwarded-For": browser.address}
    return browser.send("GET", f"/auth/verify/nginx{profile}", {**original, **headers}, peer="127.0.0.1")


def envoy(browser: Browser, method: str, url: str, headers: dict[str, str], profile: str = "") -> TestResponse:
    parts = urlsplit(url)
    path = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
    sent = {"X-Forwarded-Proto": parts.scheme, "Host": parts.netloc, "X-Forwarded-For": browser.address, **headers}
    return browser.send(method, f"{BFF}/auth/verify/envoy{profile}{path}", sent, peer="127.0.0.1")


def forwarded(browser: Browser, method: str, url: str, headers: dict[str, str], profile: str = "") -> TestResponse:
    parts = urlsplit(url)
    said = {"X-Forwarded-Host": parts.netloc, "X-Forwarded-Proto": parts.scheme}
    uri = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
    return browser.verify(uri, method=method, headers={**said, **headers}, profile=profile)


@pytest.fixture
def bff(new_site: SiteFactory, tmp_path: Path) -> Site:
    config = tmp_path / "config"
    (config / "policies").mkdir(parents=True)
    (config / "verify.yaml").write_text(PROFILES)
    (config / "policies" / "legacy.cedar").write_text(POLICY)
    return new_site(VERIFY_BIND=VERIFY_BIND)


dialects = pytest.mark.parametrize("ask", [forwarded, nginx, envoy])


@dialects
@pytest.mark.parametrize(
    ("url", "back"),
    [
        (f"{BFF}/orders?page=2&x=%2F", f"{BFF}/orders?page=2&x=%2F"),
        (f"{BFF}/", f"{BFF}/"),
        (f"{OTHER_APP}/x", f"{OTHER_APP}/x"),
        ("https://evil.example/x", None),
        (f"{BFF}//evil.example", None),
        (f"{BFF}/a/../b", None),
        (f"{BFF}/a%2fb", None),
        ("ftp://app.example/x", None),
    ],
)
def test_where_to_log_in_and_back_to(bff: Site, ask: Ask, url: str, back: str | None) -> None:
    problem = ask(bff.browser(), "GET", url, FETCH).get_json(force=True)
    login = urlsplit(problem["login_url"])
    assert problem["code"] == "unauthenticated"
    assert f"{login.scheme}://{login.netloc}{login.path}" == f"{BFF}/auth/login"
    assert parse_qs(login.query).get("return_to") == (back and [back])


@dialects
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_may_pass(bff: Site, ask: Ask, method: str) -> None:
    assert ask(bff.browser(), method, f"{BFF}/x", FETCH).status_code == 401
    answer = ask(bff.logged_in(), method, f"{BFF}/x", FETCH)
    assert (answer.status_code, answer.data, answer.headers["X-User-ID"]) == (200, b"", "alice")


@pytest.mark.parametrize(
    ("ask", "method", "status"),
    [
        (forwarded, "GET", 302),
        (forwarded, "POST", 303),
        (envoy, "GET", 302),
        (envoy, "POST", 303),
        (nginx, "GET", 401),  # passes on nothing but 401 and 403, and redirects by itself
        (nginx, "POST", 401),
    ],
)
def test_a_person_is_sent_to_log_in(bff: Site, ask: Ask, method: str, status: int) -> None:
    answer = ask(bff.browser(), method, f"{BFF}/x?y=1", PAGE, "@pages")
    assert answer.status_code == status
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["return_to"] == [f"{BFF}/x?y=1"]
    assert "Location" not in ask(bff.browser(), method, f"{BFF}/x", FETCH, "@pages").headers
    assert "Location" not in ask(bff.browser(), method, f"{BFF}/x", PAGE).headers


@dialects
@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", f"{BFF}/orders/7", (200, None)),
        ("POST", f"{BFF}/orders/7", (403, "deny")),
        ("GET", f"{BFF}/%61rchive?x", (403, "deny")),
        ("GET", f"{OTHER_APP}/orders", (403, "deny")),
        ("GET", f"{BFF}/x/../archive", (400, "bad_path")),
        ("GET", f"{BFF}/x%2f..%2farchive", (400, "bad_path")),
        ("GET", f"{BFF}//archive", (400, "bad_path")),
        ("GET", f"{BFF}/%00", (400, "bad_path")),
        ("GET", f"{BFF}/x?a=\xff", (400, "bad_path")),
    ],
)
def test_the_policy_is_asked_about_the_original_request(
    bff: Site, ask: Ask, method: str, url: str, expected: tuple[int, str | None]
) -> None:
    answer = ask(bff.logged_in(), method, url, FETCH, "@legacy")
    assert (answer.status_code, answer.get_json(force=True)["code"] if answer.data else None) == expected


@pytest.mark.parametrize(
    ("path", "said", "code"),
    [
        ("/auth/verify/nginx@legacy", {}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "GET"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "GET", "X-Original-URL": "/orders"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "GET", "X-Original-URL": f"{BFF}"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "G T", "X-Original-URL": f"{BFF}/x"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "GET", "X-Original-URL": "https://a@b/x"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Original-Method": "GET", "X-Original-URL": "https://a\xff/x"}, "bad_request"),
        ("/auth/verify/nginx@legacy", {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/orders"}, "bad_request"),
        ("/auth/verify@legacy", {"X-Original-Method": "GET", "X-Original-URL": f"{BFF}/orders"}, "bad_request"),
        ("/auth/verify@legacy", {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "orders"}, "bad_path"),
        ("/auth/verify/envoy@legacy", {"X-Forwarded-Uri": "/orders"}, "bad_request"),
        ("/auth/verify/envoy@legacy?/orders", {}, "bad_request"),
        ("/auth/verify/%65nvoy@legacy/orders", {}, "bad_request"),
    ],
)
def test_what_a_proxy_does_not_say_in_its_dialect_is_not_guessed(
    bff: Site, path: str, said: dict[str, str], code: str
) -> None:
    answer = bff.logged_in().send("GET", path, {"X-Forwarded-For": "203.0.113.7", **said}, peer="127.0.0.1")
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/auth/verify/nginx", {"X-Original-Method": "GET", "X-Original-URL": f"{BFF}/orders"}),
        ("/auth/verify/envoy/orders", {"X-Forwarded-Proto": "https"}),
    ],
)
def test_an_untrusted_peer_is_not_believed(bff: Site, path: str, said: dict[str, str]) -> None:
    assert bff.browser().send("GET", path, said).get_json(force=True)["login_url"] == f"{BFF}/auth/login"
    named = path.replace("nginx", "nginx@legacy").replace("envoy", "envoy@legacy")
    answer = bff.logged_in().send("GET", named, said)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (403, "untrusted_proxy")


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/auth/verify/nginx", "/auth/verify/nginx"),
        ("/auth/verify/nginx@pages", "/auth/verify/nginx@pages"),
        ("/auth/verify/envoy", "/auth/verify/envoy"),
        ("/auth/verify/envoy/a/person/and/a@thing", "/auth/verify/envoy"),
        ("/auth/verify/envoy@pages/a/person", "/auth/verify/envoy@pages"),
        ("/auth/verify/envoy@nobody/a/person", "unmatched"),
        ("/auth/verify/nginx@", "unmatched"),
    ],
)
def test_labels_hold_no_path_of_a_client(bff: Site, counters: Counters, path: str, endpoint: str) -> None:
    alice = bff.logged_in()
    counters.start()
    status = alice.send("GET", path, {"X-Forwarded-For": alice.address}, peer="127.0.0.1").status_code
    assert status == (500 if endpoint == "unmatched" else 200)
    assert counters.gained("http_requests_total") == {f"GET {endpoint} {status}": 1}


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/auth/verify", "/auth/verify"),
        ("/auth/verify/nginx@pages", "/auth/verify/nginx@pages"),
        ("/auth/verify/envoy", "/auth/verify/envoy/*"),
        ("/auth/verify/envoy/people/alice@example.com", "/auth/verify/envoy/*"),
        ("/auth/verify/envoy@pages/reset/4f1c-alice", "/auth/verify/envoy@pages/*"),
        ("/auth/verify/envoy@alice/x", "/auth/verify/envoy/*"),
        ("/auth/verify/envoyx/alice", "/auth/verify/envoy/*"),
    ],
)
@pytest.mark.parametrize("listener", [ON_VERIFY_BIND, {"bff.listener": ("127.0.0.1", 8000)}])
def test_the_log_holds_no_path_of_a_client(bff: Site, path: str, logged: str, listener: dict[str, Any]) -> None:
    environ = EnvironBuilder(path, base_url=BFF).get_environ() | listener
    list(bff.app.wsgi_app(environ, lambda *_: lambda _: None))
    lines = Lines()
    lines.access(SimpleNamespace(status="200 OK", headers=[], sent=0), None, environ, datetime.timedelta())
    (line,) = lines.written
    assert json.loads(line)["path"] == logged


class Lines(JsonLogger):
    access_log_enabled = True

    def __init__(self) -> None:
        self.written: list[str] = []

    def _write(self, line: str) -> None:
        self.written.append(line)


@pytest.mark.parametrize(
    "path", ["/auth/verify/nginx/", "/auth/verify/nginxx", "/auth/verify/envoyx/y", "/auth/verify/"]
)
def test_what_is_no_dialect_is_nothing(bff: Site, path: str) -> None:
    assert bff.logged_in().send("GET", path, {}).status_code == 404


@pytest.mark.parametrize(
    ("path", "at_once"),
    [
        ("/auth/verify", True),
        ("/auth/verify/nginx", True),
        ("/auth/verify/envoy/orders", False),
        ("/auth/verify/nginx@pages", True),
        ("/auth/verify/envoy@pages/orders", False),
        ("/auth/session", False),
    ],
)
def test_which_questions_are_answered_at_once(bff: Site, path: str, at_once: bool) -> None:
    answered: list[str] = []
    environ = EnvironBuilder(path, base_url=BFF).get_environ() | ON_VERIFY_BIND
    verify = bff.app.extensions["bff_verify"]
    body = verify.at_once(environ, lambda status, _headers: answered.append(status))
    assert (body is not None, answered) == (at_once, ["401 Login required"] if at_once else [])
