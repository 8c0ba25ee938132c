"""Tokens in the store: sealed, replaced by compare-and-set only, in the order in which they want to be refreshed."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bff.errors import StoreUnavailable
from bff.kv import Batch
from bff.sessions.model import EndReason, Session
from bff.sessions.token_store import REFRESH_INDEX, REVOCATION_INDEX, DueRevocation, TokenStore, VersionedTokens
from bff.sessions.tokens import AccessToken, Tokens
from tests.clock import Clock
from tests.unit.sessions.conftest import SECRET, Layer, Worker


@pytest.fixture
def session(sessions: Layer) -> Session:
    return sessions.create()[1]


def held(store: TokenStore, session: Session) -> VersionedTokens:
    found = store.read(session.key)
    assert found is not None
    return found


def refreshes(layer: Layer) -> dict[str, float]:
    return dict(layer.kv.index_range(REFRESH_INDEX, -math.inf, math.inf, 100))


def revocations(layer: Layer) -> dict[str, float]:
    return dict(layer.kv.index_range(REVOCATION_INDEX, -math.inf, math.inf, 100))


def renamed(tokens: Tokens, value: str) -> Tokens:
    return replace(tokens, access=AccessToken(value, tokens.access.refresh_at + 100))


class TestReading:
    def test_it_is_sealed(self, sessions: Layer, session: Session) -> None:
        found = held(sessions.tokens, session)
        assert found.tokens.access.value == "the-access"
        for secret in (b"the-access", b"the-refresh"):
            assert secret not in found.raw

    def test_none(self, sessions: Layer) -> None:
        assert sessions.tokens.read("0" * 64) is None

    def test_of_another_session(self, sessions: Layer, session: Session) -> None:
        """Whoever can write to the store cannot give one session the tokens of another."""
        _, other = sessions.create("mallory")
        sessions.kv.set(f"cold:{session.key}", held(sessions.tokens, other).raw)
        assert sessions.tokens.read(session.key) is None

    @pytest.mark.parametrize("raw", [b"", b"garbage", b"\0" * 100])
    def test_garbage(self, raw: bytes, sessions: Layer, session: Session, caplog: pytest.LogCaptureFixture) -> None:
        sessions.kv.set(f"cold:{session.key}", raw)
        assert sessions.tokens.read(session.key) is None
        assert caplog.messages == ["tokens_unreadable"]
        assert session.key not in caplog.text + repr(vars(caplog.records[0]))

    def test_of_a_version_that_wrote_something_else(self, sessions: Layer, session: Session) -> None:
        name = f"cold:{session.key}"
        for raw in (b"[]", b"{}", b'{"access": [], "services": 1}'):
            sessions.kv.set(name, sessions.tokens._sealer.seal(raw, name))
            assert sessions.tokens.read(session.key) is None

    def test_after_a_rotation_of_keys(self, worker: Worker) -> None:
        old, new = worker(), worker(secrets=(b"n" * 32, SECRET))
        _, session = old.create()
        assert held(new.tokens, session).tokens.refresh_token == "the-refresh"

    def test_with_a_note_of_the_same_moment(self, sessions: Layer, session: Session) -> None:
        sessions.kv.set("note", b"started")
        sessions.kv.forget()
        assert sessions.tokens.read_with(session.key, "note") == (held(sessions.tokens, session), b"started")
        assert sessions.kv.reads[0] == "execute Get,Get"
        assert sessions.tokens.read_with("0" * 64, "none") == (None, None)


class TestReplacing:
    def test_what_was_read(self, sessions: Layer, session: Session) -> None:
        found = held(sessions.tokens, session)
        newer = renamed(found.tokens, "newer")
        assert sessions.tokens.replace(session.key, found, newer)
        assert held(sessions.tokens, session).tokens == newer
        assert refreshes(sessions) == {session.key: newer.access.refresh_at}

    def test_not_what_somebody_else_replaced(self, sessions: Layer, session: Session) -> None:
        found = held(sessions.tokens, session)
        assert sessions.tokens.replace(session.key, found, renamed(found.tokens, "first"))
        sessions.kv.forget()
        assert not sessions.tokens.replace(session.key, found, renamed(found.tokens, "second"))
        assert held(sessions.tokens, session).tokens.access.value == "first"
        assert not [each for each in sessions.kv.writes if "Publish" in each]

    def test_every_worker_hears_of_it(self, sessions: Layer, session: Session) -> None:
        found = held(sessions.tokens, session)
        sessions.kv.forget()
        sessions.tokens.replace(session.key, found, renamed(found.tokens, "newer"))
        assert sessions.kv.writes == [f"compare_and_set cold:{session.key}", "execute Publish,IndexAdd"]

    def test_nothing_where_nothing_is(self, sessions: Layer, session: Session) -> None:
        found = held(sessions.tokens, session)
        sessions.kv.delete(f"cold:{session.key}")
        assert not sessions.tokens.replace(session.key, found, found.tokens)
        assert sessions.tokens.read(session.key) is None

    def test_its_life_goes_on(self, sessions: Layer, session: Session, clock: Clock) -> None:
        clock.now += 28800
        found = held(sessions.tokens, session)
        sessions.tokens.replace(session.key, found, renamed(found.tokens, "newer"))
        clock.now += 86400
        assert sessions.tokens.read(session.key) is None


class TestUpdating:
    def test_whatever_they_are_by_now(self, sessions: Layer, session: Session) -> None:
        seen: list[str] = []

        def change(current: Tokens) -> Tokens:
            seen.append(current.access.value)
            if len(seen) == 1:
                sessions.tokens.replace(session.key, held(sessions.tokens, session), renamed(current, "from elsewhere"))
            return replace(current, id_token="mine")

        saved = sessions.tokens.update(session.key, change)
        assert seen == ["the-access", "from elsewhere"]
        assert saved is not None
        assert (saved.access.value, saved.id_token) == ("from elsewhere", "mine")
        assert held(sessions.tokens, session).tokens == saved

    def test_a_change_that_changes_nothing_writes_nothing(self, sessions: Layer, session: Session) -> None:
        sessions.kv.forget()
        assert sessions.tokens.update(session.key, lambda current: current) is not None
        assert sessions.kv.writes == []

    def test_no_tokens(self, sessions: Layer) -> None:
        assert sessions.tokens.update("0" * 64, lambda current: current) is None

    def test_no_change_of_many_is_lost(self, worker: Worker) -> None:
        layers = [worker() for _ in range(4)]
        _, session = layers[0].create()

        def add(number: int) -> None:
            layers[number % 4].tokens.update(
                session.key,
                lambda current: replace(
                    current, services={**current.services, str(number): AccessToken(str(number), 1.0)}
                ),
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(20)))
        services = held(layers[0].tokens, session).tokens.services
        assert set(services) == {str(number) for number in range(20)}

    def test_the_store_is_down(self, sessions: Layer, session: Session) -> None:
        sessions.kv.calls_left = 1
        with pytest.raises(StoreUnavailable):
            sessions.tokens.update(session.key, lambda current: renamed(current, "newer"))
        sessions.kv.calls_left, sessions.kv.down = None, False
        assert held(sessions.tokens, session).tokens.access.value == "the-access"


class TestTheOrderOfRefreshes:
    def test_the_most_urgent_first(self, sessions: Layer, clock: Clock) -> None:
        keys = []
        for _ in range(3):
            keys.append(sessions.create()[1].key)
            clock.now += 10
        assert sessions.tokens.due_for_refresh(10) == []
        clock.now += 3000 - 20
        assert sessions.tokens.due_for_refresh(10) == keys[:2]
        assert sessions.tokens.due_for_refresh(1) == keys[:1]

    def test_moved_and_taken_out(self, sessions: Layer, session: Session) -> None:
        sessions.tokens.refresh_not_before(session.key, 5.0)
        assert refreshes(sessions) == {session.key: 5.0}
        sessions.tokens.refresh_not_before(session.key, None)
        assert refreshes(sessions) == {}

    def test_moving_adds_none(self, sessions: Layer) -> None:
        """The session may have ended meanwhile."""
        sessions.tokens.refresh_not_before("gone", 5.0)
        assert refreshes(sessions) == {}


class TestTheQueueOfRevocations:
    def test_an_end_fills_it(self, sessions: Layer, session: Session, clock: Clock) -> None:
        sessions.store.end(session, EndReason.LOGOUT)
        assert refreshes(sessions) == {}
        assert revocations(sessions) == {f"0:{session.key}": clock()}
        assert sessions.tokens.due_for_revocation(10) == [DueRevocation(session.key, 0)]
        assert held(sessions.tokens, session).tokens.refresh_token == "the-refresh"

    def test_settled(self, sessions: Layer, session: Session) -> None:
        sessions.store.end(session, EndReason.LOGOUT)
        sessions.tokens.mark_revoked(DueRevocation(session.key, 0), held(sessions.tokens, session))
        assert revocations(sessions) == {}
        assert sessions.tokens.read(session.key) is None

    def test_not_settled_when_they_were_replaced(self, sessions: Layer, session: Session) -> None:
        sessions.store.end(session, EndReason.LOGOUT)
        found = held(sessions.tokens, session)
        sessions.tokens.replace(session.key, found, renamed(found.tokens, "newer"))
        sessions.tokens.mark_revoked(DueRevocation(session.key, 0), found)
        assert set(revocations(sessions)) == {f"0:{session.key}"}
        assert held(sessions.tokens, session).tokens.access.value == "newer"

    def test_postponed(self, sessions: Layer, session: Session, clock: Clock) -> None:
        sessions.store.end(session, EndReason.LOGOUT)
        sessions.tokens.retry_later(DueRevocation(session.key, 0), 8)
        assert revocations(sessions) == {f"1:{session.key}": clock() + 8}
        assert sessions.tokens.due_for_revocation(10) == []
        clock.now += 8
        assert sessions.tokens.due_for_revocation(10) == [DueRevocation(session.key, 1)]

    def test_forgotten_with_a_record_that_nobody_can_read(self, sessions: Layer, session: Session) -> None:
        batch = Batch()
        sessions.tokens.forget(batch, session.key)
        sessions.kv.execute(batch)
        assert refreshes(sessions) == revocations(sessions) == {}
        assert sessions.tokens.read(session.key) is None
