"""While the store is away: who passes on what this worker knew before, for how long, and what ends that."""

from collections.abc import Callable

import pytest

from bff.errors import SessionEnded, StoreBusy, StoreRefuses, StoreUnavailable
from bff.sessions.model import EndReason, Session, User
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.unit.sessions.conftest import CLIENT, Layer, Worker

LOOKUPS = "bff_session_cache_total"


def lost(layer: Layer) -> None:
    layer.kv.down = True
    layer.cache._listening(False)


def failing(layer: Layer) -> None:
    layer.kv.down = True


def failing_then_lost(layer: Layer) -> None:
    failing(layer)
    with pytest.raises(StoreUnavailable):
        layer.cache.lookup("0" * 64, layer.clock())
    lost(layer)


AWAY: dict[str, Callable[[Layer], None]] = {
    "the listener is lost": lost,
    "only questions fail": failing,
    "questions fail, then the listener is lost": failing_then_lost,
}


def known(layer: Layer, sub: str = "alice") -> Session:
    """A session that this worker has looked up."""
    _, session = layer.create(sub)
    assert passes(layer, session)
    return session


def passes(layer: Layer, session: Session) -> bool:
    try:
        return layer.cache.lookup(session.key, layer.clock()) is not None
    except (StoreUnavailable, SessionEnded):
        return False


@pytest.fixture
def warm(sessions: Layer) -> Layer:
    sessions.cache._listening(True)
    return sessions


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_a_known_session_passes_for_the_grace(
    warm: Layer, clock: Clock, counters: Counters, away: Callable[[Layer], None]
) -> None:
    session = known(warm)
    clock.now += 5  # so that even a connected listener makes it ask
    away(warm)
    counters.start()
    for seconds in (0, 4.0, 5.9):
        clock.now += seconds
        assert passes(warm, session)
    clock.now += 0.1
    assert not passes(warm, session)
    assert counters.gained(LOOKUPS)["grace"] == 3
    assert counters.total(LOOKUPS) == 4


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_an_unknown_session_does_not(warm: Layer, clock: Clock, away: Callable[[Layer], None]) -> None:
    _, session = warm.create()
    known(warm, "bob")
    away(warm)
    assert not passes(warm, session)


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_its_own_end_comes_first(worker: Worker, clock: Clock, away: Callable[[Layer], None]) -> None:
    one = worker(idle_timeout=7)
    one.cache._listening(True)
    session = known(one)
    clock.now += 5
    away(one)
    assert passes(one, session)
    clock.now += 2
    assert not passes(one, session)


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_it_can_be_turned_off(worker: Worker, clock: Clock, away: Callable[[Layer], None]) -> None:
    one = worker(outage_grace=0.0)
    one.cache._listening(True)
    session = known(one)
    clock.now += 5
    away(one)
    assert not passes(one, session)


def test_a_lost_listener_alone_lets_nothing_pass_unasked(warm: Layer, counters: Counters) -> None:
    ended, lives = known(warm), known(warm, "bob")
    warm.cache._listening(False)
    warm.store.end(ended, EndReason.LOGOUT)
    counters.start()
    warm.kv.forget()
    assert (passes(warm, ended), passes(warm, lives)) == (False, True)
    assert len(warm.kv.reads) == 2
    assert counters.gained(LOOKUPS) == {"bypass": 2}


@pytest.mark.parametrize("reason", [EndReason.LOGOUT, EndReason.REVOKED])
def test_what_the_store_has_said_meanwhile_counts(warm: Layer, reason: EndReason) -> None:
    """It answers in between, and goes away again."""
    ended, lives = known(warm), known(warm, "bob")
    lost(warm)
    warm.kv.down = False
    warm.store.end(ended, reason)
    warm.store.change_user(lives.key, User("bob", "bob", roles=("guest",)))
    assert (passes(warm, ended), passes(warm, lives)) == (False, True)
    warm.kv.down = True
    assert not passes(warm, ended)
    entry = warm.cache.lookup(lives.key, warm.clock())
    assert entry is not None
    assert entry.session.user.roles == ("guest",)


