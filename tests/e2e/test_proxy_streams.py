"""What a service sends bit by bit comes out of the proxies bit by bit: none of them waits for more.

What it is sent bit by bit arrives so where it is meant to; elsewhere nginx reads all of it first.
"""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.e2e.protected import PROXIES, Stack, stack
from tests.peers import raw

pytestmark = pytest.mark.e2e
__all__ = ["stack"]

PROMPTLY = 1.0
"""Seconds; a proxy that collects an answer first would wait for the end, which never comes."""
HALF = 512 * 1024
"""Bytes; a small body the BFF itself reads whole before it asks the service."""


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_event_comes_while_the_stream_goes_on(stack: Stack, proxy: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", stack.ports[proxy], timeout=10)) as connection:
        connection.request("GET", "/api/work/sse?count=1", headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        lines = [answer.readline(), answer.readline()]
    sent = float(next(line for line in lines if line.startswith(b"data: "))[6:])
    assert time.time() - sent < PROMPTLY
    assert answer.headers["Content-Type"] == "text/event-stream"


@pytest.mark.parametrize("proxy", PROXIES)
def test_events_come_one_by_one(stack: Stack, proxy: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", stack.ports[proxy], timeout=10)) as connection:
        connection.request("GET", "/api/work/sse?count=4&every=0.2&end=1", headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        arrived = [time.monotonic() for line in answer if line.startswith(b"data: ")]
    assert len(arrived) == 4
    assert arrived[-1] - arrived[0] > 0.2


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_upload_arrives_while_it_is_sent(stack: Stack, proxy: str) -> None:
    stack.work.forget()
    with uploading(stack.ports[proxy], "/api/work/streamed/sink") as client:
        assert 0 < stack.work.last(lambda seen: seen.received).received <= HALF
        client.sendall(bytes(HALF))
        assert raw.answer(client).status == 200


def test_nginx_reads_every_other_request_whole_first(stack: Stack) -> None:
    stack.work.forget()
    with uploading(stack.ports["nginx"], "/api/work/sink") as client:
        with uploading(stack.ports["nginx"], "/api/work/streamed/sink"):  # which came later, and is there
            stack.work.wait(lambda seen: seen)
            assert ["/streamed/" in seen.head for seen in stack.work.seen()] == [True]
        client.sendall(bytes(HALF))
        assert raw.answer(client).status == 200


@contextmanager
def uploading(port: int, path: str) -> Iterator[socket.socket]:
    """One half is on its way."""
    with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {2 * HALF}\r\n\r\n"
        client.sendall(head.encode() + bytes(HALF))
        yield client
