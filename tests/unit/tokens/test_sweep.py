"""Tokens are refreshed before people at work need them; who went home is left alone until they are back."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import requests

from bff.errors import StoreUnavailable
from bff.kv import Batch
from bff.sessions.model import EndReason, Session
from bff.sessions.token_store import REFRESH_INDEX
from bff.tokens.sweep import USED_WITHIN
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.provider import html, raising
from tests.unit.tokens.fleet import LIFE, Fleet, Worker


def sweep(worker: Worker) -> None:
    worker.services.tokens.sweep.run()


def index(worker: Worker) -> dict[str, float]:
    return dict(worker.store.index_range(REFRESH_INDEX, -math.inf, math.inf, 100))


def use(worker: Worker, session: Session) -> None:
    worker.services.store.touch([(session, worker.services.clock())])


def due(worker: Worker, session: Session, clock: Clock) -> None:
    """Its time has come, and somebody is at work."""
    clock.now = worker.tokens(session).access.refresh_at
    use(worker, session)


def test_who_is_at_work(fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters) -> None:
    old = worker.tokens(session).access.value
    due(worker, session, clock)
    sweep(worker)
    assert fleet.calls() == 1
    assert worker.token(session) != old
    assert index(worker) == {session.key: worker.tokens(session).access.refresh_at}
    assert counters.gained("bff_token_refresh_total") == {"user success": 1}
    assert counters.gained("bff_token_expiry_total") == {}
    sweep(worker)
    assert fleet.calls() == 1


def test_not_before_its_time(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    clock.now = worker.tokens(session).access.refresh_at - 1
    use(worker, session)
    sweep(worker)
    assert fleet.calls() == 0


def test_who_went_home_is_forgotten_until_the_tokens_change(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock
) -> None:
    clock.now += USED_WITHIN
    clock.now = max(clock.now, worker.tokens(session).access.refresh_at)
    sweep(worker)
    assert fleet.calls() == 0
    assert index(worker) == {}
    clock.now += LIFE
    use(worker, session)
    worker.token(session)
    assert set(index(worker)) == {session.key}


@pytest.mark.parametrize(("ago", "calls"), [(USED_WITHIN, 1), (USED_WITHIN + 1, 0)])
def test_how_long_ago(ago: float, calls: int, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    due(worker, session, clock)
    clock.now += ago
    sweep(worker)
    assert fleet.calls() == calls


def test_a_session_that_is_gone(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    due(worker, session, clock)
    worker.services.authenticator.end(session, EndReason.LOGOUT)
    worker.store.execute(Batch().index_add(REFRESH_INDEX, session.key, 1.0))
    sweep(worker)
    assert fleet.calls() == 0
    assert index(worker) == {}


def test_a_session_that_has_expired_and_was_not_swept_yet(fleet: Fleet, clock: Clock) -> None:
    """It is idle for less than `USED_WITHIN`, but that is all it may be."""
    worker = fleet.worker(SESSION_IDLE_TIMEOUT="60")
    session = fleet.login(worker, life=30)
    clock.now = session.created_at + 60
    sweep(worker)
    assert fleet.calls() == 0
    assert index(worker) == {}


@pytest.mark.parametrize(
    "answer", [raising(requests.Timeout()), html(500), html(200)], ids=["timeout", "500", "a page"]
)
def test_a_failure_is_tried_again(
    answer: Callable[[], Any], fleet: Fleet, worker: Worker, session: Session, clock: Clock
) -> None:
    due(worker, session, clock)
    fleet.idp.break_endpoint("token", answer)
    sweep(worker)
    (when,) = index(worker).values()
    assert 15 <= when - clock() <= 30
    sweep(worker)
    assert fleet.idp.count("token") == 1
    fleet.idp.repair()
    clock.now = when
    sweep(worker)
    assert fleet.calls() == 1 + 1
    assert worker.tokens(session).access.fresh(clock())


def test_a_rejection_ends_the_session(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    due(worker, session, clock)
    fleet.idp.later_grants.end_families()
    sweep(worker)
    assert counters.gained("bff_sessions_destroyed_total") == {EndReason.REFRESH_REJECTED: 1}
    assert index(worker) == {}


def test_one_of_many_that_fails_harms_no_other(fleet: Fleet, worker: Worker, clock: Clock) -> None:
    sessions = [fleet.login(worker) for _ in range(10)]
    clock.now = max(worker.tokens(session).access.refresh_at for session in sessions)
    for session in sessions:
        use(worker, session)
    fleet.idp.later_grants.revoke(worker.tokens(sessions[4]).refresh_token or "")
    worker.store.set(f"cold:{sessions[5].key}", b"garbage")
    sweep(worker)
    assert fleet.calls() == 9
    assert set(index(worker)) == {session.key for session in sessions} - {sessions[4].key, sessions[5].key}


def test_somebody_is_at_it(fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock) -> None:
    due(worker, session, clock)
    fleet.meanwhile(lambda: sweep(worker))
    other.refresh(session)
    assert fleet.calls() == 1
    assert set(index(worker)) == {session.key}


def test_the_index_was_not_told_of_the_newest_tokens(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock
) -> None:
    due(worker, session, clock)
    worker.refresh(session)
    worker.services.token_store.refresh_not_before(session.key, 1.0)
    sweep(worker)
    assert fleet.calls() == 1
    assert index(worker) == {session.key: worker.tokens(session).access.refresh_at}


def test_a_session_without_a_refresh_token_is_never_in_it(fleet: Fleet, worker: Worker) -> None:
    fleet.login(worker, refresh_token=None)
    assert index(worker) == {}


def test_the_store_is_down(worker: Worker, session: Session, clock: Clock) -> None:
    due(worker, session, clock)
    worker.store.down = True
    with pytest.raises(StoreUnavailable):
        sweep(worker)
