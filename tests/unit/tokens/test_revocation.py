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
from bff.oidc.issued import Issued
from bff.sessions.model import EndReason, Session
from bff.sessions.token_store import REFRESH_INDEX, REVOCATION_INDEX, DueRevocation
from bff.sessions.tokens import AccessToken
from bff.tokens.revocation import MOST_ATTEMPTS
from tests.clock import Clock
from tests.flows.provider import REMOVED, html, raising
from tests.unit.tokens.fleet import Fleet, Worker


def queue(worker: Worker) -> list[tuple[str, float]]:
    return worker.store.index_range(REVOCATION_INDEX, -math.inf, math.inf, 100)


def end(worker: Worker, session: Session, reason: EndReason = EndReason.LOGOUT) -> None:
    worker.services.gate.end(session, reason)


def turn(worker: Worker) -> None:
    worker.services.tokens.revocations.revoke_due()


def nothing_left(worker: Worker, session: Session) -> bool:
    refreshes = worker.store.index_range(REFRESH_INDEX, -math.inf, math.inf, 100)
    return not queue(worker) and not refreshes and worker.store.get(f"cold:{session.key}") is None


@pytest.mark.parametrize("reason", EndReason)
def test_every_end(reason: EndReason, fleet: Fleet, worker: Worker, session: Session) -> None:
    token = worker.tokens(session).refresh_token
    end(worker, session, reason)
    assert queue(worker) == [(f"0:{session.key}", fleet.clock())]
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
    turn(worker)
    assert len(fleet.idp.revoked) == 1
    assert nothing_left(worker, session)


def test_all_sessions_of_a_person(fleet: Fleet, worker: Worker) -> None:
    sessions = [fleet.login(worker) for _ in range(3)]
    tokens = {worker.tokens(session).refresh_token for session in sessions}
    worker.services.store.end_all_of(sessions[0], EndReason.LOGOUT_EVERYWHERE)
    turn(worker)
    assert set(fleet.idp.revoked) == tokens


def test_a_refused_refresh(fleet: Fleet, worker: Worker, session: Session, clock: Clock) -> None:
    fleet.idp.later_grants.end_families()
    clock.now += 600
    with pytest.raises(Exception, match="ended"):
        worker.token(session)
    turn(worker)
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
            (Issued(AccessToken("access", 1.0), "refresh"), ["refresh"]),
            (Issued(AccessToken("access", 1.0)), ["access"]),
            (Issued(None, "refresh", fault="token_type"), ["refresh"]),
            (Issued(None, fault="access_token"), []),
        ],
    )
    def test_what_is_revoked(self, issued: Issued, revoked: list[str], fleet: Fleet, worker: Worker) -> None:
        worker.services.tokens.revocations.orphan(worker.services.providers["default"], issued)
        assert fleet.idp.revoked == revoked

    def test_it_is_tried_once(self, fleet: Fleet, worker: Worker) -> None:
        fleet.idp.break_endpoint("revoke", html(500))
        worker.services.tokens.revocations.orphan(
            worker.services.providers["default"], Issued(AccessToken("access", 1.0))
        )
        assert fleet.idp.count("revoke") == 1
        assert queue(worker) == []


def test_how_often_it_was_tried_is_in_the_members_name() -> None:
    assert DueRevocation("key", 3).member == "3:key"
