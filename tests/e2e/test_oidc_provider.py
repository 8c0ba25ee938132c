"""Login and logout at a certified OpenID Provider, with Redis and four workers, as a production set-up has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page

from tests.peers import bff, browser, openid, process, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.openid import Provider

pytestmark = pytest.mark.e2e

WORKERS = 4


@dataclass(frozen=True)
class Deployment:
    bff: Bff
    provider: Provider
    pushes: bool


@pytest.fixture(scope="module", params=["client_secret_basic", "private_key_jwt"])
def deployment(folder: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """The second client must push its authorization requests (RFC 9126), the first one does not."""
    pushes = request.param == "private_key_jwt"
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}", method=request.param, require_par=pushes)
    with (
        redis.RedisServer(redis.debian(), folder, password="not empty") as store,
        openid.running([client], log=folder / "provider.log") as provider,
        bff.running(
            folder,
            {
                "REDIS_URL": store.url,
                "OIDC_ISSUER": provider.issuer,
                "PAR_ENABLED": str(pushes).lower(),
                **client.environ,
            },
            port=port,
            workers=WORKERS,
        ) as service,
    ):
        yield Deployment(service, provider, pushes)


@pytest.fixture
def visitor(deployment: Deployment) -> Iterator[Visitor]:
    with Visitor(deployment.bff.base_url) as person:
        yield person


def test_login(deployment: Deployment, visitor: Visitor) -> None:
    anonymous = visitor.session()
    assert anonymous["authenticated"] is False
    assert visitor.auth_verify().status_code == 401

    landed = visitor.login("alice", return_to="/reports?page=2")
    assert landed.status_code == 302
    assert urljoin(visitor.base_url, landed.headers["Location"]) == f"{visitor.base_url}/reports?page=2"
    session = visitor.session()
    assert session["authenticated"] is True
    assert session["user"] == {
        "sub": "alice",
        "name": "Alice Adams",
        "email": "alice@example.com",
        "roles": ["admin", "user"],
    }
    for _ in range(3 * WORKERS):  # whichever worker answers
        allowed = visitor.auth_verify()
        assert (allowed.status_code, allowed.content, allowed.headers["X-User-ID"]) == (200, b"", "alice")
    assert (deployment.provider.requests("POST /request 201") > 0) is deployment.pushes


def test_five_logins_at_once_in_one_browser(deployment: Deployment) -> None:
    base_url = deployment.bff.base_url
    with browser.chromium() as chromium:
        context = chromium.new_context()
        context.set_default_timeout(browser.TIMEOUT_MS)
        tabs = [context.new_page() for _ in range(5)]
        for number, tab in enumerate(tabs):
            tab.goto(f"{base_url}/auth/login?return_to=/health/live%3Ftab={number}")
        for step in (_fill_in_login, _consent):
            for tab in reversed(tabs):
                tab.bring_to_front()
                step(tab)
        for number, tab in enumerate(tabs):
            tab.wait_for_url(f"{base_url}/health/live?tab={number}")
        session = context.request.get(f"{base_url}/auth/session", headers={"Sec-Fetch-Site": "same-origin"})
        assert session.json()["authenticated"] is True
        context.close()


def _fill_in_login(tab: Page) -> None:
    tab.fill("input[name=login]", "alice")
    tab.fill("input[name=password]", "any")
    tab.click("button[type=submit]")
    tab.wait_for_selector("input[value=consent]", state="attached")


def _consent(tab: Page) -> None:
    tab.click("button[type=submit]")


def test_a_replayed_callback_opens_no_session(deployment: Deployment, visitor: Visitor) -> None:
    callback = visitor.authorize(visitor.start_login())
    login_cookies = [cookie for cookie in visitor.cookies if cookie.name.startswith("bff_login_")]
    assert visitor.open(callback).status_code == 302
    created = deployment.bff.value("bff_sessions_created_total")
    failed = _failed_logins(deployment.bff)

    with Visitor(visitor.base_url) as thief:
        refused = thief.open(callback)
        assert 400 <= refused.status_code < 500
        assert "bff_session" not in thief.cookies
    with Visitor(visitor.base_url) as thief_with_cookies:
        for cookie in login_cookies:
            thief_with_cookies.cookies.set_cookie(cookie)
        refused = thief_with_cookies.open(callback)
        assert 400 <= refused.status_code < 500
        assert "bff_session" not in thief_with_cookies.cookies
    assert _failed_logins(deployment.bff) == failed + 2

    home = visitor.open(callback).headers["Location"]  # who is logged in already goes home
    assert urljoin(visitor.base_url, home) == f"{visitor.base_url}/"
    assert visitor.auth_verify().status_code == 200
    assert deployment.bff.value("bff_sessions_created_total") == created


def test_an_answer_of_another_issuer_is_refused(deployment: Deployment, visitor: Visitor) -> None:
    """RFC 9207."""
    callback = visitor.authorize(visitor.start_login())
    assert "&iss=" in callback
    refused = visitor.open(callback.replace("&iss=", "&iss=http%3A%2F%2Fevil.example%2F"))
    assert 400 <= refused.status_code < 500
    assert visitor.session()["authenticated"] is False


def test_a_login_cancelled_at_the_provider_is_a_page(deployment: Deployment, visitor: Visitor) -> None:
    cancelled = deployment.bff.value("bff_logins_total", result="cancelled")
    asked = visitor.open(visitor.start_login())
    abort = urljoin(asked.url, asked.headers["Location"]) + "/abort"
    answer = visitor.open(visitor.walk(abort, f"{visitor.base_url}/auth/callback"))
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
    assert deployment.bff.value("bff_logins_total", result="cancelled") == cancelled + 1


def test_logout_ends_the_session_here_and_at_the_provider(deployment: Deployment, visitor: Visitor) -> None:
    provider = deployment.provider
    visitor.login("bob")
    there, cookie = provider.logged_in(), visitor.cookie()
    refresh_token = provider.secrets()["refresh_token"][-1]
    assert provider.is_active(refresh_token)

    answer = visitor.logout()
    assert answer.status_code == 200
    assert "bff_session" not in visitor.cookies
    assert not provider.is_active(refresh_token)
    visitor.cookies.set("bff_session", cookie)  # a copy that somebody kept
    assert visitor.auth_verify().status_code == 401
    visitor.logout_at_provider(answer.json()["logout_url"])
    assert provider.logged_in() == there - 1


def test_logout_by_navigation_needs_the_csrf_token(deployment: Deployment, visitor: Visitor) -> None:
    visitor.login("bob")
    asked = visitor.open(f"{visitor.base_url}/auth/logout")
    assert asked.status_code == 200
    assert visitor.auth_verify().status_code == 200

    there = deployment.provider.logged_in()
    answer = visitor.open(f"{visitor.base_url}/auth/logout?csrf={visitor.csrf_token()}")
    assert answer.status_code == 302
    assert visitor.session()["authenticated"] is False
    visitor.logout_at_provider(answer.headers["Location"])
    assert deployment.provider.logged_in() == there - 1


def test_new_signing_keys_at_the_provider_do_not_break_logins(deployment: Deployment, visitor: Visitor) -> None:
    assert visitor.login().status_code == 302
    deployment.provider.rotate_keys()
    for number in range(2 * WORKERS):  # whichever worker meets the new keys first
        assert visitor.login(return_to=f"/{number}").status_code == 302, "logins for one page would be a loop"


def _failed_logins(service: Bff) -> float:
    succeeding = (service.value("bff_logins_total", result=result) for result in ("started", "success"))
    return service.value("bff_logins_total") - sum(succeeding)
