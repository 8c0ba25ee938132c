"""gunicorn's gevent worker with draining, lingering close, inline verify and fair scheduling of connections.

**Draining.** gunicorn's worker waits for idle keep-alive connections until `graceful_timeout` is over, and a reverse
proxy always holds some. This worker gives each 100 ms for one more request. Then it shuts down the receiving side, so
that the connection's greenlet reads the bytes that have arrived, and then the end.

**Lingering close.** gunicorn closes a connection while its client still sends, and the client loses the answer. This
worker closes with a delay, and receives a body before it calls the application (bff/server/arrival.py).

**Scheduling.** gunicorn sets and cancels a timer for every request, and one client that always has its next request
ready starves all others. This worker checks all connections once a second, and each greenlet yields after an answer. A
reverse proxy's auth check is answered without gunicorn (`bff/server/fast_http.py`).
"""

import contextlib
import socket
import time
from functools import partial
from typing import Any, NamedTuple

import gevent
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from bff.errors import RequestTimeout
from bff.server import draining, framing
from bff.server.arrival import LONGEST_BODY, Arrival, ArrivalState
from bff.server.fast_http import LONGEST
from bff.server.inline_verify import InlineVerify
from bff.server.limits import (
    DRAIN_MS,
    LEAVING,
    LINGER_BYTES,
    LINGER_TIMEOUT,
    RECEIVE_BUDGET,
    RECEIVE_TIMEOUT,
    STALL_TIMEOUT,
    UNUSED,
)
from bff.server.waiting import Waiting

_READ = 1  # libev's
_BLOCK = 64 * 1024
_BODY = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING"})


class GeventConnection:
    """until: monotonic time at which the worker closes it unless a whole request has arrived; None while a request
    is answered. idle: whether no byte of the next request has arrived. used: whether one of any request has."""

    __slots__ = ("idle", "sock", "until", "used", "watcher")

    def __init__(self, sock: Any, until: float) -> None:
        self.sock = sock
        self.until: float | None = until
        self.idle = True
        self.used = False
        self.watcher = gevent.get_hub().loop.io(sock.fileno(), _READ)

    def wait(self) -> None:
        """Wait until there are bytes to read. All other greenlets run first."""
        self.idle = True
        gevent.get_hub().wait(self.watcher)
        self.idle, self.used = False, True
        self.until = time.monotonic() + RECEIVE_TIMEOUT


class ClosedListener(NamedTuple):
    """The listener's name. The socket itself may be closed before the connection's first request arrives."""

    name: Any

    def getsockname(self) -> Any:
        return self.name


class DrainingServer(StreamServer):
    def close(self) -> None:
        """Accept the waiting connections first if the instance is draining: the kernel resets them when their
        listener closes. Otherwise new workers accept them."""
        while draining.begun() and not (self.closed or self.full()) and (arrived := self.do_read()):
            self.do_handle(*arrived)
        super().close()


