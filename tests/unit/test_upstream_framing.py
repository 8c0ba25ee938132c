"""What a service's answer may look like on the wire (RFC 9112): it is read in one way, or it is no answer."""

from collections.abc import Iterator
from contextlib import closing
from itertools import chain, repeat

import pytest

from bff.errors import BadGateway, BFFError, UpstreamTimeout
from bff.http import HttpUpstream, ResponseTruncated, UpstreamResponse
from tests.peers.framed import ALONE, BROKEN, CHUNKED, PLAIN, READ, REFUSED
from tests.unit.test_upstream import (
    OK,
    Peer,
    Server,
    body,
    clock,
    disconnects,
    outgoing,
    replies,
    server,
    status_of,
    upstream,
)

__all__ = ["clock", "disconnects", "server", "upstream"]


def length_of(answer: UpstreamResponse) -> list[str]:
    return [value for name, value in answer.headers if name.lower() == "content-length"]


@pytest.mark.parametrize("case", READ)
def test_read_in_one_way(server: Server, upstream: HttpUpstream, case: str) -> None:
    method, sent, status, length, content = READ[case]
    server.then(replies(sent) if case.endswith("to the end") else replies(sent, OK), replies(OK))
    answer = upstream.send(outgoing(method))
    assert (answer.status, length_of(answer), body(answer)) == (status, [length] if length else [], content)
    assert not any(name.lower() == "transfer-encoding" for name, _ in answer.headers)
    assert body(upstream.send(outgoing())) == b"ok", "the next answer is the next request's"
    assert server.connections == (2 if case in ALONE else 1)


@pytest.mark.parametrize("case", REFUSED)
def test_no_answer(server: Server, upstream: HttpUpstream, case: str) -> None:
    server.then(replies(REFUSED[case]), replies(OK))
    assert status_of(upstream, outgoing("POST")) is BadGateway
    assert body(upstream.send(outgoing())) == b"ok"


@pytest.mark.parametrize("case", BROKEN)
def test_broken_off(server: Server, upstream: HttpUpstream, case: str) -> None:
    """What has begun cannot become an error; it must not look whole either."""
    server.then(replies(BROKEN[case]), replies(OK))
    with pytest.raises(ResponseTruncated):
        body(upstream.send(outgoing()))
    assert body(upstream.send(outgoing())) == b"ok"


@pytest.mark.parametrize("case", READ)
def test_cut_anywhere(server: Server, upstream: HttpUpstream, case: str) -> None:
    """However the bytes come, in however many packets: the same answer."""
    method, sent, status, _, content = READ[case]

    def dribble(peer: Peer) -> None:
        peer.head()
        for number in range(len(sent)):
            peer.say(sent[number : number + 1])

    server.then(dribble)
    answer = upstream.send(outgoing(method))
    assert (answer.status, body(answer)) == (status, content)


ENDLESS = {
    "a head": chain([PLAIN], repeat(b"X: a\r\n")),
    "a line": chain([PLAIN + b"X: "], repeat(b"a" * 1000)),
    "interim answers": repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_one_that_never_ends_is_none(server: Server, upstream: HttpUpstream, case: str) -> None:
    def endless(peer: Peer, parts: Iterator[bytes] = ENDLESS[case]) -> None:
        peer.head()
        for part in parts:
            peer.say(part)

    server.then(endless)
    assert status_of(upstream, outgoing()) is BadGateway


def test_a_head_that_drips_has_the_time_of_one_answer(server: Server, upstream: HttpUpstream) -> None:
    """Each byte comes in time; only the whole does not."""
    over: list[bool] = []

    def drip(peer: Peer) -> None:
        peer.head()
        peer.connection.settimeout(0.05)
        peer.say(b"HTTP/1.1 200 OK\r\nX: ")
        while not over:
            peer.say(b"a")
            try:
                over.append(peer.connection.recv(1) == b"")
            except TimeoutError:
                continue

    server.then(drip)
    assert status_of(upstream, outgoing(timeout=0.3)) is UpstreamTimeout


@pytest.mark.parametrize("content", [b"Content-Length: 9\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"])
def test_an_answer_that_only_has_a_head_is_late(server: Server, upstream: HttpUpstream, content: bytes) -> None:
    def silent(peer: Peer) -> None:
        peer.head()
        peer.say(PLAIN + content)
        peer.ended()

    server.then(silent)
    assert status_of(upstream, outgoing(timeout=0.2)) is UpstreamTimeout


def test_a_stream_is_not_waited_for(server: Server, upstream: HttpUpstream) -> None:
    def silent(peer: Peer) -> None:
        peer.head()
        peer.say(CHUNKED + b"\r\n")
        peer.ended()

    server.then(silent)
    with closing(upstream.send(outgoing(streaming=True))) as answer:
        assert answer.status == 200


def test_an_error_names_the_fault_and_nothing_of_the_answer(
    server: Server, upstream: HttpUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    server.then(replies(PLAIN + b"Secret: hunter2\r\nContent-Length: hunter2\r\n\r\n"))
    with pytest.raises(BFFError) as caught:
        upstream.send(outgoing())
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
    (record,) = caplog.records
    assert (record.message, vars(record)["service"], vars(record)["reason"]) == (
        "upstream_answer_malformed",
        "orders",
        "content_length",
    )
