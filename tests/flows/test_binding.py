"""A session belongs to the browser that logged in: its network, as trusted proxies tell it, and its User-Agent."""

import pytest

from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, to_callback

BINDING = "bff_session_binding_failures_total"


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    return new_site(SESSION_BINDING="enforce")


def moved(bff: Site, browser: Browser, address: str = "203.0.113.7", agent: str | None = None) -> Browser:
    other = bff.browser(address)
    other.cookies = list(browser.cookies)
    other.agent = agent or other.agent
    return other


@pytest.mark.parametrize("address", ["203.0.113.7", "203.0.113.255", "::ffff:203.0.113.9"])
def test_the_same_network_is_the_same_browser(bff: Site, address: str) -> None:
    assert moved(bff, bff.logged_in(), address).verify().status_code == 200


def test_ipv6_networks_are_as_large_as_a_site(bff: Site, counters: Counters) -> None:
    browser = bff.logged_in("2001:db8:7:1::1")
    assert moved(bff, browser, "2001:db8:7:ffff::9").verify().status_code == 200
    assert moved(bff, browser, "2001:db8:8:1::1").verify().status_code == 401
    assert counters.gained(BINDING) == {"ip": 1}


@pytest.mark.parametrize(
    ("address", "agent", "reason"),
    [
        ("203.0.114.7", None, "ip"),
        ("not an address", None, "ip"),
        ("203.0.113.7", "curl/8", "user_agent"),
        ("203.0.113.7", "", "user_agent"),
        ("198.51.100.1", "curl/8", "both"),
    ],
)
def test_another_browser_is_refused_and_the_session_goes_on(
    bff: Site, counters: Counters, address: str, agent: str | None, reason: str
) -> None:
    browser = bff.logged_in()
    counters.start()
    thief = moved(bff, browser, address)
    thief.agent = thief.agent if agent is None else agent
    answer = thief.verify()
    assert answer.status_code == 401
    assert answer.headers["X-Denied-Reason"] == answer.get_json(force=True)["code"] == "session_binding"
    assert counters.gained(BINDING) == {reason: 1}
    assert "Set-Cookie" not in answer.headers
    assert counters.gained("bff_sessions_destroyed_total") == {}
    assert counters.gained("bff_security_events_total") == {"session_binding critical": 1}
    assert counters.gained("bff_verify_duration_seconds_count") == {"binding": 1}
    assert browser.verify().status_code == 200


def test_one_client_elsewhere_is_one_event(bff: Site, counters: Counters) -> None:
    browser = bff.logged_in()
    player = moved(bff, browser, agent="a media player")
    for _ in range(5):
        assert player.verify().status_code == 401
    assert counters.gained(BINDING) == {"user_agent": 5}
    assert counters.gained("bff_security_events_total")["session_binding critical"] == 1


@pytest.mark.parametrize(
    ("bound_to", "address", "agent", "status"),
    [
        ("address", "203.0.113.7", "a media player", 200),
        ("address", "198.51.100.1", None, 401),
        ("agent", "198.51.100.1", None, 200),
        ("agent", "203.0.113.7", "a media player", 401),
        ("both", "203.0.113.7", "a media player", 401),
        ("both", "2001:db8::1", None, 200),
    ],
)
def test_what_it_is_bound_to(
    new_site: SiteFactory, bound_to: str, address: str, agent: str | None, status: int
) -> None:
    bff = new_site(SESSION_BINDING="enforce", SESSION_BINDING_TO=bound_to)
    browser = bff.logged_in("203.0.113.7")
    assert moved(bff, browser, address, agent).verify().status_code == status
    assert browser.verify().status_code == 200