def test_when_the_listener_is_back_everything_is_asked_anew(warm: Layer, counters: Counters) -> None:
    session = known(warm)
    lost(warm)
    assert passes(warm, session)
    warm.cache._listening(True)
    assert not passes(warm, session), "nothing is known across the gap"
    warm.kv.down = False
    warm.store.end(session, EndReason.LOGOUT)
    assert not passes(warm, session)


def test_the_grace_is_the_outages_and_not_the_requests(warm: Layer, clock: Clock) -> None:
    """Answers to some, and questions of others, do not begin it again."""
    first, second = known(warm), known(warm, "bob")
    lost(warm)
    for _ in range(3):
        clock.now += 3
        warm.kv.down = False
        assert passes(warm, first)
        warm.kv.down = True
        assert passes(warm, second)
    clock.now += 1
    assert not passes(warm, second)
    clock.now += 60
    assert not passes(warm, second), "no other outage begins while the listener is away"


def test_another_outage_has_a_grace_of_its_own(warm: Layer, clock: Clock) -> None:
    session = known(warm)
    for _ in range(3):
        clock.now += 60
        warm.kv.down = True
        assert passes(warm, session)
        warm.kv.down = False
        clock.now += 60
        assert passes(warm, session)


def test_a_wall_clock_that_is_set_back_makes_it_no_longer(warm: Layer, clock: Clock) -> None:
    session = known(warm)
    lost(warm)
    clock.now += 10
    assert warm.cache.spared(session.key, clock() - 3600, StoreUnavailable()) is None


@pytest.mark.parametrize("answer", [StoreBusy(), StoreRefuses("full", reason="full")])
def test_a_store_that_may_be_well_is_not_away(warm: Layer, clock: Clock, answer: StoreUnavailable) -> None:
    session = known(warm)
    clock.now += 5
    warm.kv.crash = answer
    assert not passes(warm, session)


ENDS: dict[str, Callable[[Layer, Session], object]] = {
    "logout": lambda layer, session: layer.authenticator.end(session, EndReason.LOGOUT),
    "logout everywhere": lambda layer, session: layer.authenticator.end_all_of(session, EndReason.LOGOUT_EVERYWHERE),
    "another login": lambda layer, session: layer.authenticator.discard(session),
    "other roles": lambda layer, session: layer.authenticator.change_user(
        session, User("alice", "alice", roles=("x",))
    ),
}


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_end_that_the_store_did_not_take_is_honoured_here(
    warm: Layer, end: Callable[[Layer, Session], object], away: Callable[[Layer], None]
) -> None:
    session, other = known(warm), known(warm, "bob")
    away(warm)
    with pytest.raises(StoreUnavailable):
        end(warm, session)
    assert (passes(warm, session), passes(warm, other)) == (False, True)


def test_everywhere_means_the_persons_other_sessions_too(warm: Layer) -> None:
    session, other = known(warm), known(warm)
    lost(warm)
    with pytest.raises(StoreUnavailable):
        warm.authenticator.end_all_of(session, EndReason.LOGOUT_EVERYWHERE)
    assert not passes(warm, other)


def test_verify_answers_nothing_of_it_where_it_must_not_ask(warm: Layer) -> None:
    cookie, _ = warm.create()
    warm.authenticator.authenticate(cookie, CLIENT)
    lost(warm)
    assert not warm.authenticator.answerable_locally(cookie, CLIENT)
    assert warm.authenticator.authenticate(cookie, CLIENT).session.user.sub == "alice"


def test_use_is_recorded_when_the_store_is_back(warm: Layer, clock: Clock) -> None:
    cookie, session = warm.create()
    warm.authenticator.authenticate(cookie, CLIENT)
    clock.now += 300
    lost(warm)
    warm.authenticator.authenticate(cookie, CLIENT)
    with pytest.raises(StoreUnavailable):
        warm.authenticator.flush()
    warm.kv.down = False
    warm.authenticator.flush()
    found = warm.store.find(session.key)
    assert found is not None
    assert found.expires_at == clock() + 3600
