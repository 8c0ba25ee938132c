"""Message framing: refuses a request that two servers could read in two ways, before any other code sees it (RFC 9112).

A connection serves no other request after a body that was not read to its end. gunicorn refuses most ambiguous
requests, with either of its parsers: the one in C (requirements-fast.txt) where it is installed, else its own in
Python. These gaps remain:

- Both accept transfer codings that gunicorn does not undo, and a missing or impossible Host.
- Older parsers in C also accept folded lines, as a field without a name.
- gunicorn's reader of chunked bodies accepts overlong lines, and leaves a connection open after it has lost the start
  of the next request.
- Its reader of bodies with a length forgets the bytes it has read when a client stalls. It also takes the end of a
  connection for the end of the body. In either case gunicorn would read the client's later bytes as requests.

One unusual request is read, not refused: cookies that arrive in several fields.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import (
    InvalidChunkExtension,
    InvalidHeader,
    InvalidHTTPVersion,
    LimitRequestHeaders,
    NoMoreData,
    ObsoleteFolding,
    ParseException,
    UnsupportedTransferCoding,
)

from bff.server.arrival import LONGEST_BODY, LONGEST_LINE, LONGEST_TRAILERS, Arrival, ArrivalState

COOKIE, COOKIE_JOINT = "COOKIE", "; "
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")  # RFC 3986 section 3.2


def parser() -> str:
    """gunicorn's `http_parser`: "fast" where the extension that gunicorn needs for it is installed, else "python"."""
    try:
        import gunicorn_h1c
    except ImportError:
        return "python"
    return "fast" if hasattr(gunicorn_h1c, "LimitRequestLine") else "python"  # gunicorn refuses older ones: no limits


def check(request: Any) -> None:
    """request: gunicorn's, with its head read. Raises errors that gunicorn answers before it closes the connection."""
    if request.version > (1, 1):
        raise InvalidHTTPVersion("later than 1.1")
    fields = dict(request.headers)
    request.headers = with_one_cookie_field(request.headers)
    if "" in fields:
        raise ObsoleteFolding("a header field")
    host = fields.get("HOST")
    if host is None:
        if request.version >= (1, 1):
            raise InvalidHeader("No Host")
    elif not is_host(host):
        raise InvalidHeader("Invalid Host")
    if "TRANSFER-ENCODING" in fields:
        _check_coding(request)
        _read_by(StrictChunkedReader(request, request.unreader), request)
    elif length := _length(request):
        _read_by(StrictLengthReader(request, request.unreader, length), request)


def _length(request: Any) -> int:
    """The announced length of the body in bytes; 0 for HTTP/2 as well, since its frames have their own ends."""
    reader = getattr(request.body, "reader", None)
    return int(reader.length) if isinstance(reader, LengthReader) else 0


def _read_by(reader: Any, request: Any) -> None:
    """Replace the body's reader. gunicorn calls `should_close` when it writes the answer's head, and again before it
    reads another request."""
    request.body, of_gunicorn = Body(reader), request.should_close
    request.should_close = lambda: of_gunicorn() or not reader.whole


def with_one_cookie_field(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A proxy that speaks HTTP/2 in front and HTTP/1.1 behind may pass on several Cookie fields. RFC 9113 section
    8.2.3 joins them by a semicolon. gunicorn would join them by a comma, which is an ordinary character of a
    cookie's value."""
    values = [value for name, value in headers if name == COOKIE]
    if len(values) < 2:
        return headers
    return [(COOKIE, COOKIE_JOINT.join(values)), *[field for field in headers if field[0] != COOKIE]]


@lru_cache(maxsize=64)
def is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def _check_coding(request: Any) -> None:
    codings = [value.lower() for name, value in request.headers if name == "TRANSFER-ENCODING"]
    if codings != ["chunked"]:
        raise UnsupportedTransferCoding("other than chunked")


class StrictLengthReader(LengthReader):
    """A body of an announced length (Content-Length)."""

    def __init__(self, request: Any, unreader: Any, length: int) -> None:
        super().__init__(unreader, length)
        self.too_long = length > LONGEST_BODY
        self._request = request
        self._ask = ContinueSender(request)

    @property
    def whole(self) -> bool:
        """Whether nothing of it is still to come."""
        return bool(self.length <= _buffered(self.unreader))

    def read(self, size: int) -> bytes:
        """Between one and size bytes, empty at the body's end. Raises OSError."""
        size = min(self.length, size)
        if size <= 0:
            return b""
        data = self._arrived()
        self.unreader.unread(data[size:])
        self.length -= len(data[:size])
        return data[:size]

    def _arrived(self) -> bytes:
        try:
            self._ask(self.unreader)
            data = bytes(self.unreader.read())
        except OSError:
            self._request.force_close()
            raise
        if not data:
            self._request.force_close()
            raise ConnectionAbortedError("the body ended before its announced length")
        return data


class ContinueSender:
    """Sends 100 Continue once, before the first read of the body, to a client that expects it (RFC 9110 section
    10.1.1)."""

    def __init__(self, request: Any) -> None:
        expected = any(name == "EXPECT" and value.lower() == "100-continue" for name, value in request.headers)
        self._due = expected and request.version >= (1, 1)

    def __call__(self, unreader: Any) -> None:
        if self._due and not _buffered(unreader):
            unreader.sock.sendall(CONTINUE)
        self._due = False


class StrictChunkedReader(ChunkedReader):
    def __init__(self, request: Any, unreader: Any) -> None:
        super().__init__(request, unreader)
        self._ask = ContinueSender(request)
        arrival = Arrival.of_body(None)
        self.too_long = arrival.add(unreader.buf.getvalue()) is ArrivalState.LONG_BODY
        self._received = arrival.complete

    @property
    def whole(self) -> bool:
        """Whether nothing of it is still to come."""
        return self.parser is None or self._received

    def parse_chunked(self, unreader: Any) -> Iterator[bytes]:
        """gunicorn treats any other exception as an internal error, so every fault but a client's disconnect becomes
        NoMoreData."""
        try:
            self._ask(unreader)
            yield from super().parse_chunked(unreader)
        except (OSError, ParseException) as err:
            self.req.force_close()
            if isinstance(err, ConnectionError | TimeoutError | NoMoreData):
                raise
            raise NoMoreData from err

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> Any:
        line = self._until(b"\r\n", unreader, data or b"", LONGEST_LINE)
        if b"\n" in line[: line.index(b"\r\n")]:
            raise InvalidChunkExtension("bare LF not allowed")
        return super().parse_chunk_size(unreader, line)

    def parse_trailers(self, unreader: Any, data: bytes) -> Any:
        data = self._until(b"\r\n", unreader, data, LONGEST_TRAILERS)
        if not data.startswith(b"\r\n"):
            data = self._until(b"\r\n\r\n", unreader, data, LONGEST_TRAILERS)
        return super().parse_trailers(unreader, data)

    def _until(self, end: bytes, unreader: Any, data: bytes, most: int) -> bytes:
        """data and the bytes that arrive until it contains `end`. Raises NoMoreData, LimitRequestHeaders."""
        while end not in data:
            if len(data) > most:
                raise LimitRequestHeaders("a line of a chunked body")
            more = unreader.read()
            if not more:
                raise NoMoreData(data)
            data += more
        return data


def _buffered(unreader: Any) -> int:
    return int(unreader.buf.getbuffer().nbytes)
