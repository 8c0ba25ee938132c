"""What a service sends bit by bit comes out of the proxies bit by bit: none of them waits for more."""

import http.client
import time
from contextlib import closing

import pytest

from tests.e2e.protected import PROXIES, Stack, stack

pytestmark = pytest.mark.e2e
__all__ = ["stack"]

PROMPTLY = 1.0
"""Seconds; a proxy that collects an answer first would wait for the end, which never comes."""


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
