"""A slot of a Redis Cluster moves to another node (`ASK`): sessions go on all the time, and logins once it is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.backends import eventually
from tests.peers import bff, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.redis import RedisCluster

pytestmark = pytest.mark.e2e

SLOT = "{bff}:"
"""What every key of the BFF begins with, so that all are in one slot."""
HALVES = 5
PATIENCE = 30


@dataclass(frozen=True)
class Place:
    service: Bff
    cluster: RedisCluster


@pytest.fixture(params=["gthread", "gevent"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with RedisCluster(redis.debian(), tmp_path) as cluster:
        settings = {"REDIS_URL": cluster.url, "WEB_WORKER_CLASS": request.param, "SESSION_CACHE_TTL": "0"}
        with bff.running(tmp_path, settings, workers=2) as service:  # every request asks the store
            yield Place(service, cluster)


def test_sessions_go_on(place: Place) -> None:
    with Visitor(place.service.base_url) as alice, Visitor(place.service.base_url) as bob:
        assert alice.login().status_code == 302
        slot = place.cluster.begin_move(SLOT)
        seen = [alice.auth_verify().status_code]
        for _ in range(HALVES):
            left = place.cluster.keys_left(slot)
            place.cluster.move_keys(left[: len(left) // 2])
            seen += [alice.auth_verify().status_code for _ in range(4)]
        assert seen == [200] * len(seen)
        while left := place.cluster.keys_left(slot):
            place.cluster.move_keys(left)
        place.cluster.end_move(slot)
        assert eventually(lambda: bob.login().status_code == 302, PATIENCE)
        assert [each.auth_verify().status_code for each in (alice, bob) for _ in range(4)] == [200] * 8