class BffGeventWorker(InlineVerify, GeventWorker):
    _untimed = contextlib.nullcontext()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, GeventConnection] = {}
        self._receiving = Waiting(RECEIVE_TIMEOUT, RECEIVE_BUDGET)
        self._closes: float | None = None  # monotonic time at which a leaving worker closes idle ones

    def server_class(self, listener: Any, *, spawn: Any, **_others: Any) -> DrainingServer:
        """gunicorn calls it to build the server of each listener."""
        named = ClosedListener(listener.getsockname())
        server = DrainingServer(listener, handle=partial(self.handle, named), spawn=spawn)
        if self.cfg.workers > 1:
            server.max_accept = 1
        return server

    def timeout_ctx(self) -> Any:
        """The time limit in which gunicorn waits for a request: none, since `_close_late` enforces it."""
        return super().timeout_ctx() if self.gunicorns else self._untimed

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer the requests of a connection, in its greenlet."""
        if self.gunicorns:
            super().handle(listener, client, addr)
            return
        name = listener.getsockname()
        connection = self._connections[client] = GeventConnection(client, self._latest())
        try:
            connection.wait()
            super().handle(ClosedListener(name), client, addr)
        finally:
            del self._connections[client]
            connection.watcher.close()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, and then the following ones from memory. The first that memory cannot answer is left unread
        for gunicorn.

        Raises StopIteration where the connection ends.
        """
        connection = self._connections.get(sock)
        if connection is None:
            super().handle_request(listener_name, req, sock, addr)
            return
        connection.until = None
        sock.settimeout(STALL_TIMEOUT)
        req._expected_100_continue = False  # bff/server/framing.py sends 100 Continue when the body is read
        if not self._received(connection, req):
            self._refuse(req, sock)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:
            _linger(sock)
            raise
        sock.settimeout(None)
        connection.until = self._latest()
        if _is_whole(req):
            self._follow(connection, req.unreader, listener_name, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        super().handle_error(req, client, addr, exc)
        if not self.gunicorns:
            _linger(client)

    def _received(self, connection: GeventConnection, request: Any) -> bool:
        """Whether the body has arrived, or is too long to wait for. Bytes that drip in do not extend its time."""
        arrival = _arrival(request)
        if arrival is None or self.streams(request.method, request.uri):
            return True
        state = arrival.add(request.unreader.take_buffered())
        if state is ArrivalState.BODY and _waits_to_continue(request):
            connection.sock.sendall(framing.CONTINUE)
        try:
            while state is ArrivalState.BODY:
                data = self._more(connection, len(arrival.data))
                if not data:
                    return connection in self._receiving  # else its time is over
                state = arrival.add(data)
        finally:
            self._receiving.end(connection)
            request.unreader.unread(bytes(arrival.data))
        connection.sock.settimeout(STALL_TIMEOUT)
        return True

    def _more(self, connection: GeventConnection, size: int) -> bytes:
        """More bytes of a body, of which size bytes have arrived; empty at its end, or when its time is over."""
        now = time.monotonic()
        self._receiving.hold(connection, size, now)
        connection.sock.settimeout(max(self._receiving.until(connection) - now, 0.001))
        try:
            return bytes(connection.sock.recv(LONGEST))
        except OSError:  # too late, or `_close_late` took the socket from its reader
            self._receiving.end(connection)
            return b""

    def _refuse(self, request: Any, sock: Any) -> None:
        """Answer 408 and close. Raises StopIteration."""
        answer = self.refusal(RequestTimeout(), request.method, request.uri)
        sock.settimeout(STALL_TIMEOUT)
        sock.sendall(answer.data)
        self.note(answer)
        _linger(sock)
        raise StopIteration

    def _follow(self, connection: GeventConnection, unreader: Any, server: Any, client: Any) -> None:
        connection.sock.settimeout(STALL_TIMEOUT)
        while True:
            connection.wait()
            data = connection.sock.recv(LONGEST)
            if not data:
                raise StopIteration
            answer = self.answer(data, client, server) if self.verify is not None else None
            if answer is None:
                unreader.unread(data)
                connection.sock.settimeout(None)
                return
            try:
                connection.sock.sendall(answer.data)
            except TimeoutError:
                answer.closes = True
            self.note(answer)
            if answer.closes:
                raise StopIteration
            connection.until = self._latest()

    def notify(self) -> None:
        """gunicorn calls it once a second until the worker has exited."""
        super().notify()
        if not self.alive and self._closes is None:
            self._closes = time.monotonic() + DRAIN_MS / 1000
            for more in (0, UNUSED):
                gevent.spawn_later(DRAIN_MS / 1000 + more, self._close_late)
        self._close_late()

    def _latest(self) -> float:
        return time.monotonic() + float(self.cfg.keepalive)

    def _close_late(self) -> None:
        now = time.monotonic()
        for connection in self._receiving.due(now if self.alive else now + RECEIVE_TIMEOUT - LEAVING):
            self._receiving.end(connection)
            _read_no_more(connection.sock)
        for connection in self._connections.values():
            if connection.until is not None and (now >= connection.until or self._has_left(connection, now)):
                _read_no_more(connection.sock)

    def _has_left(self, connection: GeventConnection, now: float) -> bool:
        """Whether a leaving worker closes the connection now."""
        if self._closes is None or not connection.idle:
            return False
        return now >= self._closes + (0 if connection.used else UNUSED)


def _read_no_more(sock: Any) -> None:
    """Shut down the receiving side: the reading greenlet gets the bytes that have arrived, then the end."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)


def _arrival(request: Any) -> Arrival | None:
    """Tracks the request's body; None where the worker waits for none."""
    fields = dict(request.headers)
    if fields.get("TRANSFER-ENCODING", "").lower() == "chunked":
        return Arrival.of_body(None)
    length = int(fields.get("CONTENT-LENGTH", 0))
    return Arrival.of_body(length) if 0 < length <= LONGEST_BODY else None


def _waits_to_continue(request: Any) -> bool:
    return any(name == "EXPECT" for name, _ in request.headers) and request.version >= (1, 1)


def _is_whole(request: Any) -> bool:
    """Whether no byte of the next request was read together with the answered one."""
    if not _BODY.isdisjoint(name for name, _ in request.headers):
        while request.body.read(LONGEST):
            pass
    return not request.unreader.buf.getbuffer().nbytes


def _linger(sock: Any) -> None:
    """Lingering close (RFC 9112 section 9.6). If the worker closed with unread bytes, the kernel would reset the
    connection and discard an undelivered answer."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        deadline, left = time.monotonic() + LINGER_TIMEOUT, LINGER_BYTES
        while left > 0 and (remaining := deadline - time.monotonic()) > 0:
            sock.settimeout(remaining)
            data = sock.recv(_BLOCK)
            if not data:
                break
            left -= len(data)
