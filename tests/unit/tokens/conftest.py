"""The token workflow of one worker and of two, and the provider that both ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, Key

from bff.sessions.model import Session
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.unit.tokens.fleet import Fleet, Worker


@pytest.fixture(scope="session")
def ec() -> Key:
    return ECKey.generate_key("P-256", {"kid": "elliptic", "alg": "ES256", "use": "sig"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def fleet(tmp_path: Path, clock: Clock, ec: Key) -> Iterator[Fleet]:
    made = Fleet(tmp_path, clock, ec)
    yield made
    made.close()


@pytest.fixture
def worker(fleet: Fleet) -> Worker:
    return fleet.worker()


@pytest.fixture
def other(fleet: Fleet) -> Worker:
    """Another worker of the same fleet."""
    return fleet.worker()


@pytest.fixture
def session(fleet: Fleet, worker: Worker) -> Session:
    """Just logged in; its token is good for ten minutes and wants to be replaced after eight."""
    return fleet.login(worker)
