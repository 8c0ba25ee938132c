"""A service's body on its way to the client, so that one which breaks off does not look complete.

In HTTP/1.1 its missing last chunk, or its length, tells the client. In HTTP/1.0, which nginx speaks to what is behind
it unless told otherwise, a body without a length ends where its connection does (RFC 9112 section 6.3), so that there a
connection has to be broken instead of closed.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from bff.http import ResponseTruncated, UpstreamResponse

_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: what has not been sent is dropped, and the other side gets a reset."""


class StreamedBody:
    """What a WSGI server iterates over and closes (PEP 3333)."""

    def __init__(self, answer: UpstreamResponse, environ: Mapping[str, Any]) -> None:
        self._answer = answer
        self._socket = environ.get("gunicorn.socket")
        self._client = self._socket if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else None

    def __iter__(self) -> Iterator[bytes]:
        if stream := getattr(self._socket, "stream", None):  # bff/server/client_socket.py: sent as it comes
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
    """The server closes it as well, which does no harm, but only after it has said a proper farewell."""
    with suppress(OSError):
        client.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
        client.close()
