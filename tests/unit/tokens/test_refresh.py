"""One refresh for all who need it: rotation, reuse detection, failures that pass and the one that ends a session."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from bff.errors import SessionEnded, StoreUnavailable, TokenExpired, TokenUnavailable
from bff.kv.lock import Lock
from bff.oidc.token_endpoint import RequestFailed
from bff.sessions.model import EndReason, Session
from bff.sessions.token_store import CODE_LIFE
from bff.sessions.tokens import AccessToken
from bff.tokens.distributed_single_flight import LOCK_LIFE, InProgress
from bff.tokens.refresh_status import FAILURE_LIFE
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.provider import html, raising, reply
from tests.unit.tokens.fleet import LIFE, Fleet, Worker

REFRESHES, FAILED = "bff_token_refresh_total", "bff_token_refresh_failed_total"
ENDED, CALLS = "bff_sessions_destroyed_total", "bff_token_exchange_total"
SUCCEEDED, EVENTS = "bff_token_refresh_success_total", "bff_security_events_total"


def alive(worker: Worker, session: Session) -> bool:
    try:
        return worker.services.store.find(session.key) is not None
    except SessionEnded:
        return False


class TestASuccess:
    def test_rotation(self, fleet: Fleet, worker: Worker, session: Session, counters: Counters) -> None:
        old = worker.tokens(session)
        new = worker.refresh(session)
        assert new == worker.tokens(session)
        assert new.access.value != old.access.value
        assert new.refresh_token not in (old.refresh_token, None)
        assert new.refresh_token is not None
        assert fleet.idp.later_grants.alive(new.refresh_token)
        assert new.access.expires_at == fleet.clock() + LIFE
        assert fleet.idp.last("token").form["refresh_token"] == old.refresh_token
        assert counters.gained(REFRESHES) == {"user success": 1}
        assert counters.gained(CALLS) == {"refresh_token success": 1}
        assert counters.gained("bff_token_validation_total") == {"id_token valid": 1}

    def test_it_is_counted_for_the_persons_bucket(self, worker: Worker, session: Session, counters: Counters) -> None:
        worker.refresh(session)
        (bucket,) = counters.gained(SUCCEEDED)
        assert bucket.startswith("u")
        assert "alice" not in bucket

    def test_no_rotation(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        fleet.idp.later_grants.rotates = False
        old = worker.tokens(session)
        for _ in range(3):
            worker.refresh(session)
        assert worker.tokens(session).refresh_token == old.refresh_token
        assert worker.tokens(session).access.value != old.access.value
        assert fleet.calls() == 3

    def test_no_rotation_leaves_nothing_to_doubt(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        """The same refresh token is sent again soon, and nobody waits for somebody else's answer before."""
        pauses: list[float] = []
        fleet.wait = pauses.append
        fleet.idp.later_grants.rotates = False
        for _ in range(2):
            worker.refresh(session)
        assert pauses == []

    def test_many_times_in_turn(self, fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
        for _ in range(3):
            for each in (worker, other):
                each.refresh(session)
        assert fleet.calls() == 6

    def test_an_id_token_that_does_not_come_again_is_kept(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        old = worker.tokens(session)
        fleet.idp.later_grants.response = {"id_token": None}
        assert worker.refresh(session).id_token == old.id_token

    def test_who_comes_late_takes_what_is_there(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        seen = worker.tokens(session)
        renewed = worker.refresh(session, seen)
        assert other.refresh(session, seen) == renewed
        assert fleet.calls() == 1
        assert counters.gained(REFRESHES) == {"user success": 1, "user reused": 1}
        assert counters.total(SUCCEEDED) == 1

    def test_what_is_there_is_not_taken_when_it_is_dead(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        seen = worker.tokens(session)
        dead = worker.refresh(session, seen)
        clock.now += LIFE
        assert worker.refresh(session, seen).access.value != dead.access.value
        assert fleet.calls() == 2

    def test_nor_is_it_replaced_where_somebody_just_failed(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock
    ) -> None:
        """The note is about the refresh token that the store holds, not the one that was seen."""
        seen = worker.tokens(session)
        worker.refresh(session, seen)
        clock.now += LIFE
        fleet.refuses("temporarily_unavailable", 503)
        for each, tokens in ((worker, worker.tokens(session)), (other, seen)):
            with pytest.raises(RequestFailed, match="server_error"):
                each.refresh(session, tokens)
        assert fleet.idp.count("token") == 2

    def test_a_session_without_tokens(self, worker: Worker, session: Session) -> None:
        seen = worker.tokens(session)
        worker.store.delete(f"cold:{session.key}")
        with pytest.raises(TokenExpired):
            worker.refresh(session, seen)

    def test_a_session_without_a_refresh_token(self, fleet: Fleet, worker: Worker) -> None:
        with pytest.raises(TokenExpired):
            worker.refresh(fleet.login(worker, refresh_token=None))
        assert fleet.calls() == 0

    def test_a_provider_that_was_withdrawn(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        withdrawn = replace(session, idp="gone")
        with pytest.raises(TokenExpired):
            worker.refresh(withdrawn)
        assert fleet.calls() == 0


class TestAHerd:
    def test_sixteen_threads_of_two_workers(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        """The provider answers when the second worker has found the lock taken."""
        waited, seen = threading.Event(), worker.tokens(session)
        fleet.wait = lambda _seconds: waited.set()
        fleet.meanwhile(lambda: waited.wait(10))
        with ThreadPoolExecutor(16) as pool:
            every = [pool.submit((worker, other)[number % 2].refresh, session, seen) for number in range(16)]
            values = {each.result(30).access.value for each in every}
        assert waited.is_set()
        assert values == {worker.tokens(session).access.value}
        assert fleet.calls() == 1
        assert counters.gained(REFRESHES) == {"user success": 1, "user reused": 15}

    def test_one_failure_speaks_for_all(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock, counters: Counters
    ) -> None:
        fleet.refuses("temporarily_unavailable", 503)
        for each in (worker, other) * 5:
            with pytest.raises(RequestFailed, match="server_error"):
                each.refresh(session)
        assert fleet.idp.count("token") == 1
        assert counters.gained(FAILED) == {"server_error": 1}
        clock.now += FAILURE_LIFE
        fleet.idp.repair()
        other.refresh(session)

    def test_who_has_no_patience(self, fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
        refused: list[bool] = []

        def meanwhile() -> None:
            with pytest.raises(InProgress):
                other.refresh(session, patient=False)
            refused.append(True)

        fleet.meanwhile(meanwhile)
        worker.refresh(session, patient=False)
        assert refused == [True]

    def test_a_worker_that_died_is_followed(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        """It died before the provider answered, so the refresh token is still good."""
        token = worker.tokens(session).refresh_token
        assert worker.store.set_if_absent(f"lock:refresh:{session.key}", b"the dead one", 5)
        start = clock()
        worker.refresh(session)
        assert fleet.idp.last("token").form["refresh_token"] == token
        assert 5 <= clock() - start < 5.2

    def test_a_worker_that_never_comes_to_an_end(
        self, fleet: Fleet, worker: Worker, session: Session, counters: Counters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker.services.tokens.refresher._flight, "_patience", 0.0)
        worker.store.set(f"lock:refresh:{session.key}", b"another")
        with pytest.raises(RequestFailed, match="lock_timeout"):
            worker.refresh(session)
        assert counters.gained(FAILED) == {"lock_timeout": 1}
        assert counters.gained(REFRESHES) == {"user failed": 1}
        assert fleet.calls() == 0


def test_a_failure_where_another_worker_succeeded(
    fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
) -> None:
    """This one stood still for so long that the other took over, and what it hears in the end is of no interest."""

    def answer() -> Any:
        fleet.idp.repair()
        steal_and_refresh(fleet, other, session)
        raise requests.Timeout

    fleet.idp.break_endpoint("token", answer)
    assert worker.refresh(session) == other.tokens(session)
    assert counters.gained(FAILED) == {}
    assert counters.gained(REFRESHES) == {"user success": 1, "user reused": 1}


TRANSIENT: dict[str, tuple[Callable[[], Any], str, str]] = {
    "timeout": (raising(requests.Timeout()), "timeout", "error"),
    "connection": (raising(requests.ConnectionError()), "connection", "error"),
    "500": (lambda: reply({}, 500), "server_error", "error"),
    "502 with a page": (html(502), "server_error", "error"),
    "503 that says invalid_grant": (lambda: reply({"error": "invalid_grant"}, 503), "server_error", "invalid_grant"),
    "429": (lambda: reply({"error": "slow_down"}, 429), "server_error", "slow_down"),
    "408": (html(408), "server_error", "error"),
    "a page": (html(200), "bad_response", "error"),
    "a page with 400": (html(400), "bad_response", "error"),
    "400 without an error": (lambda: reply({}, 400), "bad_response", "error"),
    "400 with a strange error": (lambda: reply({"error": ["invalid_grant"]}, 400), "bad_response", "error"),
    "a redirect": (lambda: reply({}, 302), "bad_response", "error"),
    "invalid_client": (lambda: reply({"error": "invalid_client"}, 401), "refused", "invalid_client"),
    "invalid_scope": (lambda: reply({"error": "invalid_scope"}, 400), "refused", "invalid_scope"),
    "an error of its own": (lambda: reply({"error": "Invalid_Grant!"}, 400), "refused", "error"),
}


@pytest.mark.parametrize(("answer", "reason", "status"), TRANSIENT.values(), ids=TRANSIENT)
def test_a_failure_that_may_pass(
    answer: Callable[[], Any],
    reason: str,
    status: str,
    fleet: Fleet,
    worker: Worker,
    session: Session,
    clock: Clock,
    counters: Counters,
) -> None:
    old = worker.tokens(session)
    fleet.idp.break_endpoint("token", answer)
    with pytest.raises(RequestFailed, match=f"^{reason}$"):
        worker.refresh(session)
    assert counters.gained(FAILED) == {reason: 1}
    assert counters.gained(REFRESHES) == {"user failed": 1}
    if status == "slow_down":  # a code of another grant's registry
        assert counters.total(CALLS) == 1
    else:
        assert counters.gained(CALLS) == {f"refresh_token {status}": 1}
    assert counters.gained(ENDED) == {}
    assert alive(worker, session)
    assert worker.tokens(session) == old
    assert worker.token(session) == old.access.value
    clock.now += FAILURE_LIFE
    fleet.idp.repair()
    worker.refresh(session)


def test_the_circuit_is_open(fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters) -> None:
    fleet.idp.break_endpoint("token", raising(requests.ConnectionError()))
    worker.services.http[0]._breaker("token")._reset_after = 10 * FAILURE_LIFE  # it is open for all that is tried here
    for _ in range(8):
        with pytest.raises(RequestFailed):
            worker.refresh(session)
        clock.now += FAILURE_LIFE
    failed = counters.gained(FAILED)
    assert set(failed) == {"connection", "circuit_open"}
    assert failed["connection"] == fleet.idp.count("token")
    assert alive(worker, session)


def test_the_providers_metadata_cannot_be_had(
    fleet: Fleet, worker: Worker, session: Session, counters: Counters
) -> None:
    fleet.idp.break_endpoint("discovery", html(500))
    with pytest.raises(RequestFailed, match="connection"):
        worker.refresh(session)
    assert counters.gained(FAILED) == {"connection": 1}
    assert alive(worker, session)


def test_a_dead_token_and_a_provider_that_is_away(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    clock.now += LIFE
    fleet.idp.break_endpoint("token", raising(requests.Timeout()))
    with pytest.raises(TokenUnavailable):
        worker.token(session)
    assert counters.gained("bff_token_expiry_total") == {"user": 1}
    assert alive(worker, session)


class TestInvalidGrant:
    def test_it_ends_the_session_once(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        seen = worker.tokens(session)
        fleet.idp.later_grants.end_families()
        for each in (worker, other, worker):
            with pytest.raises(SessionEnded):
                each.refresh(session, seen)
        assert not alive(worker, session)
        assert counters.gained(ENDED) == {EndReason.REFRESH_REJECTED: 1}
        assert counters.gained(FAILED) == {"invalid_grant": 1}
        assert counters.gained(REFRESHES) == {"user failed": 1}
        assert counters.gained(EVENTS) == {"refresh_rejected warning": 1}
        assert fleet.calls() == 1

    def test_a_herd_learns_it_from_one_call(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        """Its tokens are still in the store, since they are not revoked yet; nobody asks with them again."""
        waited, seen = threading.Event(), worker.tokens(session)
        fleet.wait = lambda _seconds: waited.set()
        fleet.idp.later_grants.end_families()
        fleet.meanwhile(lambda: waited.wait(10))

        def refresh(number: int) -> type[BaseException]:
            with pytest.raises(SessionEnded) as caught:
                (worker, other)[number % 2].refresh(session, seen)
            return caught.type

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(refresh, range(8))) == [SessionEnded] * 8
        assert fleet.calls() == 1
        assert counters.gained(EVENTS) == {"refresh_rejected warning": 1}

    def test_not_when_another_worker_replaced_the_tokens(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        """This one's lock ran out while it was stopped, and the other took over."""
        fleet.meanwhile(lambda: steal_and_refresh(fleet, other, session))
        renewed = worker.refresh(session)
        assert alive(worker, session)
        assert renewed == worker.tokens(session)
        assert counters.gained(ENDED) == {}
        assert counters.gained(FAILED) == {}
        assert counters.gained(REFRESHES) == {"user success": 1, "user reused": 1}

    @pytest.mark.parametrize("seen_at", [1, 5, 6, 7, 8])
    def test_nor_when_that_shows_later(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, seen_at: int, counters: Counters
    ) -> None:
        """Another worker sent the refresh token and was stopped before it could write the answer."""
        seen, pauses = worker.tokens(session), list[float]()
        with pytest.raises(Killed):
            die_after_the_answer(fleet, other, session)
        successor = fleet.idp.issued[-2]  # the refresh token that the dead worker got
        held = worker.services.token_store.read(session.key)
        assert held is not None

        def wait(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == seen_at + 1:
                access = AccessToken("late", fleet.clock() + 400, fleet.clock() + 500)
                late = replace(held.tokens, access=access, refresh_token=successor)
                assert other.services.token_store.replace(session.key, held, late)

        fleet.wait = wait
        assert worker.refresh(session, seen).access.value == "late"
        before, after = [0.5] * 6, [0.0, 0.3, 0.7]  # the refresh token is sent a second time, and refused
        assert pauses == [*before, *after][: seen_at + 1]
        assert fleet.calls() == (1 if seen_at < len(before) else 2)
        assert alive(worker, session)
        assert counters.gained(ENDED) == {}
        assert counters.gained(REFRESHES) == {"user reused": 1}

    def test_who_has_waited_for_the_lock_waits_for_nobody_else(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session
    ) -> None:
        """The store was there all the time, so what the dead worker could not save is not to come."""
        pauses: list[float] = []
        lock = Lock(other.store, f"refresh:{session.key}", LOCK_LIFE)
        assert lock.acquire()
        other.services.tokens.refresher.refresh_status.mark_started(other.tokens(session).refresh_token or "")

        def wait(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                lock.release()

        fleet.wait = wait
        worker.refresh(session)
        assert pauses == [0.02, 0.04, 0.08]
        assert fleet.calls() == 1

    def test_without_a_note_nobody_is_waited_for(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        pauses: list[float] = []
        fleet.wait = pauses.append
        fleet.idp.later_grants.end_families()
        with pytest.raises(SessionEnded):
            worker.refresh(session)
        assert pauses == [0.0]

    def test_a_logout_meanwhile_is_no_rejection(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        """The logout had the refresh token revoked, so the provider knows it no more."""
        fleet.meanwhile(lambda: log_out(other, session))
        with pytest.raises(SessionEnded):
            worker.refresh(session)
        assert counters.gained(ENDED) == {EndReason.LOGOUT: 1}
        assert counters.gained(FAILED) == {}
        assert counters.gained(EVENTS) == {}

    def test_the_store_is_away_when_it_is_said(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        """Whether somebody else replaced the tokens cannot be seen, so nobody is logged out."""
        fleet.idp.later_grants.end_families()
        fleet.meanwhile(lambda: setattr(worker.store, "down", True))
        with pytest.raises(StoreUnavailable):
            worker.refresh(session)
        worker.store.down = False
        assert alive(worker, session)


class Killed(Exception):
    """The end of a process."""


def steal_and_refresh(fleet: Fleet, thief: Worker, session: Session) -> None:
    thief.store.delete(f"lock:refresh:{session.key}")
    thief.refresh(session)


def die_after_the_answer(fleet: Fleet, worker: Worker, session: Session) -> None:
    """Its lock is gone, as after its life; its note is still there."""

    def die() -> None:
        worker.store.crash = Killed()

    fleet.then(die)
    try:
        worker.refresh(session)
    finally:
        worker.store.crash = None
        worker.store.delete(f"lock:refresh:{session.key}")


def no_login_under_way(worker: Worker, clock: Clock) -> None:
    """The queue's turn when no login that could share the grant can be under way any more."""
    clock.now += 900 + CODE_LIFE
    worker.services.tokens.revocations.revoke_due()


def log_out(worker: Worker, session: Session) -> None:
    worker.services.authenticator.end(session, EndReason.LOGOUT)
    worker.services.tokens.revocations.revoke_now(session.key)


class TestTheStoreFailsAfterTheAnswer:
    def test_nothing_is_lost(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, counters: Counters
    ) -> None:
        old = worker.tokens(session)
        fleet.then(lambda: setattr(worker.store, "down", True))
        renewed = worker.refresh(session)
        assert renewed.refresh_token != old.refresh_token
        with pytest.raises(StoreUnavailable):
            worker.services.tokens.pending_writes.write()
        worker.store.down = False
        assert worker.tokens(session) == old
        worker.services.tokens.pending_writes.write()
        assert worker.tokens(session) == renewed
        other.refresh(session)
        assert fleet.idp.last("token").form["refresh_token"] == renewed.refresh_token
        assert alive(worker, session)
        assert counters.gained(REFRESHES) == {"user success": 2}

    def test_the_next_refresh_here_writes_it_first(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        old = worker.tokens(session)
        fleet.then(lambda: setattr(worker.store, "down", True))
        renewed = worker.refresh(session)
        worker.store.down = False
        assert worker.refresh(session, old) == renewed
        assert worker.tokens(session) == renewed
        assert fleet.calls() == 1

    def test_what_came_later_is_not_undone(self, fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
        fleet.idp.later_grants.rotates = False  # the refresh token tells nobody what is newer
        fleet.then(lambda: setattr(worker.store, "down", True))
        worker.refresh(session)
        worker.store.down = False
        newest = other.refresh(session)
        worker.services.tokens.pending_writes.write()
        assert worker.tokens(session) == newest

    def test_a_session_that_ended_before_it_was_written(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session
    ) -> None:
        fleet.then(lambda: setattr(worker.store, "down", True))
        renewed = worker.refresh(session)
        worker.store.down = False
        log_out(other, session)
        worker.services.tokens.pending_writes.write()
        no_login_under_way(worker, fleet.clock)
        assert renewed.refresh_token in fleet.idp.revoked
        fleet.idp.revoked.clear()
        worker.services.tokens.pending_writes.write()
        assert fleet.idp.revoked == []

    def test_two_threads_write_at_once(
        self, fleet: Fleet, worker: Worker, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The background job and a request."""
        pending_writes, store = worker.services.tokens.pending_writes, worker.services.token_store
        fleet.then(lambda: setattr(worker.store, "down", True))
        renewed = worker.refresh(session)
        worker.store.down = False
        update, nested = store.update, list[bool]()

        def both(*arguments: Any) -> Any:
            if not nested:
                nested.append(True)
                pending_writes.write()
            return update(*arguments)

        monkeypatch.setattr(store, "update", both)
        pending_writes.write()
        assert nested == [True]
        assert worker.tokens(session) == renewed

    def test_before_the_question_nothing_is_asked(self, fleet: Fleet, worker: Worker, session: Session) -> None:
        seen = worker.tokens(session)
        for calls_left in range(4):  # the lock, what another wrote, the note
            worker.store.calls_left = calls_left
            if calls_left < 3:
                with pytest.raises(StoreUnavailable):
                    worker.refresh(session, seen)
                assert fleet.calls() == 0
            worker.store.calls_left, worker.store.down = None, False
        worker.refresh(session, seen)


class TestTheSessionEndsMeanwhile:
    def test_what_came_is_revoked(self, fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
        fleet.then(lambda: log_out(other, session))
        with pytest.raises(SessionEnded):
            worker.refresh(session)
        assert len(fleet.idp.revoked) == 1  # what the session held
        no_login_under_way(worker, fleet.clock)
        assert len(fleet.idp.revoked) == 2  # what was on its way
        assert not fleet.idp.later_grants.alive(fleet.idp.revoked[1])
        assert worker.store.get(f"cold:{session.key}") is None

    @pytest.mark.parametrize("lie", [{"token_type": "mac"}, {"access_token": None}])
    def test_also_when_something_else_is_wrong_with_it(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session, lie: dict[str, Any]
    ) -> None:
        fleet.idp.later_grants.response = lie
        fleet.then(lambda: log_out(other, session))
        with pytest.raises(SessionEnded):
            worker.refresh(session)
        no_login_under_way(worker, fleet.clock)
        assert len(fleet.idp.revoked) == 2

    def test_it_is_revoked_later_when_its_record_is_still_there(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session
    ) -> None:
        fleet.then(lambda: other.services.authenticator.end(session, EndReason.LOGOUT))
        renewed = worker.refresh(session)
        worker.services.tokens.revocations.revoke_due()
        assert fleet.idp.revoked == [renewed.refresh_token]


def test_an_exchange_meanwhile_is_not_lost(fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
    """Both change the same record."""
    exchanged = AccessToken("for orders", 1.0)
    fleet.then(
        lambda: other.services.token_store.update(
            session.key, lambda current: replace(current, services={"orders": exchanged})
        )
    )
    renewed = worker.refresh(session)
    assert renewed.services == {"orders": exchanged}
    assert worker.tokens(session) == renewed


def test_nothing_of_a_token_in_a_log(
    fleet: Fleet, worker: Worker, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fleet.then(lambda: setattr(worker.store, "down", True))
    worker.refresh(session)
    worker.store.down = False
    worker.services.tokens.pending_writes.write()
    fleet.refuses("invalid_client", 401)
    with pytest.raises(RequestFailed):
        worker.refresh(session)
    said = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "tokens_not_saved_yet" in said
    assert "refresh_failed" in said
    assert not [secret for secret in (*fleet.idp.issued, session.key) if secret in said]
