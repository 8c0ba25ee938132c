"""Unsafe requests must prove that they come from a page of this site."""

import pytest

from bff.settings.cookies import CSRF
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, SiteFactory, login

VIOLATIONS = "bff_csrf_violations_total"
FORGED = "A" * 43 + "." + "A" * 43


@pytest.fixture
def browser(bff: Site) -> Browser:
    return bff.logged_in()


@pytest.fixture
def token(browser: Browser) -> str:
    found: str = browser.fetch("/auth/csrf").get_json()["csrf_token"]
    return found


def refused(browser: Browser, counters: Counters, reason: str, **headers: str) -> None:
    counters.start()
    answer = browser.fetch("/auth/logout", method="POST", headers=headers)
    assert answer.status_code == 403
    assert answer.headers["X-Denied-Reason"] == answer.get_json(force=True)["code"] == reason
    assert answer.headers.getlist("Set-Cookie") == []
    assert counters.gained(VIOLATIONS) == {reason: 1}
    assert counters.gained("bff_security_events_total") == {"csrf_violation warning": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {}
    assert browser.verify().status_code == 200


def test_the_token_and_its_cookie(browser: Browser, token: str) -> None:
    cookie = browser.cookie(CSRF)
    assert cookie is not None
    assert (cookie.value, cookie.path, cookie.secure, cookie.httponly, cookie.samesite) == (
        token,
        "/",
        True,
        False,
        "Strict",
    )


def test_it_needs_a_session(bff: Site) -> None:
    answer = bff.browser().fetch("/auth/csrf")
    assert answer.status_code == 401
    assert answer.headers.getlist("Set-Cookie") == []
    assert bff.browser().fetch("/auth/logout", method="POST").status_code == 401


def test_a_proof_is_accepted(browser: Browser, token: str, counters: Counters) -> None:
    assert browser.fetch("/auth/logout", method="POST", headers={"X-CSRF-Token": token}).status_code == 200
    assert counters.gained(VIOLATIONS) == {}


def test_without_an_origin_header_the_token_decides(browser: Browser, token: str) -> None:
    assert browser.send("POST", "/auth/logout", {"X-CSRF-Token": token}).status_code == 200


def test_missing_cookie(browser: Browser, token: str, counters: Counters) -> None:
    browser.forget(CSRF)
    refused(browser, counters, "missing_cookie", **{"X-CSRF-Token": token})


@pytest.mark.parametrize("headers", [{}, {"X-CSRF-Token": ""}, {"X-XSRF-Token": FORGED}])
def test_missing_header(browser: Browser, token: str, counters: Counters, headers: dict[str, str]) -> None:
    refused(browser, counters, "missing_header", **headers)


@pytest.mark.parametrize("given", ["x", FORGED, "\u00e4", "a" * 5000])
def test_mismatch(browser: Browser, token: str, counters: Counters, given: str) -> None:
    refused(browser, counters, "mismatch", **{"X-CSRF-Token": given})


@pytest.mark.parametrize("forged", [FORGED, ".", "x", "a.b.c", "." + "A" * 43, "A" * 43 + "."])
def test_a_pair_that_somebody_planted(browser: Browser, counters: Counters, forged: str) -> None:
    """A sibling host may set our cookie and so make a pair that fits; it cannot sign it."""
    browser.put(CSRF, forged)
    refused(browser, counters, "bad_signature", **{"X-CSRF-Token": forged})


def test_a_token_of_another_session(bff: Site, browser: Browser, counters: Counters) -> None:
    attackers: str = bff.logged_in().fetch("/auth/csrf").get_json()["csrf_token"]
    browser.put(CSRF, attackers)
    refused(browser, counters, "bad_signature", **{"X-CSRF-Token": attackers})


def test_a_token_from_before_the_login(browser: Browser, token: str, counters: Counters) -> None:
    login(browser)
    refused(browser, counters, "bad_signature", **{"X-CSRF-Token": token})


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://app.example", BFF + ":444", BFF + ".evil.example", BFF + "/"]
)
def test_foreign_origin(browser: Browser, token: str, counters: Counters, origin: str) -> None:
    refused(browser, counters, "foreign_origin", **{"X-CSRF-Token": token, "Origin": origin})


def test_an_origin_that_the_operator_allows(new_site: SiteFactory) -> None:
    browser = new_site(CORS_ALLOW_ORIGINS="https://spa.example").logged_in()
    token = browser.fetch("/auth/csrf").get_json()["csrf_token"]
    headers = {"X-CSRF-Token": token, "Origin": "https://spa.example"}
    assert browser.fetch("/auth/logout", method="POST", headers=headers).status_code == 200


def test_several_tokens_are_good_at_once(browser: Browser, token: str) -> None:
    """Two tabs: each asked for one, the newer cookie is in both."""
    second = browser.fetch("/auth/csrf").get_json()["csrf_token"]
    assert second != token
    assert browser.fetch("/auth/logout", method="POST", headers={"X-CSRF-Token": second}).status_code == 200
