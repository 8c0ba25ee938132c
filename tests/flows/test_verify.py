"""What a reverse proxy is told about a request, whatever cookies and headers the request carries."""

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, OTHER_APP, SESSION, Site, SiteFactory, login
from tests.flows.provider import REMOVED

WELL_FORMED = "A" * 43
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


def real(browser: Browser) -> str:
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    return cookie.value


BAD_COOKIES: dict[str, Callable[[str], str]] = {
    "none": lambda _: "",
    "another cookie": lambda _: "other=1; bff_session_x=1; xbff_session=1",
    "empty": lambda _: f"{SESSION}=",
    "no value": lambda _: SESSION,
    "unknown": lambda _: f"{SESSION}={WELL_FORMED}",
    "truncated": lambda value: f"{SESSION}={value[:-1]}",
    "too long": lambda value: f"{SESSION}={value}A",
    "8 kB": lambda _: f"{SESSION}={'A' * 8192}",
    "forged": lambda value: f"{SESSION}={value[:-1]}{'A' if value[-1] != 'A' else 'B'}",
    "another case": lambda value: f"{SESSION}={value.swapcase()}",
    "another name's case": lambda value: f"{SESSION.upper()}={value}",
    "not ASCII": lambda _: f"{SESSION}={'Ã©' * 21}A",
    "control characters": lambda value: f"{SESSION}={value[:42]}\x00; {SESSION}=\x01{value[1:]}",
    "a path": lambda _: f"{SESSION}=../../etc/passwd",
    "a script": lambda _: f"{SESSION}=<script>alert(1)</script>",
    "a line break": lambda value: f"{SESSION}={value}%0d%0aX-User-ID: admin",
    "only separators": lambda _: ";;;=;==; ;",
    "a thousand": lambda _: "; ".join(f"c{number}={number}" for number in range(1000)),
    "a thousand with our name": lambda _: "; ".join(f"{SESSION}={number:043d}" for number in range(1000)),
    "the store's own name for it": lambda value: f"{SESSION}=hot:{value[:39]}",
}


@pytest.mark.parametrize("header", BAD_COOKIES.values(), ids=BAD_COOKIES)
def test_a_cookie_that_opens_nothing(bff: Site, counters: Counters, header: Callable[[str], str]) -> None:
    value = real(bff.logged_in())
    counters.start()
    bff.store.forget()
    browser = bff.browser()
    answer = browser.verify(headers={"Cookie": header(value)})
    assert answer.status_code == 401
    assert answer.headers["X-Denied-Reason"] == answer.get_json(force=True)["code"] == "unauthenticated"
    assert answer.headers["WWW-Authenticate"] == 'Cookie realm="bff"'
    assert answer.headers.getlist("Set-Cookie") == []
    assert "X-User-ID" not in answer.headers
    assert bff.store.writes == []
    assert len(bff.store.reads) <= 3, "nobody makes the store work hard"
    assert counters.gained("bff_sessions_created_total") == counters.gained("bff_sessions_destroyed_total") == {}
    assert counters.gained("bff_verify_duration_seconds_count") == {"unauthenticated": 1}
    assert bff.active() == 1


@pytest.mark.parametrize("header", BAD_COOKIES.values(), ids=BAD_COOKIES)
def test_the_same_cookie_at_the_bffs_own_pages(bff: Site, header: Callable[[str], str]) -> None:
    value = real(bff.logged_in())
    bff.store.forget()
    browser = bff.browser()
    assert browser.fetch("/auth/csrf", headers={"Cookie": header(value)}).status_code == 401
    answer = browser.fetch("/auth/session", headers={"Cookie": header(value)})
    assert (answer.status_code, answer.get_json()["authenticated"]) == (200, False)
    assert browser.navigate("/auth/logout", headers={"Cookie": header(value)}).headers["Location"] == "/"
    assert bff.store.writes == []


GOOD_COOKIES: dict[str, Callable[[str], str]] = {
    "alone": lambda value: f"{SESSION}={value}",
    "among others": lambda value: f"a=1; {SESSION}={value}; b=2",
    "without blanks": lambda value: f"a=1;{SESSION}={value};b=2",
    "in quotes": lambda value: f'{SESSION}="{value}"',
    "after a stale one": lambda value: f"{SESSION}={WELL_FORMED}; {SESSION}={value}",
    "after two stale ones": lambda value: f"{SESSION}={WELL_FORMED}; {SESSION}={'B' * 43}; {SESSION}={value}",
    "after many malformed ones": lambda value: f"{SESSION}=x; " * 20 + f"{SESSION}={value}",
    "before a stale one": lambda value: f"{SESSION}={value}; {SESSION}={WELL_FORMED}",
}


