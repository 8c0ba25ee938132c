"""gunicorn's threaded worker, made to leave when told to, to answer at once what it can, and to wait for nobody.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some; and it closes at once those on which it has just answered, as if no request could be
on its way. Here all of them have a tenth of a second for one more.

As it comes, too, each request goes to a thread of the pool and its connection back to the main thread: two hand-overs
and a wake-up through a pipe, which cost more than a verify; and the threads wait for one another at each system call,
since only one of them may run Python. So the main thread answers itself what needs nobody else (`Verify.at_once`).
While a thread works on anything longer, that one would make the main thread wait, and not only with one request: then
each request gets a thread, which stays with its connection a moment, as a reverse proxy soon sends its next request on
it.

As it comes, last, clients that are slow or silent hold up all others: one that says nothing yet has a thread for five
seconds, one that sends half a head for as long as it likes, and one that does not close a connection which has been
closed keeps the main thread for two seconds. Here the main thread reads until a request's head is there, and whoever
has not closed yet is left to the poller.
"""

import contextlib
import re
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from bff.workers import LONGEST_HEAD, PARTING_MS, STALLED
from bff.workers.at_once import AtOnce
from bff.workers.question import LONGEST

LINGER_MS = 1
"""How long a thread with nothing else to do stays with a connection after an answer."""

HANGING_UP = 2.0
"""Seconds that a client has to close a connection which has been closed from here."""

SCRAPE = "/metrics"
"""Takes a thread a few milliseconds, so that the main thread goes on answering meanwhile."""

_BEGUN = re.compile(rb"[ -~]*(?:\r?\n|\r?\Z)")
"""A request line, or its beginning. Whatever begins otherwise gunicorn need not read to its end to refuse it."""
_ENDED = re.compile(rb"\n\r?\n")


class Threads(ThreadPoolExecutor):
    @property
    def wanted(self) -> bool:
        """Whether work waits for a thread."""
        return self._work_queue.qsize() > 0


class Worker(AtOnce, ThreadWorker):
    tpool: Threads
    _closes = 0.0  # when a worker that leaves closes idle connections, on the monotonic clock
    _longer = 0  # threads that work on something longer than a verify

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counting = threading.Lock()
        self._hung_up: dict[Any, int] = {}  # connections closed from here, and how many bytes came afterwards

    def get_thread_pool(self) -> Threads:
        return Threads(max_workers=self.cfg.threads)

    def enqueue_req(self, conn: Any) -> None:
        """In the main thread: a connection is new, or has something to read for a thread."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
        elif self.gunicorns:
            self._watch(conn, self.pending_conns, self.on_pending_socket_readable)
        else:
            conn.init()
            self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """In the main thread: something arrived on a connection that no thread has."""
        if self.gunicorns or not self._dealt_with(conn):
            super().on_client_socket_readable(conn, client)

    def handle(self, conn: Any) -> Any:
        """Answer the connection's requests for as long as one follows upon the other; in a thread of the pool."""
        keep = super().handle(conn)
        while keep is True and self._follows(conn):
            keep = super().handle(conn)
        return keep

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.sock.settimeout(STALLED)
        if self.is_verify(req) or req.path == SCRAPE:
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
        try:
            if not fs.cancelled() and fs.exception() is None and fs.result() is True:
                self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)
            else:
                self._hang_up(conn)
        except OSError:  # it is gone
            self.nr_conns -= 1
            conn.close()

    def murder_keepalived(self, force: bool = False) -> None:
        """Called by gunicorn's loop after every event."""
        if not self.alive:
            self._closes = self._closes or time.monotonic() + PARTING_MS / 1000
            for connection in (*self.keepalived_conns, *self.pending_conns):
                connection.timeout = min(connection.timeout, self._closes)
        super().murder_keepalived(force)
        now = time.monotonic()
        for connection in [each for each in self._hung_up if each.timeout <= now]:
            self._forget(connection)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, PARTING_MS / 1000))

    def _watch(self, conn: Any, among: deque[Any], readable: Callable[[Any, Any], None]) -> None:
        conn.sock.setblocking(False)
        conn.set_timeout()
        among.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(readable, conn))

    def _hang_up(self, conn: Any) -> None:
        """Say that nothing more comes, and read on until the client has heard it (RFC 9112 section 9.6): the system
        would take back what it has not delivered yet, if the connection were closed with something left to read.
        Raises OSError for one that is gone."""
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HANGING_UP
        self._hung_up[conn] = 0
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._unheard, conn))

    def _unheard(self, conn: Any, client: Any) -> None:
        """In the main thread: something arrived on a connection that has been closed from here."""
        data = _received(conn.sock)
        self._hung_up[conn] += len(data or b"")
        if data == b"" or self._hung_up[conn] > LONGEST_HEAD:
            self._forget(conn)

    def _forget(self, conn: Any) -> None:
        del self._hung_up[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _follows(self, conn: Any) -> bool:
        """Whether the thread has the connection's next request, or its end; nobody waits for the rest of a head."""
        unreader = conn.parser.unreader
        if self.gunicorns:
            return bool(unreader.buf.getbuffer().nbytes) or self._stays(conn)
        data, ended = unreader.take_buffered(), False
        if not _is_for_a_thread(data) and self._stays(conn):
            arrived = _received(conn.sock)
            data, ended = data + (arrived or b""), arrived == b""
        unreader.unread(data)
        return ended or _is_for_a_thread(data)

    def _stays(self, conn: Any) -> bool:
        """Whether something more arrives while the thread stays; the main thread would answer a verify sooner."""
        if not self.alive:
            return _readable(conn.sock, PARTING_MS)
        if self.tpool.wanted or (not self._longer and self.is_verify(conn.parser.mesg)):
            return False
        return _readable(conn.sock, LINGER_MS)

    def _dealt_with(self, conn: Any) -> bool:
        """Answer what arrived if it is a question that needs nobody else, keep it if it is half a head. False where a
        thread is to have it, which finds all of it unread.

        Nothing here waits: the socket does not block, and whoever leaves so many answers unread that no other has room
        is left.
        """
        arrived, unreader = _received(conn.sock), conn.parser.unreader
        if arrived is None:
            return True
        data = unreader.take_buffered() + arrived
        if arrived and self.verify is not None and not self._longer and self._answered(conn, data):
            return True
        unreader.unread(data)
        if not arrived or _is_for_a_thread(data):
            return False
        if len(data) <= LONGEST_HEAD:
            return True
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_RD)  # a thread answers, and does not wait for more
        return False

    def _answered(self, conn: Any, data: bytes) -> bool:
        full = len(self.keepalived_conns) >= self.max_keepalived
        answer = self.answer(data, conn.client, conn.server, closes=full)
        if answer is None:
            return False
        try:
            conn.sock.sendall(answer.data)
        except OSError:
            answer.closes = True
        self.note(answer)
        self.keepalived_conns.remove(conn)
        if answer.closes:
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        else:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
        return True


def _is_for_a_thread(data: bytes) -> bool:
    """Whether a request's head is whole, or is none, so that nobody needs to wait for the rest of it."""
    return bool(data) and (_ENDED.search(data) is not None or _BEGUN.match(data) is None)


def _received(sock: Any) -> bytes | None:
    """None where nothing has arrived; nothing at the end, whatever it was that ended it."""
    try:
        return bytes(sock.recv(LONGEST))
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _readable(sock: Any, within_ms: int) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(within_ms))
