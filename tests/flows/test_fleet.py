"""Several workers, several threads, two generations of secrets: one truth about every session."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import NEW_KEY, OLD_KEY, SiteFactory, balanced, log_out, login, proof, to_callback

DESTROYED = "bff_sessions_destroyed_total"


def test_sessions_survive_a_restart_with_rotated_secrets(new_site: SiteFactory, counters: Counters) -> None:
    before = new_site(BFF_SECRETS=OLD_KEY)
    browser, underway = before.logged_in(), before.browser()
    headers = proof(browser)
    url = to_callback(underway)
    after = new_site(BFF_SECRETS=f"{NEW_KEY},{OLD_KEY}", providers=before.providers)
    browser.hosts = underway.hosts = after.hosts
    assert browser.verify().status_code == 200
    assert underway.navigate(url, came_from="https://idp.example").status_code == 302
    assert browser.fetch("/auth/logout", method="POST", headers=headers).status_code == 200
    assert counters.gained(DESTROYED) == {"logout": 1}


def test_logging_out_everywhere_finds_sessions_made_under_the_old_secret(
    new_site: SiteFactory, counters: Counters
) -> None:
    before = new_site(BFF_SECRETS=OLD_KEY)
    old = before.logged_in()
    after = new_site(BFF_SECRETS=f"{NEW_KEY},{OLD_KEY}", providers=before.providers)
    old.hosts = after.hosts
    assert log_out(after.logged_in(), everywhere=True).status_code == 200
    assert counters.gained(DESTROYED) == {"logout_everywhere": 2}
    assert old.verify().status_code == 401


def test_without_the_old_secret_its_sessions_are_unknown(new_site: SiteFactory) -> None:
    browser = new_site(BFF_SECRETS=OLD_KEY).logged_in()
    browser.hosts = new_site(BFF_SECRETS=NEW_KEY).hosts
    assert browser.verify().headers["X-Denied-Reason"] == "unauthenticated"


def test_a_session_ended_by_one_worker_is_refused_by_another_that_cached_it(new_site: SiteFactory) -> None:
    one = new_site(start=True)
    other = new_site(start=True, providers=one.providers)
    browser = one.logged_in()
    assert eventually(lambda: one.services.cache.truthful and other.services.cache.truthful)
    twin = one.twin(browser)
    twin.hosts = other.hosts
    assert twin.verify().status_code == 200
    other.store.forget()
    assert twin.verify().status_code == 200
    assert other.store.reads == [], "it is cached"
    assert log_out(browser).status_code == 200
    assert eventually(lambda: twin.verify().status_code == 401)


def test_many_at_once_end_each_session_once(new_site: SiteFactory, clock: Clock, counters: Counters) -> None:
    """16 threads log in, replace, log out, log out everywhere, steal, expire and sweep the same few sessions."""
    bff = new_site(SESSION_IDLE_TIMEOUT="600", SESSION_LIFETIME="1200")
    shared = [bff.logged_in() for _ in range(4)]
    start = threading.Barrier(16)

    def act(chance: random.Random) -> int:
        mine = bff.twin(chance.choice(shared))
        acts: list[Callable[[], int]] = [
            lambda: login(mine).status_code,
            lambda: log_out_if_possible(mine),
            lambda: log_out_if_possible(mine, everywhere=True),
            lambda: bff.twin(mine, address="198.51.100.9").verify().status_code,
            lambda: mine.verify().status_code,
            lambda: advance(clock, 150),
            lambda: bff.services.store.sweep() and 0,
        ]
        status = chance.choices(acts, weights=[4, 3, 1, 1, 2, 1, 1])[0]()
        if status == 302:
            shared[chance.randrange(len(shared))] = mine
        return status

    def work(seed: int) -> list[int]:
        chance = random.Random(seed)
        start.wait(10)
        return [act(chance) for _ in range(10)]

    with ThreadPoolExecutor(16) as pool:
        statuses = [status for done in pool.map(work, range(16)) for status in done]
    assert {status for status in statuses if status >= 500} <= {503}, (
        "where the time went by while the provider was asked"
    )
    bff.services.store.sweep()
    assert balanced(bff, counters)
    clock.now += 1200
    bff.services.store.sweep()
    assert bff.active() == 0
    assert balanced(bff, counters)
    assert len(counters.gained(DESTROYED)) >= 3, "several kinds of end took place"


def log_out_if_possible(browser: Browser, **body: Any) -> int:
    token = browser.fetch("/auth/csrf")
    if token.status_code != 200:
        return token.status_code
    headers = {"X-CSRF-Token": token.get_json()["csrf_token"]}
    return browser.fetch("/auth/logout", method="POST", json=body, headers=headers).status_code


def advance(clock: Clock, seconds: float) -> int:
    clock.now += seconds
    return 0


def test_two_prefixes_share_nothing(new_site: SiteFactory) -> None:
    """Not even with the same secrets: neither sessions, nor events, nor who delivers them."""
    one = new_site(BFF_STORE_PREFIX="one")
    other = new_site(BFF_STORE_PREFIX="other", providers=one.providers)
    browser = one.logged_in()
    assert (one.active(), other.active()) == (1, 0)
    twin = one.twin(browser)
    twin.hosts = other.hosts
    assert (browser.verify().status_code, twin.verify().status_code) == (200, 401)
    assert one.events("session.created")
    assert not other.events("session.created")
