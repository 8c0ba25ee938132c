"""ensure_token for the session's own token: a look into memory as a rule, and nobody waits while the old one serves."""

import threading

import pytest
import requests

from bff.errors import InsufficientScope, NotRefreshable, SessionEnded, TokenExpired, UnknownService
from bff.sessions.model import EndReason, Session
from bff.settings import ServiceSettings, TokenKind
from bff.tokens.refresh_status import FAILURE_LIFE
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.counters import Counters
from tests.flows.provider import raising
from tests.unit.tokens.fleet import LIFE, Fleet, Worker

EXPIRED, REFRESHES = "bff_token_expiry_total", "bff_token_refresh_total"
READER = ServiceSettings("reader", scope="openid profile")
WRITER = ServiceSettings("writer", scope="openid write")
PUBLIC = ServiceSettings("public", TokenKind.NONE)


def wanted(session: Session, worker: Worker, clock: Clock) -> None:
    """Let time pass until the token wants to be replaced, and the cache hold the session again."""
    clock.now = worker.tokens(session).access.refresh_at
    worker.remember(session)


def test_the_usual_case_asks_nobody(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    worker.remember(session)
    first = worker.token(session)
    worker.store.forget()
    clock.now += 4
    assert worker.token(session) == first
    assert worker.store.reads == worker.store.writes == []
    assert fleet.postponed == []
    assert counters.gained(REFRESHES) == {}
    assert fleet.idp.calls == []


def test_without_a_cache_it_is_read_each_time(fleet: Fleet, worker: Worker, session: Session) -> None:
    worker.store.forget()
    for _ in range(3):
        worker.token(session)
    assert worker.store.reads == [f"get cold:{session.key}"] * 3


def test_after_another_worker_refreshed_this_one_reads_anew(
    fleet: Fleet, worker: Worker, other: Worker, session: Session
) -> None:
    worker.services.cache.start()
    assert eventually(lambda: worker.services.cache.truthful)
    worker.remember(session)
    old = worker.token(session)
    new = other.refresh(session).access.value
    assert eventually(lambda: worker.services.cache.held(session.key, fleet.clock()) is None)
    worker.remember(session)
    assert worker.token(session) == new != old


class TestAheadOfTime:
    def test_nobody_waits(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        old = worker.tokens(session).access.value
        wanted(session, worker, clock)
        assert worker.token(session) == old
        assert fleet.calls() == 0
        fleet.catch_up()
        assert fleet.calls() == 1
        assert worker.token(session) == worker.tokens(session).access.value != old

    def test_one_asks_for_all(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        wanted(session, worker, clock)
        for _ in range(10):
            worker.token(session)
        assert len(fleet.postponed) == 1

    def test_without_a_cache_too(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        """Each request asks for it then, and all but the first find it done."""
        old = worker.tokens(session).access.value
        clock.now = worker.tokens(session).access.refresh_at
        assert {worker.token(session) for _ in range(5)} == {old}
        fleet.catch_up()
        assert fleet.calls() == 1
        assert worker.token(session) != old

    def test_another_worker_is_not_waited_for(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock
    ) -> None:
        wanted(session, worker, clock)

        def meanwhile() -> None:
            worker.token(session)
            worker.services.cache.invalidate(session.key)
            fleet.catch_up()

        fleet.meanwhile(meanwhile)
        other.refresh(session)
        assert fleet.calls() == 1

    def test_after_a_failure_it_is_left_alone_for_a_while(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        old = worker.tokens(session).access.value
        wanted(session, worker, clock)
        fleet.idp.break_endpoint("token", raising(requests.Timeout()))
        for _ in range(3):
            assert worker.token(session) == old
            fleet.catch_up()
        clock.now += FAILURE_LIFE - 0.1
        assert worker.token(session) == old
        assert fleet.postponed == []
        assert counters.gained("bff_token_refresh_failed_total") == {"timeout": 1}
        clock.now += 0.1
        worker.token(session)
        fleet.idp.repair()
        fleet.catch_up()
        assert worker.token(session) != old

    def test_it_is_never_left_alone_beyond_its_end(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        """A token that is dead is not sent, however lately its refresh failed."""
        access = worker.tokens(session).access
        assert access.expires_at is not None
        clock.now = access.expires_at - FAILURE_LIFE / 2
        worker.remember(session)
        assert worker.token(session) == access.value
        clock.now = access.expires_at
        assert worker.token(session) != access.value
        assert counters.gained(EXPIRED) == {"user": 1}

    def test_the_store_is_down(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        wanted(session, worker, clock)
        old = worker.token(session)
        worker.store.down = True
        fleet.catch_up()
        assert worker.token(session) == old

    def test_a_rejection_ends_the_session(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        wanted(session, worker, clock)
        worker.token(session)
        fleet.idp.later_grants.end_families()
        fleet.catch_up()
        assert counters.gained("bff_sessions_destroyed_total") == {EndReason.REFRESH_REJECTED: 1}


class TestADeadToken:
    def test_is_waited_for(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        old = worker.tokens(session).access.value
        clock.now += LIFE
        assert worker.token(session) != old
        assert counters.gained(EXPIRED) == {"user": 1}
        assert counters.gained(REFRESHES) == {"user success": 1}

    def test_and_is_counted_for_the_service_that_wanted_it(
        self, fleet: Fleet, session: Session, clock: Clock, counters: Counters
    ) -> None:
        worker = fleet.worker(READER)
        clock.now += LIFE
        worker.token(session, "reader")
        assert counters.gained(EXPIRED) == {"reader": 1}

    def test_without_a_refresh_token(self, fleet: Fleet, worker: Worker, clock: Clock, counters: Counters) -> None:
        session = fleet.login(worker, refresh_token=None)
        clock.now += LIFE - 1
        assert worker.token(session) == worker.tokens(session).access.value
        clock.now += 1
        with pytest.raises(TokenExpired):
            worker.token(session)
        assert counters.gained(EXPIRED) == {"user": 1}
        assert worker.services.store.find(session.key) is not None

    def test_and_a_rejection(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        clock.now += LIFE
        fleet.idp.later_grants.end_families()
        with pytest.raises(SessionEnded):
            worker.token(session)

    def test_of_unknown_life_is_refreshed_but_never_dead(
        self, fleet: Fleet, worker: Worker, clock: Clock, counters: Counters
    ) -> None:
        session = fleet.login(worker, life=None)
        clock.now += 3000
        old = worker.token(session)
        fleet.catch_up()
        assert worker.token(session) != old
        assert counters.gained(EXPIRED) == {}


class TestRenew:
    def test_however_fresh_the_present_one_is(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        worker.remember(session)
        old = worker.token(session)
        renewed = worker.services.tokens.service.renew(session)
        assert renewed is not None
        assert worker.token(session) == renewed.token.value != old

    def test_nothing_to_renew_with(self, fleet: Fleet, worker: Worker) -> None:
        with pytest.raises(NotRefreshable):
            worker.services.tokens.service.renew(fleet.login(worker, refresh_token=None))

    def test_a_service_without_tokens(self, fleet: Fleet, session: Session) -> None:
        token_service = fleet.worker(PUBLIC).services.tokens.service
        assert token_service.ensure_token(session, "public") is None
        with pytest.raises(NotRefreshable):
            token_service.renew(session, "public")


def test_a_scope_that_the_session_does_not_have(fleet: Fleet, session: Session) -> None:
    worker = fleet.worker(READER, WRITER)
    assert worker.token(session, "reader") == worker.token(session)
    with pytest.raises(InsufficientScope):
        worker.token(session, "writer")


def test_a_service_that_nobody_knows(worker: Worker, session: Session) -> None:
    with pytest.raises(UnknownService):
        worker.token(session, "nobody")


def test_what_may_be_told(fleet: Fleet, session: Session, clock: Clock) -> None:
    worker = fleet.worker(READER, PUBLIC)
    clock.now += 100
    listed = {each.service: each for each in worker.services.tokens.service.listed(session)}
    assert listed["user"].expires_in == listed["reader"].expires_in == LIFE - 100
    assert listed["user"].refreshable
    assert (listed["public"].expires_in, listed["public"].refreshable) == (None, False)
    assert not [secret for secret in fleet.idp.issued if secret in repr(listed)]
    clock.now += LIFE
    assert next(worker.services.tokens.service.listed(session)).expires_in == 0


def test_a_herd_that_finds_it_dead(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    clock.now += LIFE
    worker.remember(session)
    values: list[str] = []
    threads = [threading.Thread(target=lambda: values.append(worker.token(session))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert values == [worker.tokens(session).access.value] * 16
    assert fleet.calls() == 1
