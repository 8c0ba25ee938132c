"""Verify, health and scrape answer whatever the rest does: slow bodies, slow services, clients that do not read."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.peers import bff as peer
from tests.peers import openid, raw, service
from tests.peers.bff import Bff, Visitor
from tests.peers.service import Service

pytestmark = pytest.mark.e2e

THREADS = 2
BODIES, WAITING = 64, 32
TIMES = 20
ROUTES = """
services:
  one: {{token: none, base_url: "{work}"}}
  two: {{token: none, base_url: "{work}"}}
  other: {{token: none, base_url: "{work}", max_concurrent: 1}}
routes:
  - {{id: one, path: /api/one/*, service: one, auth: none, timeout: 60}}
  - {{id: two, path: /api/two/*, service: two, auth: none, timeout: 60}}
  - {{id: other, path: /api/other/*, service: other, auth: none, methods: [GET, HEAD, POST]}}
"""
REPORT = b'{"event": "page_view"}'
POST = b"POST /api/v1/metrics HTTP/1.1\r\nHost: a.test\r\nContent-Type: text/plain\r\n"
BODY = {
    "length": (POST + b"Content-Length: %d\r\n\r\n" % len(REPORT) + REPORT[:-1], REPORT[-1:]),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(REPORT) + REPORT, b"\r\n0\r\n\r\n"),
}
"""Two halves of a request."""


@dataclass(frozen=True)
class Held:
    """A BFF all of whose threads wait for two services, with a queue for each, and most of whose bodies are slow."""

    bff: Bff
    kind: str
    work: Service
    cookie: str

    def connect(self, stack: ExitStack) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.bff.port), raw.PATIENCE)
        return stack.enter_context(closing(client))

    def sent(self, stack: ExitStack, data: bytes) -> socket.socket:
        client = self.connect(stack)
        client.sendall(data)
        return client

    def ask(self, path: str, cookie: str = "") -> raw.Answer:
        agent = openid.NAVIGATION["User-Agent"]
        fields = f"Host: a.test\r\nUser-Agent: {agent}\r\nCookie: bff_session={cookie}\r\n"
        return raw.ask(self.bff.port, f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    settings = {
        "WEB_WORKER_CLASS": request.param,
        "WEB_THREADS": str(THREADS),
        "BFF_CONFIG_DIR": str(folder),
        "RATE_LIMITS": "beacon=100000/minute",
    }
    with service.running(folder) as work:
        (folder / "routes.yaml").write_text(ROUTES.format(work=work.url))
        with peer.running(folder, settings) as running, Visitor(running.base_url) as alice:
            assert alice.login().status_code == HTTPStatus.FOUND
            yield Held(running, request.param, work, alice.cookie())


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()


def test_all_of_it_answers_while_every_thread_is_held(held: Held) -> None:
    held.work.forget()
    with ExitStack() as stack:
        bodies = [held.sent(stack, BODY[kind][0]) for kind in BODY for _ in range(BODIES // len(BODY))]
        waiting = [held.sent(stack, get(f"/api/{name}/never")) for name in ("one", "two") for _ in range(WAITING // 2)]
        calls = THREADS if held.kind == "gthread" else WAITING
        held.work.wait(lambda seen: len(seen) == calls)
        for _ in range(TIMES):
            assert held.ask("/auth/verify", held.cookie).status == 200
            assert held.ask("/auth/verify", "A" * 43).status == 401
            assert held.ask("/health/live").status == 200
            assert held.ask("/health/ready").status == 200
            assert held.ask("/health").status == 200
            assert held.ask("/metrics").status == 200
        assert all(raw.idle(body) for body in bodies)
        refused = [client for client in waiting if held.kind == "gthread" and _refused(client)]
        assert len(refused) == WAITING - calls
        assert held.bff.value("bff_bulkhead_rejections_total") == len(refused)
        assert len([client for client in waiting if client not in refused and raw.idle(client)]) == calls
    if held.kind == "gthread":
        held.work.wait(lambda seen: all(each.gone for each in seen))


def _refused(client: socket.socket) -> bool:
    """The two that wait for their services are the first of each."""
    client.settimeout(3.0)
    try:
        answer = raw.answer(client)
    except TimeoutError:
        return False
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "busy")
    assert (answer.fields["Retry-After"], answer.fields["X-Denied-Reason"]) == ("1", "busy")
    return True


def test_slow_bodies_are_answered_when_they_are_there(held: Held) -> None:
    with ExitStack() as stack:
        bodies = [(held.sent(stack, BODY[kind][0]), BODY[kind][1]) for kind in BODY for _ in range(2 * THREADS)]
        for client, rest in reversed(bodies):
            client.sendall(rest)
            assert raw.answer(client).status == 204


def test_a_burst_is_slower_but_answered(held: Held) -> None:
    """More than the service's share at once, on connections that are kept: each has its turn."""
    with ExitStack() as stack:
        clients = [held.connect(stack) for _ in range(WAITING)]
        for _ in range(3):
            for client in clients:
                client.sendall(get("/api/other/x"))
            assert [raw.answer(client).status for client in clients] == [200] * WAITING


def test_a_client_that_reads_nothing_holds_no_thread(held: Held) -> None:
    """Not even many of them; they have the whole answer when they read."""
    with ExitStack() as stack:
        clients = []
        for _ in range(4 * THREADS):
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.settimeout(raw.PATIENCE)
            client.connect(("127.0.0.1", held.bff.port))
            client.sendall(get("/openapi.json") * 8)
            clients.append(client)
        assert held.ask("/auth/session").status == 200
        assert held.ask("/openapi.json").status == 200
        stream = clients[0].makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 200 ")
