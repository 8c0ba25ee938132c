"""Connection pool of one service, for the API proxy.

urllib3's own pool rewrites the request target (the hex digits of `%2f`), and a proxy must send the authorised bytes.
urllib3's connections send it unchanged; `StrictResponse` reads the answers.
"""

import http.client
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from urllib3.connection import HTTPConnection, HTTPSConnection

from bff.http.response import StrictResponse

MOST_IDLE = 64
IDLE_LIFE = 2.0
"""Seconds an idle connection is trusted. Many servers close theirs after five, gunicorn after two."""

_BLOCK = 64 * 1024
_OPTIONS = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class _Strict(HTTPConnection):
    response_class: Any = StrictResponse

    def getresponse(self) -> Any:
        """http.client's method; urllib3's would wrap the response in a lenient one of its own."""
        return http.client.HTTPConnection.getresponse(self)


class _StrictTls(HTTPSConnection, _Strict):
    """TLS from HTTPSConnection, responses from _Strict."""


class ConnectionPool:
    def __init__(
        self, origin: SplitResult, *, ca_file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """ca_file: the service's certificate authorities, None for those that the machine trusts."""
        self._origin = origin
        self._ca_file = ca_file
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._idle: deque[tuple[HTTPConnection, float]] = deque(maxlen=MOST_IDLE)
        self._changing = threading.Lock()

    def acquire(self) -> HTTPConnection | None:
        """The idle connection that was used last and is still open; None without one."""
        while True:
            with self._changing:
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            if self._clock() - since < IDLE_LIFE and connection.is_connected:
                return connection
            connection.close()

    def open(self, timeout: float) -> HTTPConnection:
        """Opens a new connection. Raises OSError, and urllib3's errors around it."""
        connection = self._new(timeout)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self, connection: HTTPConnection) -> None:
        """Returns a connection to the pool. Its last answer must have been read to the end."""
        with self._changing:
            surplus = self._idle.popleft()[0] if len(self._idle) == MOST_IDLE else None
            self._idle.append((connection, self._clock()))
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        with self._changing:
            idle, self._idle = self._idle, deque(maxlen=MOST_IDLE)
        for connection, _ in idle:
            connection.close()

    def _new(self, timeout: float) -> HTTPConnection:
        host, port = self._origin.hostname or "", self._origin.port
        if self._origin.scheme == "http":
            return _Strict(host, port, timeout=timeout, blocksize=_BLOCK, socket_options=_OPTIONS)
        return _StrictTls(
            host, port, timeout=timeout, blocksize=_BLOCK, socket_options=_OPTIONS, ssl_context=self._context()
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        return self._tls
