"""A login that begins under another name of the host goes to BFF_BASE_URL first, once, and nowhere else."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, OTHER_APP, SESSION, Site, SiteFactory

LOCAL, OWN = "http://localhost:8000", "http://127.0.0.1:8000"
PROXY = "10.0.0.1"


def under(bff: Site, origin: str) -> Browser:
    browser = bff.browser()
    browser.hosts = {**bff.hosts, origin: bff.app.wsgi_app}
    return browser


def asked(location: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(location).query)


@pytest.mark.parametrize("page", ["/orders?page=2", f"{LOCAL}/orders?page=2"])
def test_a_login_at_localhost_ends_at_the_base_url(new_site: SiteFactory, page: str, counters: Counters) -> None:
    """As after `make run`; the page's own address may be what it wants to come back to."""
    bff = new_site(BFF_BASE_URL=OWN)
    bff.hosts = {**bff.hosts, OWN: bff.app.wsgi_app}
    browser = under(bff, LOCAL)
    first = browser.navigate(f"{LOCAL}/auth/login?{urlencode({'return_to': page, 'login_hint': 'a&b'})}")
    assert first.headers["Location"].startswith(f"{OWN}/auth/login?")
    assert asked(first.headers["Location"]) == {
        "return_to": ["/orders?page=2"], "login_hint": ["a&b"], "canonical": ["1"],
    }  # fmt: skip
    assert browser.cookies == []
    home = browser.follow(first, until=f"{OWN}/orders")
    assert home.headers["Location"] == "/orders?page=2"
    (session,) = browser.named(SESSION)
    assert session.host == "127.0.0.1"
    assert counters.gained("bff_logins_total") == {"started": 1, "success": 1}


@pytest.mark.parametrize(
    ("host", "forwarded", "peer", "sent"),
    [
        ("app.example", {}, "203.0.113.7", False),
        ("APP.example:443", {}, "203.0.113.7", False),
        ("www.app.example", {}, "203.0.113.7", True),
        ("app.example:8443", {}, "203.0.113.7", True),
        ("backend:8000", {"Host": "app.example"}, PROXY, False),
        ("backend:8000", {"Host": "outer, app.example"}, PROXY, False),
        ("backend:8000", {"Host": "www.app.example"}, PROXY, True),
        ("backend:8000", {"Host": "app.example"}, "203.0.113.7", True),
        ("app.example", {"Host": "evil.example"}, "203.0.113.7", False),
        ("app.example", {"Proto": "https"}, PROXY, False),
        ("app.example", {"Proto": "http"}, PROXY, True),
        ("app.example", {"Proto": "http"}, "203.0.113.7", False),
        ("evil.example", {"Host": "evil.example"}, "203.0.113.7", True),
    ],
)
def test_who_is_sent_to_the_base_url(
    new_site: SiteFactory, host: str, forwarded: dict[str, str], peer: str, sent: bool
) -> None:
    """Only a trusted proxy's word counts beside Host. Nothing else than the base URL is ever named."""
    bff = new_site(TRUSTED_PROXIES=f"{PROXY}/32")
    headers = {"Sec-Fetch-Mode": "navigate", "Host": host}
    headers |= {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    answer = bff.browser().send("GET", "/auth/login?return_to=/a", headers, peer=peer)
    target = f"{BFF}/auth/login?return_to=%2Fa&canonical=1" if sent else f"{ISSUER}/authorize"
    assert answer.headers["Location"].startswith(target)


def test_a_proxy_that_rewrites_host_costs_one_redirect(bff: Site, browser: Browser) -> None:
    headers = {"Host": "backend:8000", "Sec-Fetch-Mode": "navigate"}
    first = browser.send("GET", "/auth/login?return_to=/orders", headers)
    second = browser.send("GET", first.headers["Location"], headers)
    assert second.headers["Location"].startswith(f"{ISSUER}/authorize?")


@pytest.mark.parametrize(
    "page", ["https://evil.example/", "https://www.app.example//evil.example", f"{OTHER_APP}.evil.example/", "//evil"]
)
def test_no_page_becomes_allowed_by_it(bff: Site, page: str) -> None:
    browser = under(bff, "https://www.app.example")
    first = browser.navigate(f"https://www.app.example/auth/login?return_to={page}")
    assert first.headers["Location"].startswith(f"{BFF}/auth/login?")
    assert browser.navigate(first.headers["Location"]).status_code == 400
