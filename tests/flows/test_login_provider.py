"""A login as the provider sees it: who the client is, what is pushed, what is asked, and what if it is down."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key

from bff.login.transaction import COOKIE_PREFIX
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory, begin, login
from tests.flows.provider import REMOVED, html


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def who(browser: Browser) -> dict[str, object]:
    answer = browser.fetch("/auth/session")
    assert answer.status_code == 200
    content: dict[str, object] = answer.get_json()
    return content


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_secret(new_site: SiteFactory, method: str) -> None:
    bff = new_site(TOKEN_AUTH_METHOD=method)
    bff.idp.client.method = method
    assert bff.logged_in().verify().status_code == 200


@pytest.mark.parametrize("form", ["jwk", "pem"])
def test_private_key_jwt(new_site: SiteFactory, form: str) -> None:
    key = ECKey.generate_key("P-256", {"kid": "of-the-bff"} if form == "jwk" else None)
    text = json.dumps(key.as_dict(private=True)) if form == "jwk" else key.as_pem(private=True).decode()
    bff = new_site(TOKEN_AUTH_METHOD="private_key_jwt", AUTH_CLIENT_KEY=text, AUTH_CLIENT_SECRET="")
    bff.idp.client.method = "private_key_jwt"
    bff.idp.client.public_key = key
    bff.idp.offer_par()
    assert bff.logged_in().verify().status_code == 200
    assert bff.idp.count("par") == bff.idp.count("token") == 1  # each with an assertion of its own
    header = jws.extract_compact(bff.idp.last("token").form["client_assertion"].encode()).protected
    assert header["alg"] == "ES256"
    assert header["kid"] == ("of-the-bff" if form == "jwk" else key.thumbprint())


def test_a_wrong_secret_is_the_token_endpoints_refusal(bff: Site, browser: Browser, counters: Counters) -> None:
    bff.idp.client.secret = "changed meanwhile"
    answer = login(browser)
    assert answer.status_code == 400
    assert counters.gained("bff_logins_total") == {"started": 1, "token_endpoint": 1}
    assert counters.gained("bff_token_exchange_total") == {"authorization_code invalid_client": 1}


@pytest.mark.parametrize(
    ("par", "offered", "required", "pushes"),
    [
        ("auto", False, False, False),
        ("auto", True, False, True),
        ("auto", True, True, True),
        ("true", True, False, True),
        ("false", True, False, False),
    ],
)
def test_pushed_authorization_requests(
    new_site: SiteFactory, par: str, offered: bool, required: bool, pushes: bool
) -> None:
    bff = new_site(PAR_ENABLED=par)
    if offered:
        bff.idp.offer_par(required=required)
    asked = query(begin(bff.browser()).headers["Location"])
    assert set(asked) == {"client_id", "request_uri"} if pushes else "code_challenge" in asked
    assert bff.idp.count("par") == int(pushes)
    assert bff.logged_in().verify().status_code == 200


def test_par_that_is_wanted_but_not_offered(new_site: SiteFactory, counters: Counters) -> None:
    answer = begin(new_site(PAR_ENABLED="true").browser())
    assert answer.status_code == 503
    assert counters.gained("bff_logins_total") == {}


@pytest.mark.parametrize("status", [400, 500])
def test_par_that_is_refused(bff: Site, browser: Browser, status: int) -> None:
    bff.idp.offer_par()
    bff.idp.break_endpoint("par", html(status))
    answer = begin(browser)
    assert answer.status_code == 503
    assert browser.named(COOKIE_PREFIX) == []
    assert bff.store.writes == []


def test_userinfo_is_asked_only_for_what_the_id_token_lacks(bff: Site, browser: Browser) -> None:
    login(browser)
    assert bff.idp.count("userinfo") == 0
    bff.idp.claims = {"name": REMOVED, "email": "from-the-token@example.com"}
    bff.idp.userinfo = {"name": "From Userinfo", "email": "from-userinfo@example.com"}
    login(browser)
    assert bff.idp.count("userinfo") == 1
    user = {"sub": "alice", "name": "From Userinfo", "email": "from-the-token@example.com", "roles": ["user"]}
    assert who(browser)["user"] == user


@pytest.mark.parametrize("sub", ["mallory", "", None, REMOVED])
def test_userinfo_of_another_subject_is_not_used(bff: Site, browser: Browser, sub: object) -> None:
    bff.idp.claims = {"name": REMOVED, "roles": REMOVED}
    bff.idp.userinfo = {"name": "Mallory", "roles": ["admin"], "sub": None if sub is REMOVED else sub}
    login(browser)
    user = who(browser)["user"]
    assert user == {"sub": "alice", "name": "", "email": "alice@example.com", "roles": []}


@pytest.mark.parametrize("status", [200, 401, 500])
def test_userinfo_that_fails_costs_a_name_and_not_the_login(bff: Site, browser: Browser, status: int) -> None:
    bff.idp.claims = {"name": REMOVED}
    bff.idp.break_endpoint("userinfo", html(status))
    login(browser)
    assert browser.verify().status_code == 200


def test_userinfo_that_fails_for_one_person_is_asked_about_the_next(bff: Site) -> None:
    """A person who logs in without it has no roles for as long as the session lasts."""
    bff.idp.claims, bff.idp.userinfo = {"roles": REMOVED}, {"roles": ["auditor"]}
    user = {"sub": "alice", "name": "Alice Example", "email": "alice@example.com"}
    answers = bff.idp._userinfo
    failing: Any = lambda request: html(500)() if "Authorization" in request.headers else answers(request)  # noqa: E731
    bff.idp._userinfo = failing  # type: ignore[method-assign]
    for _ in range(8):
        assert who(bff.logged_in())["user"] == {**user, "roles": []}
    bff.idp._userinfo = answers  # type: ignore[method-assign]
    assert who(bff.logged_in())["user"] == {**user, "roles": ["auditor"]}


def test_rotated_keys_are_found(bff: Site, clock: Clock, other_rsa: Key) -> None:
    bff.logged_in()
    bff.idp.keys = [other_rsa]
    clock.now += 10
    bff.logged_in()
    assert bff.idp.count("jwks") == 2


def test_login_says_when_the_provider_is_down_and_how_to_try_again(
    bff: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    bff.idp.break_endpoint("discovery", html(500))
    answer = begin(browser, "?return_to=/orders")
    assert answer.status_code == 503
    assert answer.content_type.startswith("text/html")
    assert 'href="/auth/login?return_to=/orders"' in answer.text
    assert answer.headers["X-Denied-Reason"] == "idp_unavailable"
    assert counters.gained("bff_logins_total") == {}
    bff.idp.repair()
    clock.now += int(answer.headers["Retry-After"])
    assert login(browser).status_code == 302


def test_a_provider_that_went_down_is_remembered(bff: Site, clock: Clock) -> None:
    """Discovery and keys serve their last good copy, so a login that needs neither anew succeeds."""
    bff.logged_in()
    clock.now += 24 * 3600
    for endpoint in ("discovery", "jwks"):
        bff.idp.break_endpoint(endpoint, html(500))
    bff.logged_in()
