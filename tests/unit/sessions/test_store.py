"""Sessions in the store: sealed, indexed, and ended exactly once."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bff.crypto import digest
from bff.sessions.binding import binding_of
from bff.sessions.model import EndReason, Session, User, session_from_bytes, session_to_bytes
from bff.sessions.records import EXPIRY_INDEX
from bff.sessions.store import SessionStore
from bff.sessions.tokens import AccessToken, Tokens
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.unit.sessions.conftest import CLIENT, SECRET, Layer, Worker

NEW_SECRET = b"n" * 32
SERVICE = AccessToken("for orders", 1.5)
DESTROYED = "bff_sessions_destroyed_total"


def read(sessions: Layer, session: Session) -> Tokens | None:
    held = sessions.tokens.read(session.key)
    return held.tokens if held else None


def test_what_is_found_is_what_was_created(sessions: Layer) -> None:
    user = User("auth:account:a:ä", "ä", "Ä Ö", "a@example.com", ("user", "ädmin"), ("ö.read",))
    tokens = Tokens("a", AccessToken("access", 1200.5, 1234.5, "openid"), None, "id.token.x", None, {"orders": SERVICE})
    cookie, session = sessions.store.create(
        user, idp="a", auth_time=7, sid="provider's", binding=binding_of(*CLIENT), tokens=tokens
    )
    assert sessions.store.find(session.key) == session
    assert read(sessions, session) == tokens
    assert session.key == digest(cookie)
    assert (session.user, session.idp, session.auth_time, session.sid) == (user, "a", 7, "provider's")


def test_a_record_from_before_permissions_were_kept_still_opens(sessions: Layer) -> None:
    _, session = sessions.create()
    record = json.loads(session_to_bytes(session))
    del record["user"]["permissions"]
    opened = session_from_bytes(json.dumps(record).encode(), key=session.key, expires_at=session.expires_at)
    assert opened == session
    assert opened.user.permissions == ()


def test_nobody_reads_a_session_by_accident(sessions: Layer) -> None:
    _, session = sessions.create()
    tokens = read(sessions, session)
    for text in (repr(session), repr(tokens), str(session.user)):
        assert not any(word in text for word in ("alice", session.key, "the-access", "the-refresh", "203.0.113"))


def test_a_record_moved_to_another_key_does_not_open(sessions: Layer) -> None:
    """Whoever can write to the store cannot give one user another one's session."""
    (_, alice), (_, bob) = sessions.create("alice"), sessions.create("bob")
    for half in ("hot", "cold"):
        raw = sessions.kv.inner.get(f"{half}:{bob.key}")
        assert raw is not None
        sessions.kv.inner.set(f"{half}:{alice.key}", raw)
    assert sessions.store.find(alice.key) is None
    assert read(sessions, alice) is None


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\x01" + b"x" * 100, b"{}"])
def test_a_record_that_is_no_record(sessions: Layer, raw: bytes) -> None:
    _, session = sessions.create()
    sessions.kv.inner.set(f"hot:{session.key}", raw)
    sessions.kv.inner.set(f"cold:{session.key}", raw)
    assert sessions.store.find(session.key) is None
    assert read(sessions, session) is None


def test_a_session_is_a_member_of_the_expiry_index_or_it_is_not(sessions: Layer) -> None:
    """A record alone, left behind by whatever accident, opens nothing."""
    _, session = sessions.create()
    raw = sessions.kv.inner.get(f"hot:{session.key}")
    assert raw is not None
    sessions.store.end(session, EndReason.LOGOUT)
    sessions.kv.inner.set(f"hot:{session.key}", raw)
    assert sessions.store.find(session.key) is None


def test_an_end_leaves_nothing_behind_but_tokens_to_revoke(sessions: Layer) -> None:
    _, session = sessions.create(sid="provider's")
    sessions.store.end(session, EndReason.LOGOUT)
    assert sessions.kv.inner.get(f"hot:{session.key}") is None
    (due,) = sessions.tokens.due_for_revocation(9)
    sessions.tokens.mark_revoked(due, sessions.tokens.read(session.key))
    assert sessions.tokens.due_for_revocation(9) == []
    assert sessions.kv.inner.get(f"cold:{session.key}") is None
    for index in sessions.records.indexes(session):
        assert sessions.kv.inner.index_count(index, -math.inf, math.inf) == 0


