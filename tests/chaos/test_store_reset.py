"""The store has lost its data under a running fleet: said and counted once, people log in again, the counts are right.

Redis without persistence comes back empty; the embedded store's file is deleted.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.contract.backends import eventually
from tests.peers import bff, redis
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e

PATIENCE = 30
SESSIONS = 3
MANY = 20  # connections, so that each worker gets some


@pytest.fixture(params=["gthread", "gevent"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[redis.RedisServer]:
    with redis.RedisServer(redis.debian(), tmp_path) as server:
        yield server


def logged_in(service: Bff) -> str:
    with Visitor(service.base_url) as alice:
        assert alice.login().status_code == 302
        return alice.cookie()


def statuses(service: Bff, cookie: str) -> set[int]:
    """Of many connections."""
    found = set()
    for _ in range(MANY):
        with Visitor(service.base_url) as alice:
            found.add(alice.auth_verify(Cookie=f"bff_session={cookie}").status_code)
    return found


def looked(service: Bff, since: float) -> bool:
    """Whether every worker has looked at the store since then (`time.monotonic`): only such sessions can be counted."""
    stores = (requests.get(f"{service.base_url}/health", timeout=PATIENCE).json()["checks"] for _ in range(MANY))
    return all(each["redis"]["age_seconds"] + 0.2 < time.monotonic() - since for each in stores)


def test_redis_comes_back_empty(tmp_path: Path, store: redis.RedisServer, worker_class: str) -> None:
    settings = {"REDIS_URL": store.url, "WEB_WORKER_CLASS": worker_class}
    with bff.running(tmp_path, settings, workers=2) as service:
        lost = [logged_in(service) for _ in range(SESSIONS)]
        assert statuses(service, lost[0]) == {200}
        since = time.monotonic()
        assert eventually(lambda: looked(service, since), PATIENCE)
        store.kill()
        store.start()
        assert eventually(lambda: statuses(service, lost[0]) == {401}, PATIENCE)
        assert statuses(service, logged_in(service)) == {200}
        assert eventually(lambda: service.value("bff_store_resets_total") == 1, PATIENCE)
        assert eventually(lambda: service.value("bff_active_sessions_total") == 1, PATIENCE)
        created = service.value("bff_sessions_created_total")
        assert created - service.value("bff_sessions_destroyed_total") == 1
        said = [record for record in service.records() if record["event"] == "store_reset"]
        assert [record["sessions_lost"] for record in said] == [SESSIONS]


def test_the_embedded_file_is_deleted(tmp_path: Path, worker_class: str) -> None:
    """503 until a worker starts, and never a second store beside the first."""
    with bff.running(tmp_path, {"WEB_WORKER_CLASS": worker_class}, workers=2) as service:
        cookie = logged_in(service)
        (file,) = (tmp_path / "data").glob("*.sqlite3")
        for each in (tmp_path / "data").glob(f"{file.name}*"):
            each.unlink()
        unknown = "A" * 43
        assert eventually(lambda: statuses(service, unknown) == {503}, PATIENCE)
        assert statuses(service, cookie) <= {200, 503}, "nobody is logged out"
        assert list((tmp_path / "data").glob(file.name)) == []
