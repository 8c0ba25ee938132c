"""Finding sessions: everybody's in pages, a user's under every key, and the ends that others have to count."""

import math

import pytest

from bff.crypto import digest
from bff.sessions.model import EndReason, Session, session_from_bytes, session_to_bytes
from bff.sessions.store import UNCOUNTED_INDEX
from tests.flows.counters import Counters
from tests.unit.sessions.conftest import SECRET, Layer, Worker

DESTROYED = "bff_sessions_destroyed_total"
NEW_SECRET = b"n" * 32


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff.kv.paging.pages.__kwdefaults__", {"size": 3, "descending": False})


def made(sessions: Layer, count: int, sub: str = "alice", idp: str = "default") -> list[Session]:
    """One a second."""
    found = []
    for _ in range(count):
        sessions.clock.now += 1
        found.append(sessions.create(sub, idp=idp)[1])
    return found


def test_everything_is_found_however_many_pages(sessions: Layer) -> None:
    keys = [session.key for session in made(sessions, 10)]
    assert [session.key for session in sessions.directory.everything()] == keys[::-1]


def test_sessions_that_began_at_the_same_moment_are_found_once(sessions: Layer) -> None:
    keys = {sessions.create()[1].key for _ in range(10)}
    found = [session.key for session in sessions.directory.everything()]
    assert len(found) == 10
    assert set(found) == keys


def test_the_latest_of_one_provider(sessions: Layer) -> None:
    made(sessions, 5, idp="here")
    there = made(sessions, 5, idp="there")
    made(sessions, 5, idp="here")
    found = [listed.session for listed in sessions.directory.latest(4, "there")]
    assert found == there[:0:-1]
    assert sessions.directory.latest(4, "nowhere") == []
    assert len(sessions.directory.latest(100)) == 15


def test_what_is_over_is_found_nowhere(sessions: Layer) -> None:
    (old,) = made(sessions, 1)
    sessions.clock.now += 3599.5
    (new,) = made(sessions, 1)
    directory = sessions.directory
    assert list(directory.everything()) == [new]
    assert [listed.session for listed in directory.of_user("default", "alice", 9)[0]] == [new]
    assert directory.anywhere(old.reference) is None
    assert directory.named("default", "alice", old.reference) is None


def test_a_users_sessions_under_both_keys_of_a_rotation(sessions: Layer, worker: Worker) -> None:
    (old,) = made(sessions, 1)
    rotated = worker(secrets=(NEW_SECRET, SECRET))
    (new,) = made(rotated, 1)
    listed, more = rotated.directory.of_user("default", "alice", 9)
    assert ([each.session.key for each in listed], more) == ([new.key, old.key], False)
    for session in (old, new):
        found = rotated.directory.named("default", "alice", session.reference)
        assert found is not None
        assert found.key == session.key


def test_a_reference_finds_its_session_among_all(sessions: Layer) -> None:
    for session in made(sessions, 7):
        assert sessions.directory.anywhere(session.reference) == session
    for stranger in ("", "0" * 24, session.key, digest(session.key)):
        assert sessions.directory.anywhere(stranger) is None


def test_what_a_stale_index_names_hides_nothing(sessions: Layer) -> None:
    """More of what is gone than the store finds at once lies before the one session that is there."""
    for session in made(sessions, 20):
        sessions.kv.inner.delete(f"hot:{session.key}")
    (alive,) = made(sessions, 1)
    assert sessions.store.of_user("default", "alice") == [alive]
    assert [listed.session for listed in sessions.directory.of_user("default", "alice", 9)[0]] == [alive]


def test_whoever_counts_nothing_leaves_it_to_the_fleets_next_sweep(sessions: Layer, counters: Counters) -> None:
    first, second = made(sessions, 2)
    assert sessions.store.end_uncounted(first, EndReason.REVOKED, by="operator") is True
    assert sessions.store.end_uncounted(first, EndReason.REVOKED, by="operator") is False
    assert sessions.store.end(second, EndReason.LOGOUT) is True
    assert counters.gained(DESTROYED) == {"logout": 1}
    assert [sessions.store.sweep() for _ in range(2)] == [0, 0], "it counts, and has ended nothing itself"
    assert counters.gained(DESTROYED) == {"logout": 1, "revoked": 1}
    assert sessions.kv.inner.index_count(UNCOUNTED_INDEX, -math.inf, math.inf) == 0


def test_a_record_from_before_devices_were_kept_still_opens(sessions: Layer) -> None:
    (session,) = made(sessions, 1)
    former = session_to_bytes(session).replace(b',"device":""', b"")
    assert b"device" not in former
    assert session_from_bytes(former, key=session.key, expires_at=session.expires_at) == session
