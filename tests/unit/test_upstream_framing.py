"""What a service's answer may look like on the wire (RFC 9112): it is read in one way, or it is no answer."""

from collections.abc import Iterator
from contextlib import closing
from itertools import chain, repeat

import pytest

from bff.errors import BadGateway, BFFError, UpstreamTimeout
from bff.http import AnswerBroken, HttpUpstream, Incoming
from tests.unit.test_upstream import (
    OK,
    Peer,
    Server,
    body,
    clock,
    outgoing,
    replies,
    server,
    status_of,
    upstream,
    watcher,
)

__all__ = ["clock", "server", "upstream", "watcher"]

PLAIN = b"HTTP/1.1 200 OK\r\n"
CHUNKED = PLAIN + b"Transfer-Encoding: chunked\r\n"
TWO = b"2\r\nok\r\n0\r\n\r\n"

READ: dict[str, tuple[str, bytes, int, str | None, bytes]] = {
    # method, what the service sends, then: status, Content-Length, content
    "length": ("GET", PLAIN + b"Content-Length: 2\r\n\r\nok", 200, "2", b"ok"),
    "length 0": ("GET", PLAIN + b"Content-Length: 0\r\n\r\n", 200, "0", b""),
    "leading zeros": ("GET", PLAIN + b"Content-Length: 002\r\n\r\nok", 200, "2", b"ok"),
    "the same twice": ("GET", PLAIN + b"Content-Length: 2\r\nContent-length: 2\r\n\r\nok", 200, "2", b"ok"),
    "the same in a list": ("GET", PLAIN + b"Content-Length: 2, 2\r\n\r\nok", 200, "2", b"ok"),
    "chunked": ("GET", CHUNKED + b"\r\n" + TWO, 200, None, b"ok"),
    "chunked, in capitals": ("GET", PLAIN + b"TRANSFER-ENCODING: Chunked\r\n\r\n" + TWO, 200, None, b"ok"),
    "chunked beside a length": ("GET", CHUNKED + b"Content-Length: 1000\r\n\r\n" + TWO, 200, None, b"ok"),
    "extensions": ("GET", CHUNKED + b"\r\n2;a=b\r\nok\r\n0;z\r\n\r\n", 200, None, b"ok"),
    "trailers": ("GET", CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-User-ID: a\r\nX: b\r\n\r\n", 200, None, b"ok"),
    "to the end": ("GET", PLAIN + b"\r\nok", 200, None, b"ok"),
    "1.0 with a length": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "2", b"ok"),
    "1.0 to the end": ("GET", b"HTTP/1.0 200 OK\r\n\r\nok", 200, None, b"ok"),
    "no reason": ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "2", b"ok"),
    "bare line feeds": ("GET", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "2", b"ok"),
    "a folded length": ("GET", PLAIN + b"Content-Length:\r\n 2\r\n\r\nok", 200, "2", b"ok"),
    "continue": ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, "2", b"ok"),
    "early hints": ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nContent-Length: 9\r\n\r\n" + OK, 200, "2", b"ok"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, b""),
    "204 with a length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, None, b""),
    "204 chunked": ("GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n" + TWO, 204, None, b""),
    "205": ("GET", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", 205, "0", b""),
    "205 with a body": ("GET", b"HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok", 205, "0", b""),
    "205 chunked": ("GET", b"HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n" + TWO, 205, "0", b""),
    "205 without a word": ("GET", b"HTTP/1.1 205 Reset\r\n\r\n", 205, "0", b""),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "9", b""),
    "304 with a body": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", 304, "2", b""),
    "HEAD": ("HEAD", PLAIN + b"Content-Length: 7\r\n\r\n", 200, "7", b""),
    "HEAD chunked": ("HEAD", CHUNKED + b"\r\n", 200, None, b""),
    "HEAD with a body": ("HEAD", PLAIN + b"Content-Length: 2\r\n\r\nok", 200, "2", b""),
    "more than announced": ("GET", PLAIN + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", 200, "2", b"ok"),
}  # fmt: skip

