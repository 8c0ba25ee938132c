"""What gunicorn's fast parser and its reader of chunked bodies let pass, and we do not."""

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, NoMoreData, ObsoleteFolding, UnsupportedTransferCoding
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from bff import framing

HOST = b"Host: a.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def parsed(head: bytes, *body: bytes, version: bytes = b"HTTP/1.1") -> Any:
    """A request as gunicorn has it after its own checks. body: as it arrives."""
    config = Config()
    config.set("http_parser", "fast")
    sent = b"POST /x " + version + b"\r\n" + head + b"\r\n"
    return next(RequestParser(config, iter([sent, *body]), ("127.0.0.1", 1)))


def checked(*body: bytes) -> Any:
    request = parsed(HOST + CHUNKED, *body)
    framing.check(request)
    return request


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (HOST + b"X-A: 1\r\n 2\r\n", ObsoleteFolding),
        (HOST + b"Content-Length: 5\r\n Transfer-Encoding: chunked\r\n", ObsoleteFolding),
        (HOST + b" Transfer-Encoding: chunked\r\n", ObsoleteFolding),
        (HOST + b"Transfer-Encoding: gzip\r\n", UnsupportedTransferCoding),
        (HOST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", UnsupportedTransferCoding),
        (HOST + b"Transfer-Encoding: identity, chunked\r\n", UnsupportedTransferCoding),
        (HOST + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n", UnsupportedTransferCoding),
        (b"", InvalidHeader),
        (b"Host: a/b\r\n", InvalidHeader),
        (b"Host: a b\r\n", InvalidHeader),
        (b"Host: u@a\r\n", InvalidHeader),
        (b"Host: a:b\r\n", InvalidHeader),
        (b"Host: [::1\r\n", InvalidHeader),
        (b"Host: \xe4\r\n", InvalidHeader),
    ],
)
def test_refused(head: bytes, error: type[Exception]) -> None:
    request = parsed(head)  # or there would be nothing to refuse
    with pytest.raises(error) as caught:
        framing.check(request)
    assert "a/b" not in str(caught.value), "what was sent is not logged"


@pytest.mark.parametrize(
    "host", [b"a.test", b"a.test:8443", b"[::1]:80", b"192.0.2.1", b"xn--bcher-kva.example", b"a_b", b"A%C3%A4", b""]
)
def test_hosts_there_are(host: bytes) -> None:
    framing.check(parsed(b"Host: " + host + b"\r\n"))


def test_http_1_0_needs_no_host() -> None:
    framing.check(parsed(b"", version=b"HTTP/1.0"))


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_are_right_however_they_arrive(body: bytes) -> None:
    for pieces in ([body], [body[:7], body[7:]], [bytes([byte]) for byte in body]):
        request = checked(*pieces, b"GET /next")
        assert request.body.read() == b"hello"
        assert not request.should_close()
        assert request.unreader.read() == b"GET /next"


@pytest.mark.parametrize(
    "body",
    [
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX Y: 3\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello\r\n0\r\n",
    ],
)
def test_after_a_faulty_chunk_nobody_reads_on(body: bytes) -> None:
    request = checked(body)
    with pytest.raises(NoMoreData):
        request.body.read()
    assert request.should_close()


@pytest.mark.parametrize("start", [b"5;", b"5\r\nhello\r\n0\r\nX-A: ", b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: "])
def test_nobody_keeps_an_endless_line(start: bytes) -> None:
    taken = 0

    def arriving() -> Any:
        nonlocal taken
        yield start
        while taken < 100:
            taken += 1
            yield b"a" * 1024

    request = parsed(HOST + CHUNKED)
    request.unreader.iter = arriving()
    framing.check(request)
    with pytest.raises(NoMoreData):
        request.body.read()
    assert taken < 20
    assert request.should_close()


@given(st.binary(max_size=60))
def test_any_body_is_read_or_refused(content: bytes) -> None:
    request = checked(content)
    try:
        request.body.read()
    except NoMoreData:
        assert request.should_close()


LENGTH = HOST + b"Content-Length: 5\r\n"


class Stalls:
    """A client that sends no more when it is out of parts, and then goes on."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def __iter__(self) -> "Stalls":
        return self

    def __next__(self) -> bytes:
        part = self._parts.pop(0)
        if not part:
            raise TimeoutError
        return part


@pytest.mark.parametrize(("coding", "begun"), [(LENGTH, b"hel"), (HOST + CHUNKED, b"5\r\nhel")])
def test_after_a_body_that_stalls_nothing_more_is_read(coding: bytes, begun: bytes) -> None:
    config = Config()
    config.set("http_parser", "fast")
    first = b"POST /x HTTP/1.1\r\n" + coding + b"\r\n"
    parser = RequestParser(config, Stalls(first, begun, b"", b"GET /smuggled HTTP/1.1\r\n\r\n"), ("127.0.0.1", 1))
    request = next(parser)
    framing.check(request)
    with pytest.raises(TimeoutError):
        request.body.read(9)
    assert request.should_close()
    with pytest.raises(StopIteration):
        next(parser)


def test_a_body_that_ends_too_soon_is_no_body() -> None:
    request = parsed(LENGTH, b"hel")
    framing.check(request)
    with pytest.raises(ConnectionAbortedError):
        request.body.read(5)
    assert request.should_close()


@pytest.mark.parametrize(
    ("parts", "read", "closes"),
    [
        ((b"hello",), 0, False),
        ((b"hello",), 5, False),
        ((b"hel", b"lo"), 0, True),
        ((b"hel", b"lo"), 5, False),
        ((b"hel", b"lo"), 3, True),
        ((b"helloGET /next",), 3, False),
    ],
)
def test_a_connection_is_kept_after_a_body_that_is_there(parts: tuple[bytes, ...], read: int, closes: bool) -> None:
    """Read or not: gunicorn throws the rest away when it is in memory."""
    request = next(_fed(LENGTH, *parts))
    framing.check(request)
    got = b""
    while len(got) < read:
        got += request.body.reader.read(read - len(got))
    assert (got, request.should_close()) == (b"hello"[:read], closes)


@pytest.mark.parametrize(
    ("body", "closes"),
    [(b"5\r\nhello\r\n0\r\n\r\n", False), (b"5\r\nhello\r\n0\r\n", True), (b"5\r\nhel", True), (b"g\r\n", True)],
)
def test_a_connection_is_kept_after_chunks_that_are_there(body: bytes, closes: bool) -> None:
    request = next(_fed(HOST + CHUNKED, body))
    framing.check(request)
    assert request.should_close() is closes


def test_a_body_is_asked_for_when_it_is_wanted() -> None:
    sent: list[bytes] = []
    request = next(_fed(LENGTH + b"Expect: 100-continue\r\n", b""))
    request.unreader.sock = SimpleNamespace(sendall=sent.append)
    framing.check(request)
    assert (sent, request.should_close()) == ([], True)
    request.unreader.iter = iter([b"hello"])
    assert (request.body.read(5), sent) == (b"hello", [framing.CONTINUE])
    assert not request.should_close()


def _fed(head: bytes, *body: bytes) -> RequestParser:
    """The first part of the body arrives with the head."""
    config = Config()
    config.set("http_parser", "fast")
    sent = b"POST /x HTTP/1.1\r\n" + head + b"\r\n"
    return RequestParser(config, iter([sent + body[0], *body[1:]]), ("127.0.0.1", 1))
