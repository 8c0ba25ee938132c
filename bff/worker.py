"""gunicorn's threaded worker, made to leave when told to, to answer at once what it can, and to forget no request.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some; and it closes at once those on which it has just answered, as if no request could be
on its way. Here all of them have a tenth of a second for one more.

As it comes, too, each request goes to a thread of the pool and its connection back to the main thread: two hand-overs
and a wake-up through a pipe, which cost more than a verify; and the threads wait for one another at each system call,
since only one of them may run Python. So the main thread answers itself what needs nobody else (`Verify.at_once`).
While a thread works on anything longer, that one would make the main thread wait, and not only with one request: then
each request gets a thread, which stays with its connection a moment, as a reverse proxy soon sends its next request on
it.

As it comes, last, a request that was read together with the end of an unread body before it is left in the buffer, and
its client without an answer until the connection is closed: the main thread waits for what has arrived already.
"""

import re
import select
import selectors
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 1
"""How long a thread with nothing else to do stays with a connection after an answer."""

SCRAPE = "/metrics"
"""Takes a thread a few milliseconds, so that the main thread goes on answering meanwhile."""

PARTING_MS = 100
"""How long a worker that leaves still answers on connections that their clients believe to be kept."""

MOST_AT_ONCE = 8192
"""Bytes of a request that the main thread answers; a proxy's question is shorter."""

_REQUEST_LINE = re.compile(rb"(?:GET|HEAD) ([!->@-~]+)")
_END = b"\r\n\r\n"
_MORE = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING", "EXPECT", "UPGRADE"})


class Threads(ThreadPoolExecutor):
    @property
    def wanted(self) -> bool:
        """Whether work waits for a thread."""
        return self._work_queue.qsize() > 0


class Settled:
    """gunicorn's settings, which it looks up some twenty times for a request: each is looked up once."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._settings, name)
        return value


class Worker(ThreadWorker):
    alive: bool
    cfg: Any
    tpool: Threads
    _closes = 0.0  # when a worker that leaves closes idle connections, on the monotonic clock
    _longer = 0  # threads that work on something longer than a verify
    _verify: Any = None  # the app's, when it is the BFF

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cfg = Settled(self.cfg)
        self._counting = threading.Lock()

    def get_thread_pool(self) -> Threads:
        return Threads(max_workers=self.cfg.threads)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._verify = getattr(self.wsgi, "extensions", {}).get("bff_verify")

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """In the main thread: something arrived on a connection that was idle."""
        if not (self._may_answer(conn) and self._answered(conn)):
            super().on_client_socket_readable(conn, client)

    def handle(self, conn: Any) -> Any:
        """Answer the connection's requests for as long as one follows upon the other; in a thread of the pool."""
        keep = super().handle(conn)
        while keep is True and (_buffered(conn) or self._stays(conn)):
            keep = super().handle(conn)
        return keep

    def handle_request(self, req: Any, conn: Any) -> Any:
        if self._is_verify(req) or req.path == SCRAPE:
            return super().handle_request(req, conn)
        with self._counting:
            self._longer += 1
        try:
            return super().handle_request(req, conn)
        finally:
            with self._counting:
                self._longer -= 1

    def finish_request(self, conn: Any, fs: Any) -> None:
        """In the main thread: a thread has done with a connection."""
        if self.alive or fs.cancelled() or fs.exception() is not None or fs.result() is not True:
            super().finish_request(conn, fs)
            return
        conn.sock.setblocking(False)
        conn.set_timeout()
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn))

    def murder_keepalived(self) -> None:
        """Called by gunicorn's loop after every event."""
        if not self.alive:
            self._closes = self._closes or time.monotonic() + PARTING_MS / 1000
            for connection in self.keepalived_conns:
                connection.timeout = min(connection.timeout, self._closes)
        super().murder_keepalived()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, PARTING_MS / 1000))

    def _is_verify(self, req: Any) -> bool:
        return self._verify is not None and req.path in self._verify.paths

    def _stays(self, conn: Any) -> bool:
        """Whether the thread has the connection's next request; the main thread would answer a verify sooner."""
        if not self.alive:
            return _readable(conn.sock, PARTING_MS)
        if self.tpool.wanted or (not self._longer and self._is_verify(conn.parser.mesg)):
            return False
        return _readable(conn.sock, LINGER_MS)

    def _may_answer(self, conn: Any) -> bool:
        return not (self._verify is None or self._longer or conn.is_http2 or self.cfg.is_ssl or _buffered(conn))

    def _answered(self, conn: Any) -> bool:
        """Answer what arrived, in the main thread, if it is a whole request that needs nobody else.

        Nothing here waits: the socket does not block, and whoever leaves so many answers unread that no other has room
        is left.
        """
        unreader = conn.parser.unreader
        try:
            data = conn.sock.recv(MOST_AT_ONCE)
        except OSError:
            return False
        unreader.unread(data)
        if _path(data) not in self._verify.paths:
            return False
        begun = datetime.now()
        try:
            request = next(conn.parser)
            self.cfg.pre_request(self, request)
            response, environ = wsgi.create(request, conn.sock, conn.client, conn.server, self.cfg)
            body = None if _has_more(request) else self._verify.at_once(environ, response.start_response)
        except Exception:  # noqa: BLE001 - a thread meets it again, and answers
            body = None
        if body is None:
            unreader.take_buffered()
            unreader.unread(data)
            return False
        self._send(conn, response, body)
        self.log.access(response, request, environ, datetime.now() - begun)
        return True

    def _send(self, conn: Any, response: Any, body: Iterable[bytes]) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        try:
            for part in body:
                response.write(part)
            response.close()
        except OSError:
            response.force_close()
        self.keepalived_conns.remove(conn)
        if response.should_close():
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        else:
            conn.set_timeout()
            self.keepalived_conns.append(conn)


def _buffered(conn: Any) -> bool:
    """Whether the next request, or its beginning, was read already, behind a body that nobody wanted."""
    return bool(conn.parser.unreader.buf.getbuffer().nbytes)


def _readable(sock: Any, within_ms: int) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(within_ms))


def _path(data: bytes) -> str | None:
    """What the one request that data is asks for; None where data is more, or not all of it."""
    line = _REQUEST_LINE.match(data)
    return line[1].decode() if line and data.find(_END) == len(data) - len(_END) else None


def _has_more(request: Any) -> bool:
    """Whether more than its head belongs to a request."""
    return not _MORE.isdisjoint(name for name, _ in request.headers)
