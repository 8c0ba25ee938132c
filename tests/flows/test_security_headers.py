"""What browsers are told about our answers, so that pages of others can do nothing with them."""

from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.flows.api import ApiSites
from tests.flows.browser import Browser
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, begin

HSTS = "Strict-Transport-Security"
OPENER = "Cross-Origin-Opener-Policy"


def directives(answer: TestResponse) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


def pages(bff: Site) -> dict[str, TestResponse]:
    """Every HTML page of ours outside development."""
    alice, anyone = bff.logged_in(), bff.browser()
    framed = alice.navigate(f"/auth/frontchannel-logout?iss={ISSUER}&sid=x")
    bff_error, login_error = anyone.navigate("/auth/csrf"), anyone.navigate("/auth/callback?state=x")
    refused = anyone.verify(headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
    unknown = anyone.navigate("/nothing")
    return {
        "log out?": alice.navigate("/auth/logout"), "an error": bff_error, "a login that failed": login_error,
        "verify's, passed on by a proxy": refused, "no such page": unknown, "front-channel logout": framed,
    }  # fmt: skip


@pytest.mark.parametrize(
    "page",
    [
        "log out?", "an error", "a login that failed", "verify's, passed on by a proxy", "no such page",
        "front-channel logout",
    ],
)  # fmt: skip
def test_a_page_of_ours_is_isolated(bff: Site, page: str) -> None:
    answer = pages(bff)[page]
    assert answer.mimetype == "text/html"
    found = directives(answer)
    assert found["default-src"] in ("'self'", "'none'")
    assert found["base-uri"] == "'none'"
    assert found["form-action"].split()[0] in ("'self'", "'none'")
    assert found["frame-ancestors"] == (ISSUER if page == "front-channel logout" else "'none'")
    assert answer.headers[OPENER] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_the_logout_form_may_lead_on_to_a_provider(bff: Site) -> None:
    """Chromium asks form-action about the redirects that follow; those of a provider may lead to yet another."""
    assert directives(bff.logged_in().navigate("/auth/logout"))["form-action"] == "'self' https:"


def test_what_is_no_page_keeps_its_opener(browser: Browser) -> None:
    """A login in a window of its own goes through redirects, which are HTML to Flask."""
    assert begin(browser).status_code == 302
    assert OPENER not in begin(browser).headers
    assert OPENER not in browser.fetch("/auth/session").headers


def test_no_other_origin_may_embed_our_answers(browser: Browser) -> None:
    for path in ("/auth/session", "/auth/csrf", "/health", "/static/bff.js", "/nothing"):
        assert browser.fetch(path).headers["Cross-Origin-Resource-Policy"] == "same-origin", path


def test_https_only_where_the_operator_says_so(new_site: SiteFactory, tmp_path: Path) -> None:
    bff = ApiSites(new_site, tmp_path)(BFF_HSTS="3600")
    alice = bff.logged_in()
    for answer in (
        alice.fetch("/auth/session"),
        alice.navigate("/auth/login"),
        alice.fetch("/nothing"),
        alice.fetch("/api/orders"),
        bff.browser().fetch("/auth/csrf"),
        alice.send("OPTIONS", "/auth/csrf", {"Origin": BFF, "Access-Control-Request-Method": "GET"}),
    ):
        assert answer.headers.getlist(HSTS) == ["max-age=3600"]


def test_not_by_default(browser: Browser) -> None:
    assert HSTS not in browser.fetch("/auth/session").headers


def test_a_services_answer_keeps_its_own_policy(new_site: SiteFactory, tmp_path: Path) -> None:
    answer = ApiSites(new_site, tmp_path)().logged_in().fetch("/api/orders")
    assert answer.status_code == 200
    for name in ("Content-Security-Policy", OPENER, "Cross-Origin-Resource-Policy", HSTS):
        assert name not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
