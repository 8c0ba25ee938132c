"""Logging out: here, everywhere, and at the provider too."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import ECKey
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from bff.sessions.csrf import COOKIE
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.instruments import Counters
from tests.flows.internet import BFF, ISSUER, SESSION, Site, SiteFactory, log_out, proof
from tests.flows.provider import REMOVED, Answer, html, raising

DESTROYED = "bff_sessions_destroyed_total"


@pytest.fixture
def browser(bff: Site) -> Browser:
    return bff.logged_in()


def post(browser: Browser, body: Any = None) -> TestResponse:
    return browser.fetch("/auth/logout", method="POST", json=body, headers=proof(browser))


def out(browser: Browser) -> bool:
    return browser.cookie(SESSION) is None and browser.cookie(COOKIE) is None


def test_log_out(bff: Site, browser: Browser, counters: Counters) -> None:
    cookies = list(browser.cookies)
    answer = post(browser)
    assert answer.status_code == 200
    assert out(browser)
    url = urlsplit(answer.get_json()["logout_url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{ISSUER}/logout"
    (id_token,) = (token for token in bff.idp.issued if token.count(".") == 2)
    assert parse_qs(url.query) == {
        "client_id": ["bff"],
        "post_logout_redirect_uri": [f"{BFF}/"],
        "id_token_hint": [id_token],
    }
    assert counters.gained(DESTROYED) == {"logout": 1}
    assert counters.gained("bff_security_events_total")["logout info"] == 1
    assert counters.gained("bff_oauth_flow_duration_seconds_count")["logout"] == 1
    browser.cookies = cookies
    assert browser.verify().status_code == 401, "the cookie is of no use to anybody any more"


def test_the_refresh_token_is_revoked_at_the_provider(bff: Site, browser: Browser) -> None:
    post(browser)
    assert [token for token in bff.idp.issued if token in bff.idp.revoked] == bff.idp.revoked
    assert len(bff.idp.revoked) == 1
    assert bff.idp.last("revoke").form["token_type_hint"] == "refresh_token"


def test_revocation_is_tried_again_with_another_assertion(new_site: SiteFactory) -> None:
    """An assertion is good once, also when the provider saw it on a bad moment (RFC 7523 section 3)."""
    key = ECKey.generate_key("P-256")
    text = key.as_pem(private=True).decode()
    bff = new_site(TOKEN_AUTH_METHOD="private_key_jwt", AUTH_CLIENT_KEY=text, AUTH_CLIENT_SECRET="")
    bff.idp.client.method, bff.idp.client.public_key = "private_key_jwt", key
    browser = bff.logged_in()

    def not_now() -> Response:
        bff.idp.repair()
        return html(503)()

    bff.idp.break_endpoint("revoke", not_now)
    log_out(browser)
    assert len(bff.idp.revoked) == 1
    first, second = (call.form["client_assertion"] for call in bff.idp.calls if call.endpoint == "revoke")
    assert first != second


def test_without_a_refresh_token_the_access_token_is_revoked(bff: Site) -> None:
    bff.idp.token_response = {"refresh_token": REMOVED, "access_token": "the-access-token"}
    bff.idp.claims = {"at_hash": REMOVED}
    assert post(bff.logged_in()).status_code == 200
    assert bff.idp.revoked == ["the-access-token"]
    assert bff.idp.last("revoke").form["token_type_hint"] == "access_token"


@pytest.mark.parametrize(
    "answer",
    [html(200), html(400), html(500), raising(requests.Timeout()), raising(requests.ConnectionError())],
)
def test_a_provider_that_is_down_keeps_nobody_in(
    bff: Site, browser: Browser, counters: Counters, answer: Answer
) -> None:
    for endpoint in ("revoke", "discovery", "jwks"):
        bff.idp.break_endpoint(endpoint, answer)
    assert post(browser).status_code == 200
    assert out(browser)
    assert counters.gained(DESTROYED) == {"logout": 1}


def test_a_worker_that_never_saw_the_provider_logs_out_too(new_site: SiteFactory, counters: Counters) -> None:
    one = new_site()
    browser = one.logged_in()
    one.idp.break_endpoint("discovery", html(500))
    browser.hosts = new_site(providers=one.providers).hosts
    answer = post(browser)
    assert answer.get_json() == {"logout_url": f"{BFF}/"}
    assert counters.gained(DESTROYED) == {"logout": 1}


def test_a_provider_without_a_logout_of_its_own(bff: Site) -> None:
    bff.idp.metadata = {"end_session_endpoint": REMOVED, "revocation_endpoint": REMOVED}
    assert post(bff.logged_in()).get_json() == {"logout_url": f"{BFF}/"}


def test_an_end_session_endpoint_with_a_query(bff: Site) -> None:
    bff.idp.metadata = {"end_session_endpoint": f"{ISSUER}/logout?tenant=7"}
    url = post(bff.logged_in()).get_json()["logout_url"]
    assert url.startswith(f"{ISSUER}/logout?tenant=7&client_id=bff&")


def test_everywhere(bff: Site, browser: Browser, counters: Counters) -> None:
    others = [bff.logged_in(f"198.51.100.{number}") for number in range(3)]
    assert post(browser, {"everywhere": True}).status_code == 200
    assert [other.verify().status_code for other in others] == [401] * 3
    assert counters.gained(DESTROYED) == {"logout_everywhere": 4}
    assert counters.gained("bff_security_events_total")["logout_everywhere info"] == 1
    assert bff.active() == 0


@pytest.mark.parametrize("body", [None, {}, {"everywhere": False}])
def test_only_here(bff: Site, browser: Browser, body: Any) -> None:
    other = bff.logged_in()
    assert post(browser, body).status_code == 200
    assert other.verify().status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *({"everywhere": value} for value in ("perhaps", "false", None, [1], 1, 0)),
        {"everything": True},
        *([1], "x", 7, [], "", 0, False),
    ],
)
def test_a_body_that_makes_no_sense(browser: Browser, counters: Counters, body: Any) -> None:
    answer = post(browser, body)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert "perhaps" not in answer.text
    assert "everything" not in answer.text.replace("else", "")
    assert counters.gained(DESTROYED) == {}
    assert browser.verify().status_code == 200


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"everywhere=true", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"[" * 100_000, "application/json", 400),
        (b" " * 1_100_000, "application/json", 413),
    ],
)
def test_a_body_that_cannot_be_read(
    bff: Site, browser: Browser, counters: Counters, data: bytes, content_type: str, status: int
) -> None:
    headers = {**proof(browser), "Cookie": browser.cookie_header(f"{BFF}/"), "User-Agent": browser.agent}
    answer = Client(bff.app.wsgi_app, use_cookies=False).post(
        "/auth/logout",
        base_url=BFF,
        data=data,
        content_type=content_type,
        headers=headers,
        environ_base={"REMOTE_ADDR": browser.address},
    )
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert counters.gained(DESTROYED) == {}


def test_twice(browser: Browser, counters: Counters) -> None:
    headers, cookies = proof(browser), list(browser.cookies)
    assert browser.fetch("/auth/logout", method="POST", headers=headers).status_code == 200
    browser.cookies = cookies
    assert browser.fetch("/auth/logout", method="POST", headers=headers).status_code == 401
    assert counters.gained(DESTROYED) == {"logout": 1}


def test_a_link_asks_before_it_logs_out(bff: Site, browser: Browser, counters: Counters) -> None:
    """An image or a link on another site leads here: nobody is logged out by it."""
    page = browser.navigate("/auth/logout", came_from="https://evil.example")
    assert page.status_code == 200
    assert "Log out?" in page.text
    assert page.headers.getlist("Set-Cookie") == []
    assert counters.gained(DESTROYED) == {}
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    answer = browser.navigate(f"/auth/logout?csrf={token[1]}", came_from=BFF)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{ISSUER}/logout?")
    assert out(browser)
    assert counters.gained(DESTROYED) == {"logout": 1}
    assert len(bff.idp.revoked) == 1
    assert browser.follow(answer).text == "Logged out."


@pytest.mark.parametrize("csrf", ["", "x", "A" * 43 + "." + "A" * 43, "%00", "a.b"])
def test_a_link_with_a_wrong_proof_asks_too(browser: Browser, counters: Counters, csrf: str) -> None:
    page = browser.navigate(f"/auth/logout?csrf={csrf}", came_from="https://evil.example")
    assert "Log out?" in page.text
    assert counters.gained(DESTROYED) == {}


def test_a_link_with_the_proof_of_another_session(bff: Site, browser: Browser, counters: Counters) -> None:
    attackers = bff.logged_in().fetch("/auth/csrf").get_json()["csrf_token"]
    assert "Log out?" in browser.navigate(f"/auth/logout?csrf={attackers}").text
    assert counters.gained(DESTROYED) == {}


def test_a_link_when_nobody_is_logged_in(bff: Site) -> None:
    answer = bff.browser().navigate("/auth/logout")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


@pytest.mark.parametrize("calls", range(3))
def test_the_store_goes_down_in_the_midst(bff: Site, browser: Browser, counters: Counters, calls: int) -> None:
    """Whether the session's record, its tokens or its end is what fails: the user is still logged in, and knows."""
    headers = proof(browser)
    bff.store.calls_left = calls
    answer = browser.fetch("/auth/logout", method="POST", headers=headers)
    assert answer.status_code == 503
    assert answer.headers.getlist("Set-Cookie") == []
    assert bff.idp.revoked == []
    bff.store.down, bff.store.calls_left = False, None
    assert browser.verify().status_code == 200
    assert counters.gained(DESTROYED) == {}


def test_an_expired_session_is_told_where_to_log_in(bff: Site, browser: Browser, clock: Clock) -> None:
    headers = proof(browser)
    clock.now += 4000
    answer = browser.fetch("/auth/logout", method="POST", headers=headers)
    assert answer.status_code == 401
    assert answer.get_json(force=True)["login_url"] == f"{BFF}/auth/login"
    assert bff.idp.revoked == []
