"""A session's life: how long, how it ends, and that every end is counted once."""

import pytest

from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import NEW_KEY, OLD_KEY, SESSION, Site, SiteFactory, balanced, log_out

DESTROYED = "bff_sessions_destroyed_total"


def keep_cookie(browser: Browser) -> None:
    """Beyond its Max-Age, as a thief would."""
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    cookie.expires_at = None


def test_an_unused_session_ends_after_the_idle_timeout(new_site: SiteFactory, clock: Clock, counters: Counters) -> None:
    bff = new_site(SESSION_IDLE_TIMEOUT="600", SESSION_LIFETIME="6000")
    browser = bff.logged_in()
    clock.now += 600
    answer = browser.verify()
    assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (401, "expired")
    assert counters.gained(DESTROYED) == {"idle_timeout": 1}
    answer = browser.verify()
    assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (401, "unauthenticated")
    assert counters.gained(DESTROYED) == {"idle_timeout": 1}
    assert bff.active() == 0


def test_a_use_in_its_last_second_counts_in_every_worker(new_site: SiteFactory, clock: Clock) -> None:
    one = new_site(SESSION_IDLE_TIMEOUT="600")
    other = new_site(SESSION_IDLE_TIMEOUT="600", providers=one.providers)
    browser = one.logged_in()
    twin = one.twin(browser)
    twin.hosts = other.hosts
    keep_cookie(twin)
    clock.now += 599.5
    assert browser.verify().status_code == 200
    clock.now += 0.6
    assert other.services.store.sweep() == 0
    assert [each.verify().status_code for each in (twin, browser)] == [200, 200]


def test_use_extends_it_up_to_the_lifetime(new_site: SiteFactory, clock: Clock, counters: Counters) -> None:
    bff = new_site(SESSION_IDLE_TIMEOUT="600", SESSION_LIFETIME="2000")
    browser = bff.logged_in()
    for _ in range(4):
        clock.now += 499
        assert browser.verify().status_code == 200
        bff.services.authenticator.flush()
    clock.now += 3
    assert browser.verify().status_code == 200
    keep_cookie(browser)
    clock.now += 1
    assert browser.verify().headers["X-Denied-Reason"] == "expired"
    assert counters.gained(DESTROYED) == {"absolute_timeout": 1}


def test_the_cookie_lives_as_long_as_the_session_may(new_site: SiteFactory, clock: Clock) -> None:
    browser = new_site(SESSION_IDLE_TIMEOUT="600", SESSION_LIFETIME="2000").logged_in()
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    assert cookie.expires_at == clock() + 2000


def test_an_expired_session_is_not_counted_as_active_even_before_anybody_ends_it(bff: Site, clock: Clock) -> None:
    bff.logged_in()
    clock.now += 3599
    assert bff.active() == 1
    clock.now += 1
    assert bff.active() == 0


def test_the_sweep_ends_what_nobody_asks_for_any_more(new_site: SiteFactory, clock: Clock, counters: Counters) -> None:
    bff = new_site(SESSION_IDLE_TIMEOUT="600", SESSION_LIFETIME="900")
    used = bff.logged_in()
    bff.logged_in()
    clock.now += 500
    assert used.verify().status_code == 200
    bff.services.authenticator.flush()
    assert bff.services.store.sweep() == 0
    clock.now += 100
    assert bff.services.store.sweep() == 1
    clock.now += 300
    fresh = bff.logged_in()
    assert bff.services.store.sweep() == 1
    assert bff.services.store.sweep() == 0
    assert counters.gained(DESTROYED) == {"idle_timeout": 1, "absolute_timeout": 1}
    assert fresh.verify().status_code == 200
    assert balanced(bff, counters)


def test_a_session_without_a_readable_record_is_swept_and_counted(
    new_site: SiteFactory, clock: Clock, counters: Counters
) -> None:
    new_site(BFF_SECRETS=OLD_KEY).logged_in()
    bff = new_site(BFF_SECRETS=NEW_KEY)
    assert bff.services.store.sweep() == 0
    clock.now += 3600
    assert bff.services.store.sweep() == 1
    assert counters.total(DESTROYED) == 1


