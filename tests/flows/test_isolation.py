"""Which site's page may use a session, told by Fetch Metadata, or by Origin and Referer of older browsers."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.flows.api import ROUTES, ApiSites
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, proof

SPA = "https://spa.app.example"
EVIL = "https://evil.example"
VIOLATIONS = "bff_csrf_violations_total"
NAVIGABLE = """
  - {id: report, path: /api/report, service: orders, navigable: true, methods: [GET, HEAD, POST]}
  - {id: open, path: /api/open, service: files, auth: none}
"""
READ = ["/auth/session", "/api/auth/session", "/auth/csrf", "/auth/sessions", "/auth/tokens", "/api/orders"]
CHANGED = [
    ("POST", "/auth/logout"), ("POST", "/auth/tokens/refresh"), ("POST", "/auth/tokens/exchange"),
    ("DELETE", "/auth/sessions/x"), ("POST", "/access/v1/evaluation"), ("POST", "/access/v1/evaluations"),
    ("POST", "/api/orders"),
]  # fmt: skip
LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html", "Sec-Fetch-User": "?1"}


def site(value: str, **more: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": value, **{name.replace("_", "-"): said for name, said in more.items()}}


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "another site": (site("cross-site"), "cross_site"),
    "another site's picture": (site("cross-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image"), "cross_site"),
    "another site's frame": (site("cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe"), "cross_site"),
    "another site's link": (site("cross-site", **LINK), "cross_site"),
    "another site that is allowed by CORS": (site("cross-site", Origin=SPA), "cross_site"),
    "another site's socket": (site("cross-site", Sec_Fetch_Mode="websocket", Origin=EVIL), "cross_site"),
    "a sibling": (site("same-site"), "same_site"),
    "a sibling's script": (site("same-site", Origin="https://evil.app.example"), "same_site"),
    "a sibling that hides": (site("same-site", Origin="null"), "same_site"),
    "a sibling's picture": (site("same-site", Referer="https://evil.app.example/"), "same_site"),
    "a sibling's link": (site("same-site", **LINK), "same_site"),
    "two answers": (site("same-origin,cross-site"), "cross_site"),
    "two answers, the other way": (site("cross-site, same-origin"), "cross_site"),
    "another spelling": (site("Same-Origin"), "cross_site"),
    "nothing": (site(""), "cross_site"),
    "an unknown word": (site("same-party"), "cross_site"),
    "an older browser, by origin": ({"Origin": "https://evil.example"}, "foreign_origin"),
    "an older browser, by no origin": ({"Origin": "null"}, "foreign_origin"),
    "an older browser, by referrer": ({"Referer": f"{BFF}.evil.example/"}, "foreign_origin"),
    "an older browser, by a broken referrer": ({"Referer": "https://[/"}, "foreign_origin"),
    "an older browser's link": ({"Referer": "https://evil.example/", "Accept": "text/html"}, "foreign_origin"),
}  # fmt: skip
ADMITTED: dict[str, dict[str, str]] = {
    "our own page": site("same-origin"),
    "our own link": site("same-origin", **LINK),
    "our own service worker": site("same-origin", Sec_Fetch_Mode="same-origin", Sec_Fetch_Dest="serviceworker"),
    "our own socket": site("same-origin", Sec_Fetch_Mode="websocket", Origin=BFF),
    "a typed address": site("none", **LINK),
    "a sibling of CORS_ALLOW_ORIGINS": site("same-site", Origin=SPA),
    "its picture": site("same-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image", Referer=f"{SPA}/page"),
    "ourselves by another name of the site": site("same-site", Origin=BFF),
    "no browser": {},
    "an older browser": {"Referer": f"{BFF}/orders?a=b"},
    "an older browser, by origin": {"Origin": BFF},
}


@pytest.fixture
def bff(new_site: SiteFactory, tmp_path: Path) -> Site:
    return ApiSites(new_site, tmp_path)(ROUTES + NAVIGABLE, CORS_ALLOW_ORIGINS=SPA)


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


def of_page(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Accept": "*/*", **headers}


@pytest.mark.parametrize(("headers", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_other_pages_read_nothing(
    bff: Site, alice: Browser, counters: Counters, headers: dict[str, str], reason: str
) -> None:
    counters.start()
    for number, path in enumerate(READ, 1):
        answer = alice.send("GET", path, of_page(headers))
        assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (403, reason), path
        assert "alice" not in answer.text
        assert answer.headers.getlist("Set-Cookie") == []
        assert counters.gained(VIOLATIONS) == {reason: number}
    assert len(bff.events("security.csrf.violation")) == len(READ)


@pytest.mark.parametrize(("headers", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_other_pages_change_nothing_with_a_proof_neither(
    alice: Browser, counters: Counters, headers: dict[str, str], reason: str
) -> None:
    token = proof(alice)
    for method, path in CHANGED:
        answer = alice.send(method, path, of_page({**headers, **token}), json={})
        assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (403, reason), path
    assert counters.gained("bff_sessions_destroyed_total") == {}


@pytest.mark.parametrize("headers", ADMITTED.values(), ids=ADMITTED.keys())
def test_our_pages_read(alice: Browser, counters: Counters, headers: dict[str, str]) -> None:
    for path in READ:
        assert alice.send("GET", path, of_page(headers)).status_code == 200, path
    assert counters.gained(VIOLATIONS) == {}


@pytest.mark.parametrize("headers", ADMITTED.values(), ids=ADMITTED.keys())
def test_our_pages_still_need_a_proof_to_change(alice: Browser, headers: dict[str, str]) -> None:
    answer = alice.send("POST", "/auth/logout", of_page(headers))
    assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (403, "missing_cookie")


def test_a_refused_request_is_no_use(bff: Site, alice: Browser) -> None:
    bff.clock.now += 600
    alice.send("GET", "/auth/tokens", site("cross-site"))
    bff.services.authenticator.flush()
    idle = alice.fetch("/auth/session?touch=false").get_json()["idle_expires_in"]
    assert idle == bff.services.settings.sessions.idle_timeout - 600


FOLLOWED: dict[str, tuple[str, dict[str, str], int]] = {
    "another site's link": ("GET", site("cross-site", **LINK), 200),
    "a sibling's link": ("GET", site("same-site", **LINK), 200),
    "a link, looked at": ("HEAD", site("cross-site", **LINK), 200),
    "an older browser's link": ("GET", {"Referer": "https://evil.example/", "Accept": "text/html"}, 200),
    "a form": ("POST", site("cross-site", **LINK), 403),
    "a frame": ("GET", site("cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe"), 403),
    "an old frame": ("GET", site("cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="frame"), 403),
    "an object": ("GET", site("cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="object"), 403),
    "an embedded one": ("GET", site("cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="embed"), 403),
    "no destination": ("GET", site("cross-site", Sec_Fetch_Mode="navigate"), 403),
    "a page that is fetched ahead": ("GET", site("same-site", **LINK, Sec_Purpose="prefetch;prerender"), 403),
    "a script": ("GET", site("cross-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script"), 403),
    "an older browser's script": ("GET", {"Origin": "https://evil.example", "Accept": "text/html"}, 403),
}


@pytest.mark.parametrize(("method", "headers", "status"), FOLLOWED.values(), ids=FOLLOWED.keys())
def test_a_navigable_route_is_reached_by_links_alone(
    alice: Browser, method: str, headers: dict[str, str], status: int
) -> None:
    assert alice.send(method, "/api/report", headers).status_code == status


def test_another_sites_page_does_not_find_out_whether_there_is_a_session(bff: Site, alice: Browser) -> None:
    for path in READ:
        answers = [browser.send("GET", path, site("cross-site")) for browser in (alice, bff.browser())]
        assert [answer.status_code for answer in answers] == [403, 403]


def test_strangers_write_no_event(bff: Site) -> None:
    bff.browser().send("GET", "/auth/tokens", site("cross-site"))
    assert bff.events("security.csrf.violation") == []


def test_a_store_that_is_away_opens_nothing(bff: Site, alice: Browser) -> None:
    bff.store.down = True
    assert alice.send("GET", "/auth/tokens", site("cross-site")).status_code == 403


def test_what_needs_no_session_is_nobodys_secret(alice: Browser) -> None:
    for path in ("/api/open", "/health", "/openapi.json", "/static/bff.js", "/.well-known/jwks.json"):
        assert alice.send("GET", path, site("cross-site")).status_code in (200, 503), path


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/login", f"/auth/frontchannel-logout?iss={ISSUER}&sid=b"])
def test_what_other_sites_lead_to_by_nature(alice: Browser, path: str) -> None:
    assert alice.send("GET", path, site("cross-site", **LINK)).status_code in (200, 302)


def test_a_preflight_is_answered_whoever_asks(alice: Browser) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://evil.example"}
    answer = alice.send("OPTIONS", "/auth/logout", site("cross-site", **asked))
    assert answer.status_code == 204
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_another_site_that_the_operator_lets_in_twice(new_site: SiteFactory) -> None:
    """By CORS_ALLOW_ORIGINS, and by a cookie that browsers send from there."""
    bff = new_site(CORS_ALLOW_ORIGINS=SPA, BFF_COOKIE_SAMESITE="None")
    alice = bff.logged_in()
    assert alice.send("GET", "/auth/tokens", site("cross-site", Origin=SPA)).status_code == 200
    assert alice.send("GET", "/auth/tokens", site("cross-site", Origin="https://evil.example")).status_code == 403
    assert alice.send("GET", "/auth/tokens", site("cross-site")).status_code == 403


def test_a_bearer_token_is_no_session(bff: Site) -> None:
    """Nothing that a browser adds by itself; which page sends it does not matter."""
    headers = site("cross-site", Authorization="Bearer x")
    assert bff.browser().send("POST", "/access/v1/evaluation", headers, json={}).status_code == 401
