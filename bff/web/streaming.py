"""Body streaming with abortive close: a service's truncated body must not look complete to the client.

In HTTP/1.1 the missing last chunk, or the length, shows the truncation. In HTTP/1.0 a body without a length ends with
its connection (RFC 9112 section 6.3). So the worker resets the connection instead of closing it. nginx uses HTTP/1.0
towards the BFF by default.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from bff.http import ResponseTruncated, UpstreamResponse

_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: drops unsent bytes and sends a reset to the client."""


class StreamedBody:
    """The response iterable of a WSGI application (PEP 3333)."""

    def __init__(self, answer: UpstreamResponse, environ: Mapping[str, Any]) -> None:
        self._answer = answer
        self._socket = environ.get("gunicorn.socket")
        self._client = self._socket if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else None

    def __iter__(self) -> Iterator[bytes]:
        if stream := getattr(self._socket, "stream", None):  # bff/server/client_socket.py: send each part at once
            stream()
        try:
            yield from self._answer
        except ResponseTruncated:
            if self._client is not None:
                _reset(self._client)
            raise

    def __enter__(self) -> "StreamedBody":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._answer.close()


def _reset(client: Any) -> None:
    """Resets the connection before the server shuts it down in order; the server's own close then does no harm."""
    with suppress(OSError):
        client.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
        client.close()