def test_by_default_it_only_counts(new_site: SiteFactory, counters: Counters) -> None:
    bff = new_site()
    browser = bff.logged_in()
    assert moved(bff, browser, "198.51.100.1").verify().status_code == 200
    assert moved(bff, browser, agent="curl/8").verify().status_code == 200
    assert counters.gained(BINDING) == {"ip": 1, "user_agent": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {}


def test_off_does_not_look(new_site: SiteFactory, counters: Counters) -> None:
    bff = new_site(SESSION_BINDING="off")
    assert moved(bff, bff.logged_in(), "198.51.100.1", "curl/8").verify().status_code == 200
    assert counters.gained(BINDING) == {}


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("127.0.0.1", "203.0.113.50", 200),
        ("127.0.0.1", "198.51.100.1, 203.0.113.50", 200),  # the left part is the client's own invention
        ("127.0.0.1", "203.0.113.50, 127.0.0.2, ::1", 200),
        ("::1", "203.0.113.50:4711", 200),
        ("::ffff:127.0.0.1", "203.0.113.50", 200),
        ("127.0.0.1", "203.0.113.50, 198.51.100.1", 401),
        ("127.0.0.1", "203.0.113.50, 198.51.100.1, 127.0.0.9", 401),
        ("127.0.0.1", "203.0.113.50, nonsense", 401),
        ("127.0.0.1", "", 401),
        ("203.0.113.9", "198.51.100.1", 200),  # an untrusted peer speaks for itself only
        ("198.51.100.1", "203.0.113.50", 401),
        ("198.51.100.1", "203.0.113.50, 127.0.0.1", 401),
    ],
)
def test_forwarded_addresses_count_when_a_trusted_proxy_vouches_for_them(
    bff: Site, peer: str, forwarded: str, status: int
) -> None:
    browser = bff.logged_in("203.0.113.7")
    answer = browser.send("GET", "/auth/verify", {"X-Forwarded-For": forwarded}, peer=peer)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Forwarded": "for=203.0.113.50;proto=https"}, 200),
        ({"Forwarded": 'for=203.0.113.50, for=198.51.100.1;host="app.example"'}, 401),
        ({"Forwarded": "for=198.51.100.1", "X-Forwarded-For": "203.0.113.50"}, 401),
        ({"Forwarded": "for=203.0.113.50", "X-Forwarded-For": "198.51.100.1"}, 200),
        ({"X-Forwarded-For": "203.0.113.50"}, 401),
    ],
)
def test_where_proxies_write_forwarded_it_alone_counts(
    new_site: SiteFactory, headers: dict[str, str], status: int
) -> None:
    browser = new_site(FORWARDED_HEADER="forwarded", SESSION_BINDING="enforce").logged_in("203.0.113.7")
    assert browser.send("GET", "/auth/verify", headers, peer="127.0.0.1").status_code == status


def test_a_socket_file_is_trusted_where_the_settings_say_so(new_site: SiteFactory) -> None:
    bff = new_site(TRUSTED_PROXIES="unix")
    clients = bff.app.extensions["bff_clients"]
    assert clients.of({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}).address == "203.0.113.7"
    assert clients.of({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}).address == "127.0.0.1"


def test_a_login_through_a_proxy_is_bound_to_the_client_behind_it(new_site: SiteFactory) -> None:
    bff = new_site(TRUSTED_PROXIES="10.0.0.0/8", SESSION_BINDING="enforce")
    browser = bff.browser("10.1.1.1")
    login_through(browser, "203.0.113.7")
    cookie = {"Cookie": browser.cookie_header(f"{BFF}/")}
    near = browser.send("GET", "/auth/verify", {**cookie, "X-Forwarded-For": "203.0.113.8"}, peer="10.2.2.2")
    far = browser.send("GET", "/auth/verify", {**cookie, "X-Forwarded-For": "198.51.100.1"}, peer="10.2.2.2")
    assert (near.status_code, far.status_code) == (200, 401)


def login_through(browser: Browser, client: str) -> None:
    url = to_callback(browser)
    answer = browser.navigate(url, came_from=ISSUER, headers={"X-Forwarded-For": client})
    assert answer.status_code == 302
