"""Who is let in, and how use is noted."""

import pytest

from bff.errors import BindingMismatch, SessionExpired, StoreUnavailable, Unauthenticated
from bff.sessions.authenticator import ClientFingerprint
from bff.sessions.model import EndReason
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.unit.sessions.conftest import CLIENT, COOKIE, Layer, Worker

OTHER = "O" * 43


def touches(sessions: Layer) -> int:
    return sum("IndexAdd" in line for line in sessions.kv.writes)


def expires_at(sessions: Layer, key: str) -> float:
    found = sessions.store.find(key)
    assert found is not None
    return found.expires_at


def test_only_cookies_that_could_be_ours_are_looked_up(sessions: Layer) -> None:
    cookie, session = sessions.create()
    header = f"{COOKIE}=x; a=1; {COOKIE}={OTHER}; x{cookie}; {cookie}"
    sessions.kv.forget()
    assert sessions.authenticator.authenticate(header, CLIENT).session == session
    assert len(sessions.kv.reads) == 2


@pytest.mark.parametrize("space", ["\xa0", "\x85", "\x0b", "\x0c", "\x1c", "\u2000", ","])
def test_a_name_that_only_begins_like_ours_is_another(sessions: Layer, space: str) -> None:
    """A browser keeps such a cookie of a sibling host, since its name does not begin with `__Host-` to the browser."""
    cookie, _ = sessions.create()
    sessions.kv.forget()
    for header in (f"{space}{cookie}", f"a=1;{space}{cookie}", f"{cookie}{space}; a=1"):
        with pytest.raises(Unauthenticated):
            sessions.authenticator.authenticate(header, CLIENT)
    assert sessions.kv.reads == []


@pytest.mark.parametrize(("stale", "found"), [(0, True), (2, True), (3, False)])
def test_at_most_three_cookies_are_looked_up(sessions: Layer, stale: int, found: bool) -> None:
    cookie, _ = sessions.create()
    header = "; ".join([*(f"{COOKIE}={OTHER[:-1]}{number}" for number in range(stale)), cookie])
    if found:
        sessions.authenticator.authenticate(header, CLIENT)
    else:
        with pytest.raises(Unauthenticated):
            sessions.authenticator.authenticate(header, CLIENT)


def test_an_expired_session_is_ended_by_whoever_asks_first(sessions: Layer, clock: Clock, counters: Counters) -> None:
    cookie, _ = sessions.create()
    clock.now += 3600
    with pytest.raises(SessionExpired):
        sessions.authenticator.authenticate(cookie, CLIENT)
    with pytest.raises(Unauthenticated) as caught:
        sessions.authenticator.authenticate(cookie, CLIENT)
    assert caught.value.code == "unauthenticated"
    assert counters.gained("bff_sessions_destroyed_total") == {"idle_timeout": 1}


def test_a_session_extended_by_another_worker_is_not_expired_here(
    sessions: Layer, worker: Worker, clock: Clock
) -> None:
    """This worker's copy says that it is over; the store knows better."""
    sessions.cache._listening(True)
    cookie, _ = sessions.create()
    clock.now += 3598
    sessions.authenticator.authenticate(cookie, CLIENT, touch=False)
    other = worker()
    other.authenticator.authenticate(cookie, CLIENT)
    other.authenticator.flush()
    clock.now += 3
    sessions.authenticator.authenticate(cookie, CLIENT)


def test_another_client_is_refused_and_ends_nothing(sessions: Layer) -> None:
    sessions.cache._listening(True)
    cookie, _ = sessions.create()
    other = ClientFingerprint("198.51.100.1", CLIENT.user_agent)
    sessions.authenticator.authenticate(cookie, CLIENT)
    assert not sessions.authenticator.answerable_locally(cookie, other), "there is an event to write"
    for _ in range(2):
        with pytest.raises(BindingMismatch):
            sessions.authenticator.authenticate(cookie, other)
    assert sessions.authenticator.answerable_locally(cookie, other)
    sessions.authenticator.authenticate(cookie, CLIENT)
    assert sessions.store.active() == 1