REFUSED = {
    "negative": PLAIN + b"Content-Length: -2\r\n\r\nok",
    "plus": PLAIN + b"Content-Length: +2\r\n\r\nok",
    "hexadecimal": PLAIN + b"Content-Length: 0x2\r\n\r\nok",
    "underscore": PLAIN + b"Content-Length: 1_0\r\n\r\n0123456789",
    "other digits": PLAIN + b"Content-Length: \xb2\r\n\r\nok",
    "fraction": PLAIN + b"Content-Length: 2.0\r\n\r\nok",
    "empty": PLAIN + b"Content-Length:\r\n\r\nok",
    "empty member": PLAIN + b"Content-Length: 2,\r\n\r\nok",
    "huge": PLAIN + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nok",
    "two that differ": PLAIN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a list that differs": PLAIN + b"Content-Length: 2, 3\r\n\r\nok",
    "a folded length that differs": PLAIN + b"Content-Length: 2\r\n 0\r\n\r\nok",
    "a bad length beside chunked": CHUNKED + b"Content-Length: -2\r\n\r\n" + TWO,
    "gzip, chunked": PLAIN + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + TWO,
    "chunked twice": PLAIN + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + TWO,
    "chunked in two fields": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n" + TWO,
    "identity": PLAIN + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    "xchunked": PLAIN + b"Transfer-Encoding: xchunked\r\n\r\n" + TWO,
    "quoted": PLAIN + b'Transfer-Encoding: "chunked"\r\n\r\n' + TWO,
    "1.0 and chunked": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TWO,
    "space before the colon": PLAIN + b"Transfer-Encoding : chunked\r\n\r\n" + TWO,
    "no colon": PLAIN + b"X\r\nContent-Length: 2\r\n\r\nok",
    "no name": PLAIN + b": x\r\nContent-Length: 2\r\n\r\nok",
    "fold before any field": PLAIN + b" X: 1\r\nContent-Length: 2\r\n\r\nok",
    "bare CR": PLAIN + b"X: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "NUL": PLAIN + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a name": PLAIN + b"X\0: a\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
    "status 1000": b"HTTP/1.1 1000 High\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nok",
    "status 20": b"HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok",
    "status +20": b"HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "only a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "only continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no end of continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a long head": PLAIN + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "many fields": PLAIN + b"X: a\r\n" * 101 + b"\r\n",
    "chunk without a size": CHUNKED + b"\r\n\r\nok\r\n",
    "chunk of a negative size": CHUNKED + b"\r\n-2\r\nok\r\n0\r\n\r\n",
    "chunk of a size in words": CHUNKED + b"\r\n0x2\r\nok\r\n0\r\n\r\n",
    "chunk with a line feed": CHUNKED + b"\r\n2\nok\r\n0\r\n\r\n",
    "chunk of a huge size": CHUNKED + b"\r\n" + b"f" * 16 + b"\r\nok\r\n",
    "no content at all": PLAIN + b"Content-Length: 9\r\n\r\n",
}

BROKEN = {
    "half": PLAIN + b"Content-Length: 9\r\n\r\nok",
    "half a chunk": CHUNKED + b"\r\n9\r\nok",
    "no last chunk": CHUNKED + b"\r\n2\r\nok\r\n",
    "no end": CHUNKED + b"\r\n2\r\nok\r\n0\r\n",
    "a later size": CHUNKED + b"\r\n2\r\nok\r\n+1\r\na\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"\r\n2\r\nokay\r\n0\r\n\r\n",
    "a chunk that ends in a line feed": CHUNKED + b"\r\n2\r\nok\n0\r\n\r\n",
    "trailers without end": CHUNKED + b"\r\n2\r\nok\r\n0\r\n" + b"X: a\r\n" * 4000 + b"\r\n",
}

ALONE = (
    "chunked beside a length", "to the end", "1.0 with a length", "1.0 to the end", "204 with a length", "204 chunked",
    "205 with a body", "205 chunked", "205 without a word", "304 with a body", "HEAD with a body",
    "more than announced",
)  # fmt: skip
"""Answers after which nobody can tell what comes next on their connection."""


def length_of(answer: Incoming) -> list[str]:
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
    with pytest.raises(AnswerBroken):
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


def test_an_error_names_nothing_of_the_service(server: Server, upstream: HttpUpstream) -> None:
    server.then(replies(PLAIN + b"Secret: hunter2\r\nContent-Length: hunter2\r\n\r\n"))
    with pytest.raises(BFFError) as caught:
        upstream.send(outgoing())
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