@pytest.mark.parametrize("header", GOOD_COOKIES.values(), ids=GOOD_COOKIES)
def test_a_cookie_that_opens_a_session(bff: Site, header: Callable[[str], str]) -> None:
    value = real(bff.logged_in())
    assert bff.browser().verify(headers={"Cookie": header(value)}).status_code == 200


def test_a_live_session_counts_even_behind_an_expired_one(bff: Site, clock: Clock, counters: Counters) -> None:
    old = real(bff.logged_in())
    clock.now += 1800
    live = real(bff.logged_in())
    clock.now += 1800
    answer = bff.browser().verify(headers={"Cookie": f"{SESSION}={old}; {SESSION}={live}"})
    assert answer.status_code == 200


def test_the_cookie_has_the_name_that_the_operator_gave_it(new_site: SiteFactory) -> None:
    bff = new_site(BFF_COOKIE_NAME="__Host-sid")
    browser = bff.logged_in()
    assert browser.verify().status_code == 200
    cookie = browser.cookie("__Host-sid")
    assert cookie is not None
    assert (cookie.path, cookie.secure, browser.cookie(SESSION)) == ("/", True, None)
    assert bff.browser().verify(headers={"Cookie": f"{SESSION}={cookie.value}"}).status_code == 401


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/forward"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_every_method_at_both_addresses(bff: Site, counters: Counters, path: str, method: str) -> None:
    browser = bff.logged_in()
    counters.start()
    admitted = browser.send(method, path, {})
    refused = bff.browser().send(method, path, {})
    assert (admitted.status_code, refused.status_code) == (200, 401)
    assert admitted.data == b""
    assert bool(refused.data) is (method != "HEAD")
    label = "other" if method == "BREW" else method
    assert counters.gained("http_requests_total") == {f"{label} {path} 200": 1, f"{label} {path} 401": 1}


def test_what_an_admitted_request_is_told(bff: Site) -> None:
    browser = bff.logged_in()
    answer = browser.verify(headers={"X-Correlation-ID": "given-by-the-caller"})
    assert answer.headers["X-User-ID"] == "alice"
    assert answer.headers["X-Auth-Time"] == "1800000000"
    assert len(answer.headers["X-Session-ID"]) == 24
    assert answer.headers["X-Session-ID"] not in real(browser)
    assert answer.headers["X-Correlation-ID"] == "given-by-the-caller"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Session-ID"] == browser.verify().headers["X-Session-ID"]


def test_what_a_client_claims_to_be_is_of_no_interest(bff: Site) -> None:
    lies = {"X-User-ID": "admin", "X-Session-ID": "x", "X-Auth-Time": "1", "Authorization": "Bearer x"}
    browser = bff.logged_in()
    assert browser.verify(headers=lies).headers["X-User-ID"] == "alice"
    answer = bff.browser().verify(headers=lies)
    assert answer.status_code == 401
    assert "X-User-ID" not in answer.headers


