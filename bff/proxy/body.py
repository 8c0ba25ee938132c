"""The body of a request on its way to a service: as it arrives, no more than is allowed, and never half of it."""

from collections.abc import Iterator
from typing import Any

from bff.errors import BadRequest, BodyTooLarge, ClientGone

SMALL = 64 * 1024
"""Bytes of a body that is kept, so that it can be sent again. Larger ones are passed on and forgotten."""


class RequestBody:
    """Iterate over it once, or take it `whole` first."""

    def __init__(self, stream: Any, length: int | None, limit: int) -> None:
        """stream: `wsgi.input` (PEP 3333) of a server that ends it where the body ends. length: bytes, None when the
        body is chunked. limit: bytes. Raises BodyTooLarge."""
        if length is not None and length > limit:
            raise BodyTooLarge(f"At most {limit} bytes are taken.")
        self.length = length
        self._stream = stream
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        """Raises BodyTooLarge, ClientGone, BadRequest."""
        received = 0
        while chunk := self._arrived(received):
            received += len(chunk)
            if received > self._limit:
                raise BodyTooLarge(f"At most {self._limit} bytes are taken.")
            yield chunk
        if self.length is not None and received < self.length:
            raise ClientGone("The body ended before its announced length.")

    def whole(self) -> bytes:
        return b"".join(self)

    def _arrived(self, received: int) -> bytes:
        """What is there, waiting for the first byte of it only."""
        most = SMALL if self.length is None else min(SMALL, self.length - received)
        try:
            return _read_some(self._stream, most) if most else b""
        except (ConnectionError, TimeoutError) as err:
            raise ClientGone from err
        except Exception as err:  # the server's own, for a body that is no HTTP
            raise BadRequest("The body cannot be read.") from err


def _read_some(stream: Any, most: int) -> bytes:
    """gunicorn reads until it has as much as was wanted. Its reader hands over the first byte when something arrived,
    and has the rest of that in a buffer, whose size then can be read without waiting."""
    reader = getattr(stream, "reader", None)
    if reader is None or stream.buf.tell():
        return bytes(stream.read(most))
    first: bytes = reader.read(1)
    buffered = _buffered(reader)
    return first + reader.read(min(buffered, most - 1)) if first and buffered and most > 1 else first


def _buffered(reader: Any) -> int:
    source = reader if hasattr(reader, "buf") else reader.unreader
    return int(source.buf.getbuffer().nbytes)