def test_an_end_counts_even_when_the_record_was_lost(sessions: Layer, counters: Counters) -> None:
    """The expiry index decides whether there was a session."""
    _, session = sessions.create()
    sessions.kv.inner.delete(f"hot:{session.key}")
    assert sessions.store.end(session, EndReason.LOGOUT)
    assert not sessions.store.end(session, EndReason.LOGOUT)
    assert counters.gained(DESTROYED) == {"logout": 1}


def test_of_many_who_end_it_one_counts(sessions: Layer, counters: Counters) -> None:
    _, session = sessions.create()
    start = threading.Barrier(16)

    def end(reason: EndReason) -> bool:
        start.wait(10)
        return sessions.store.end(session, reason)

    with ThreadPoolExecutor(16) as pool:
        ends = list(pool.map(end, [*EndReason, *EndReason][:16]))
    assert sorted(ends) == [False] * 15 + [True]
    assert counters.total(DESTROYED) == 1


def test_touch_moves_both_ends_but_not_beyond_the_lifetime(sessions: Layer, clock: Clock) -> None:
    _, session = sessions.create()
    sessions.store.touch([(session, clock() + 28000)])
    found = sessions.store.find(session.key)
    assert found is not None
    assert found.expires_at == session.ends_at
    (index,) = sessions.records.of_user(session.idp, session.user.sub)
    assert sessions.kv.inner.index_range(index, -math.inf, math.inf, 9) == [(session.key, clock() + 28000)]


def test_touching_nothing_asks_the_store_nothing(sessions: Layer) -> None:
    sessions.store.touch([])
    assert sessions.kv.writes == []


