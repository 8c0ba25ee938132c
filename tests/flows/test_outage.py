"""What users meet while the store is away: nothing, for a while, if a worker knew them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bff.errors import StoreRefuses
from bff.sessions.authenticator import ClientFingerprint
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.internet import SESSION, Site, SiteFactory, log_out, proof
from tests.flows.issued import logout_token
from tests.flows.test_backchannel_logout import inside, send, user
from tests.flows.test_verify import real


def went_away(bff: Site) -> None:
    bff.store.down = True
    bff.services.cache.close()  # its listener reads the store's file, which is there
    bff.services.cache._listening(False)


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    made = new_site(start=True)
    assert eventually(lambda: made.services.cache.truthful)
    return made


@pytest.mark.parametrize("kind", ["no database", "folder"])
def test_a_file_that_is_no_store_ends_no_worker(new_site: SiteFactory, tmp_path: Path, kind: str) -> None:
    """gunicorn's master ends when one of its workers does not come up."""
    file = tmp_path / "store.sqlite3"
    file.mkdir() if kind == "folder" else file.write_bytes(b"x" * 5000)
    bff = new_site(start=True)
    browser = bff.browser()
    assert browser.verify().status_code == 401, "no session, no question"
    browser.put(SESSION, "a" * 43)
    assert browser.verify().status_code == 503
    file.rmdir() if kind == "folder" else file.unlink()
    assert eventually(lambda: browser.verify().status_code == 401)


def test_a_failover_is_not_seen_by_those_who_were_there(bff: Site, clock: Clock) -> None:
    browser, stranger = bff.logged_in(), bff.logged_in()
    assert browser.verify().status_code == 200
    went_away(bff)
    for seconds in (0, 4, 5.9):
        clock.now += seconds
        answer = browser.verify()
        assert (answer.status_code, answer.headers["X-User-ID"]) == (200, "alice")
        assert browser.fetch("/auth/session").get_json()["authenticated"] is True
        assert stranger.verify().status_code == 503
    clock.now += 0.1
    answer = browser.verify()
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (503, [])
    assert answer.headers["Retry-After"]


def test_what_was_revoked_meanwhile_is_refused_when_it_is_back(new_site: SiteFactory, bff: Site) -> None:
    other = new_site(providers=bff.providers)
    browser = bff.logged_in()
    assert browser.verify().status_code == 200
    went_away(bff)
    twin = bff.twin(browser)
    twin.hosts = other.hosts
    assert log_out(twin).status_code == 200
    assert browser.verify().status_code == 200, "nobody could tell this worker"
    bff.store.down = False
    assert browser.verify().status_code == 401


def taken_back(bff: Site, browser: Browser) -> int:
    session = bff.services.authenticator.authenticate(
        f"{SESSION}={real(browser)}", ClientFingerprint("203.0.113.7", "")
    ).session
    path = f"/auth/sessions/{session.reference}"
    return browser.fetch(path, method="DELETE", headers=proof(browser)).status_code


ENDED: dict[str, Callable[[Site, Browser], int]] = {
    "logout": lambda _, browser: log_out(browser).status_code,
    "logout everywhere": lambda _, browser: log_out(browser, everywhere=True).status_code,
    "by the user, in the list": taken_back,
    "back-channel, by sid": lambda bff, _: send(bff, logout_token(bff.idp, sid="s1")).status_code,
    "back-channel, by sub": lambda bff, _: send(bff, logout_token(bff.idp, sub="alice")).status_code,
    "front-channel": lambda bff, browser: (
        browser.navigate(f"/auth/frontchannel-logout?iss={bff.idp.origin}&sid=s1").status_code
    ),
}


@pytest.mark.parametrize("end", ENDED.values(), ids=ENDED)
def test_an_end_that_failed_counts_in_the_worker_that_heard_of_it(
    bff: Site, end: Callable[[Site, Browser], int]
) -> None:
    browser, bob = user(bff), user(bff, "bob", sid="s2")
    assert inside(browser, bob) == [True, True]
    browser.fetch("/auth/csrf")
    went_away(bff)
    assert end(bff, browser) == 503
    assert inside(browser, bob) == [False, True]
    bff.store.down = False
    assert inside(browser) == [True], "the store never heard of it: whoever asked must ask again"


@pytest.mark.parametrize("reason", ["full", "read_only"])
def test_a_store_that_takes_no_writes(new_site: SiteFactory, reason: str) -> None:
    """Sessions go on, also those that no worker has in memory; what must be written is 503, and health says why."""
    bff = new_site()
    browser = bff.logged_in()
    bff.store.refusal = StoreRefuses("Redis takes no writes", reason=reason)
    assert browser.verify().status_code == 200
    assert browser.fetch("/auth/session").get_json()["authenticated"] is True
    assert bff.browser().navigate("/auth/login").status_code == 503
    assert log_out(browser).status_code == 503
    bff.services.health.refresh("store")
    assert bff.services.health.report()["store"]["reason"] == reason
    assert bff.services.health.ready(), "no other pod does better"
    bff.store.refusal = None
    assert log_out(browser).status_code == 200
