"""BFF_CSRF_COOKIE_NAME: one name for the answer, the check, the end of a session and the module of pages."""

import pytest

from tests.flows.internet import SESSION, Site, SiteFactory, log_out

NAME, FORMER = "shop.csrf", "_eid_csrf_v1"


@pytest.fixture
def shop(new_site: SiteFactory) -> Site:
    return new_site(BFF_CSRF_COOKIE_NAME=NAME)


def test_the_token_is_in_the_cookie_of_that_name(shop: Site) -> None:
    browser = shop.logged_in()
    token = browser.fetch("/auth/csrf").get_json()["csrf_token"]
    cookie = browser.cookie(NAME)
    assert cookie is not None
    assert (cookie.value, cookie.httponly, cookie.samesite) == (token, False, "Strict")
    assert browser.cookie(FORMER) is None
    assert log_out(browser).status_code == 200
    assert (browser.cookie(NAME), browser.cookie(SESSION)) == (None, None)


def test_a_cookie_of_the_former_name_proves_nothing(shop: Site) -> None:
    browser = shop.logged_in()
    token = browser.fetch("/auth/csrf").get_json()["csrf_token"]
    browser.forget(NAME)
    browser.put(FORMER, token)
    answer = browser.fetch("/auth/logout", method="POST", json={}, headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "missing_cookie")


def test_pages_read_the_cookie_of_that_name(shop: Site) -> None:
    module = shop.browser().fetch("/static/bff.js").text
    assert r"/(^|; )shop\.csrf=([^;]+)/" in module
    assert FORMER not in module
