"""Every end of a session revokes its tokens (RFC 7009), sooner or later, and nothing of them stays in the store."""

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from werkzeug.wrappers import Response

from bff.errors import StoreUnavailable
from bff.oidc.token_response import TokenResponse
from bff.sessions.model import EndReason, Session
from bff.sessions.shared_grant import CLOCKS_APART, LONGEST_CALL
from bff.sessions.token_store import CODE_LIFE, REFRESH_INDEX, REVOCATION_INDEX, DueRevocation
from bff.sessions.tokens import AccessToken
from bff.tokens.revocation import MOST_ATTEMPTS
from tests.clock import Clock
from tests.flows.provider import REMOVED, html, raising
from tests.unit.tokens.fleet import Fleet, Worker

QUIET = 900 + CODE_LIFE
"""Seconds that a login may take, its code exchange included."""


def queue(worker: Worker) -> list[tuple[str, float]]:
    return worker.store.index_range(REVOCATION_INDEX, -math.inf, math.inf, 100)


def end(worker: Worker, session: Session, reason: EndReason = EndReason.LOGOUT) -> None:
    worker.services.authenticator.end(session, reason)


def turn(worker: Worker) -> None:
    worker.services.tokens.revocations.revoke_due()


def later(worker: Worker, clock: Clock) -> None:
    """A turn when no login that could share a grant is under way any more."""
    clock.now += QUIET
    turn(worker)


def nothing_left(worker: Worker, session: Session) -> bool:
    refreshes = worker.store.index_range(REFRESH_INDEX, -math.inf, math.inf, 100)
    return not queue(worker) and not refreshes and worker.store.get(f"cold:{session.key}") is None


