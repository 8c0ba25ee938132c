"""A request that two servers could read in two ways is refused before anything else looks at it (RFC 9112).

gunicorn refuses most of these, whichever of its parsers reads the head: the one in C (requirements-fast.txt), where
that is installed, else its own in Python. Both let pass transfer codings that are not undone here, and a missing or
impossible Host; older ones in C also folded lines, as a field without a name. Its reader of chunked bodies keeps lines
longer than any that is meant, and leaves a connection open on which the next request's beginning is lost.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from gunicorn.http.body import Body, ChunkedReader
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

LONGEST_LINE = 1024
LONGEST_TRAILERS = 16 * 1024

_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")  # RFC 3986 section 3.2


def parser() -> str:
    """gunicorn's `http_parser`: "fast" where the extension is installed that gunicorn needs for it, else "python"."""
    try:
        import gunicorn_h1c
    except ImportError:
        return "python"
    return "fast" if hasattr(gunicorn_h1c, "LimitRequestLine") else "python"  # gunicorn refuses older ones: no limits


def check(request: Any) -> None:
    """request: gunicorn's, whose head was read. Raises errors that gunicorn answers, and closes the connection."""
    if request.version > (1, 1):
        raise InvalidHTTPVersion("later than 1.1")
    fields = dict(request.headers)
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
        request.body = Body(Chunks(request, request.unreader))


@lru_cache(maxsize=64)
def is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def _check_coding(request: Any) -> None:
    codings = [value.lower() for name, value in request.headers if name == "TRANSFER-ENCODING"]
    if codings != ["chunked"]:
        raise UnsupportedTransferCoding("other than chunked")


class Chunks(ChunkedReader):
    def parse_chunked(self, unreader: Any) -> Iterator[bytes]:
        """To gunicorn any fault is an error of its own, unless it is that of a client who went away."""
        try:
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
        """data, and what arrives until it holds `end`. Raises NoMoreData, LimitRequestHeaders."""
        while end not in data:
            if len(data) > most:
                raise LimitRequestHeaders("a line of a chunked body")
            more = unreader.read()
            if not more:
                raise NoMoreData(data)
            data += more
        return data
