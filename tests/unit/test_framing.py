"""What gunicorn's fast parser and its reader of chunked bodies let pass, and we do not."""

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
