"""Answers to a refresh that lie: each lie has its name, the old token serves on, and no refresh token is lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey
from werkzeug.wrappers import Response

from bff.http import MAX_BODY
from bff.oidc.token_endpoint import RequestFailed
from bff.oidc.token_response import ASSUMED_LIFE
from bff.sessions.model import Session
from bff.tokens.refresh_status import FAILURE_LIFE
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.provider import html
from tests.flows.tokens import compact
from tests.unit.tokens.fleet import LIFE, SCOPE, Fleet, Worker

FAULTS, FAILED = "bff_token_response_faults_total", "bff_token_refresh_failed_total"
REFRESHES, CHECKED = "bff_token_refresh_total", "bff_token_validation_total"
ENDED = "bff_sessions_destroyed_total"

# A member of the answer, what it says instead (None: nothing), and what that is called.
UNUSABLE: list[tuple[str, Any, str]] = [
    ("access_token", None, "access_token"),
    ("access_token", "", "access_token"),
    ("access_token", 7, "access_token"),
    ("access_token", "a\r\nX-Evil: 1", "access_token"),
    ("access_token", "a\0b", "access_token"),
    ("access_token", "caf\u00e9", "access_token"),
    ("access_token", "\ud800", "access_token"),
    ("token_type", "mac", "token_type"),
    ("token_type", "DPoP", "token_type"),
    ("token_type", None, "token_type"),
    ("token_type", ["Bearer"], "token_type"),
]
DOUBTFUL: list[tuple[str, Any, str]] = [
    ("expires_in", -1, "expires_in"),
    ("expires_in", 0, "expires_in"),
    ("expires_in", "-600", "expires_in"),
    ("expires_in", True, "expires_in"),
    ("expires_in", 1e300, "expires_in"),
    ("expires_in", 10**400, "expires_in"),
    ("expires_in", float("nan"), "expires_in"),
    ("expires_in", float("inf"), "expires_in"),
    ("expires_in", [600], "expires_in"),
    ("scope", "openid", "scope"),
    ("scope", "", "scope"),
]


def lie(fleet: Fleet, member: str, value: Any) -> None:
    fleet.idp.later_grants.response = {member: value}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another worker"])
@pytest.mark.parametrize(("member", "value", "fault"), UNUSABLE, ids=str)
def test_a_lie_while_the_old_token_lives(
    member: str,
    value: Any,
    fault: str,
    elsewhere: bool,
    fleet: Fleet,
    worker: Worker,
    other: Worker,
    session: Session,
    clock: Clock,
    counters: Counters,
) -> None:
    old = worker.tokens(session)
    lie(fleet, member, value)
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}
    assert counters.gained(REFRESHES) == {"user failed": 1}
    assert counters.gained(ENDED) == {}
    assert worker.token(session) == old.access.value
    kept = worker.tokens(session)
    assert kept.refresh_token not in (old.refresh_token, None)

    next_one = other if elsewhere else worker
    with pytest.raises(RequestFailed, match="bad_response"):
        next_one.refresh(session)  # one call for the herd
    assert fleet.calls() == 1
    clock.now += FAILURE_LIFE
    fleet.idp.later_grants.response = {}
    next_one.refresh(session)
    assert fleet.idp.last("token").form["refresh_token"] == kept.refresh_token


@pytest.mark.parametrize("age", [0.0, LIFE], ids=["alive", "dead"])
@pytest.mark.parametrize(("member", "value", "fault"), DOUBTFUL, ids=str)
def test_a_doubtful_new_token_is_better_than_the_old_one(
    member: str,
    value: Any,
    fault: str,
    age: float,
    fleet: Fleet,
    worker: Worker,
    session: Session,
    clock: Clock,
    counters: Counters,
) -> None:
    """The provider may have ended the old one with its refresh token."""
    old = worker.tokens(session)
    clock.now += age
    lie(fleet, member, value)
    access = worker.refresh(session).access
    assert access.value != old.access.value
    assert worker.tokens(session).access == access
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    assert counters.gained(FAILED) == {}
    if fault == "scope":
        assert access.scope == value
        assert access.expires_at == clock() + LIFE
    else:
        assert (access.expires_at, access.refresh_at) == (None, clock() + ASSUMED_LIFE)


@pytest.mark.parametrize(("member", "value", "fault"), UNUSABLE, ids=str)
def test_a_token_that_cannot_be_used_is_not_better_than_a_dead_one(
    member: str, value: Any, fault: str, fleet: Fleet, worker: Worker, session: Session, clock: Clock
) -> None:
    old = worker.tokens(session)
    clock.now += LIFE
    lie(fleet, member, value)
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    assert worker.tokens(session).access == old.access
    assert worker.tokens(session).refresh_token != old.refresh_token


def test_no_expires_in_is_no_failure(fleet: Fleet, worker: Worker, session: Session, counters: Counters) -> None:
    """RFC 6749 section 5.1 only recommends it."""
    lie(fleet, "expires_in", None)
    access = worker.refresh(session).access
    assert (access.expires_at, access.refresh_at) == (None, fleet.clock() + ASSUMED_LIFE)
    assert counters.gained(FAULTS) == {"refresh_token expires_in_missing": 1}
    assert counters.gained(REFRESHES) == {"user success": 1}


def test_no_scope_is_the_old_scope(fleet: Fleet, worker: Worker, session: Session, counters: Counters) -> None:
    lie(fleet, "scope", None)
    assert worker.refresh(session).access.scope == SCOPE
    assert counters.gained(FAULTS) == {}


@pytest.mark.parametrize("token", ["", 7, "a\nb"])
def test_a_refresh_token_that_is_none(token: Any, fleet: Fleet, worker: Worker, session: Session) -> None:
    old = worker.tokens(session)
    lie(fleet, "refresh_token", token)
    renewed = worker.refresh(session)
    assert renewed.refresh_token == old.refresh_token
    assert renewed.access.value != old.access.value


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (html(200), "not_json"),
        (lambda: Response("[]", content_type="application/json"), "not_json"),
        (lambda: Response('"token"', content_type="application/json"), "not_json"),
        (lambda: Response("[" * 100_000, content_type="application/json"), "not_json"),
        (lambda: Response(b"\xff\xfe\0", content_type="application/json"), "not_json"),
        (lambda: Response('{"expires_in": ' + "1" * 5000 + "}", content_type="application/json"), "not_json"),
        (lambda: Response(b" " * (3 * MAX_BODY), content_type="application/json"), "too_large"),
    ],
    ids=["a page", "a list", "a text", "a deep list", "no text at all", "a number without end", "megabytes"],
)
def test_an_answer_of_another_kind(
    answer: Callable[[], Response], fault: str, fleet: Fleet, worker: Worker, session: Session, counters: Counters
) -> None:
    old = worker.tokens(session)
    fleet.idp.break_endpoint("token", answer)
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}
    assert worker.tokens(session) == old


def another_person(fleet: Fleet) -> None:
    fleet.idp.claims = {"sub": "mallory"}


def a_forged_signature(fleet: Fleet) -> None:
    forger = ECKey.generate_key("P-256", {"kid": "elliptic", "alg": "ES256"})
    fleet.idp.sign = lambda header, claims: compact(header, json.dumps(claims).encode(), forger)


def another_client(fleet: Fleet) -> None:
    fleet.idp.claims = {"aud": "another"}


def another_access_token(fleet: Fleet) -> None:
    fleet.idp.claims = {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}


WRONG: list[tuple[Callable[[Fleet], None], str]] = [
    (a_forged_signature, "bad_signature"),
    (another_client, "bad_audience"),
    (another_access_token, "bad_signature"),
]


@pytest.mark.parametrize("dead", [False, True], ids=["old token lives", "old token is dead"])
def test_somebody_elses_answer(
    dead: bool, fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    """Nothing of it is kept: it may be another person's refresh token as well."""
    old = worker.tokens(session)
    clock.now += LIFE if dead else 0
    another_person(fleet)
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    assert worker.tokens(session) == old
    assert counters.gained(FAULTS) == {"refresh_token subject": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}
    assert counters.gained(CHECKED) == {"id_token malformed": 1}
    assert counters.gained(ENDED) == {}


