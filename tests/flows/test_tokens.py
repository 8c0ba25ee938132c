"""/auth/tokens, /auth/tokens/refresh and /auth/tokens/exchange: what a browser application may know and ask."""

from typing import Any

import pytest
from werkzeug.test import Client

from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import BFF, Site, proof
from tests.flows.provider import REMOVED
from tests.flows.token_use import SERVICES, TokenSites, by_service, post, refusal, used

ECHO = "echo-me"
LOGIN_SCOPE = "openid profile email"


@pytest.fixture
def browser(at_work: Site) -> Browser:
    return at_work.logged_in()


def test_what_a_session_holds_after_login(at_work: Site, browser: Browser, clock: Clock) -> None:
    clock.now += 1.5
    answer = browser.fetch("/auth/tokens")
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    listed = by_service(answer)
    own = {"scope": LOGIN_SCOPE, "audience": None, "expires_in": 598, "refreshable": True}
    assert tuple(listed) == SERVICES
    assert listed["user"] == listed["orders"] == listed["strict"] == own
    none_yet = {"scope": "", "audience": None, "expires_in": None, "refreshable": True}
    assert listed["billing"] == listed["small"] == listed["reports"] == none_yet
    assert listed["plain"] == {"scope": "", "audience": None, "expires_in": None, "refreshable": False}
    assert at_work.idp.count("token") == 1, "asking costs the provider nothing"


def test_after_an_exchange(at_work: Site, browser: Browser, clock: Clock) -> None:
    at_work.idp.later_grants.response = {"scope": "billing:read billing:write", "expires_in": 120}
    exchanged = by_service(post(browser, "exchange", {"service": "billing"}))
    assert exchanged["billing"] == {
        "scope": "billing:read billing:write",
        "audience": "billing",
        "expires_in": 120,
        "refreshable": True,
    }
    form = at_work.idp.last("token").form
    assert (form["audience"], form["scope"]) == ("billing", "billing:read")
    assert form["subject_token"] == used(browser)
    clock.now += 20
    assert by_service(browser.fetch("/auth/tokens"))["billing"]["expires_in"] == 100
    post(browser, "exchange", {"service": "billing"})
    assert at_work.idp.count("token") == 2, "there is one already"


def test_the_bffs_own_token(at_work: Site, browser: Browser) -> None:
    listed = by_service(post(browser, "exchange", {"service": "reports"}))
    assert listed["reports"]["expires_in"] == 600
    form = at_work.idp.last("token").form
    assert form["grant_type"] == "client_credentials"
    assert (form["resource"], form["scope"]) == ("https://reports.example", "reports:read")
    another = at_work.logged_in()
    assert used(another, "reports") == used(browser, "reports"), "it is the same for everybody"


def test_the_bffs_own_token_is_listed_by_every_worker(token_site: TokenSites) -> None:
    one = token_site()
    other, browser = token_site(providers=one.providers), one.logged_in()
    post(browser, "exchange", {"service": "reports"})
    twin = one.twin(browser)
    twin.hosts = other.hosts
    assert by_service(twin.fetch("/auth/tokens"))["reports"]["expires_in"] == 600
    first = used(browser, "reports")
    post(twin, "refresh", {"service": "reports"})
    assert used(twin, "reports") != first, "a newer one, though that worker had not used the present one"


@pytest.mark.parametrize("body", [None, {}, {"service": "user"}, {"service": "orders"}])
def test_refresh(at_work: Site, browser: Browser, clock: Clock, body: Any) -> None:
    before = used(browser)
    clock.now += 100
    listed = by_service(post(browser, "refresh", body))
    assert tuple(listed) == SERVICES
    assert listed["user"]["expires_in"] == 600
    assert used(browser) != before
    assert at_work.idp.last("token").form["grant_type"] == "refresh_token"


@pytest.mark.parametrize("service", ["billing", "reports"])
def test_refresh_of_a_services_token(at_work: Site, browser: Browser, clock: Clock, service: str) -> None:
    before = used(browser, service)
    clock.now += 100
    assert by_service(post(browser, "refresh", {"service": service}))[service]["expires_in"] == 600
    assert used(browser, service) not in (before, None)


def test_no_answer_holds_a_token(at_work: Site, browser: Browser, clock: Clock) -> None:
    answers = [browser.fetch("/auth/tokens")]
    for what, service in (("exchange", "billing"), ("exchange", "reports"), ("refresh", "user"), ("refresh", "small")):
        clock.now += 1
        answers.append(post(browser, what, {"service": service}))
    shown = "".join(answer.text + str(answer.headers) for answer in answers)
    assert len(at_work.idp.issued) > 6
    assert [token for token in at_work.idp.issued if token in shown] == []