@pytest.mark.parametrize("reason", EndReason)
def test_every_end(reason: EndReason, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    """A person's deed revokes at once, any other end when no login can still be under way."""
    token = worker.tokens(session).refresh_token
    end(worker, session, reason)
    pause = 0 if reason in (EndReason.LOGOUT, EndReason.LOGOUT_EVERYWHERE, EndReason.REVOKED) else QUIET
    assert queue(worker) == [(f"0:{session.key}", clock() + pause)]
    clock.now += pause - 0.1
    turn(worker)
    assert fleet.idp.revoked == []
    clock.now += 0.1
    turn(worker)
    assert fleet.idp.revoked == [token]
    form = fleet.idp.last("revoke").form
    assert form["token_type_hint"] == "refresh_token"
    assert nothing_left(worker, session)
    turn(worker)
    assert len(fleet.idp.revoked) == 1


def test_a_timeout_that_the_sweep_finds(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    clock.now = session.expires_at
    assert worker.services.store.sweep() == 1
    later(worker, clock)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


def test_all_sessions_of_a_person(fleet: Fleet, worker: Worker) -> None:
    sessions = [fleet.login(worker) for _ in range(3)]
    tokens = {worker.tokens(session).refresh_token for session in sessions}
    worker.services.store.end_all_of(sessions[0], EndReason.LOGOUT_EVERYWHERE)
    turn(worker)
    assert set(fleet.idp.revoked) == tokens


class TestAnotherSessionOfThePerson:
    """Its tokens may come from the same grant, which a revocation ends as a whole (RFC 7009 section 2.1)."""

    @pytest.mark.parametrize("reason", EndReason)
    def test_a_newer_one_keeps_the_grant(
        self, reason: EndReason, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        clock.now += 100
        end(worker, session, reason)
        clock.now += 100
        fleet.login(worker)
        later(worker, clock)
        assert fleet.idp.revoked == []
        assert queue(worker) == []
        assert worker.store.get(f"cold:{session.key}") is None
        assert worker.store.get(f"revocation:{session.key}") is None

    @pytest.mark.parametrize("reason", EndReason)
    def test_an_older_one_keeps_it_unless_a_person_ended_the_newer_one(
        self, reason: EndReason, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        clock.now += 100
        newer = fleet.login(worker)
        end(worker, newer, reason)
        later(worker, clock)
        deliberate = reason in (EndReason.LOGOUT, EndReason.LOGOUT_EVERYWHERE, EndReason.REVOKED)
        assert len(fleet.idp.revoked) == deliberate

    def test_it_is_asked_again_before_each_repetition(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        fleet.idp.break_endpoint("revoke", html(503))
        end(worker, session)
        turn(worker)
        assert fleet.idp.count("revoke") == 3, "it is tried, and the client repeats it"
        fleet.login(worker)
        fleet.idp.repair()
        worker.close_breakers()
        clock.now += 10
        turn(worker)
        assert fleet.idp.revoked == []
        assert queue(worker) == []

    def test_an_ended_one_keeps_nothing(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        other = fleet.login(worker)
        end(worker, other, EndReason.IDLE_TIMEOUT)
        end(worker, session, EndReason.IDLE_TIMEOUT)
        later(worker, clock)
        assert len(fleet.idp.revoked) == 2

    def test_another_person_keeps_nothing(self, fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
        fleet.login(worker, sub="bob")
        end(worker, session, EndReason.IDLE_TIMEOUT)
        later(worker, clock)
        assert len(fleet.idp.revoked) == 1

    def test_a_login_sees_a_revocation_that_it_ran_into(
        self, fleet: Fleet, worker: Worker, other: Worker, session: Session
    ) -> None:
        grants = other.services.grants
        before = grants.revocations("default")
        seen: list[bool] = []

        def meanwhile() -> Response:
            seen.append(grants.overtook(session, grants.revocations("default")))
            return Response(status=200)

        fleet.idp.break_endpoint("revoke", meanwhile)
        end(worker, session)
        turn(worker)
        assert seen == [True], "while it is under way"
        new = fleet.login(other)
        assert grants.overtook(new, before), "and when it was made since the login began"
        assert not grants.overtook(new, grants.revocations("default"))

    def test_a_revocation_that_is_left_out_disturbs_no_login(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        before = worker.services.grants.revocations("default")
        end(worker, session, EndReason.IDLE_TIMEOUT)
        new = fleet.login(worker)
        later(worker, clock)
        assert not worker.services.grants.overtook(new, before)

    def test_a_logout_that_gives_up_leaves_the_flag_of_the_job_that_still_tries(
        self, fleet: Fleet, worker: Worker, session: Session
    ) -> None:
        grants = worker.services.grants
        end(worker, session)
        ended = worker.services.token_store.ended(session.key)
        assert ended is not None
        logout, job = grants.begin_revocation(ended), grants.begin_revocation(ended)
        assert logout is not None
        assert job is not None
        grants.finish_revocation(ended, logout)
        new, number = fleet.login(worker), grants.revocations("default")
        assert grants.overtook(new, number)
        grants.finish_revocation(ended, job)
        assert grants.overtook(new, number), "the job's revocation ended after that login began"

    def test_a_worker_killed_in_the_middle_disturbs_logins_for_a_while(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        grants = worker.services.grants
        end(worker, session)
        ended = worker.services.token_store.ended(session.key)
        assert ended is not None
        assert grants.begin_revocation(ended)
        new, number = fleet.login(worker), grants.revocations("default")
        assert grants.overtook(new, number)
        clock.now += LONGEST_CALL + CLOCKS_APART + 1
        assert not grants.overtook(new, number)


def test_a_refused_refresh(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    fleet.idp.later_grants.end_families()
    clock.now += 600
    with pytest.raises(Exception, match="ended"):
        worker.token(session)
    later(worker, clock)
    assert nothing_left(worker, session)


def test_without_a_refresh_token_the_access_token(fleet: Fleet, worker: Worker) -> None:
    session = fleet.login(worker, refresh_token=None)
    token = worker.tokens(session).access.value
    end(worker, session)
    turn(worker)
    assert fleet.idp.revoked == [token]
    assert fleet.idp.last("revoke").form["token_type_hint"] == "access_token"


def test_a_logout_tries_at_once(fleet: Fleet, worker: Worker, session: Session) -> None:
    end(worker, session)
    worker.services.tokens.revocations.revoke_now(session.key)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


def test_a_logout_without_the_store_leaves_it_for_later(fleet: Fleet, worker: Worker, session: Session) -> None:
    end(worker, session)
    worker.store.down = True
    worker.services.tokens.revocations.revoke_now(session.key)
    with pytest.raises(StoreUnavailable):
        turn(worker)
    worker.store.down = False
    turn(worker)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_settles_it(status: int, fleet: Fleet, worker: Worker, session: Session) -> None:
    """Asking again would not help."""
    fleet.idp.break_endpoint("revoke", lambda: Response(status=status))
    end(worker, session)
    turn(worker)
    assert nothing_left(worker, session)


def test_a_provider_without_the_endpoint(fleet: Fleet, worker: Worker, session: Session) -> None:
    fleet.idp.metadata["revocation_endpoint"] = REMOVED
    end(worker, session)
    turn(worker)
    assert fleet.idp.count("revoke") == 0
    assert nothing_left(worker, session)


def test_a_provider_that_was_withdrawn(fleet: Fleet, worker: Worker) -> None:
    session = fleet.login(worker, idp="gone")
    end(worker, session)
    turn(worker)
    assert nothing_left(worker, session)


def test_tokens_that_nobody_can_read(fleet: Fleet, worker: Worker, session: Session) -> None:
    worker.store.set(f"cold:{session.key}", b"garbage")
    end(worker, session)
    turn(worker)
    assert fleet.idp.count("revoke") == 0
    assert nothing_left(worker, session)


AWAY: dict[str, tuple[str, Callable[[], Any]]] = {
    "500": ("revoke", html(500)),
    "503": ("revoke", html(503)),
    "429": ("revoke", html(429)),
    "timeout": ("revoke", raising(requests.Timeout())),
    "connection": ("revoke", raising(requests.ConnectionError())),
    "no metadata": ("discovery", html(500)),
}


@pytest.mark.parametrize(("endpoint", "answer"), AWAY.values(), ids=AWAY)
def test_a_provider_that_is_away(
    endpoint: str, answer: Callable[[], Any], fleet: Fleet, worker: Worker, session: Session, clock: Clock
) -> None:
    fleet.idp.break_endpoint(endpoint, answer)
    end(worker, session)
    pauses = []
    for attempt in range(12):
        turn(worker)
        ((member, when),) = queue(worker)
        assert member == f"{attempt + 1}:{session.key}"
        pauses.append(when - clock())
        asked = fleet.idp.count(endpoint)
        clock.now = when - 0.1
        turn(worker)
        assert fleet.idp.count(endpoint) == asked
        clock.now = when
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300], abs=0.6)
    fleet.idp.repair()
    worker.close_breakers()
    turn(worker)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


def test_it_is_given_up_in_the_end(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.idp.break_endpoint("revoke", html(500))
    end(worker, session)
    begun, turns = clock(), 0
    while queue(worker):
        ((_, clock.now),) = queue(worker)
        turn(worker)
        turns += 1
    assert turns == MOST_ATTEMPTS + 1
    assert 7 * 3600 < clock() - begun < 9 * 3600
    assert nothing_left(worker, session)
    assert "revocation_given_up" in caplog.messages
    assert not [secret for secret in fleet.idp.issued if secret in caplog.text]
    assert [record.levelno for record in caplog.records if record.message == "revocation_given_up"] == [logging.ERROR]


def test_tokens_replaced_while_they_are_revoked(fleet: Fleet, worker: Worker, other: Worker, session: Session) -> None:
    """A refresh was under way when the session ended."""
    store = other.services.token_store
    old = worker.tokens(session)
    newer = replace(old, access=AccessToken("newer", 1.0), refresh_token="newer")

    def meanwhile() -> Response:
        fleet.idp.repair()
        store.update(session.key, lambda _current: newer)
        fleet.idp.revoked.append(fleet.idp.last("revoke").form["token"])
        return Response(status=200)

    fleet.idp.break_endpoint("revoke", meanwhile)
    end(worker, session)
    turn(worker)
    assert [member for member, _ in queue(worker)] == [f"0:{session.key}"]
    turn(worker)
    assert fleet.idp.revoked == [old.refresh_token, "newer"]
    assert worker.store.get(f"cold:{session.key}") is None
    assert queue(worker) == []


@pytest.mark.parametrize("status", [200, 500])
def test_two_workers_at_once(
    status: int, fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock
) -> None:
    """The second one begins and ends while the first one's call is under way."""
    nested: list[bool] = []

    def meanwhile() -> Response:
        if not nested:
            nested.append(True)
            turn(other)
        return Response(status=status)

    fleet.idp.break_endpoint("revoke", meanwhile)
    end(worker, session)
    turn(worker)
    assert len(queue(worker)) == (0 if status == 200 else 1)
    fleet.idp.repair()
    clock.now += 1
    turn(worker)
    assert nothing_left(worker, session)


def test_one_fails_where_another_succeeded(
    fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock
) -> None:
    def meanwhile() -> Response:
        fleet.idp.repair()
        turn(other)
        return Response(status=429)

    fleet.idp.break_endpoint("revoke", meanwhile)
    end(worker, session)
    turn(worker)
    clock.now += 1
    turn(worker)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


def test_many_in_many_threads(fleet: Fleet, worker: Worker, other: Worker) -> None:
    sessions = [fleet.login(worker) for _ in range(20)]
    tokens = {worker.tokens(session).refresh_token for session in sessions}
    for session in sessions:
        end(worker, session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(turn, [worker, other] * 2))
    assert set(fleet.idp.revoked) == tokens
    assert all(nothing_left(worker, session) for session in sessions)


class TestAnOrphan:
    @pytest.mark.parametrize(
        ("issued", "revoked"),
        [
            (TokenResponse(AccessToken("access", 1.0), "refresh"), ["refresh"]),
            (TokenResponse(AccessToken("access", 1.0)), ["access"]),
            (TokenResponse(None, "refresh", fault="token_type"), ["refresh"]),
            (TokenResponse(None, fault="access_token"), []),
        ],
    )
    def test_what_is_revoked(
        self, issued: TokenResponse, revoked: list[str], fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        end(worker, session)
        turn(worker)
        fleet.idp.revoked.clear()
        worker.services.tokens.revocations.orphan(session, issued)
        assert fleet.idp.revoked == [], "a login that shares the grant may be under way"
        later(worker, clock)
        assert fleet.idp.revoked == revoked
        assert nothing_left(worker, session)

    def test_it_is_forgotten_beside_a_newer_session(
        self, fleet: Fleet, worker: Worker, session: Session, clock: Clock
    ) -> None:
        end(worker, session)
        turn(worker)
        fleet.idp.revoked.clear()
        fleet.login(worker)
        worker.services.tokens.revocations.orphan(session, TokenResponse(AccessToken("access", 1.0), "refresh"))
        later(worker, clock)
        assert fleet.idp.revoked == []
        assert queue(worker) == []


def test_how_often_it_was_tried_is_in_the_members_name() -> None:
    assert DueRevocation("key", 3).member == "3:key"
