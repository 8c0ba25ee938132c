"""What a login sets in production, which cookies are read then, and what becomes of those of a sibling host."""

from dataclasses import replace

import pytest

from bff.login.transaction import MOST_ATTEMPTS
from bff.settings import Settings
from bff.settings.cookies import END_SESSION, HOST_HTTP, LOGIN, ROUNDS, SESSION
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, begin, log_out, login, proof, to_callback

NAME = HOST_HTTP + SESSION


def as_in_production(settings: Settings) -> Settings:
    """Their names only; production itself wants Redis."""
    return replace(settings, cookies=replace(settings.cookies, name=NAME, flow_prefix=HOST_HTTP))


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    return new_site(change=as_in_production)


def test_a_whole_login_and_logout(bff: Site) -> None:
    browser = bff.browser()
    callback = to_callback(browser)
    (attempt,) = browser.named("__")
    assert attempt.name.startswith(HOST_HTTP + LOGIN)
    assert (attempt.path, attempt.secure, attempt.httponly, attempt.samesite) == ("/", True, True, "Lax")
    assert browser.navigate(callback).status_code == 302
    rounds, session = sorted(browser.named("__"), key=lambda cookie: cookie.name)
    assert rounds.name == HOST_HTTP + ROUNDS
    assert (session.name, session.path, session.secure, session.httponly) == (NAME, "/", True, True)
    assert browser.verify().status_code == 200
    assert browser.fetch("/auth/tokens").status_code == 200
    answer = log_out(browser)
    (ticket,) = browser.named("")
    assert ticket.name == HOST_HTTP + END_SESSION
    assert (ticket.path, ticket.secure, ticket.httponly) == ("/", True, True)
    leaving = browser.navigate(answer.get_json()["logout_url"])
    assert leaving.headers["Location"].startswith(f"{ISSUER}/logout?")
    assert browser.named("") == []


def test_a_session_under_the_former_name_is_not_read(bff: Site) -> None:
    """Or a sibling host could go on planting it."""
    browser = bff.logged_in()
    cookie = browser.cookie(NAME)
    assert cookie is not None
    browser.forget(NAME)
    browser.put(SESSION, cookie.value)
    assert browser.verify().status_code == 401
    assert browser.fetch("/auth/tokens").status_code == 401


def test_an_attempt_under_the_former_name_is_not_read(bff: Site, counters: Counters) -> None:
    browser = bff.browser()
    callback = to_callback(browser)
    (attempt,) = browser.named(HOST_HTTP)
    browser.forget(attempt.name)
    browser.put(attempt.name.removeprefix(HOST_HTTP), attempt.value)
    assert browser.navigate(callback).status_code == 400
    assert counters.gained("bff_logins_total") == {"started": 1, "state_mismatch": 1}


PLANTED = {
    "white space that the browser keeps": lambda name, value: f"\xa0{name}={value}",
    "the same after another cookie": lambda name, value: f"a=1;\xa0{name}={value}",
    "a comma in a value": lambda name, value: f"a=1,{name}={value}",
    "quotation marks": lambda name, value: f'a="; {name}x={value}; b="',
    "another case": lambda name, value: f"{name.lower()}={value}",
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_login_that_a_sibling_host_began_is_not_finished(bff: Site, planted: object) -> None:
    attacker, victim = bff.browser(), bff.browser()
    callback = to_callback(attacker)
    (attempt,) = attacker.named(HOST_HTTP)
    header = planted(attempt.name, attempt.value)  # type: ignore[operator]
    assert victim.navigate(callback, headers={"Cookie": header}).status_code == 400
    assert victim.cookies == []


def test_a_quotation_mark_of_a_sibling_host_hides_no_cookie(bff: Site) -> None:
    """RFC 6265 ends a cookie at the semicolon; parsers of the older RFCs look for the closing mark."""
    browser = bff.browser()
    callback = to_callback(browser)
    around = f'a="x; {browser.cookie_header(callback)}; b=y"'
    assert browser.navigate(callback, headers={"Cookie": around}).status_code == 302
    token = proof(browser)
    around = f'a="x; {browser.cookie_header(f"{BFF}/")}; b=y"'
    answer = browser.fetch("/auth/logout", method="POST", headers={**token, "Cookie": around})
    assert answer.status_code == 200


def test_surplus_attempts_are_cleared_by_their_full_names(bff: Site) -> None:
    browser = bff.browser()
    for _ in range(MOST_ATTEMPTS + 2):
        begin(browser)
        bff.clock.now += 1
    assert len(browser.named(HOST_HTTP + LOGIN)) == MOST_ATTEMPTS


@pytest.mark.parametrize("planted_first", [True, False])
def test_a_planted_attempt_does_not_stop_a_login(new_site: SiteFactory, planted_first: bool) -> None:
    """Where names have no prefix: of several cookies of one name, one that matches is enough."""
    browser = new_site().browser()
    callback = to_callback(browser)
    (attempt,) = browser.named(LOGIN)
    pair = [f"{attempt.name}={attempt.value}", f"{attempt.name}=1.planted"]
    answer = browser.navigate(callback, headers={"Cookie": "; ".join(reversed(pair) if planted_first else pair)})
    assert answer.status_code == 302


@pytest.mark.parametrize("planted_first", [True, False])
def test_a_planted_csrf_cookie_does_not_stop_a_request(new_site: SiteFactory, planted_first: bool) -> None:
    browser = new_site().logged_in()
    token = proof(browser)
    pair = [browser.cookie_header(f"{BFF}/"), "_eid_csrf_v1=planted"]
    header = "; ".join(reversed(pair) if planted_first else pair)
    assert browser.fetch("/auth/logout", method="POST", headers={**token, "Cookie": header}).status_code == 200


def test_no_more_than_three_of_a_name_are_tried(new_site: SiteFactory) -> None:
    browser: Browser = new_site().logged_in()
    token = proof(browser)
    header = "; ".join(["_eid_csrf_v1=planted"] * 3 + [browser.cookie_header(f"{BFF}/")])
    answer = browser.fetch("/auth/logout", method="POST", headers={**token, "Cookie": header})
    assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (403, "mismatch")
    assert login(browser).status_code == 302
