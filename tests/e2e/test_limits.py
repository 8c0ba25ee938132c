"""Limits and client addresses with real workers: exact over all of them, with and without their store."""

import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers import bff, openid, process, redis
from tests.peers.bff import Bff
from tests.peers.redis import RedisServer

pytestmark = pytest.mark.e2e

WORKERS = 4
LIMIT = 20
ASKED = 60
LIMITS = f"beacon={LIMIT}/minute:open;login={LIMIT}/minute:closed"
REPORT = json.dumps({"event": "page_view"}).encode()
RECOVERED_WITHIN = 5


@dataclass
class Fleet:
    """Four workers, and at least one connection to each of them."""

    bff: Bff
    lines: list[http.client.HTTPConnection]
    redis: RedisServer | None = None


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, settings = tmp_path_factory.mktemp(f"limits-{request.param}"), {"RATE_LIMITS": LIMITS}
    with ExitStack() as stack:
        store = stack.enter_context(RedisServer(redis.debian(), folder)) if request.param == "redis" else None
        if store is not None:
            settings["REDIS_URL"] = store.url
        running = stack.enter_context(bff.running(folder, settings, workers=WORKERS))
        yield Fleet(running, connected(running, stack), store)


def connected(service: Bff, stack: ExitStack) -> list[http.client.HTTPConnection]:
    """Eight connections or more, until each worker has one."""
    lines, reached = list[http.client.HTTPConnection](), set[int]()
    while len(lines) < 8 or len(reached) < WORKERS:
        assert len(lines) < 200, f"only {len(reached)} workers accept connections"
        line = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=bff.TIMEOUT)))
        assert asked(line, "GET", "/health/live").status == 200
        worker = service.worker_of(line.sock)
        assert worker is not None
        reached.add(worker)
        lines.append(line)
    return lines


def asked(
    line: http.client.HTTPConnection, method: str, path: str, client: str = "", body: bytes | None = None
) -> http.client.HTTPResponse:
    headers = {**openid.NAVIGATION, **({"X-Forwarded-For": client} if client else {})}
    line.request(method, path, body, {**headers, "Content-Type": "application/json"} if body else headers)
    answer = line.getresponse()
    answer.read()
    return answer


def reported(line: http.client.HTTPConnection, client: str) -> http.client.HTTPResponse:
    return asked(line, "POST", "/api/v1/metrics", client, REPORT)


def login(line: http.client.HTTPConnection, client: str) -> http.client.HTTPResponse:
    return asked(line, "GET", "/auth/login", client)


def crowd(fleet: Fleet, clients: list[str]) -> dict[str, Counter[int]]:
    """Each client asks ASKED times, over all lines at once."""

    def run(number: int) -> list[tuple[str, int]]:
        line, share = fleet.lines[number], range(number, ASKED * len(clients), len(fleet.lines))
        mine = [clients[turn % len(clients)] for turn in share]
        return [(client, reported(line, client).status) for client in mine]

    with ThreadPoolExecutor(len(fleet.lines)) as pool:
        seen = [each for part in pool.map(run, range(len(fleet.lines))) for each in part]
    return {client: Counter(status for who, status in seen if who == client) for client in clients}


def test_of_two_clients_each_gets_exactly_so_many_from_four_workers(fleet: Fleet) -> None:
    clients = ["203.0.113.1", "2001:db8:1:2::1"]
    before = fleet.bff.value("bff_rate_limit_hits_total", limit="beacon")
    assert crowd(fleet, clients) == {client: {204: LIMIT, 429: ASKED - LIMIT} for client in clients}
    refused = ASKED * len(clients) - LIMIT * len(clients)
    assert fleet.bff.value("bff_rate_limit_hits_total", limit="beacon") - before == refused
    assert reported(fleet.lines[0], "2001:db8:1:2::2").status == 429, "one host has a whole /64"
    answer = reported(fleet.lines[0], "203.0.113.2")
    assert (answer.status, answer.getheader("RateLimit")) == (204, f'"beacon";r={LIMIT - 1};t=60')


@pytest.mark.parametrize("fleet", ["redis"], indirect=True)
def test_with_the_store_gone_each_limit_does_what_it_declares(fleet: Fleet) -> None:
    assert fleet.redis is not None
    client, line = "203.0.113.9", fleet.lines[0]
    assert (reported(line, client).status, login(line, client).status) == (204, 302)
    fleet.redis.kill()
    try:
        assert {reported(line, client).status for _ in range(2 * LIMIT)} == {204}
        refused = [login(line, client) for line in fleet.lines]
        assert {(answer.status, answer.getheader("Retry-After")) for answer in refused} == {(503, "2")}
        assert not [answer for answer in refused if answer.getheader("Set-Cookie")]
    finally:
        fleet.redis.start()
    deadline, strangers = time.monotonic() + RECOVERED_WITHIN, (f"198.51.100.{number}" for number in range(250))
    while any(login(line, next(strangers)).status != 302 for line in fleet.lines):
        assert time.monotonic() < deadline
        time.sleep(10 * process.POLL)
    assert crowd(fleet, ["203.0.113.10"]) == {"203.0.113.10": {204: LIMIT, 429: ASKED - LIMIT}}


class SocketFile(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("app.example", timeout=bff.TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@pytest.mark.parametrize(
    ("settings", "third"),
    [
        ({"TRUSTED_PROXIES": "unix"}, 204),
        ({}, 429),
    ],
    ids=["trusted", "not trusted"],
)
def test_a_proxy_that_comes_through_a_socket_file(tmp_path: Path, settings: dict[str, str], third: int) -> None:
    """Whom it forwards for is one client each, where it is trusted; else all are the one who has the socket file."""
    port, path = process.free_port(), tmp_path / "s"
    command = (*bff.COMMAND[:-1], "--bind", f"unix:{path}", "--bind", f"127.0.0.1:{port}", bff.COMMAND[-1])
    with (
        bff.running(tmp_path, {"RATE_LIMITS": "beacon=2/minute", **settings}, port=port, command=command),
        closing(SocketFile(path)) as line,
    ):
        assert [reported(line, "203.0.113.1").status for _ in range(2)] == [204, 204]
        assert reported(line, "203.0.113.2").status == third
        assert reported(line, "203.0.113.1").status == 429
