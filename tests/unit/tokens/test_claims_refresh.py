"""What a refresh says of a person is what the session says from then on (roles, permissions, name, e-mail)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests

from bff.sessions.model import EndReason, Session
from tests.clock import Clock
from tests.flows.provider import ALICE, REMOVED, html, raising
from tests.unit.tokens.fleet import Fleet, Worker

ADMIN = {**ALICE, "roles": ["user", "admin"]}
LEFT_OUT = dict.fromkeys(("name", "email", "roles"), REMOVED)


def now(worker: Worker, session: Session) -> Any:
    found = worker.services.store.find(session.key)
    assert found is not None
    return found.user


def refreshed(worker: Worker, session: Session) -> tuple[str, ...]:
    """The session's roles after one refresh."""
    worker.refresh(session)
    roles: tuple[str, ...] = now(worker, session).roles
    return roles


@pytest.fixture
def admin(fleet: Fleet, worker: Worker) -> Session:
    fleet.idp.user = {**ADMIN}
    return fleet.login(worker, user=fleet.idp.user)


@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ({"roles": ["user"]}, ("user",)),
        ({"roles": []}, ()),
        ({"roles": REMOVED}, ()),
        ({"roles": "user clerk"}, ("user", "clerk")),
        ({"roles": 7}, ()),
        ({"roles": ["user", "admin"]}, ("user", "admin")),
    ],
)
def test_a_role_that_the_id_token_has_no_more(
    said: dict[str, Any], roles: tuple[str, ...], fleet: Fleet, worker: Worker, admin: Session
) -> None:
    fleet.idp.claims = said
    assert refreshed(worker, admin) == roles
    assert fleet.idp.count("userinfo") == 0


def test_name_and_email_change_too(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.claims = {"name": "Alice Other", "email": "other@example.com", "permissions": ["pay"]}
    worker.refresh(admin)
    user = now(worker, admin)
    assert (user.name, user.email, user.permissions) == ("Alice Other", "other@example.com", ("pay",))
    assert (user.id, user.sub) == (admin.user.id, admin.user.sub)


def test_an_id_token_without_any_of_them_sends_for_userinfo(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.claims = LEFT_OUT
    fleet.idp.userinfo = {"roles": ["user"]}
    assert refreshed(worker, admin) == ("user",)
    assert now(worker, admin).name == ALICE["name"], "which has them all"


def test_what_came_from_userinfo_is_asked_there_again(fleet: Fleet, worker: Worker) -> None:
    fleet.idp.claims = {"roles": REMOVED}
    session = fleet.login(worker, user=ADMIN)
    fleet.idp.userinfo = {"roles": ["user"]}
    assert refreshed(worker, session) == ("user",)


def test_also_when_the_refresh_brings_no_id_token(fleet: Fleet, worker: Worker) -> None:
    fleet.idp.claims = {"roles": REMOVED}
    session = fleet.login(worker, user=ADMIN)
    fleet.idp.later_grants.response = {"id_token": None}
    fleet.idp.userinfo = {"roles": []}
    assert refreshed(worker, session) == ()


def test_without_an_id_token_nothing_is_said(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.later_grants.response = {"id_token": None}
    fleet.idp.user["roles"] = []
    assert refreshed(worker, admin) == ("user", "admin")
    assert fleet.idp.count("userinfo") == 0


@pytest.mark.parametrize("answer", [html(500), html(403), raising(requests.Timeout())], ids=["500", "403", "timeout"])
def test_userinfo_that_fails_changes_nothing(
    answer: Callable[[], Any], fleet: Fleet, worker: Worker, admin: Session
) -> None:
    fleet.idp.claims = LEFT_OUT
    fleet.idp.break_endpoint("userinfo", answer)
    assert refreshed(worker, admin) == ("user", "admin")


def test_userinfo_of_somebody_else_changes_nothing(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.claims = LEFT_OUT
    fleet.idp.userinfo = {"sub": "bob", "roles": []}
    assert refreshed(worker, admin) == ("user", "admin")


@pytest.mark.parametrize(
    ("mode", "roles", "asked"),
    [("id_token", ("a",), 0), ("userinfo", ("a",), 1), ("off", ("user", "admin"), 0), ("auto", ("a",), 0)],
)
def test_claims_refresh(mode: str, roles: tuple[str, ...], asked: int, fleet: Fleet) -> None:
    worker = fleet.worker(claims_refresh=mode)
    session = fleet.login(worker, user=ADMIN)
    fleet.idp.claims = {"roles": ["a"]}
    fleet.idp.userinfo = {"roles": ["b"]}
    assert refreshed(worker, session) == roles
    assert fleet.idp.count("userinfo") == asked


def test_an_id_token_that_is_not_believed_changes_nothing(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.claims = {"roles": [], "iss": "https://other.example"}
    with pytest.raises(Exception, match="bad_response"):
        worker.refresh(admin)
    assert now(worker, admin).roles == ("user", "admin")


def test_this_worker_believes_it_at_once(fleet: Fleet, worker: Worker, other: Worker, admin: Session) -> None:
    worker.remember(admin)
    fleet.idp.claims = {"roles": []}
    worker.refresh(admin)
    assert worker.services.cache.held(admin.key, fleet.clock()) is None
    assert now(other, admin).roles == ()


def test_a_store_that_goes_away_does_not_lose_it(fleet: Fleet, worker: Worker, admin: Session) -> None:
    fleet.idp.claims = {"roles": []}
    fleet.then(lambda: setattr(worker.store, "down", True))
    worker.refresh(admin)
    worker.store.down = False
    assert now(worker, admin).roles == ("user", "admin")
    worker.services.tokens.pending_writes.write()
    assert now(worker, admin).roles == ()


def test_an_ended_session_stays_ended(fleet: Fleet, worker: Worker, admin: Session, clock: Clock) -> None:
    worker.services.authenticator.end(admin, EndReason.LOGOUT)
    assert not worker.services.store.change_user(admin.key, replace(admin.user, roles=()))
    assert worker.services.store.find(admin.key) is None
    assert worker.services.store.active() == 0


def test_only_the_user_changes(fleet: Fleet, worker: Worker, admin: Session) -> None:
    before = worker.services.store.find(admin.key)
    fleet.idp.claims = {"roles": []}
    worker.refresh(admin)
    after = worker.services.store.find(admin.key)
    assert before is not None
    assert after is not None
    assert replace(after, user=before.user) == before
    assert after.user.roles != before.user.roles