def test_use_moves_the_idle_end_when_it_is_recorded(sessions: Layer, clock: Clock) -> None:
    cookie, session = sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(cookie, CLIENT)
    assert expires_at(sessions, session.key) == session.expires_at
    clock.now += 5
    sessions.authenticator.flush()
    assert expires_at(sessions, session.key) == session.expires_at + 100, "when it was used, not when it was recorded"


def test_a_look_that_does_not_count_as_use(sessions: Layer, clock: Clock) -> None:
    cookie, session = sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(cookie, CLIENT, touch=False)
    sessions.authenticator.flush()
    assert expires_at(sessions, session.key) == session.expires_at


@pytest.mark.parametrize("left", [0.01, 1.0, 1.9])
def test_a_use_in_the_last_moment_is_recorded_at_once(sessions: Layer, clock: Clock, left: float) -> None:
    """Else another worker, or the sweep, would end it before the next batch."""
    cookie, session = sessions.create()
    sessions.cache._listening(True)
    sessions.authenticator.authenticate(cookie, CLIENT)
    clock.now = session.expires_at - left
    assert not sessions.authenticator.answerable_locally(cookie, CLIENT), "there is something to write"
    sessions.authenticator.authenticate(cookie, CLIENT)
    used_at = clock.now
    clock.now += left + 0.01
    assert sessions.store.sweep() == 0
    assert sessions.authenticator.authenticate(cookie, CLIENT).session.expires_at == pytest.approx(used_at + 3600)


def test_a_use_in_the_last_moment_that_cannot_be_recorded_is_kept(sessions: Layer, clock: Clock) -> None:
    cookie, session = sessions.create()
    sessions.cache._listening(True)
    sessions.authenticator.authenticate(cookie, CLIENT)
    clock.now = session.expires_at - 1
    sessions.authenticator.answerable_locally(cookie, CLIENT)
    sessions.kv.down = True
    sessions.cache._entries[session.key].valid_until = float("inf")
    sessions.authenticator.authenticate(cookie, CLIENT)
    sessions.kv.down = False
    sessions.authenticator.flush()
    assert expires_at(sessions, session.key) == clock.now + 3600


def test_uses_of_many_sessions_are_one_write(sessions: Layer, clock: Clock) -> None:
    cookies = [sessions.create()[0] for _ in range(20)]
    clock.now += 100
    sessions.kv.forget()
    for cookie in cookies:
        sessions.authenticator.authenticate(cookie, CLIENT)
    sessions.authenticator.flush()
    assert len(sessions.kv.writes) == 1
    sessions.authenticator.flush()
    assert len(sessions.kv.writes) == 1, "nothing new"


@pytest.mark.parametrize("truthful", [True, False])
def test_the_first_minute_of_a_session_needs_no_record(sessions: Layer, clock: Clock, truthful: bool) -> None:
    sessions.cache._listening(truthful)
    cookie, _ = sessions.create()
    sessions.kv.forget()
    for seconds in (0, 30, 29.9):
        clock.now += seconds
        sessions.authenticator.authenticate(cookie, CLIENT)
        sessions.authenticator.flush()
    assert touches(sessions) == 0
    clock.now += 0.1
    sessions.authenticator.authenticate(cookie, CLIENT)
    sessions.authenticator.flush()
    assert touches(sessions) == 1


def test_a_short_idle_timeout_is_recorded_more_often(worker: Worker, clock: Clock) -> None:
    """Else a session with a minute of patience would end in the midst of being used."""
    one = worker(idle_timeout=60)
    cookie, _ = one.create()
    for _ in range(100):
        clock.now += 7
        one.authenticator.authenticate(cookie, CLIENT)
        one.authenticator.flush()


