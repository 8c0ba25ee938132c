"""A provider that is away while its metadata is known: nobody is sent to it, and its return is noticed at once."""

import pytest
import requests
from werkzeug.test import TestResponse

from bff.login.transaction import COOKIE_PREFIX
from bff.oidc.reachable import ASKED_AGAIN_AFTER
from tests.flows.assertions import come_back
from tests.flows.browser import Browser
from tests.flows.internet import ISSUER, Site, begin, log_out, login, to_callback
from tests.flows.provider import Answer, html, raising

ENDPOINTS = ("discovery", "token", "jwks", "authorize")
AWAY = {
    "no connection": raising(requests.ConnectionError()),
    "no answer": raising(requests.ReadTimeout()),
    "a proxy's page": html(502),
}


def away(bff: Site, answer: Answer) -> None:
    for endpoint in ENDPOINTS:
        bff.idp.break_endpoint(endpoint, answer)


def refused_at_once(bff: Site, answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.content_type.startswith("text/html")
    assert 'href="/auth/login?return_to=/orders"' in answer.text
    assert [line for line in answer.headers.getlist("Set-Cookie") if COOKIE_PREFIX in line] == []


@pytest.fixture
def known(bff: Site) -> Site:
    """Its provider's metadata are kept."""
    bff.logged_in()
    return bff


@pytest.mark.parametrize("how", AWAY)
def test_health_knows_it(known: Site, browser: Browser, how: str) -> None:
    away(known, AWAY[how])
    assert known.services.health.refresh("idp") is False
    refused_at_once(known, begin(browser, "?return_to=/orders"))


def test_another_login_has_found_it_out(known: Site, browser: Browser) -> None:
    url = to_callback(browser)
    away(known, AWAY["no connection"])
    assert come_back(browser, url).status_code == 503
    refused_at_once(known, begin(known.browser(), "?return_to=/orders"))


def test_a_crowd_asks_once_in_a_while(known: Site) -> None:
    away(known, AWAY["no answer"])
    known.services.health.refresh("idp")
    known.clock.now += ASKED_AGAIN_AFTER + 5
    before = known.idp.count("discovery")
    assert {begin(known.browser()).status_code for _ in range(20)} == {503}
    assert known.idp.count("discovery") <= before + 3, "one fetch, with its repetitions"


def test_it_is_back(known: Site, browser: Browser) -> None:
    """Health looks twice a minute; a login does not wait for that."""
    away(known, AWAY["no connection"])
    known.services.health.refresh("idp")
    known.idp.repair()
    known.clock.now += 5  # as Retry-After has it
    assert login(browser).headers["Location"] == "/"


@pytest.mark.parametrize("answer", [html(200), html(404)])
def test_a_provider_that_answers_is_not_away(known: Site, browser: Browser, answer: Answer) -> None:
    """Nobody's bad request, and no bad document, is an outage: the last good copy serves."""
    known.idp.break_endpoint("discovery", answer)
    known.services.health.refresh("idp")
    assert begin(browser).headers["Location"].startswith(f"{ISSUER}/authorize")


def test_one_person_s_code_refuses_nobody_else(known: Site, browser: Browser) -> None:
    """An endpoint that fails for a code, or for keys that are not needed, is no outage."""
    url = to_callback(browser)
    known.idp.break_endpoint("token", html(500))
    assert come_back(browser, url).status_code == 503
    assert begin(known.browser()).headers["Location"].startswith(f"{ISSUER}/authorize")


def test_one_endpoint_that_fails_refuses_no_login(known: Site) -> None:
    """Each logout meets the revocation endpoint that fails; the metadata are there all the time."""
    known.idp.break_endpoint("revoke", html(503))
    for _ in range(4):
        log_out(known.logged_in())
