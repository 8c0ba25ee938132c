"""Many tabs at once, and attempts that fail: each tab comes home to its own page, by this login or by the next."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit

import pytest
from werkzeug.test import TestResponse

from bff.login.transaction import COOKIE_PREFIX, MOST_ATTEMPTS
from tests.clock import Clock
from tests.flows.assertions import come_back, with_query
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, SESSION, Site, SiteFactory, begin, to_callback
from tests.flows.provider import html

PAGE = "/orders?page=2&sort=name"
HOME_AGAIN = f'href="{BFF}/auth/login?return_to={quote(PAGE, safe="")}&amp;idp=default"'
# gunicorn's limit_request_field_size is 8190, a buffer of nginx's large_client_header_buffers 8 KiB, and that for what
# it reads of an answer's head (proxy_buffer_size) 4 KiB.
LONGEST_REQUEST_FIELD, LONGEST_ANSWER_HEAD = 8190, 4096


def tabs(browser: Browser, clock: Clock, number: int) -> list[str]:
    """Addresses of callbacks, none opened yet."""
    found = []
    for each in range(number):
        found.append(to_callback(browser, f"?return_to=/tab/{each}"))
        clock.now += 1
    return found


def test_twenty_tabs_come_home_each_to_its_own_page(bff: Site, browser: Browser, counters: Counters) -> None:
    urls = tabs(browser, bff.clock, MOST_ATTEMPTS)
    assert len(urls) == len(browser.named(COOKIE_PREFIX)) == 20
    for number, url in reversed(list(enumerate(urls))):
        assert come_back(browser, url).headers["Location"] == f"/tab/{number}"
    assert counters.gained("bff_logins_total") == {"started": 20, "success": 20}
    assert bff.active() == 1


def test_one_tab_more_drops_the_oldest_which_is_led_home_all_the_same(
    bff: Site, browser: Browser, counters: Counters
) -> None:
    urls = tabs(browser, bff.clock, MOST_ATTEMPTS + 1)
    assert len(browser.named(COOKIE_PREFIX)) == MOST_ATTEMPTS
    dropped = come_back(browser, urls[0])
    assert dropped.status_code == 400
    assert f"/auth/login?return_to={quote('/tab/0', safe='')}&amp;idp=default" in dropped.text
    for number, url in enumerate(urls[1:], 1):
        assert come_back(browser, url).headers["Location"] == f"/tab/{number}"
    assert come_back(browser, urls[0]).headers["Location"] == "/tab/0", "the browser is logged in by now"
    assert counters.gained("bff_logins_total") == {"started": 21, "success": 20, "state_mismatch": 2}


def test_as_many_attempts_as_a_head_has_room_for(new_site: SiteFactory) -> None:
    bff = new_site(BFF_COOKIE_NAME="__Host-Http-bff_session")
    browser = bff.browser()
    for number in range(MOST_ATTEMPTS + 10):
        browser.put(f"__Host-Http-{COOKIE_PREFIX}{number:016x}", f"1{number:09}.{'x' * 43}")
    crowd = len(browser.cookie_header(f"{BFF}/auth/login"))
    assert crowd < LONGEST_REQUEST_FIELD / 2, "which leaves as much to the application's own"
    hints = "&".join(f"{name}={'%26' * 256}" for name in ("prompt", "acr_values", "login_hint"))
    answer = begin(browser, f"?{hints}")
    assert len(str(answer.headers)) < LONGEST_ANSWER_HEAD
    for _ in range(3):
        begin(browser)
    assert len(browser.named(f"__Host-Http-{COOKIE_PREFIX}")) == MOST_ATTEMPTS


def test_an_attempt_lives_as_long_as_the_operator_says(new_site: SiteFactory, clock: Clock, counters: Counters) -> None:
    browser = new_site(LOGIN_TIMEOUT="120").browser()
    in_time, late, much_later = (to_callback(browser, f"?return_to={quote(PAGE)}") for _ in range(3))
    assert {cookie.expires_at for cookie in browser.named(COOKIE_PREFIX)} == {clock() + 120}
    clock.now += 119
    assert "token_endpoint" in come_back(browser, in_time).text, "the provider's patience with a code is shorter"
    clock.now += 2
    assert "state_expired" in come_back(browser, late).text
    clock.now += 118
    assert "state_expired" in come_back(browser, much_later).text, "the record outlives the attempt"
    assert counters.gained("bff_logins_total") == {"started": 3, "token_endpoint": 1, "state_expired": 2}


def used(_bff: Site, browser: Browser, url: str) -> TestResponse:
    come_back(browser, url)
    browser.forget(SESSION)
    return come_back(browser, url)


def late(bff: Site, browser: Browser, url: str) -> TestResponse:
    bff.clock.now += bff.services.settings.login_timeout + 1
    return come_back(browser, url)


def broken(endpoint: str, bff: Site, browser: Browser, url: str) -> TestResponse:
    bff.idp.break_endpoint(endpoint, html(200))
    return come_back(browser, url)


FAILURES: dict[str, Callable[[Site, Browser, str], TestResponse]] = {
    "cancelled": lambda _bff, browser, url: come_back(browser, with_query(url, code=None, error="access_denied")),
    "refused": lambda _bff, browser, url: come_back(browser, with_query(url, code=None, error="login_required")),
    "no code": lambda _bff, browser, url: come_back(browser, with_query(url, code=None)),
    "mixed up": lambda _bff, browser, url: come_back(browser, with_query(url, iss="https://evil.example")),
    "another browser": lambda bff, browser, url: come_back(bff.browser(), url),
    "used": used,
    "late": late,
    "token endpoint": lambda *at: broken("token", *at),
    "keys": lambda *at: broken("jwks", *at),
}


@pytest.mark.parametrize("how", FAILURES)
def test_try_again_keeps_provider_and_page(bff: Site, browser: Browser, how: str) -> None:
    answer = FAILURES[how](bff, browser, to_callback(browser, f"?return_to={quote(PAGE)}"))
    assert answer.status_code in (400, 503)
    assert HOME_AGAIN in answer.text
    bff.idp.repair()
    bff.clock.now += 5  # as Retry-After has it
    (link,) = [part for part in answer.text.split('"') if part.startswith(f"{BFF}/auth/login")]
    again = to_callback(browser, "?" + urlsplit(link.replace("&amp;", "&")).query)
    assert come_back(browser, again).headers["Location"] == PAGE


@pytest.mark.parametrize("calls", range(6))
def test_a_store_that_goes_away_during_the_callback_costs_no_page(bff: Site, browser: Browser, calls: int) -> None:
    """Before it could say which login this is, the callback is repeated; its parameters do not stand in the page."""
    url = to_callback(browser, f"?return_to={quote(PAGE)}")
    bff.store.calls_left = calls
    answer = come_back(browser, url)
    bff.store.calls_left, bff.store.down = None, False
    if answer.status_code == 302:
        return
    assert answer.status_code == 503
    if HOME_AGAIN not in answer.text:
        assert 'href=""' in answer.text
        again = come_back(browser, url)
        assert again.headers.get("Location") == PAGE or HOME_AGAIN in again.text


def test_a_page_that_is_no_longer_allowed_is_not_offered_again(new_site: SiteFactory) -> None:
    before = new_site()
    browser = before.browser()
    url = to_callback(browser, "?return_to=https://other.example/welcome")
    browser.hosts = new_site(BFF_ALLOWED_REDIRECT_HOSTS="", providers=before.providers).hosts
    answer = come_back(browser, with_query(url, code=None, error="access_denied"))
    assert (answer.status_code, "other.example" in answer.text) == (400, False)
    assert f"{BFF}/auth/login?return_to=%2F&amp;idp=default" in answer.text
