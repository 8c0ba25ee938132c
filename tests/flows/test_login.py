"""A login as a user sees it: redirect out, come back, be somebody."""

import math
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from bff.login.transaction import COOKIE_PREFIX
from bff.sessions.token_store import CODE_LIFE, REVOCATION_INDEX
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, OTHER_APP, SESSION, Site, SiteFactory, begin, login, to_callback


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_user_logs_in_and_every_request_is_verified(bff: Site, browser: Browser, counters: Counters) -> None:
    assert browser.verify().status_code == 401
    answer = login(browser, "?return_to=/orders%3Fpage=2")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/orders?page=2"
    verified = browser.verify()
    assert verified.status_code == 200
    assert verified.data == b""
    assert verified.headers["X-User-ID"] == "alice"
    assert counters.gained("bff_logins_total") == {"started": 1, "success": 1}
    assert counters.gained("bff_token_exchange_total") == {"authorization_code success": 1}
    assert counters.gained("bff_token_validation_total") == {"id_token valid": 1}
    assert counters.gained("bff_sessions_created_total") == {"": 1}
    assert counters.gained("bff_security_events_total") == {"login_succeeded info": 1}
    assert bff.active() == 1


def test_what_the_provider_is_asked(bff: Site, browser: Browser) -> None:
    location = begin(browser).headers["Location"]
    asked = query(location)
    assert location.startswith(f"{ISSUER}/authorize?")
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "bff"
    assert asked["redirect_uri"] == f"{BFF}/auth/callback"
    assert asked["scope"] == "openid profile email"
    assert asked["code_challenge_method"] == "S256"
    assert all(len(asked[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    again = query(begin(browser).headers["Location"])
    assert all(asked[name] != again[name] for name in ("state", "nonce", "code_challenge"))


def test_hints_are_passed_and_nothing_else(browser: Browser) -> None:
    hints = "prompt=login&acr_values=mfa&login_hint=bob%40example.com"
    asked = query(begin(browser, f"?{hints}&client_id=evil&redirect_uri=https://evil.example/&nonce=x").location)
    assert (asked["prompt"], asked["acr_values"], asked["login_hint"]) == ("login", "mfa", "bob@example.com")
    assert asked["client_id"] == "bff"
    assert asked["redirect_uri"] == f"{BFF}/auth/callback"
    assert len(asked["nonce"]) == 43


def test_the_cookies_of_a_login(bff: Site, browser: Browser) -> None:
    begin_answer = begin(browser)
    (attempt,) = browser.named(COOKIE_PREFIX)
    assert (attempt.path, attempt.httponly, attempt.secure, attempt.samesite) == ("/auth", True, True, "Lax")
    assert attempt.expires_at == bff.clock() + 900
    assert query(begin_answer.headers["Location"])["state"] not in attempt.name + attempt.value
    browser.navigate(browser.follow(begin_answer, until=f"{BFF}/auth/callback").location, came_from=ISSUER)
    assert browser.named(COOKIE_PREFIX) == []
    session = browser.cookie(SESSION)
    assert session is not None
    assert (session.path, session.httponly, session.secure, session.samesite) == ("/", True, True, "Lax")
    assert len(session.value) == 43


def test_no_secret_of_a_login_is_readable_in_the_store(bff: Site, browser: Browser) -> None:
    asked = query(begin(browser).headers["Location"])
    (attempt,) = browser.named(COOKIE_PREFIX)
    login(browser)
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    secrets = [asked["state"], asked["nonce"], attempt.value, cookie.value, *bff.idp.issued, "alice@example.com"]
    bff.services.close()
    content = b"".join(path.read_bytes() for path in bff.services.settings.store.path.parent.glob("store.sqlite3*"))
    assert content
    assert [secret for secret in secrets if secret.encode() in content] == []


@pytest.mark.parametrize(("user", "revoked"), [("alice", 0), ("bob", 1)])
def test_who_logs_in_again_keeps_the_tokens(bff: Site, user: str, revoked: int) -> None:
    """Both logins of one person may be one grant to the provider, which takes all of it back or nothing."""
    browser = bff.logged_in()
    bff.idp.user = {**bff.idp.user, "sub": user}
    login(browser)
    bff.services.tokens.revocations.revoke_due()
    assert bff.idp.revoked == [], "a login of the former person may be under way elsewhere"
    bff.clock.now += bff.services.settings.login_timeout + CODE_LIFE
    bff.services.tokens.revocations.revoke_due()
    assert len(bff.idp.revoked) == revoked
    assert browser.verify().status_code == 200
    assert bff.store.index_count(REVOCATION_INDEX, -math.inf, math.inf) == 0


def test_a_login_gives_a_new_id_and_ends_the_former_session(bff: Site, counters: Counters) -> None:
    browser = bff.logged_in()
    former = browser.cookie(SESSION)
    login(browser)
    current = browser.cookie(SESSION)
    assert former is not None
    assert current is not None
    assert current.value != former.value
    assert counters.gained("bff_sessions_destroyed_total") == {"replaced": 1}
    thief = bff.browser()
    thief.put(SESSION, former.value)
    assert thief.verify().status_code == 401
    assert browser.verify().status_code == 200


def test_a_planted_session_cookie_is_not_adopted(bff: Site, browser: Browser) -> None:
    planted = "A" * 43
    browser.put(SESSION, planted)
    login(browser)
    attacker = bff.browser()
    attacker.put(SESSION, planted)
    assert attacker.verify().status_code == 401
    assert browser.verify().status_code == 200


def test_fetch_is_told_where_to_log_in_instead_of_being_redirected(bff: Site, browser: Browser) -> None:
    answer = browser.fetch("/auth/login")
    assert answer.status_code == 401
    assert answer.get_json()["login_url"] == f"{BFF}/auth/login"
    assert bff.store.writes == []


@pytest.mark.parametrize("return_to", ["/", "/deep/path?x=1#part", f"{OTHER_APP}/welcome", BFF])
def test_return_to_within_the_allowed_origins(browser: Browser, return_to: str) -> None:
    assert login(browser, f"?return_to={quote(return_to, safe='')}").headers["Location"] == return_to


def test_return_to_is_refused_at_login(bff: Site, browser: Browser, counters: Counters) -> None:
    answer = begin(browser, "?return_to=https://evil.example/")
    assert answer.status_code == 400
    assert "evil.example" not in answer.text
    assert browser.named(COOKIE_PREFIX) == []
    assert bff.store.writes == []
    assert counters.gained("bff_security_events_total") == {"return_url_refused warning": 1}


def test_return_to_is_checked_again_at_the_callback(new_site: SiteFactory, counters: Counters) -> None:
    """The operator withdraws an origin while somebody is logging in."""
    before = new_site()
    browser = before.browser()
    url = to_callback(browser, f"?return_to={OTHER_APP}/welcome")
    after = new_site(BFF_ALLOWED_REDIRECT_HOSTS="", providers=before.providers)
    browser.hosts = after.hosts
    answer = browser.navigate(url, came_from=ISSUER)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert browser.cookie(SESSION) is not None
    assert counters.gained("bff_logins_total") == {"started": 1, "success": 1}


def test_the_flow_is_timed_with_the_persons_time_and_without(
    bff: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    url = to_callback(browser)
    clock.now += 42
    browser.navigate(url, came_from=ISSUER)
    assert counters.gained("bff_oauth_flow_duration_seconds_sum")["login"] == 42
    assert counters.gained("bff_oauth_flow_duration_seconds_sum")["authorization_code"] < 10
