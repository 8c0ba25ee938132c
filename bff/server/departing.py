"""Write-behind and lingering close in a threaded worker: the poller sends unsent answers and closes connections.

All of it runs in the main thread.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from bff.server.client_socket import received
from bff.server.limits import LINGER_BYTES, LINGER_TIMEOUT, SEND_BUDGET, SEND_TIMEOUT
from bff.server.waiting import Waiting

_BLOCK = 64 * 1024


class Departing:
    """Mix-in: a worker inherits it before gunicorn's own class."""

    gunicorns: bool
    keepalived_conns: deque[Any]
    nr_conns: int
    poller: selectors.BaseSelector
    on_client_socket_readable: Callable[[Any, Any], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending = Waiting(SEND_TIMEOUT, SEND_BUDGET)
        self._hung_up = Waiting(LINGER_TIMEOUT)  # closed by the worker; holds the number of bytes that arrived since

    def _advance(self, conn: Any, arrived: bytes, *, ended: bool) -> None:
        raise NotImplementedError

    def _forget_late(self, now: float) -> None:
        for waiting in (self._sending, self._hung_up):
            for connection in waiting.due(now):
                self._forget(connection, waiting)

    def _watch(self, conn: Any, among: deque[Any], readable: Callable[[Any, Any], None]) -> None:
        conn.sock.setblocking(False)
        conn.set_timeout()
        among.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(readable, conn))

    def _go_on(self, conn: Any, *, keep: bool) -> None:
        """In the main thread, after its request was answered. Raises OSError if the client has disconnected."""
        if unsent := getattr(conn.sock, "unsent", b""):
            conn.sock.setblocking(False)
            self._sending.hold(conn, len(unsent), time.monotonic())
            self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._writable, conn, keep))
        elif keep:
            self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)
            if not self.gunicorns and conn.parser.unreader.buf.getbuffer().nbytes:
                self._advance(conn, b"", ended=False)
        else:
            self._lingering_close(conn)

    def _writable(self, conn: Any, keep: bool, _client: Any) -> None:
        """In the main thread: the client can accept more of an answer that no thread waits for."""
        try:
            if conn.sock.flush():
                self._sending.end(conn)
                self.poller.unregister(conn.sock)
                self._go_on(conn, keep=keep)
        except OSError:
            self._forget(conn, self._sending)

    def _lingering_close(self, conn: Any) -> None:
        """Lingering close: shut down the sending side, then read on until the client closes (RFC 9112 section 9.6).
        If the worker closed with unread bytes, the kernel would reset the connection and discard the undelivered
        answer. Raises OSError if the client has disconnected."""
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.setblocking(False)
        self._hung_up.hold(conn, 0, time.monotonic())
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))

    def _drain(self, conn: Any, client: Any) -> None:
        """In the main thread: bytes arrived on a connection that the worker has closed."""
        data = received(conn.sock, _BLOCK)
        size = self._hung_up.held(conn) + len(data or b"")
        self._hung_up.hold(conn, size, time.monotonic())
        if data == b"" or size > LINGER_BYTES:
            self._forget(conn, self._hung_up)

    def _forget(self, conn: Any, waiting: Waiting) -> None:
        waiting.end(conn)
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()