def test_who_am_i(bff: Site, clock: Clock) -> None:
    browser = bff.logged_in()
    clock.now += 30
    content = browser.fetch("/auth/session").get_json()
    assert content == {
        "authenticated": True,
        "user": {"sub": "alice", "name": "Alice Example", "email": "alice@example.com", "roles": ["user"]},
        "expires_in": 28770,
        "idle_expires_in": 3570,
        "auth_time": 1_800_000_000,
        "idp": "default",
    }
    assert browser.fetch("/api/auth/session").get_json() == content


def test_who_am_i_when_nobody(bff: Site, browser: Browser) -> None:
    answer = browser.fetch("/auth/session")
    assert answer.status_code == 200
    assert answer.get_json() == {"authenticated": False, "login_url": "https://app.example/auth/login"}
    assert bff.store.writes == []


@pytest.mark.parametrize(("query", "extends"), [("", True), ("?touch=true", True), ("?touch=false", False)])
def test_asking_who_am_i_counts_as_use_unless_it_says_otherwise(
    bff: Site, clock: Clock, query: str, extends: bool
) -> None:
    browser = bff.logged_in()
    clock.now += 3000
    browser.fetch(f"/auth/session{query}")
    bff.services.authenticator.flush()
    clock.now += 1000
    assert browser.fetch("/auth/session?touch=false").get_json()["authenticated"] is extends


@pytest.mark.parametrize(
    ("cached", "lifetime"),
    [(False, "28800"), (True, "28800"), (True, "3600")],
    ids=["bypassed", "cached", "the idle end cannot move"],
)
def test_use_is_recorded_at_most_once_a_minute(
    new_site: SiteFactory, clock: Clock, cached: bool, lifetime: str
) -> None:
    """Also across the five seconds for which the worker's cache keeps an entry."""
    bff = new_site(start=cached, SESSION_LIFETIME=lifetime)
    assert eventually(lambda: bff.services.cache.truthful is cached)
    browser = bff.logged_in()
    bff.store.forget()
    for _ in range(60):
        clock.now += 2
        assert browser.verify().status_code == 200
        bff.services.authenticator.flush()
    assert 1 <= len([line for line in bff.store.writes if "IndexAdd" in line]) <= 2


def test_verify_itself_writes_nothing(bff: Site, clock: Clock) -> None:
    browser = bff.logged_in()
    bff.store.forget()
    for _ in range(50):
        clock.now += 1
        browser.verify()
    assert bff.store.writes == []


def test_what_could_not_be_recorded_is_recorded_later(bff: Site, clock: Clock) -> None:
    """The store is away while a session is used for the last time before its idle end."""
    browser = bff.logged_in()
    clock.now += 3500
    assert browser.verify().status_code == 200
    bff.store.down = True
    with pytest.raises(Exception, match="out of order"):
        bff.services.authenticator.flush()
    bff.store.down = False
    bff.services.authenticator.flush()
    clock.now += 3500
    assert browser.verify().status_code == 200


def test_an_ended_session_is_not_brought_back_by_its_last_use(bff: Site, clock: Clock, counters: Counters) -> None:
    browser = bff.logged_in()
    clock.now += 100
    assert browser.verify().status_code == 200
    assert log_out(browser).status_code == 200
    bff.services.authenticator.flush()
    assert bff.active() == 0
    assert balanced(bff, counters)


def test_the_other_sessions_of_a_user_stay_when_one_logs_out(bff: Site) -> None:
    here, there = bff.logged_in(), bff.logged_in()
    assert log_out(here).status_code == 200
    assert here.verify().status_code == 401
    assert there.verify().status_code == 200


def test_the_sessions_of_other_users_stay_when_one_logs_out_everywhere(bff: Site, counters: Counters) -> None:
    alice = [bff.logged_in() for _ in range(3)]
    bff.idp.user["sub"] = "bob"
    bob = bff.logged_in()
    assert log_out(alice[0], everywhere=True).status_code == 200
    assert [browser.verify().status_code for browser in alice] == [401] * 3
    assert bob.verify().status_code == 200
    assert counters.gained(DESTROYED) == {"logout_everywhere": 3}
