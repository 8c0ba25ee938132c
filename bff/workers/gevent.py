"""gunicorn's gevent worker, made to leave when told to, to answer at once what memory can answer, and to be fair.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some. Here each has a tenth of a second for one more request. From then on nothing is
received on it, so that its greenlet finds the end of it, behind whatever has arrived.

As it comes, too, a timer is set and taken back for every request, and who always has its next request ready keeps
everybody else waiting. Here all connections are looked through once a second, each lets the others go first after an
answer, and a question of a reverse proxy is answered without gunicorn (`bff/workers/question.py`).
"""

import contextlib
import socket
import time
from typing import Any, NamedTuple

import gevent
from gunicorn.workers.ggevent import GeventWorker

from bff.workers import PARTING_MS, STALLED
from bff.workers.at_once import AtOnce
from bff.workers.question import LONGEST

_READ = 1  # libev's
_BODY = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING"})


class Connection:
    """until: when it is closed, on the monotonic clock, unless a whole request comes; None while one is answered.
    idle: whether nothing of a request has come."""

    __slots__ = ("idle", "sock", "until", "watcher")

    def __init__(self, sock: Any, until: float) -> None:
        self.sock = sock
        self.until: float | None = until
        self.idle = True
        self.watcher = gevent.get_hub().loop.io(sock.fileno(), _READ)

    def wait(self) -> None:
        """Until there is something to read. Everybody else goes first."""
        self.idle = True
        gevent.get_hub().wait(self.watcher)
        self.idle = False


class Listener(NamedTuple):
    """Where a connection was accepted. The socket itself may be closed before the first request comes."""

    name: Any

    def getsockname(self) -> Any:
        return self.name


class Worker(AtOnce, GeventWorker):
    _untimed = contextlib.nullcontext()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Connection] = {}
        self._closes: float | None = None  # when a worker that leaves closes idle ones, on the monotonic clock

    def timeout_ctx(self) -> Any:
        """What gunicorn waits in for a request: `_close_late` sees to it."""
        return super().timeout_ctx() if self.gunicorns else self._untimed

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer the requests of a connection; in its greenlet."""
        if self.gunicorns:
            super().handle(listener, client, addr)
            return
        name = listener.getsockname()
        connection = self._connections[client] = Connection(client, self._latest())
        try:
            connection.wait()
            super().handle(Listener(name), client, addr)
        finally:
            del self._connections[client]
            connection.watcher.close()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, and what follows it for as long as memory can; gunicorn finds what it cannot, unread.

        Raises StopIteration where the connection ends.
        """
        connection = self._connections.get(sock)
        if connection is None:
            super().handle_request(listener_name, req, sock, addr)
            return
        connection.until = None
        sock.settimeout(STALLED)
        super().handle_request(listener_name, req, sock, addr)
        sock.settimeout(None)
        connection.until = self._latest()
        if _is_whole(req):
            self._follow(connection, req.unreader, listener_name, addr)

    def _follow(self, connection: Connection, unreader: Any, server: Any, client: Any) -> None:
        connection.sock.settimeout(STALLED)
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
        """Called by gunicorn once a second, until the worker is gone."""
        super().notify()
        if not self.alive and self._closes is None:
            self._closes = time.monotonic() + PARTING_MS / 1000
            gevent.spawn_later(PARTING_MS / 1000, self._close_late)
        self._close_late()

    def _latest(self) -> float:
        return time.monotonic() + float(self.cfg.keepalive)

    def _close_late(self) -> None:
        now = time.monotonic()
        leaving = self._closes is not None and now >= self._closes
        for connection in self._connections.values():
            if connection.until is not None and (now >= connection.until or (leaving and connection.idle)):
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RD)


def _is_whole(request: Any) -> bool:
    """Whether all of an answered request was read, and nothing of the next."""
    if not _BODY.isdisjoint(name for name, _ in request.headers):
        while request.body.read(LONGEST):
            pass
    return not request.unreader.buf.getbuffer().nbytes
