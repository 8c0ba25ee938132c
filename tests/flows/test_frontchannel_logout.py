"""OpenID Connect Front-Channel Logout 1.0: a provider's logout page holds us in an iframe."""

from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from bff.settings.cookies import CSRF
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, SESSION, Site, proof

PATH = "/auth/frontchannel-logout"
DESTROYED = "bff_sessions_destroyed_total"


def user(bff: Site, sub: str = "alice", sid: str = "s1") -> Browser:
    bff.idp.claims = {"sub": sub, "sid": sid}
    return bff.logged_in()


def framed(browser: Browser, query: str | None = None, *, cookies: bool = False, **parameters: str) -> TestResponse:
    """As an iframe of the provider's page asks; without cookies, which third parties are not sent."""
    query = urlencode(parameters) if query is None else query
    headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    return browser.send("GET", f"{PATH}?{query}", headers if cookies else {**headers, "Cookie": ""}, came_from=ISSUER)


def test_the_iframe_ends_the_session_without_a_cookie(bff: Site, counters: Counters) -> None:
    alice, other, bob = user(bff), user(bff, sid="s2"), user(bff, "bob", "s3")
    counters.start()
    answer = framed(alice, iss=ISSUER, sid="s1")
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert [each.verify().status_code for each in (alice, other, bob)] == [401, 200, 200]
    assert counters.gained(DESTROYED) == {"backchannel": 1}
    assert counters.gained("bff_security_events_total") == {"frontchannel_logout info": 1}


def test_that_issuer_may_frame_it_and_nobody_else(bff: Site) -> None:
    policy = framed(bff.browser(), iss=ISSUER, sid="s1").headers["Content-Security-Policy"]
    assert policy == f"default-src 'none'; form-action 'none'; frame-ancestors {ISSUER}; base-uri 'none'"
    assert "frame-ancestors 'none'" in framed(bff.browser(), iss=ISSUER).headers["Content-Security-Policy"]


def test_our_cookies_go_where_they_were_sent(bff: Site) -> None:
    """A provider on a sibling host is the same site, so the browser sends them."""
    alice = user(bff)
    proof(alice)
    framed(alice, cookies=True, iss=ISSUER, sid="s1")
    assert alice.cookie(SESSION) is None
    assert alice.cookie(CSRF) is None


@pytest.mark.parametrize("sid", ["unknown", "mallory's"])
def test_a_foreign_page_clears_nobodys_cookies(bff: Site, sid: str) -> None:
    """Whoever leads a browser here knows no sid but invented ones and their own."""
    user(bff, "mallory", "mallory's")
    alice = user(bff)
    answer = framed(alice, cookies=True, iss=ISSUER, sid=sid)
    assert answer.status_code == 200
    assert answer.headers.getlist("Set-Cookie") == []
    assert alice.verify().status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "sid=s1",
        "iss=",
        urlencode({"iss": ISSUER}),
        urlencode({"iss": ISSUER, "sid": ""}),
        urlencode({"iss": "https://evil.example", "sid": "s1"}),
        urlencode({"iss": ISSUER + "/", "sid": "s1"}),
        urlencode([("iss", ISSUER), ("sid", "s1"), ("sid", "s1")]),
        urlencode([("iss", ISSUER), ("iss", ISSUER), ("sid", "s1")]),
        urlencode([("iss", ISSUER), ("sid", "s1"), ("a", "1"), ("a", "2")]),
        "iss=%FF&sid=s1",
    ],
)
def test_a_request_that_names_no_session(bff: Site, counters: Counters, query: str) -> None:
    alice = user(bff)
    counters.start()
    answer = framed(alice, query)
    assert answer.status_code == 400
    assert "invalid_request" in answer.text
    assert "evil" not in answer.text
    assert counters.gained(DESTROYED) == {}
    assert alice.verify().status_code == 200


def test_the_store_is_away(bff: Site) -> None:
    alice = user(bff)
    bff.store.down = True
    answer = framed(alice, cookies=True, iss=ISSUER, sid="s1")
    assert answer.status_code == 503
    assert answer.headers.getlist("Set-Cookie") == []
    bff.store.down = False
    assert alice.verify().status_code == 200


def test_only_a_get_will_do(bff: Site) -> None:
    assert user(bff).fetch(f"{BFF}{PATH}", method="POST").status_code == 405
