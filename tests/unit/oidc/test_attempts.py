"""A login attempt is consumed once, also where two callbacks have read it before either has marked it as used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bff.crypto import Keyring
from bff.errors import LoginFailed
from bff.kv.sqlite import SqliteStore
from bff.oidc.attempts import Attempts, Begun
from tests.clock import Clock
from tests.flows.store import WatchedStore


class Overtaken(WatchedStore):
    """A store in which something happens just before the next comparison."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def compare_and_set(self, *args: object, **options: object) -> bool:
        act, self.before = self.before, lambda: None
        act()
        return super().compare_and_set(*args, **options)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Overtaken:
    return Overtaken(SqliteStore(tmp_path / "store.db", clock))


@pytest.fixture
def attempts(store: Overtaken, clock: Clock) -> Attempts:
    return Attempts(store, Keyring([b"s" * 32]), clock)


@pytest.fixture
def begun(attempts: Attempts) -> Begun:
    made = attempts.begin("default", "/orders")
    attempts.keep(made)
    return made


def test_it_is_consumed_once(attempts: Attempts, begun: Begun) -> None:
    assert attempts.consume(begun.state, lambda _name: begun.cookie) == begun.attempt
    with pytest.raises(LoginFailed) as refused:
        attempts.consume(begun.state, lambda _name: begun.cookie)
    assert refused.value.code == "state_reused"


def test_of_two_that_have_read_it_the_one_that_marks_it_first_wins(
    attempts: Attempts, begun: Begun, store: Overtaken
) -> None:
    won: list[object] = []
    store.before = lambda: won.append(attempts.consume(begun.state, lambda _name: begun.cookie))
    with pytest.raises(LoginFailed) as refused:
        attempts.consume(begun.state, lambda _name: begun.cookie)
    assert refused.value.code == "state_reused"
    assert won == [begun.attempt]
