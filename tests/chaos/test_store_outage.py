"""Redis is down, or frozen: sessions that the worker knew pass for a while, then all is 503; no session ends."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.contract.backends import eventually
from tests.peers import bff, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.faulty_proxy import Proxy

pytestmark = pytest.mark.e2e

GRACE = 3
PATIENCE = 30
UNKNOWN = f"bff_session={'A' * 43}"


@dataclass(frozen=True)
class Place:
    service: Bff
    store: redis.RedisServer
    network: Proxy


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with redis.RedisServer(redis.debian(), folder) as store, Proxy(("127.0.0.1", store.port)) as network:
        settings = {
            "REDIS_URL": f"redis://{network.address}/0",
            "WEB_WORKER_CLASS": request.param,
            "SESSION_OUTAGE_GRACE": str(GRACE),
        }
        with bff.running(folder, settings) as service:
            yield Place(service, store, network)


def ready(place: Place) -> int:
    return requests.get(f"{place.service.base_url}/health/ready", timeout=PATIENCE).status_code


FAULTS: dict[str, tuple[Callable[[Place], None], Callable[[Place], None]]] = {
    "refuses connections": (lambda place: place.network.down(), lambda place: place.network.up()),
    "frozen": (lambda place: place.store.pause(), lambda place: place.store.resume()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nobody_is_logged_out(place: Place, fault: str) -> None:
    begin, end = FAULTS[fault]
    with Visitor(place.service.base_url) as alice:
        assert alice.login().status_code == 302
        assert alice.auth_verify().status_code == 200
        begin(place)
        went = time.monotonic()
        try:
            first = alice.auth_verify()
            in_time = time.monotonic() - went < GRACE / 2  # else this machine was too busy to judge
            assert first.status_code == 200 or not in_time, "the worker knew this session"
            unknown = alice.auth_verify(Cookie=UNKNOWN)
            assert (unknown.status_code, "Retry-After" in unknown.headers) == (503, True)
            assert eventually(lambda: ready(place) == 503, PATIENCE)
            assert eventually(lambda: alice.auth_verify().status_code == 503, PATIENCE), "the grace has an end"
            refused = alice.call("GET", "/auth/tokens")
            assert (refused.status_code, refused.headers.get("Set-Cookie")) == (503, None)
        finally:
            end(place)
        assert eventually(lambda: alice.auth_verify().status_code == 200, PATIENCE), "it recovers by itself"
        assert eventually(lambda: ready(place) == 200, PATIENCE)
