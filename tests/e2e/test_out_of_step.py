"""A connection whose body was not read to its end serves no other request; over real connections, in both workers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.e2e.proxied import Site, site
from tests.peers import raw

pytestmark = pytest.mark.e2e
__all__ = ["site"]

LONG = 64 * 1024 + 1
NEXT = b"GET /health/live HTTP/1.1\r\nHost: a.test\r\n\r\n"
ENDPOINTS = {
    "POST /api/v1/metrics": 413,
    "GET /api/v1/metrics": 404,
    "POST /auth/logout": 413,
    "POST /auth/backchannel-logout": 413,
    "GET /auth/session": 413,
    "PUT /auth/session": 405,
    "GET /auth/verify": 401,
    "POST /auth/verify": 401,
    "GET /auth/verify/nginx": 401,
    "POST /access/v1/evaluation": 413,
    "GET /health/live": 413,
    "GET /health/ready": 413,
    "GET /metrics": 413,
    "POST /nowhere": 404,
    "POST /api/nowhere": 404,
    "DELETE /api/files/text.txt": 405,
    "POST /api/mine/x": 401,
    "POST /api/v1//metrics": 400,
}
"""What each answers to a body that is longer than it takes, or that it does not want."""
UNREAD = {
    "nothing of it": (b"Content-Length: %d\r\n" % LONG, b""),
    "its beginning": (b"Content-Length: %d\r\n" % LONG, b"x" * 100),
    "one that waits to be asked for": (b"Content-Length: %d\r\nExpect: 100-continue\r\n" % LONG, b""),
    "chunks without an end": (b"Transfer-Encoding: chunked\r\n", b"%x\r\n" % LONG + b"x" * LONG),
}


@contextmanager
def connected(site: Site) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", site.bff.port), raw.PATIENCE) as client:
        yield client


def head(endpoint: str, *fields: bytes) -> bytes:
    return f"{endpoint} HTTP/1.1\r\nHost: a.test\r\n".encode() + b"".join(fields) + b"\r\n"


def is_over(client: socket.socket) -> bool:
    """Whether nothing more is answered, whatever is sent."""
    with suppress(ConnectionError):
        client.sendall(b"x" * LONG + NEXT * 3)
        return client.recv(1) == b""
    return True


@pytest.mark.parametrize(("fields", "body"), UNREAD.values(), ids=UNREAD.keys())
@pytest.mark.parametrize(("endpoint", "status"), ENDPOINTS.items())
def test_after_a_body_that_nobody_read(site: Site, endpoint: str, status: int, fields: bytes, body: bytes) -> None:
    with connected(site) as client:
        client.sendall(head(endpoint, fields) + body)
        answer = raw.answer(client)
        assert (answer.status, answer.fields["Connection"], is_over(client)) == (status, "close", True)


@pytest.mark.parametrize("endpoint", ["POST /api/small/sink", "POST /api/v1/metrics", "POST /nowhere", "GET /metrics"])
@pytest.mark.parametrize("fields", [b"Content-Length: 900\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_after_a_body_that_ended_too_soon(site: Site, endpoint: str, fields: bytes) -> None:
    received = raw.exchange(site.bff.port, head(endpoint, fields) + b"384\r\n" + b"x" * 100)
    answers = raw.answers(received)
    assert len(answers) <= 1
    assert all(answer.fields["Connection"] == "close" for answer in answers)


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if not each.endswith(("nginx", "//metrics", "mine/x"))]
)
@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_after_a_short_body_the_next_request_is_answered(site: Site, endpoint: str, body: bytes) -> None:
    """Whether its endpoint wanted it or not, and in whatever portions it arrives."""
    sent = head(endpoint)[:-2] + body
    with connected(site) as client:
        for portions in ([sent], [sent[:-3], sent[-3:]], [sent[:40], sent[40:-9], sent[-9:]]):
            for portion in portions:
                client.sendall(portion)
            assert raw.answer(client).fields["Connection"] == "keep-alive"
            client.sendall(NEXT)
            answer = raw.answer(client)
            assert (answer.status, answer.body) == (200, b'{"status":"up"}\n')


def test_a_client_is_asked_for_a_body_that_is_wanted(site: Site) -> None:
    for endpoint, status in (
        ("POST /api/v1/metrics", 204),
        ("POST /api/small/sink", 200),
        ("POST /api/work/sink", 200),
    ):
        content = b'{"event": "page_view"}'
        fields = b"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n" % len(content)
        with connected(site) as client:
            client.sendall(head(endpoint, fields))
            assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(content)
            assert raw.answer(client).status == status


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
