"""The store has lost its data: said and counted once, and everything right again."""

import logging
from collections.abc import Callable

import pytest

from bff.kv.sqlite import SqliteStore
from bff.sessions.resets import EPOCH
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory, balanced

RESETS = "bff_store_resets_total"
DESTROYED = "bff_sessions_destroyed_total"


def emptied(bff: Site) -> None:
    """As FLUSHALL does it: the listeners hear nothing of it."""
    assert isinstance(bff.store.inner, SqliteStore)
    with bff.store.inner._file.writing(bff.clock()) as db:
        for table in ("kv", "idx", "idx_life", "log", "log_state", "hits"):
            db.execute(f"DELETE FROM {table}")


def replaced(bff: Site) -> None:
    """The file is deleted, and a worker that starts makes another."""
    bff.services.settings.store.path.unlink()
    fresh = SqliteStore(bff.services.settings.store.path, bff.clock)
    fresh.start()
    fresh.close()


LOST: dict[str, Callable[[Site], None]] = {"emptied": emptied, "replaced": replaced}


def looked(*sites: Site) -> None:
    """Each worker's health job has its turn."""
    for each in sites:
        each.services.health.refresh("store")


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_said_and_counted_once_in_the_fleet(
    new_site: SiteFactory, counters: Counters, caplog: pytest.LogCaptureFixture, lose: Callable[[Site], None]
) -> None:
    one = new_site()
    other, third = new_site(providers=one.providers), new_site(providers=one.providers)
    looked(one, other, third)
    for _ in range(3):
        one.logged_in()
    looked(one, other, third)
    assert counters.gained(RESETS) == {}
    lose(one)
    looked(other, one, third)
    looked(one, other, third)
    assert counters.gained(RESETS) == {"": 1}
    assert counters.gained(DESTROYED) == {"store_reset": 3}
    said = [record for record in caplog.records if record.message == "store_reset"]
    assert [(record.levelno, record.__dict__["sessions_lost"]) for record in said] == [(logging.CRITICAL, 3)]
    one.logged_in()
    assert balanced(one, counters)
    looked(one, other, third)
    assert counters.gained(RESETS) == {"": 1}


def test_a_worker_that_starts_knows_of_no_reset(new_site: SiteFactory, counters: Counters) -> None:
    looked(new_site())
    looked(new_site())
    assert counters.gained(RESETS) == {}


def test_sessions_whose_time_is_over_are_counted_out_once(
    new_site: SiteFactory, clock: Clock, counters: Counters
) -> None:
    bff = new_site()
    bff.logged_in()
    clock.now += 7200
    looked(bff)
    emptied(bff)
    looked(bff)
    bff.services.store.sweep()
    assert counters.gained(DESTROYED) == {"store_reset": 1}
    assert balanced(bff, counters)


def test_a_second_reset_is_another_one(new_site: SiteFactory, counters: Counters) -> None:
    bff = new_site()
    for _ in range(2):
        looked(bff)
        bff.logged_in()
        looked(bff)
        emptied(bff)
        looked(bff)
    assert counters.gained(RESETS) == {"": 2}
    assert counters.gained(DESTROYED) == {"store_reset": 2}


def test_while_the_store_cannot_be_asked_nothing_is_concluded(new_site: SiteFactory, counters: Counters) -> None:
    bff = new_site()
    looked(bff)
    bff.logged_in()
    looked(bff)
    bff.store.down = True
    looked(bff)
    bff.store.down = False
    emptied(bff)
    bff.store.calls_left = 3  # it goes away again in the midst of it
    looked(bff)
    assert counters.gained(RESETS) == {}
    bff.store.calls_left, bff.store.down = None, False
    looked(bff)
    assert counters.gained(RESETS) == {"": 1}
    assert counters.gained(DESTROYED) == {"store_reset": 1}


def test_what_workers_remember_goes_with_it(new_site: SiteFactory) -> None:
    """Sessions in memory, and who was refused until later."""
    bff = new_site(start=True, RATE_LIMITS="login=2/day", SESSION_CACHE_TTL="60")
    assert eventually(lambda: bff.services.cache.truthful)
    browser = bff.logged_in()
    assert browser.verify().status_code == 200
    stranger = bff.browser("198.51.100.1")
    assert [stranger.navigate("/auth/login").status_code for _ in range(3)] == [302, 302, 429]
    looked(bff)
    emptied(bff)
    looked(bff)
    assert browser.verify().status_code == 401
    assert stranger.navigate("/auth/login").status_code == 302


def test_one_key_more_and_no_secret_in_it(new_site: SiteFactory) -> None:
    bff = new_site()
    looked(bff)
    first = bff.store.get(EPOCH)
    assert first
    looked(bff)
    assert bff.store.get(EPOCH) == first
