"""A request's body on its way: limits, half bodies, and no waiting for more than has arrived."""

import io
from typing import Any

import pytest
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader

from bff.errors import BadRequest, BodyTooLarge, ClientGone
from bff.proxy.body import RequestBody


def chunked(*parts: bytes) -> Body:
    """gunicorn's own, with what a socket would give, part by part."""
    return Body(ChunkedReader(None, IterUnreader(iter(parts))))


def announced(length: int, *parts: bytes) -> Body:
    return Body(LengthReader(IterUnreader(iter(parts)), length))


@pytest.mark.parametrize(
    ("stream", "length", "received"),
    [
        (io.BytesIO(b"abc"), 3, [b"abc"]),
        (io.BytesIO(b"abc"), None, [b"abc"]),
        (announced(4, b"ab", b"cd"), 4, [b"ab", b"cd"]),
        (announced(2, b"abcd"), 2, [b"ab"]),
        (chunked(b"2\r\nab\r\n", b"1\r\nc\r\n", b"0\r\n\r\n"), None, [b"ab", b"c"]),
        (chunked(b"0\r\n\r\n"), None, []),
    ],
)
def test_it_comes_as_it_arrives(stream: Any, length: int | None, received: list[bytes]) -> None:
    assert list(RequestBody(stream, length, 10)) == received


def test_it_does_not_wait_for_more() -> None:
    def parts() -> Any:
        yield b"2\r\nab\r\n"
        raise AssertionError("waited for the second part before giving out the first")

    assert next(iter(RequestBody(Body(ChunkedReader(None, IterUnreader(parts()))), None, 10))) == b"ab"


def test_large_parts_come_whole() -> None:
    content = bytes(range(256)) * 1024
    stream = announced(len(content), *[content[at : at + 8192] for at in range(0, len(content), 8192)])
    assert b"".join(RequestBody(stream, len(content), len(content))) == content


def test_one_that_is_announced_too_large_is_not_read() -> None:
    with pytest.raises(BodyTooLarge):
        RequestBody(None, 11, 10)


def test_one_that_becomes_too_large_is_left() -> None:
    body = RequestBody(io.BytesIO(b"x" * 11), None, 10)
    with pytest.raises(BodyTooLarge):
        list(body)


def test_half_a_body_is_none() -> None:
    parts = iter(RequestBody(announced(4, b"ab"), 4, 10))
    assert next(parts) == b"ab"
    with pytest.raises(ClientGone):
        next(parts)


@pytest.mark.parametrize("wire", [b"zz\r\nab\r\n", b"2\r\nabc\r\n", b"2\r\nab\r\n"])
def test_one_that_is_no_http(wire: bytes) -> None:
    with pytest.raises(BadRequest):
        RequestBody(chunked(wire), None, 10).whole()


def test_a_broken_connection() -> None:
    class Gone:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ClientGone):
        RequestBody(Gone(), 3, 10).whole()
