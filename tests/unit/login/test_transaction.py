"""A login attempt is consumed once, also where two callbacks have read it before either has marked it as used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bff.crypto import Keyring
from bff.errors import LoginFailed
from bff.kv.sqlite import SqliteStore
from bff.login.transaction import LoginTransaction, LoginTransactions, NewTransaction
from tests.clock import Clock

Consume = Callable[..., LoginTransaction]


@pytest.fixture
def attempts(tmp_path: Path) -> LoginTransactions:
    clock = Clock()
    return LoginTransactions(SqliteStore(tmp_path / "store.db", clock), Keyring([b"s" * 32]), clock, life=900)


@pytest.fixture
def begun(attempts: LoginTransactions) -> NewTransaction:
    made = attempts.begin("default", "/orders")
    attempts.keep(made)
    return made


@pytest.fixture
def consume(attempts: LoginTransactions, begun: NewTransaction) -> Consume:
    """By the browser that began it. meanwhile: what happens between reading the attempt and marking it."""
    return lambda meanwhile=lambda: None: attempts.consume(
        begun.state, lambda _name: [begun.cookie], lambda _attempt: meanwhile()
    )


def test_it_is_consumed_once(consume: Consume, begun: NewTransaction) -> None:
    assert consume() == begun.transaction
    with pytest.raises(LoginFailed) as refused:
        consume()
    assert refused.value.code == "state_reused"


def test_of_two_that_have_read_it_the_one_that_marks_it_first_wins(consume: Consume, begun: NewTransaction) -> None:
    won: list[LoginTransaction] = []
    with pytest.raises(LoginFailed) as refused:
        consume(lambda: won.append(consume()))
    assert (refused.value.code, won) == ("state_reused", [begun.transaction])