@pytest.mark.parametrize("dead", [False, True], ids=["old token lives", "old token is dead"])
@pytest.mark.parametrize(("wrong", "status"), WRONG, ids=lambda each: getattr(each, "__name__", each))
def test_an_id_token_that_proves_nothing(
    wrong: Callable[[Fleet], None],
    status: str,
    dead: bool,
    fleet: Fleet,
    worker: Worker,
    session: Session,
    clock: Clock,
    counters: Counters,
) -> None:
    """Its access token is not used; but the answer came from the provider, who has taken back the old refresh token."""
    old = worker.tokens(session)
    clock.now += LIFE if dead else 0
    wrong(fleet)
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    kept = worker.tokens(session)
    assert (kept.access, kept.id_token) == (old.access, old.id_token)
    assert kept.refresh_token != old.refresh_token
    assert counters.gained(FAULTS) == {"refresh_token id_token": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}
    assert counters.gained(CHECKED) == {f"id_token {status}": 1}
    assert counters.gained(ENDED) == {}


def test_somebody_elses_answer_without_a_token_that_can_be_used(
    fleet: Fleet, worker: Worker, session: Session, counters: Counters
) -> None:
    old = worker.tokens(session)
    another_person(fleet)
    lie(fleet, "token_type", "mac")
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    assert worker.tokens(session) == old
    assert counters.gained(FAULTS) == {"refresh_token token_type": 1, "refresh_token subject": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}


def test_an_id_token_that_cannot_be_checked_now(
    fleet: Fleet, worker: Worker, session: Session, clock: Clock, counters: Counters
) -> None:
    """The provider's keys are away: its access token is not used yet, its refresh token is not lost."""
    old = worker.tokens(session)
    fleet.idp.break_endpoint("jwks", html(500))
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    kept = worker.tokens(session)
    assert (kept.access, kept.id_token) == (old.access, old.id_token)
    assert kept.refresh_token != old.refresh_token
    assert counters.gained(CHECKED) == {"id_token error": 1}
    assert counters.gained(FAULTS) == {}
    fleet.idp.repair()
    clock.now += FAILURE_LIFE
    assert worker.refresh(session).access.value != old.access.value


def test_the_store_fails_after_a_lie(
    fleet: Fleet, worker: Worker, other: Worker, session: Session, clock: Clock
) -> None:
    """Both at once, and the new refresh token is still not lost."""
    old = worker.tokens(session)
    lie(fleet, "token_type", "mac")
    fleet.then(lambda: setattr(worker.store, "down", True))
    with pytest.raises(RequestFailed, match="bad_response"):
        worker.refresh(session)
    worker.store.down = False
    worker.services.tokens.pending_writes.write()
    fleet.idp.later_grants.response = {}
    assert worker.tokens(session).refresh_token != old.refresh_token
    assert other.refresh(session).access.value != old.access.value