def test_the_sweep_goes_in_steps(sessions: Layer, clock: Clock, counters: Counters) -> None:
    for _ in range(5):
        sessions.create()
    clock.now += 3600
    assert [sessions.store.sweep(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert counters.gained(DESTROYED) == {"idle_timeout": 5}


def test_the_sweep_spares_what_was_used_meanwhile(sessions: Layer, clock: Clock) -> None:
    _, session = sessions.create()
    clock.now += 3500
    sessions.store.touch([(session, clock())])
    clock.now += 3500
    assert sessions.store.sweep() == 0


def test_the_sweep_names_the_right_reason_even_a_day_late(sessions: Layer, clock: Clock, counters: Counters) -> None:
    """An hour unused, or eight hours old: by then both are true of both, but one came first."""
    sessions.create()
    _, used = sessions.create()
    sessions.store.touch([(used, clock() + 28000)])
    clock.now += 28800 + 80000
    sessions.store.sweep()
    assert counters.gained(DESTROYED) == {"idle_timeout": 1, "absolute_timeout": 1}


def test_the_sweep_counts_what_lost_its_record(sessions: Layer, clock: Clock, counters: Counters) -> None:
    _, session = sessions.create()
    sessions.kv.inner.delete(f"hot:{session.key}")
    clock.now += 3600
    assert sessions.store.sweep() == 1
    assert sessions.store.sweep() == 0
    assert counters.gained(DESTROYED) == {"absolute_timeout": 1}
    assert sessions.kv.inner.index_count(EXPIRY_INDEX, -math.inf, math.inf) == 0
    assert sessions.kv.inner.get(f"cold:{session.key}") is None


def test_two_sweeps_at_once_count_each_end_once(
    sessions: Layer, worker: Worker, clock: Clock, counters: Counters
) -> None:
    for _ in range(3):
        sessions.create()
    clock.now += 3600
    other = worker()

    def meanwhile() -> None:
        sessions.kv.between = None
        assert other.store.sweep() == 3

    sessions.kv.between = meanwhile
    assert sessions.store.sweep() == 0
    assert counters.gained(DESTROYED) == {"idle_timeout": 3}


def test_sessions_are_found_by_the_providers_session_and_by_its_user(sessions: Layer) -> None:
    (_, one), (_, other), (_, bob) = sessions.create(sid="s1"), sessions.create(sid="s2"), sessions.create("bob")
    _, elsewhere = sessions.create(sid="s1", idp="elsewhere")
    store = sessions.store
    assert store.of_sid("default", "s1") == [one]
    assert store.of_sid("elsewhere", "s1") == [elsewhere]
    assert {session.key for session in store.of_user("default", "alice")} == {one.key, other.key}
    assert store.of_user("default", "bob") == [bob]
    assert store.of_sid("default", "") == store.of_user("default", "") == store.of_sid("default", "s3") == []


def test_everybodys_sessions_are_their_own(sessions: Layer) -> None:
    mine = [sessions.create("alice")[1] for _ in range(3)]
    sessions.create("bob")
    sessions.create("alice", idp="another")
    assert {session.key for session in sessions.store.of_user(mine[0].idp, mine[0].user.sub)} == {
        session.key for session in mine
    }


def test_ending_all_is_not_limited_to_one_page(
    sessions: Layer, monkeypatch: pytest.MonkeyPatch, counters: Counters
) -> None:
    monkeypatch.setattr("bff.sessions.store.MOST_PER_USER", 3)
    made = [sessions.create()[1] for _ in range(8)]
    assert sessions.store.end_all_of(made[-1], EndReason.LOGOUT_EVERYWHERE) == 8
    assert counters.gained(DESTROYED) == {"logout_everywhere": 8}
    assert sessions.store.active() == 0


def test_ending_all_ends_at_least_the_one_at_hand(sessions: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when what its user left behind in the index fills the page."""
    monkeypatch.setattr("bff.sessions.store.MOST_PER_USER", 3)
    left = [sessions.create()[1] for _ in range(3)]
    for session in left:
        sessions.kv.inner.delete(f"hot:{session.key}")
    sessions.clock.now += 1
    _, session = sessions.create()
    assert sessions.store.end_all_of(session, EndReason.LOGOUT_EVERYWHERE) == 1
    assert sessions.store.find(session.key) is None


def rotated(worker: Worker) -> SessionStore:
    return worker(secrets=(NEW_SECRET, SECRET)).store


def test_after_a_rotation_of_keys_both_generations_are_one_user(sessions: Layer, worker: Worker, clock: Clock) -> None:
    _, old = sessions.create()
    store = rotated(worker)
    _, new = store.create(
        old.user,
        idp=old.idp,
        auth_time=0,
        sid="",
        binding=old.binding,
        tokens=Tokens("embedded", AccessToken("access", math.inf)),
    )
    for seen_from in (old, new):
        assert {session.key for session in store.of_user(seen_from.idp, seen_from.user.sub)} == {old.key, new.key}
    assert sessions.store.find(new.key) is None, "a worker that was not restarted yet cannot read the new ones"
    assert store.end_all_of(new, EndReason.LOGOUT_EVERYWHERE) == 2


def test_touch_does_not_add_a_session_to_indexes_it_was_not_in(sessions: Layer, worker: Worker, clock: Clock) -> None:
    _, old = sessions.create()
    rotating = worker(secrets=(NEW_SECRET, SECRET))
    rotating.store.touch([(old, clock() + 60)])
    new_name, old_name = rotating.records.of_user(old.idp, old.user.sub)
    assert sessions.kv.inner.index_count(new_name, -math.inf, math.inf) == 0
    assert sessions.kv.inner.index_count(old_name, -math.inf, math.inf) == 1


@pytest.mark.parametrize(
    ("now", "expires_at", "reason"),
    [
        (99, 100, None),
        (100, 100, "idle_timeout"),
        (300, 100, "idle_timeout"),
        (199, 200, None),
        (200, 200, "absolute_timeout"),
    ],
)
def test_why_a_session_is_over(now: float, expires_at: float, reason: str | None) -> None:
    session = Session(
        key="k", user=User("a", "a"), idp="", auth_time=0, created_at=0, ends_at=200, binding=binding_of(*CLIENT),
        sid="", expires_at=expires_at,
    )  # fmt: skip
    assert session.expired(now) == reason
