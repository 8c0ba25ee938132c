"""A login that goes round in circles is noticed, and explained; with SameSite=Strict there is no circle."""

from collections.abc import Callable
from urllib.parse import urljoin

import pytest

from bff.settings.cookies import ROUNDS
from bff.web.rounds import MEMORY, MOST_ROUNDS, SUSPICIOUS
from tests.flows.assertions import come_back
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import ISSUER, SESSION, Site, SiteFactory, begin, log_out, login, to_callback

PAGE = "/orders"
LOGGED = "login_loop"


def go_round(browser: Browser, rounds: int, page: str = PAGE, *, forgets: str | None = SESSION) -> None:
    """A page that sends its visitor to log in again and again."""
    for number in range(rounds):
        assert login(browser, f"?return_to={page}?round={number}").status_code in (200, 302)
        browser.clock.now += 1  # type: ignore[attr-defined]
        if forgets:
            browser.forget(forgets)


def causes(caplog: pytest.LogCaptureFixture, message: str) -> list[str]:
    return [vars(record)["cause"] for record in caplog.records if record.message == message]


def test_a_loop_is_noticed_after_a_few_rounds(
    bff: Site, browser: Browser, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    go_round(browser, MOST_ROUNDS)
    answer = begin(browser, f"?return_to={PAGE}?round=6")
    assert answer.status_code == 400
    assert answer.content_type.startswith("text/html")
    assert "Allow cookies for this site" in answer.text
    assert bff.idp.count("authorize") == MOST_ROUNDS
    assert causes(caplog, LOGGED) == ["cookie_not_returned"]
    assert counters.gained("bff_logins_total") == {"started": MOST_ROUNDS, "success": MOST_ROUNDS, "loop": 1}
    assert f'href="/auth/login?return_to={PAGE}?round=6"' in answer.text
    assert login(browser, f"?return_to={PAGE}").status_code == 302, "who tries again is let through"


def test_a_suspicious_round_is_no_redirect(browser: Browser) -> None:
    """Browsers give up after twenty redirects, and show a page of their own."""
    answers = []
    for _ in range(MOST_ROUNDS):
        answers.append(login(browser, f"?return_to={PAGE}").status_code)
        browser.forget(SESSION)
    assert answers == [302] * SUSPICIOUS + [200] * (MOST_ROUNDS - SUSPICIOUS)


def sent_back(_bff: Site, browser: Browser) -> None:
    go_round(browser, MOST_ROUNDS, forgets=None)


def refused(_bff: Site, browser: Browser) -> None:
    go_round(browser, MOST_ROUNDS)
    browser.put(SESSION, "A" * 43)


@pytest.mark.parametrize(
    ("how", "cause", "told"),
    [(sent_back, "sent_back", "You are logged in"), (refused, "session_refused", "Delete the cookies of this site")],
)
def test_the_cause_is_told_as_far_as_it_is_known(
    bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture,
    how: Callable[[Site, Browser], None], cause: str, told: str,
) -> None:  # fmt: skip
    how(bff, browser)
    assert told in begin(browser, f"?return_to={PAGE}").text
    assert causes(caplog, LOGGED) == [cause]


def test_two_pages_that_send_a_person_back_and_forth(browser: Browser) -> None:
    for _ in range(MOST_ROUNDS):
        go_round(browser, 1, "/a")
        go_round(browser, 1, "/b")
    assert begin(browser, "?return_to=/a").status_code == 400


def test_many_tabs_are_no_loop(bff: Site, browser: Browser) -> None:
    urls = [to_callback(browser, f"?return_to={PAGE}") for _ in range(20)]
    for url in urls:
        bff.clock.now += 1
        assert come_back(browser, url).status_code == 302
    assert begin(browser, f"?return_to={PAGE}").headers["Location"].startswith(ISSUER)


def pause(bff: Site, _browser: Browser) -> None:
    bff.clock.now += MEMORY + 1


def leave(_bff: Site, browser: Browser) -> None:
    login(browser, "?return_to=/elsewhere")
    assert log_out(browser).status_code == 200


@pytest.mark.parametrize("then", [pause, leave])
def test_a_person_who_logs_in_again_is_no_loop(
    bff: Site, browser: Browser, then: Callable[[Site, Browser], None]
) -> None:
    go_round(browser, MOST_ROUNDS)
    then(bff, browser)
    assert begin(browser, f"?return_to={PAGE}").headers["Location"].startswith(ISSUER)


def test_sessions_that_end_after_seconds_are_no_loop(new_site: SiteFactory) -> None:
    bff = new_site(SESSION_IDLE_TIMEOUT="2")
    browser = bff.browser()
    for _ in range(2 * MOST_ROUNDS):
        assert login(browser, f"?return_to={PAGE}").status_code == 302
        bff.clock.now += 3


@pytest.mark.parametrize("value", ["", "x", "1", "1.", "9" * 5000, ".".join(["1", *["0" * 8] * 50]), "1.0000000g"])
def test_a_count_that_nobody_made_is_none(browser: Browser, value: str) -> None:
    browser.put(ROUNDS, value)
    assert login(browser).status_code == 302


@pytest.mark.parametrize(
    ("proto", "cause", "told"),
    [
        ("https", "cookie_not_returned", "Allow cookies for this site"),
        ("http", "secure_cookie_over_http", "Open this site by its https address"),
    ],
)
def test_without_cookies_the_first_round_ends_on_a_page(
    new_site: SiteFactory, caplog: pytest.LogCaptureFixture, counters: Counters, proto: str, cause: str, told: str
) -> None:
    bff = new_site(TRUSTED_PROXIES="203.0.113.7/32")
    browser = bff.browser()
    url = to_callback(browser, f"?return_to={PAGE}")
    browser.cookies = []
    answer = browser.navigate(url, came_from=ISSUER, headers={"X-Forwarded-Proto": proto})
    assert (answer.status_code, told in answer.text) == (400, True)
    assert causes(caplog, "login_cookie_missing") == [cause]
    assert counters.gained("bff_logins_total") == {"started": 1, "state_mismatch": 1}


def test_strict_goes_on_by_a_page_of_ours(new_site: SiteFactory) -> None:
    """Whose navigation is of the same site, so that it brings the cookie along."""
    bff = new_site(BFF_COOKIE_SAMESITE="Strict")
    browser = bff.browser()
    page = "/orders?page=2&sort=%22name%22;x='y'#part"
    answer = login(browser, "?return_to=%2Forders%3Fpage%3D2%26sort%3D%2522name%2522%3Bx%3D'y'%23part")
    assert answer.status_code == 200
    escaped = page.replace("&", "&amp;").replace("'", "&#39;")
    assert f'<meta http-equiv="refresh" content="0; url={escaped}">' in answer.text
    assert f'<a href="{escaped}">' in answer.text
    assert answer.headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    assert "script" not in answer.text
    step = urljoin(answer.request.url, page)
    assert SESSION in browser.cookie_header(step, came_from=answer.request.url)
    assert SESSION not in browser.cookie_header(step, came_from=ISSUER)
