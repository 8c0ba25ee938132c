"""Strict reader of HTTP/1.1 responses (RFC 9112) instead of http.client's, for the connections of the API proxy.

It keeps its own buffer to detect bytes behind a response: on a reused connection they would become the answer to
another client's request.
"""

import http.client
import re
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from bff.http.response_head import Content, Head, MalformedResponse, framing, parse

CHUNK = 64 * 1024
LONGEST_HEAD = 64 * 1024
LONGEST_LINE = 4 * 1024
LONGEST_TRAILERS = 16 * 1024
MOST_INTERIM = 16
"""Interim responses (RFC 9110 section 15.2) that are skipped before a final one."""

_END = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")  # section 7.1


class SocketReader:
    """A socket with a buffer of unread bytes."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock
        self._buffer = bytearray()

    @property
    def leftover(self) -> bool:
        return bool(self._buffer)

    def head(self, deadline: float) -> bytes:
        """A response's head. deadline: on the monotonic clock. Raises TimeoutError, MalformedResponse, OSError;
        RemoteDisconnected when the service closed the connection instead."""
        seen = 0
        while not (end := _END.search(self._buffer, max(0, seen - 3))):
            seen = len(self._buffer)
            if len(self._buffer) > LONGEST_HEAD:
                raise MalformedResponse("too_long_head")
            self._socket.settimeout(_left(deadline))
            self._receive(
                MalformedResponse("half_a_head") if self._buffer else http.client.RemoteDisconnected("no response")
            )
        if end.end() > LONGEST_HEAD:
            raise MalformedResponse("too_long_head")
        return self._take(end.end())

    def line(self, longest: int) -> bytes:
        """One line, with its line feed. Raises MalformedResponse, OSError."""
        while (end := self._buffer.find(b"\n") + 1) == 0:
            if len(self._buffer) > longest:
                raise MalformedResponse("chunk")
            self._receive(MalformedResponse("half_an_answer"))
        if end > longest:
            raise MalformedResponse("chunk")
        return self._take(end)

    def some(self, most: int) -> bytes:
        """The bytes that have arrived; blocks for the first byte only; empty at the end. Raises OSError."""
        return self._take(most) if self._buffer else bytes(self._socket.recv(min(most, CHUNK)))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _receive(self, at_end: Exception) -> None:
        received = self._socket.recv(CHUNK)
        if not received:
            raise at_end
        self._buffer += received


class StrictResponse:
    """A connection's `response_class`: http.client's interface of a response, with streamed content.

    It never marks the connection as closed: the pool closes it when the content was read.
    """

    will_close = False
    head: Head

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        self._source = SocketReader(sock)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)
        self._method = method or "GET"
        self._closed = False
        self._ended = False

    def begin(self) -> None:
        """Reads the head of the final response. Raises TimeoutError, MalformedResponse, OSError."""
        for _ in range(MOST_INTERIM):
            self.head = parse(self._source.head(self._deadline))
            if self.head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise MalformedResponse("another_protocol")
            if self.head.status >= HTTPStatus.OK:
                self.framing = framing(self.head, self._method)
                self._ended = self.framing.content is Content.NONE or self.framing.length == 0
                self._content = self._parts()
                return
        raise MalformedResponse("interim")

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another response now."""
        return self._ended and self.framing.persistent and not self._source.leftover

    def read(self) -> bytes:
        """The content that has arrived; blocks for the first byte only; empty at its end. Raises MalformedResponse for
        content that breaks off, TimeoutError, OSError."""
        return b"" if self._closed else next(self._content, b"")

    def close(self) -> None:
        self._closed = True

    def isclosed(self) -> bool:
        return self._closed

    def _parts(self) -> Iterator[bytes]:
        if self.framing.content is Content.LENGTH:
            yield from self._exactly(self.framing.length or 0)
        elif self.framing.content is Content.CHUNKED:
            yield from self._chunks()
        elif self.framing.content is Content.CLOSE:
            while part := self._source.some(CHUNK):
                yield part
        self._ended = True

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            part = self._source.some(min(left, CHUNK))
            if not part:
                raise MalformedResponse("half_an_answer")
            left -= len(part)
            self._ended = left == 0 and self.framing.content is Content.LENGTH
            yield part

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._exactly(size)
            if self._source.line(2) != b"\r\n":
                raise MalformedResponse("chunk")
        left = LONGEST_TRAILERS
        while (line := self._source.line(min(left, LONGEST_LINE))) not in (b"\r\n", b"\n"):
            left -= len(line)
            if left <= 0:
                raise MalformedResponse("trailers")

    def _chunk_size(self) -> int:
        size = _CHUNK_SIZE.fullmatch(self._source.line(LONGEST_LINE))
        if size is None:
            raise MalformedResponse("chunk")
        return int(size[1], 16)


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
