"""Where proxies ask: each dialect and profile on each listener, with and without one of its own (VERIFY_BIND)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bff import settings
from bff.web.listener import VerifyListener
from tests.flows.browser import ON_VERIFY_BIND, VERIFY_BIND, Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory

PUBLIC = {"bff.listener": ("127.0.0.1", 8000)}
PROFILES = "profiles: {pages: {unauthenticated: redirect}, svc: {service: svc}}"
DIALECTS = ("/auth/verify", "/auth/forward", "/auth/verify/nginx", "/auth/verify/envoy")
UNKNOWN = ("@nope", "@", "@pages@pages", "@PAGES")


@pytest.fixture
def apart(new_site: SiteFactory, tmp_path: Path) -> Site:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "verify.yaml").write_text(PROFILES)
    (tmp_path / "config" / "routes.yaml").write_text("services: {svc: {token: user}}")
    made: Site = new_site(VERIFY_BIND=VERIFY_BIND)
    return made


@pytest.fixture
def together(new_site: SiteFactory, tmp_path: Path) -> Site:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "verify.yaml").write_text("profiles: {pages: {unauthenticated: redirect}}")
    made: Site = new_site()
    return made


def asked(
    browser: Browser, path: str, environ: Mapping[str, Any], method: str = "GET", **fields: str
) -> tuple[int, str]:
    """(status, code of the problem)."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    sent = {"X-Forwarded-For": browser.address, **headers}
    answer = browser.send(method, path, sent, peer="127.0.0.1", environ=environ)
    assert "Authorization" not in answer.headers or (environ == ON_VERIFY_BIND and "svc" in path)
    return answer.status_code, answer.get_json(force=True)["code"] if answer.data else ""


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("profile", ["", "@pages", "@svc", *UNKNOWN])
def test_with_a_listener_of_its_own(apart: Site, counters: Counters, path: str, profile: str) -> None:
    expected = (500, "unknown_profile") if profile in UNKNOWN else (200, "")
    alice = apart.logged_in()
    for method in ("GET", "POST", "OPTIONS"):
        assert asked(alice, path + profile, ON_VERIFY_BIND, method) == expected
        counters.start()
        for elsewhere in (PUBLIC, {}, {"bff.listener": "/run/bff.sock"}, {"bff.listener": ("127.0.0.1", 8001 + 65536)}):
            assert asked(alice, path + profile, elsewhere, method) == (404, "not_found")
            assert asked(alice, path + profile, elsewhere, method, Host="127.0.0.1:8001") == (404, "not_found")
        assert counters.gained("bff_verify_duration_seconds_count") == {}
        assert counters.gained("http_requests_total") == {f"{method} unmatched 404": 8}


@pytest.mark.parametrize("path", DIALECTS)
def test_without_one(together: Site, counters: Counters, path: str) -> None:
    alice = together.logged_in()
    for environ in (PUBLIC, {}, ON_VERIFY_BIND):
        for profile in ("", "@pages"):
            assert asked(alice, path + profile, environ) == (200, "")
        counters.start()
        for profile in UNKNOWN:
            assert asked(alice, path + profile, environ) == (404, "not_found")
        assert counters.gained("bff_verify_duration_seconds_count") == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["/", "/auth/session", "/auth/login", "/auth/verifyx", "/auth/verify/", "//auth/verify", "/metrics"],
)
def test_nothing_else_is_answered_there(apart: Site, counters: Counters, path: str, method: str) -> None:
    """Always problem details, also to a navigation."""
    made = EnvironBuilder(method=method).get_environ()
    environ = {**made, "PATH_INFO": path, "HTTP_SEC_FETCH_MODE": "navigate", **ON_VERIFY_BIND}
    body, status, headers = run_wsgi_app(apart.app.wsgi_app, environ, buffered=True)
    assert (status[:3], headers["Content-Type"]) == ("404", "application/problem+json")
    assert (b'"not_found"' in b"".join(body)) is (method != "HEAD")
    assert counters.gained("http_requests_total") == {f"{method} unmatched 404": 1}


def test_but_whether_it_is_alive(apart: Site) -> None:
    browser = apart.browser()
    assert browser.send("GET", "/health/live", {}, environ=ON_VERIFY_BIND).status_code == 200


@pytest.mark.parametrize(
    ("bind", "end", "same"),
    [
        ("127.0.0.1:8001", ("127.0.0.1", 8001), True),
        ("127.0.0.1:8001", ("127.0.0.1", 8000), False),
        ("127.0.0.1:8001", ("127.0.0.2", 8001), False),
        ("127.0.0.1:8001", ("::ffff:127.0.0.1", 8001, 0, 0), True),
        ("127.0.0.1:8001", "127.0.0.1:8001", False),
        ("0.0.0.0:8001", ("0.0.0.0", 8001), True),
        ("0.0.0.0:8001", ("10.0.0.7", 8001), True),
        ("0.0.0.0:8001", ("10.0.0.7", 8000), False),
        ("[::1]:8001", ("::1", 8001, 0, 0), True),
        ("[0:0:0:0:0:0:0:1]:8001", ("::1", 8001, 0, 0), True),
        ("[::]:8001", ("2001:db8::7", 8001, 0, 0), True),
        ("[::]:8001", ("::ffff:10.0.0.7", 8001, 0, 0), True),
        ("[fe80::1]:8001", ("fe80::1%eth0", 8001, 0, 2), True),
        ("unix:/run/verify", "/run/verify", True),
        ("unix:/run/verify", b"/run/verify", True),
        ("unix:/run/verify", "/run/public", False),
        ("unix:/run/verify", "", False),
        ("unix:/run/verify", ("127.0.0.1", 8001), False),
    ],
)
def test_which_socket_it_is(tmp_path: Path, bind: str, end: Any, same: bool) -> None:
    wanted = settings.load({"VERIFY_BIND": bind, "BFF_DATA_DIR": str(tmp_path)}, tmp_path).verify_bind
    assert wanted is not None
    assert VerifyListener(wanted).accepted({"bff.listener": end}) is same