@pytest.mark.parametrize(
    ("sub", "header"),
    [
        ("a b", "a%20b"),
        ("a\r\nX-User-ID: admin", "a%0D%0AX-User-ID:%20admin"),
        ("a\x00b", "a%00b"),
        ("ä", "%C3%A4"),
        ("%C3%A4", "%25C3%25A4"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("user@example.com|x:1/2?3#4,5;6=7", "user@example.com|x:1/2?3#4,5;6=7"),
    ],
)
def test_a_user_id_is_a_header_value_whatever_it_holds(bff: Site, browser: Browser, sub: str, header: str) -> None:
    bff.idp.user["sub"] = sub
    login(browser)
    assert browser.verify().headers["X-User-ID"] == header


def test_the_query_string_is_not_read(bff: Site, browser: Browser) -> None:
    """Caddy appends the client's own."""
    assert browser.send("GET", f"/auth/verify?{SESSION}={real(bff.logged_in())}&user=admin", {}).status_code == 401


@pytest.mark.parametrize(
    ("forwarded", "return_to"),
    [
        ({}, f"{BFF}/"),
        ({"X-Forwarded-Uri": "/orders?page=2"}, f"{BFF}/orders?page=2"),
        ({"X-Forwarded-Host": "other.example", "X-Forwarded-Uri": "/x"}, f"{OTHER_APP}/x"),
        ({"X-Forwarded-Host": "evil.example"}, None),
        ({"X-Forwarded-Host": "app.example@evil.example"}, None),
        ({"X-Forwarded-Host": "app.example, evil.example"}, None),
        ({"X-Forwarded-Proto": "javascript"}, None),
        ({"X-Forwarded-Proto": "http"}, None),
        ({"X-Forwarded-Uri": "//evil.example"}, None),
        ({"X-Forwarded-Uri": "/\\evil.example"}, None),
        ({"X-Forwarded-Uri": "@evil.example"}, None),
        ({"X-Forwarded-Uri": ".evil.example"}, None),
        ({"X-Forwarded-Uri": "/" + "x" * 5000}, None),
    ],
)
def test_where_to_log_in_and_back_to(browser: Browser, forwarded: dict[str, str], return_to: str | None) -> None:
    expected = f"{BFF}/auth/login" + (f"?return_to={quote(return_to, safe='')}" if return_to else "")
    assert browser.verify("/", headers=forwarded).get_json(force=True)["login_url"] == expected


def test_what_an_untrusted_peer_says_about_the_original_request_is_ignored(browser: Browser) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example", "X-Forwarded-Uri": "/orders"}
    answer = browser.send("GET", "/auth/verify", forwarded)
    assert answer.get_json(force=True)["login_url"] == f"{BFF}/auth/login"


def test_a_person_gets_a_page_and_a_script_problem_details(browser: Browser) -> None:
    page, problem = browser.verify(headers=NAVIGATION), browser.verify(headers={"Sec-Fetch-Mode": "cors"})
    assert page.status_code == problem.status_code == 401
    assert page.content_type == "text/html; charset=utf-8"
    assert f'href="{BFF}/auth/login?return_to=' in page.text
    assert problem.content_type == "application/problem+json"
    assert problem.get_json(force=True)["title"] == "Login required"


def test_the_store_is_down(bff: Site, counters: Counters) -> None:
    browser = bff.logged_in()
    counters.start()
    bff.store.down = True
    answer = browser.verify()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers["X-Denied-Reason"] == "store_unavailable"
    assert answer.headers.getlist("Set-Cookie") == []
    assert counters.gained("bff_verify_duration_seconds_count") == {"error": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {}
    assert bff.browser().verify().status_code == 401, "without a cookie nobody needs the store to know"
    bff.store.down = False
    assert browser.verify().status_code == 200, "an outage logs nobody out"


@pytest.mark.parametrize("path", ["/auth/session", "/auth/csrf", "/auth/logout"])
def test_the_store_is_down_for_the_bffs_own_pages(bff: Site, path: str) -> None:
    browser = bff.logged_in()
    bff.store.down = True
    answer = browser.fetch(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers.getlist("Set-Cookie") == []


def test_without_a_grace_a_cached_session_outlives_an_outage_by_its_time_to_live(
    new_site: SiteFactory, clock: Clock
) -> None:
    bff = new_site(start=True, SESSION_OUTAGE_GRACE="0")
    assert eventually(lambda: bff.services.cache.truthful)
    browser = bff.logged_in()
    assert browser.verify().status_code == 200
    bff.store.down = True
    clock.now += 4.9
    assert browser.verify().status_code == 200
    clock.now += 0.1
    assert browser.verify().status_code == 503
    bff.store.down = False
    assert browser.verify().status_code == 200


def test_a_cached_session_ends_in_time_even_while_it_is_cached(new_site: SiteFactory, clock: Clock) -> None:
    bff = new_site(start=True, SESSION_LIFETIME="100", SESSION_IDLE_TIMEOUT="100")
    assert eventually(lambda: bff.services.cache.truthful)
    browser = bff.logged_in()
    clock.now += 98
    assert browser.verify().status_code == 200
    clock.now += 1.9
    assert browser.verify().status_code == 200
    browser.put(SESSION, real(browser))
    clock.now += 0.1
    assert browser.verify().headers["X-Denied-Reason"] == "expired"


def test_a_session_of_a_user_without_a_name_is_a_session(bff: Site, browser: Browser) -> None:
    bff.idp.claims = {"name": REMOVED, "email": REMOVED, "roles": REMOVED}
    bff.idp.user = {"sub": "7"}
    login(browser)
    assert browser.verify().headers["X-User-ID"] == "7"
