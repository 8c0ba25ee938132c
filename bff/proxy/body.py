"""Streams a request's body to a service: as it arrives, within its limit, and never half of it as a whole."""

from collections.abc import Iterator
from typing import Any

from bff.errors import BadRequest, BodyTooLarge, ClientGone

SMALL = 64 * 1024
"""Bytes of a body that is kept for a retry. Larger ones are passed on and not kept."""


class RequestBody:
    """Readable once, chunk by chunk, or as a `whole` first."""

    def __init__(self, stream: Any, length: int | None, limit: int) -> None:
        """stream: `wsgi.input` (PEP 3333) of a server that ends it with the body. length: bytes, None when the body is
        chunked. limit: bytes. Raises BodyTooLarge."""
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
        """The bytes that have arrived; blocks for the first byte only."""
        most = SMALL if self.length is None else min(SMALL, self.length - received)
        try:
            return _read_some(self._stream, most) if most else b""
        except (ConnectionError, TimeoutError) as err:
            raise ClientGone from err
        except Exception as err:  # gunicorn's own, for a body that is not HTTP
            raise BadRequest("The body cannot be read.") from err


def _read_some(stream: Any, most: int) -> bytes:
    """Reads without waiting for `most` bytes, as gunicorn's `read` would. Its reader returns the first byte when data
    arrives and buffers the rest, so the buffer's size is then readable without blocking."""
    reader = getattr(stream, "reader", None)
    if reader is None or stream.buf.tell():
        return bytes(stream.read(most))
    first: bytes = reader.read(1)
    buffered = _buffered(reader)
    return first + reader.read(min(buffered, most - 1)) if first and buffered and most > 1 else first


def _buffered(reader: Any) -> int:
    source = reader if hasattr(reader, "buf") else reader.unreader
    return int(source.buf.getbuffer().nbytes)
