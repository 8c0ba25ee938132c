"""A2: the rest of one client's request is read as the next one's, on a connection that a proxy shares among clients.

A body ends too soon, falls silent, or is answered before it was read. What comes later must not be taken for a request.
"""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import product

import pytest

from tests.attacks.ground import Site
from tests.e2e.protected import PROXIES
from tests.peers import bff, process, proxies, raw
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

SMUGGLED = b"GET /api/open/smuggled HTTP/1.1\r\nHost: a.test\r\nX-Padding: "
REST = SMUGGLED + b"x" * (900 - 100 - len(SMUGGLED) - 4) + b"\r\n\r\n"
"""The last 800 bytes of a body of 900: a whole request."""
BEGINNING = b"x" * 100
ENDPOINTS = (
    "POST /api/v1/metrics",
    "POST /auth/logout",
    "GET /auth/session",
    "PUT /auth/session",
    "POST /access/v1/evaluation",
    "POST /api/work/x",
    "DELETE /api/open/x",
)
FRAMINGS = {
    "length": (b"Content-Length: 900\r\n", BEGINNING, REST),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"384\r\n" + BEGINNING, REST + b"\r\n0\r\n\r\n"),
    "expected": (b"Content-Length: 900\r\nExpect: 100-continue\r\n", b"", BEGINNING + REST),
    "too large": (b"Content-Length: 10000000\r\n", BEGINNING, REST),
}
VICTIMS = 4
IMPATIENT = """
import bff.server.limits
bff.server.limits.STALL_TIMEOUT = bff.server.limits.RECEIVE_TIMEOUT = 0.5
from gunicorn.app.wsgiapp import run
run()
"""
"""A BFF that waits for half a second where another waits for up to a minute."""
HESITATES = 0.03
"""Seconds in which an answer may come before the body has. Where it does not, the body is simply sent."""


def head(port: int, endpoint: str, fields: bytes = b"") -> bytes:
    return f"{endpoint} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode() + fields + b"\r\n"


def own_answer(port: int, number: int) -> bool:
    """Whether a client that comes by has the answer to what it asked."""
    answer = raw.ask(port, head(port, f"GET /api/open/victim-{number}"))
    return answer.status == 200 and f"/victim-{number} " in json.loads(answer.body)["head"]


def assert_in_step(site: Site, port: int) -> None:
    assert [own_answer(port, number) for number in range(VICTIMS)] == [True] * VICTIMS
    assert not [seen.head for seen in site.work.seen() if "smuggled" in seen.head.partition("\r\n")[0]]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_body_that_is_refused_unread(site: Site, proxy: str, framing: str) -> None:
    fields, beginning, rest = FRAMINGS[framing]
    port = site.ports[proxy]
    site.work.forget()
    for endpoint in ENDPOINTS:
        with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client, suppress(ConnectionError):
            client.sendall(head(port, endpoint, fields) + beginning)
            client.settimeout(HESITATES)
            with suppress(TimeoutError):  # the proxy, or the BFF, wants all of it first
                client.recv(65536)
            client.sendall(rest)
    assert_in_step(site, port)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_body_that_ends_too_soon(site: Site, proxy: str, framing: str) -> None:
    fields, beginning, _ = FRAMINGS[framing]
    port = site.ports[proxy]
    site.work.forget()
    for endpoint, politely in product(ENDPOINTS, (True, False)):
        with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client, suppress(ConnectionError):
            client.sendall(head(port, endpoint, fields) + beginning)
            if politely:
                client.shutdown(socket.SHUT_WR)
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert_in_step(site, port)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_nor_by_a_peer_that_shares_one_connection(site: Site, framing: str) -> None:
    """Where the proxies sit: the answer to the first request is the last one, unless its body was read to the end."""
    fields, beginning, rest = FRAMINGS[framing]
    for endpoint in ENDPOINTS:
        site.work.forget()
        sent = head(site.bff.port, endpoint, fields) + beginning
        received = raw.exchange(site.bff.port, sent + rest + head(site.bff.port, "GET /api/open/victim"))
        answered = [answer for answer in raw.answers(received) if answer.status >= 200]
        assert len(answered) <= 2, endpoint
        assert all(b"/victim " in answer.body for answer in answered[1:]), endpoint
        assert not [seen for seen in site.work.seen() if "smuggled" in seen.head.partition("\r\n")[0]], endpoint


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def impatient(
    site: Site, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Bff, int]]:
    """With the port of a HAProxy, which goes on sending a body that was answered already."""
    folder, port = tmp_path_factory.mktemp("impatient"), process.free_port()
    settings = {"BFF_CONFIG_DIR": str(site.bff.log.parent), "WEB_WORKER_CLASS": request.param}
    command = (sys.executable, "-c", IMPATIENT, "-c", "gunicorn.conf.py", "wsgi:app")
    with (
        bff.running(folder, settings, verify=True, command=command) as service,
        proxies.haproxy(port, service.address, site.application.address, log=folder / "haproxy.log"),
    ):
        yield service, port


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_falls_silent(site: Site, impatient: tuple[Bff, int], framing: str) -> None:
    """The rest of it is sent once there is an answer, by a proxy, and by a peer that shares its connection itself."""
    fields, beginning, rest = FRAMINGS[framing]
    service, port = impatient
    site.work.forget()
    with ExitStack() as stack:
        clients = {
            (at, endpoint): stack.enter_context(socket.create_connection(("127.0.0.1", at), raw.PATIENCE))
            for at in (service.port, port)
            for endpoint in ENDPOINTS
        }
        for (at, endpoint), client in clients.items():
            client.sendall(head(at, endpoint, fields) + beginning)
        for (at, endpoint), client in clients.items():
            with suppress(ConnectionError):
                answer = raw.answer(client)
                client.sendall(rest + head(at, "GET /api/open/victim"))
                assert at == port or answer.fields["Connection"] == "close", endpoint
    assert_in_step(site, port)
