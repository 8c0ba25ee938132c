"""Logging out: here, everywhere, and at the provider too."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import ECKey
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from bff.login.logout import COOKIE as TICKET_COOKIE
from bff.settings.cookies import CSRF
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, SESSION, Site, SiteFactory, log_out, login, proof
from tests.flows.provider import REMOVED, Answer, html, raising

DESTROYED = "bff_sessions_destroyed_total"


@pytest.fixture
def browser(bff: Site) -> Browser:
    return bff.logged_in()


def post(browser: Browser, body: Any = None) -> TestResponse:
    return browser.fetch("/auth/logout", method="POST", json=body, headers=proof(browser))


def out(browser: Browser) -> bool:
    return browser.cookie(SESSION) is None and browser.cookie(CSRF) is None


def test_log_out(bff: Site, browser: Browser, counters: Counters) -> None:
    cookies = list(browser.cookies)
    answer = post(browser)
    assert answer.status_code == 200
    assert out(browser)
    url = urlsplit(at_provider(browser, answer))
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


def at_provider(browser: Browser, answer: TestResponse) -> str:
    """Where the page's logout_url sends the browser."""
    url = answer.get_json()["logout_url"]
    assert url.startswith(f"{BFF}/auth/end-session?ticket=")
    redirect = browser.navigate(url, came_from=BFF)
    assert redirect.status_code == 302
    assert "id_token_hint" not in redirect.text
    return str(redirect.headers["Location"])


def test_the_page_sees_no_token(bff: Site, browser: Browser) -> None:
    """Neither in the answer, nor by asking for the address itself, as a script of the page can."""
    answer = post(browser)
    url = answer.get_json()["logout_url"]
    asked = browser.fetch(url)
    assert (asked.status_code, asked.get_json(force=True)["code"]) == (400, "bad_request")
    seen = url + answer.text + str(answer.headers) + asked.text + str(asked.headers)
    assert [token for token in bff.idp.issued if token in seen] == []
    assert "id_token_hint" in at_provider(browser, answer), "that used nothing up"


@pytest.mark.parametrize("mode", ["cors", "no-cors", "same-origin"])
def test_nor_by_logging_out_through_the_link(bff: Site, browser: Browser, mode: str) -> None:
    """A redirect that fetch follows ends at an address that the page may read if the provider allows CORS."""
    csrf = proof(browser)["X-CSRF-Token"]
    answer = browser.fetch(f"/auth/logout?csrf={csrf}", headers={"Sec-Fetch-Mode": mode})
    assert answer.headers["Location"].startswith(f"{BFF}/auth/end-session?ticket=")
    asked = browser.fetch(answer.headers["Location"], headers={"Sec-Fetch-Mode": mode})
    assert asked.status_code == 400
    seen = str(answer.headers) + answer.text + asked.text + str(asked.headers)
    assert [token for token in bff.idp.issued if token in seen] == []
    assert out(browser)


def logged_out_page(answer: TestResponse) -> bool:
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/html")
    assert "Location" not in answer.headers
    return "You are logged out" in answer.text and 'href="/"' in answer.text


def test_the_address_works_once(bff: Site, browser: Browser, counters: Counters) -> None:
    answer = post(browser)
    cookies = list(browser.cookies)
    assert at_provider(browser, answer).startswith(f"{ISSUER}/logout?")
    assert browser.named(TICKET_COOKIE) == []
    for kept in ([], cookies):
        browser.cookies = list(kept)
        assert logged_out_page(browser.navigate(answer.get_json()["logout_url"], came_from=BFF))


def test_of_two_at_once_one_is_sent_on(bff: Site, browser: Browser) -> None:
    url = post(browser).get_json()["logout_url"]
    twin, read = bff.twin(browser), bff.store.get
    locations: list[str | None] = []

    def slow(key: str) -> bytes | None:
        """The other one comes when this one has read the record, and is quicker."""
        found = read(key)
        if key.startswith("end-session:") and not locations:
            locations.append(None)
            locations[0] = twin.navigate(url).headers.get("Location")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bff.store, "get", slow)
        locations.append(browser.navigate(url).headers.get("Location"))
    assert sorted(location is None for location in locations) == [False, True]


def test_the_address_is_for_this_browser_alone(bff: Site, browser: Browser) -> None:
    """A script that sends it away gives away nothing."""
    answer = post(browser)
    thief, other = bff.browser(), bff.logged_in()
    post(other)
    for somebody in (thief, other):
        assert logged_out_page(somebody.navigate(answer.get_json()["logout_url"]))
    (cookie,) = browser.named(TICKET_COOKIE)
    assert (cookie.httponly, cookie.secure, cookie.samesite) == (True, True, "Lax")
    assert cookie.value not in answer.text
    assert at_provider(browser, answer).startswith(f"{ISSUER}/logout?")


def test_the_address_lives_for_two_minutes(browser: Browser, clock: Clock) -> None:
    answer = post(browser)
    clock.now += 121
    assert logged_out_page(browser.navigate(answer.get_json()["logout_url"]))


@pytest.mark.parametrize("ticket", ["", "?ticket=", "?ticket=x", "?ticket=%00", "?ticket=" + "A" * 5000])
def test_an_address_that_never_was(bff: Site, ticket: str) -> None:
    assert logged_out_page(bff.browser().navigate(f"/auth/end-session{ticket}"))
    assert bff.store.reads == [], "a stranger without the cookie costs the store nothing"


def test_a_used_address_leads_home_where_somebody_is_logged_in_again(browser: Browser) -> None:
    """Back, after the next login: `You are logged out` would be a lie."""
    answer = post(browser)
    at_provider(browser, answer)
    login(browser)
    again = browser.navigate(answer.get_json()["logout_url"])
    assert (again.status_code, again.headers["Location"]) == (302, "/")
    assert browser.verify().status_code == 200


def test_without_the_store_the_address_is_no_dead_end(bff: Site, browser: Browser) -> None:
    answer = post(browser)
    bff.store.down = True
    assert logged_out_page(browser.navigate(answer.get_json()["logout_url"]))


def test_the_token_is_not_readable_in_the_store(bff: Site, browser: Browser) -> None:
    url = post(browser).get_json()["logout_url"]
    (cookie,) = browser.named(TICKET_COOKIE)
    bff.services.close()
    content = b"".join(path.read_bytes() for path in bff.services.settings.store.path.parent.glob("store.sqlite3*"))
    secrets = [*bff.idp.issued, url.partition("ticket=")[2], cookie.value]
    assert [secret for secret in secrets if secret.encode() in content] == []


def test_a_store_that_fails_after_the_end_costs_the_providers_logout_alone(
    bff: Site, browser: Browser, counters: Counters
) -> None:
    headers, reached = proof(browser), bff.services.tokens.revocations.revoke_now

    def then_fail(key: str) -> None:
        reached(key)
        bff.store.down = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bff.services.tokens.revocations, "revoke_now", then_fail)
        answer = browser.fetch("/auth/logout", method="POST", headers=headers)
    assert (answer.status_code, answer.get_json()) == (200, {"logout_url": f"{BFF}/"})
    assert out(browser)
    assert counters.gained(DESTROYED) == {"logout": 1}


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
    browser = bff.logged_in()
    assert at_provider(browser, post(browser)).startswith(f"{ISSUER}/logout?tenant=7&client_id=bff&")


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
        (b"[" * 60_000, "application/json", 400),
        (b" " * 70_000, "application/json", 413),
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
