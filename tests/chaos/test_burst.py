"""900 requests at once, at workers that have just started and at warm ones: a burst is no outage, so none gets 503.

`make chaos` sends 900 of each kind, three times (CHAOS_BURSTS).
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import burst
from tests.chaos.burst import Request
from tests.chaos.fleet import ROUTES, SECRET
from tests.peers import bff, openid, process, redis, service
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e

AT_ONCE = 900
ROUNDS = int(os.environ.get("CHAOS_BURSTS", "0"))
PEOPLE = 30
SLOW = "/api/orders/sse?count=1&every=0.03&end=1"
"""A service that takes its time: some of 900 calls wait for longer than any should wait for one that hangs."""
EXPECTED = {"/auth/verify": "200", "/auth/session": "200", "/api/orders/echo": "200", "/auth/login": "302", SLOW: "200"}


@dataclass
class Place:
    """Where instances start one after the other, and find the sessions of the first."""

    folder: Path
    port: int
    environ: dict[str, str]
    cookies: list[str]


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        store = stack.enter_context(redis.RedisServer(redis.debian(), folder))
        orders = stack.enter_context(service.running(folder))
        provider = stack.enter_context(openid.running([client], autologin=True))
        (folder / "routes.yaml").write_text(ROUTES % orders.url)
        environ = {
            **client.environ,
            "BFF_CONFIG_DIR": str(folder),
            "BFF_SECRETS": SECRET,
            "OIDC_ISSUER": provider.issuer,
            "PAR_ENABLED": "false",  # 900 pushed requests would measure how fast the provider is
            "RATE_LIMITS": "login=1000000/minute",
            "REDIS_URL": store.url,
        }
        made = Place(folder, port, environ, [])
        with bff.running(folder, environ, port=port) as first:
            made.cookies = [_cookie(first) for _ in range(PEOPLE)]
        yield made


def _cookie(first: Bff) -> str:
    with Visitor(first.base_url) as person:
        assert person.login().status_code == 302
        return person.cookie()


def requests(started: Bff, place: Place, *paths: str) -> list[Request]:
    """AT_ONCE, of each path as many as of another, and of each session."""
    verify = int(started.verify_address.rpartition(":")[2])
    return [
        Request(
            verify if path == "/auth/verify" else started.port,
            path,
            "" if path == "/auth/login" else place.cookies[number % PEOPLE],
        )
        for number in range(AT_ONCE // len(paths))
        for path in paths
    ]


@pytest.mark.parametrize(("worker_class", "hardest"), [("gthread", SLOW), ("gevent", "/auth/login")])
def test_none_of_them_fails(place: Place, worker_class: str, hardest: str) -> None:
    """Cold, all kinds at once; then warm. hardest: the kind that these workers once failed at."""
    settings = place.environ | {"WEB_WORKER_CLASS": worker_class}
    warm = [(path,) for path in EXPECTED] * ROUNDS or [(hardest,)]
    with bff.running(place.folder, settings, port=place.port, workers=2, verify=True) as started:
        for paths in (tuple(EXPECTED), *warm):
            seen, seconds = burst.send(requests(started, place, *paths))
            print(f"{worker_class}: {dict(seen)} in {seconds:.1f} s")
            assert seen == {f"{path} {EXPECTED[path]}": AT_ONCE // len(paths) for path in paths}