@pytest.mark.parametrize("what", ["refresh", "exchange"])
def test_a_session_and_a_csrf_proof_are_demanded(at_work: Site, browser: Browser, what: str) -> None:
    path, body = f"/auth/tokens/{what}", {"service": "billing"}
    stranger = at_work.browser()
    assert refusal(stranger.fetch("/auth/tokens")) == (401, "unauthenticated")
    assert refusal(stranger.fetch(path, method="POST", json=body)) == (401, "unauthenticated")
    assert refusal(browser.fetch(path, method="POST", json=body)) == (403, "missing_cookie")
    proof(browser)
    assert refusal(browser.fetch(path, method="POST", json=body)) == (403, "missing_header")
    assert browser.fetch(path).status_code == 405
    assert at_work.idp.count("token") == 1


@pytest.mark.parametrize("what", ["refresh", "exchange"])
@pytest.mark.parametrize("name", [ECHO, "", "User", "billing ", "\ud800", "../billing", "x" * 10_000])
def test_an_unknown_service(at_work: Site, browser: Browser, what: str, name: str) -> None:
    answer = post(browser, what, {"service": name})
    assert refusal(answer) == (404, "unknown_service")
    assert ECHO not in answer.text
    assert at_work.idp.count("token") == 1


@pytest.mark.parametrize("what", ["refresh", "exchange"])
@pytest.mark.parametrize(
    "data",
    [
        b'{"service": 5}',
        b'{"service": null}',
        b'{"service": ["echo-me"]}',
        b'{"service": {"echo-me": 1}}',
        b'{"service": "billing", "echo-me": 1}',
        b'{"servce": "echo-me"}',
        b'"echo-me"',
        b"[]",
        b"0",
        b'""',
        b"false",
        b"null",
        b"[1]",
        b"{echo-me",
        b"\xff",
        b"[" * 60_000,
        b'{"service":' * 5_000,
    ],
)
def test_a_body_that_makes_no_sense(at_work: Site, browser: Browser, what: str, data: bytes) -> None:
    answer = Client(at_work.app.wsgi_app, use_cookies=False).post(
        f"/auth/tokens/{what}",
        base_url=BFF,
        data=data,
        content_type="application/json",
        headers={**proof(browser), "Cookie": browser.cookie_header(f"{BFF}/"), "User-Agent": browser.agent},
        environ_base={"REMOTE_ADDR": browser.address},
    )
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert ECHO not in answer.text
    assert at_work.idp.count("token") == 1


def test_an_exchange_needs_a_name(browser: Browser) -> None:
    assert post(browser, "exchange").status_code == 400
    assert post(browser, "exchange", {}).status_code == 400


@pytest.mark.parametrize("service", ["user", "orders", "plain"])
def test_services_without_a_token_of_their_own(browser: Browser, service: str) -> None:
    assert refusal(post(browser, "exchange", {"service": service})) == (400, "not_exchangeable")


def test_what_cannot_be_refreshed(at_work: Site) -> None:
    at_work.idp.token_response = {"refresh_token": REMOVED}
    browser = at_work.logged_in()
    for service in ("user", "orders", "plain"):
        assert refusal(post(browser, "refresh", {"service": service})) == (409, "not_refreshable")
    listed = by_service(browser.fetch("/auth/tokens"))
    assert [name for name in SERVICES if not listed[name]["refreshable"]] == ["user", "orders", "strict", "plain"]


def test_an_answer_without_scope_grants_what_was_asked_for(at_work: Site) -> None:
    """RFC 6749 section 5.1."""
    at_work.idp.token_response = {"scope": REMOVED}
    browser = at_work.logged_in()
    assert by_service(browser.fetch("/auth/tokens"))["user"]["scope"] == LOGIN_SCOPE


def test_a_provider_that_refuses_an_exchange(browser: Browser) -> None:
    answer = post(browser, "exchange", {"service": "small"})
    assert refusal(answer) == (502, "token_refused")
    assert browser.verify().status_code == 200


def test_an_exchanged_token_that_is_good_for_less(at_work: Site, browser: Browser) -> None:
    at_work.idp.later_grants.response = {"scope": "billing:look"}
    assert refusal(post(browser, "exchange", {"service": "billing"})) == (403, "insufficient_scope")
    assert by_service(browser.fetch("/auth/tokens"))["billing"]["expires_in"] is None


def test_a_token_that_is_over_has_no_seconds_left(browser: Browser, clock: Clock) -> None:
    clock.now += 700
    assert by_service(browser.fetch("/auth/tokens"))["user"]["expires_in"] == 0
