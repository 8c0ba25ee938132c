"""Requests with bodies on their way to a service, and clients and services that go away in the middle."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from tests.e2e.proxied import TIMEOUT, Site, site
from tests.peers import process, raw
from tests.peers.service import request_line

pytestmark = pytest.mark.e2e
__all__ = ["site"]

MIB = 1024 * 1024
NOTICED_WITHIN = 1.0


def pieces(size: int) -> Iterator[bytes]:
    """Without a length, so that http.client sends them as chunks."""
    for _ in range(size // 65536):
        yield bytes(65536)


def upload(site: Site, path: str) -> socket.socket:
    """A connection on which a chunked request was begun."""
    client = socket.create_connection(("127.0.0.1", site.bff.port), TIMEOUT)
    client.sendall(f"POST /api/{path} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    return client


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def test_a_body_reaches_the_service_part_by_part(site: Site) -> None:
    """While its sender has not finished, and does not wait for it to be complete."""
    site.work.forget()
    with upload(site, "work/sink") as client:
        for number in range(1, 4):
            client.sendall(chunk(b"part"))
            seen = site.work.last(lambda seen: seen.received >= 4 * number)  # noqa: B023 - called at once
            assert (seen.received, seen.complete, seen.framing) == (4 * number, False, "chunked")
        client.sendall(b"0\r\n\r\n")
        answer = raw.answer(client)
    assert json.loads(answer.body) == {"received": 12, "framing": "chunked"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_body(site: Site, framing: str) -> None:
    size = 20 * MIB
    with closing(http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)) as connection:
        body = bytes(size) if framing == "length" else pieces(size)
        connection.request("PUT", "/api/work/sink", body, encode_chunked=framing == "chunked")
        assert json.loads(connection.getresponse().read()) == {"received": size, "framing": framing}
        connection.request("GET", "/api/work/next")
        assert json.loads(connection.getresponse().read())["head"].startswith("GET /work/next ")


def test_a_body_that_grows_beyond_its_limit(site: Site) -> None:
    site.work.forget()
    with upload(site, "small/sink") as client:
        client.sendall(chunk(bytes(MIB)))
        site.work.last(lambda seen: seen.received > 0)
        client.sendall(chunk(b"x"))
        answer = raw.answer(client)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "too_large")
    assert site.work.last(lambda seen: seen.gone).complete is False


def test_a_body_that_announces_too_much_is_not_begun(site: Site) -> None:
    site.work.forget()
    sent = b"POST /api/small/sink HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % (MIB + 1)
    assert raw.answers(raw.exchange(site.bff.port, sent))[0].status == 413
    assert site.work.seen() == []


def test_a_body_at_its_limit(site: Site) -> None:
    answer = requests.post(site.url("small/sink"), bytes(MIB), timeout=TIMEOUT)
    assert answer.json() == {"received": MIB, "framing": "length"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_service_may_answer_before_it_has_read_the_body(site: Site, framing: str) -> None:
    body = bytes(2 * MIB) if framing == "length" else pieces(2 * MIB)
    answer = requests.post(site.url("work/early"), body, timeout=TIMEOUT)
    assert (answer.status_code, answer.content) == (403, b"no")


def test_a_service_that_does_not_read(site: Site) -> None:
    """It holds up the body, and is given up like one that does not answer."""
    answer = requests.post(site.url("impatient/never"), bytes(8 * MIB), timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize(
    "path", ["sse?count=1", "sse?count=1&close=1", "sse?count=10000&every=0.02", "source?size=9000000000", "never"]
)
@pytest.mark.parametrize("more", [b"", b"GET /api/work/x HTTP"], ids=["", "having sent more"])
def test_a_service_notices_when_the_client_goes_away(site: Site, path: str, more: bytes) -> None:
    """In an idle stream, in one whose end is its connection's, in a busy one, and before the answer."""
    site.work.forget()
    with socket.create_connection(("127.0.0.1", site.bff.port), TIMEOUT) as client:
        client.sendall(f"GET /api/work/{path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        if path == "never":
            site.work.last()
        else:
            assert client.recv(4)
        client.sendall(more)
    left = time.time()
    assert site.work.last(lambda seen: seen.gone).gone - left < NOTICED_WITHIN


def test_a_service_notices_when_the_client_leaves_without_having_read_everything(site: Site) -> None:
    """Its connection is then reset, not closed."""
    site.work.forget()
    with raw.event_streams([site.bff.port], "/api/work/sse?count=2&every=0.1", 1) as (stream,):
        while raw.idle(stream):
            time.sleep(process.POLL)
    left = time.time()
    assert site.work.last(lambda seen: seen.gone).gone - left < NOTICED_WITHIN


def test_a_service_notices_when_the_client_breaks_off_a_body(site: Site) -> None:
    site.work.forget()
    with upload(site, "work/sink") as client:
        client.sendall(chunk(b"half"))
        site.work.last(lambda seen: seen.received)
    left = time.time()
    seen = site.work.last(lambda seen: seen.gone)
    assert (seen.complete, seen.gone - left < NOTICED_WITHIN) == (False, True)


def test_a_client_that_only_closes_its_own_side_is_answered(site: Site) -> None:
    """Such as one that has sent all it will (RFC 9112 section 9.6), when the answer is there soon."""
    sent = b"GET /api/work/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
    assert raw.answers(raw.exchange(site.bff.port, sent))[0].status == 200
    assert request_line(site.work.last()) == "GET /work/x HTTP/1.1"


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
