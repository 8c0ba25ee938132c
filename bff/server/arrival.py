"""Incremental framing: how much of a connection's next request has arrived (RFC 9112 section 6).

The workers read until a request is whole, so that a slow client holds no thread. This module judges no request: an
unusual one counts as whole as soon as gunicorn and bff/server/framing.py can refuse it without more bytes.
"""

import re
from enum import Enum

LONGEST_LINE = 1024
LONGEST_TRAILERS = 16 * 1024
"""Bytes of a line of a chunked body, and of all lines behind its last chunk."""

LONGEST_BODY = 64 * 1024
"""Bytes of a body that a worker receives before it calls the application. The BFF's own endpoints accept no longer
one."""

LONGEST_HEAD = 64 * 1024
"""Bytes that may arrive before a request's head is there. gunicorn would wait for twelve times as many."""

_LONGEST_START = 8192  # of a request line; gunicorn takes half of it
_LONGEST_CODED = LONGEST_BODY + LONGEST_TRAILERS  # bytes of a chunked body, with its sizes and trailers

_START = re.compile(rb"[ -~]*(?:\r?\n|\r?\Z)")  # a request line or its start; gunicorn refuses any other at once
_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r?\n")  # gunicorn may wait for more of any other
_ENDED = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]:[ \t]*([0-9]{1,18})[ \t]*\r?(?=\n)")
_CODED = re.compile(rb"\ntransfer-encoding:[ \t]*chunked[ \t]*\r?\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\nexpect:[ \t]*100-continue[ \t]*\r?\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;.*)?")


class ArrivalState(Enum):
    HEAD = "the head is not there yet"
    BODY = "the body is not there yet"
    WHOLE = "there is nothing to wait for"
    BAD_HEAD = "there is no head within LONGEST_HEAD, or it is none of HTTP/1; nothing more is to be read"
    LONG_BODY = "the body is longer than LONGEST_BODY"


class Arrival:
    """One arriving request. data: its bytes, and those that arrived behind it. asked: whether the worker has made
    sure that the client sends the body."""

    __slots__ = ("_begin", "_body", "_chunks", "_looked", "asked", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self.asked = False
        self._begin = 0  # where the request line begins
        self._looked = 0  # where the search for the head's end continues
        self._body: int | None = None  # where the body ends, if known
        self._chunks: ChunkedBody | None = None

    @classmethod
    def of_body(cls, length: int | None) -> "Arrival":
        """For a request after its head was read. length: of its body, None when that is chunked."""
        arrival = cls()
        arrival._body, arrival._chunks = length, ChunkedBody(0) if length is None else None
        return arrival

    @property
    def complete(self) -> bool:
        """Whether a chunked body has arrived to its very end; an unusual one may not have."""
        return self._chunks is not None and self._chunks.complete

    @property
    def in_body(self) -> bool:
        return self._body is not None or self._chunks is not None

    @property
    def waits_to_continue(self) -> bool:
        """Whether the client waits for a 100 Continue before it sends the body (RFC 9110 section 10.1.1)."""
        return _CONTINUE.search(self.data) is not None

    def add(self, data: bytes) -> ArrivalState:
        self.data += data
        if not self.in_body:
            if len(self.data) < 2 and not self.data.strip(b"\r"):
                return ArrivalState.HEAD
            if not self._looked and self.data.startswith(b"\r\n"):
                self._begin = self._looked = 2  # gunicorn skips one empty line (RFC 9112 section 2.2)
            state = self._head()
            if state is not None:
                return state
        return self._body_state()

    def _head(self) -> ArrivalState | None:
        """None when the head is complete and a body belongs to it."""
        ended = _ENDED.search(self.data, max(self._begin, self._looked - 2))
        if ended is not None:
            return self._expect_body(ended.end())
        in_first_line = self.data.find(b"\n", self._begin, self._looked) < 0
        self._looked = len(self.data)
        if in_first_line and _START.match(self.data, self._begin) is None:
            return ArrivalState.BAD_HEAD
        longest = LONGEST_HEAD if self.data.find(b"\n", self._begin) >= 0 else _LONGEST_START
        return ArrivalState.HEAD if len(self.data) <= longest else ArrivalState.BAD_HEAD

    def _expect_body(self, start: int) -> ArrivalState | None:
        head = bytes(self.data[:start])
        if _LINE.match(head, self._begin) is None or not head.endswith(b"\r\n\r\n"):
            return ArrivalState.BAD_HEAD
        lengths = _LENGTH.findall(head)
        if b"\ntransfer-encoding" in head.lower():
            if lengths or not _CODED.search(head):
                return ArrivalState.WHOLE
            self._chunks = ChunkedBody(start)
        elif len(lengths) == 1 and int(lengths[0]):
            if int(lengths[0]) > LONGEST_BODY:
                return ArrivalState.LONG_BODY
            self._body = start + int(lengths[0])
        else:
            return ArrivalState.WHOLE
        return None

    def _body_state(self) -> ArrivalState:
        if self._chunks is not None:
            return self._chunks.state(self.data)
        return ArrivalState.WHOLE if self._body is None or len(self.data) >= self._body else ArrivalState.BODY


class ChunkedBody:
    """Finds the end of a chunked body (RFC 9112 section 7.1). Looks at each byte about once, however the bytes
    arrive."""

    __slots__ = ("_at", "_start", "_trailers", "complete")

    def __init__(self, start: int) -> None:
        self.complete = False
        self._start = start
        self._at = start  # where the next line begins
        self._trailers = False

    def state(self, data: bytearray) -> ArrivalState:
        while not self._trailers:
            if self._at - self._start > LONGEST_BODY:
                return ArrivalState.LONG_BODY
            end = data.find(b"\r\n", self._at)
            if end < 0:
                return self._unfinished(data, LONGEST_LINE)
            size = _SIZE.fullmatch(data, self._at, end)
            if size is None:
                return ArrivalState.WHOLE
            self._at = end + 2
            self._trailers = not int(size[1], 16)
            if not self._trailers:
                self._at += int(size[1], 16) + 2
        if data[self._at : self._at + 2] == b"\r\n" or data.find(b"\r\n\r\n", self._at) >= 0:
            self.complete = True
            return ArrivalState.WHOLE
        return self._unfinished(data, LONGEST_TRAILERS)

    def _unfinished(self, data: bytearray, longest: int) -> ArrivalState:
        if len(data) - self._at > longest:  # bff/server/framing.py refuses it
            return ArrivalState.WHOLE
        return ArrivalState.BODY if len(data) - self._start <= _LONGEST_CODED else ArrivalState.LONG_BODY
