"""Real stores for the contract suite: SQLite in a folder of the test, two generations of Redis and
a cluster for the session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bff.kv import KeyValue
from tests.contract.backends import Backend, RedisBackend, SqliteBackend
from tests.peers import redis as redis_peer
from tests.peers.redis import RedisCluster, RedisServer


@pytest.fixture(scope="session")
def redis_debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(redis_peer.debian(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(redis_peer.newest(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(redis_peer.debian(), tmp_path_factory.mktemp("redis")) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "redis_debian", "redis_newest", "redis_cluster"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made: Backend
    if request.param == "sqlite":
        made = SqliteBackend(tmp_path / "store" / "bff.sqlite")
    else:
        made = RedisBackend(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def kv(backend: Backend) -> KeyValue:
    return backend.open()