def test_use_that_cannot_be_recorded_is_kept(sessions: Layer, clock: Clock) -> None:
    (first, one), (second, two) = sessions.create(), sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(first, CLIENT)
    sessions.authenticator.authenticate(second, CLIENT)
    sessions.kv.down = True
    with pytest.raises(StoreUnavailable):
        sessions.authenticator.flush()
    sessions.kv.down = False
    clock.now += 100
    sessions.authenticator.authenticate(first, CLIENT)
    sessions.authenticator.flush()
    assert expires_at(sessions, one.key) == one.expires_at + 200
    assert expires_at(sessions, two.key) == two.expires_at + 100


def test_newer_use_wins_over_what_could_not_be_recorded(sessions: Layer, clock: Clock) -> None:
    cookie, session = sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(cookie, CLIENT)

    def meanwhile() -> None:
        sessions.kv.between = None
        clock.now += 100
        sessions.authenticator.authenticate(cookie, CLIENT)
        raise StoreUnavailable

    sessions.kv.between = meanwhile
    with pytest.raises(StoreUnavailable):
        sessions.authenticator.flush()
    sessions.authenticator.flush()
    assert expires_at(sessions, session.key) == session.expires_at + 200


def test_use_noted_while_a_record_is_written_is_kept_too(sessions: Layer, clock: Clock) -> None:
    (first, _), (second, two) = sessions.create(), sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(first, CLIENT)

    def meanwhile() -> None:
        sessions.kv.between = None
        sessions.authenticator.authenticate(second, CLIENT)

    sessions.kv.between = meanwhile
    sessions.authenticator.flush()
    sessions.authenticator.flush()
    assert expires_at(sessions, two.key) == two.expires_at + 100


def test_an_ended_session_is_not_recorded_as_used(sessions: Layer, clock: Clock) -> None:
    cookie, session = sessions.create()
    clock.now += 100
    sessions.authenticator.authenticate(cookie, CLIENT)
    sessions.store.end(session, EndReason.LOGOUT)
    sessions.authenticator.flush()
    assert sessions.store.active() == 0
    assert sessions.store.of_user(session.idp, session.user.sub) == []


def test_what_memory_decides_is_known(sessions: Layer, clock: Clock) -> None:
    sessions.cache._listening(True)
    cookie, session = sessions.create()
    assert sessions.authenticator.answerable_locally("", CLIENT), "nobody is logged in, and no look-up says more"
    assert not sessions.authenticator.answerable_locally(cookie, CLIENT), "not looked up yet"
    sessions.authenticator.authenticate(cookie, CLIENT)
    sessions.kv.forget()
    assert sessions.authenticator.answerable_locally(cookie, CLIENT)
    assert not sessions.authenticator.answerable_locally(
        cookie, ClientFingerprint("198.51.100.1", CLIENT.user_agent)
    ), "ends it, which is written down"
    assert not sessions.authenticator.answerable_locally(f"{COOKIE}={OTHER}; {cookie}", CLIENT), (
        "the first one must be looked up"
    )
    sessions.cache.invalidate(session.key)
    assert not sessions.authenticator.answerable_locally(cookie, CLIENT)
    assert sessions.kv.reads == sessions.kv.writes == []


@pytest.mark.parametrize(("idle_timeout", "known"), [(3600, True), (2, False)])
def test_a_session_that_is_over_is_not_known(worker: Worker, clock: Clock, idle_timeout: int, known: bool) -> None:
    sessions = worker(idle_timeout=idle_timeout)
    sessions.cache._listening(True)
    cookie, _ = sessions.create()
    sessions.authenticator.authenticate(cookie, CLIENT)
    clock.now += 3
    assert sessions.authenticator.answerable_locally(cookie, CLIENT) == known


def test_without_binding_any_client_is_known(worker: Worker) -> None:
    sessions = worker(binding="off")
    sessions.cache._listening(True)
    cookie, _ = sessions.create()
    sessions.authenticator.authenticate(cookie, CLIENT)
    assert sessions.authenticator.answerable_locally(cookie, ClientFingerprint("198.51.100.1", "another browser"))
