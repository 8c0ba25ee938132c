"""Dispatcher of a threaded worker: which thread gets a request, and how long it stays with the connection."""

import select
import time
from concurrent.futures import Future
from typing import Any

from bff.server.arrival import Arrival, ArrivalState
from bff.server.client_socket import received
from bff.server.inline_verify import InlineVerify
from bff.server.limits import DRAIN_MS
from bff.server.parking import Parking, asked
from bff.server.pools import THREADS, Pool, Reserve, reserve_of

LINGER_MS = 1
"""Milliseconds that an idle thread stays with a connection after an answer."""


class Dispatching(InlineVerify):
    """Mix-in: a worker inherits it before gunicorn's own class."""

    tpool: Pool
    method_queue: Any
    _busy_threads = 0  # threads that work on a request longer than a verify

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parking = Parking()
        self._reserves: dict[Reserve, Pool] = {}

    def get_thread_pool(self) -> Pool:
        self._reserves = {reserve: Pool(threads) for reserve, threads in THREADS.items()}
        return Pool(self.cfg.threads)

    def handle(self, conn: Any) -> Any:
        """In a thread of the pool: answer the connection's requests as long as the next one follows at once."""
        keep = self._handle_one(conn)
        while keep is True and self._follows(conn):
            keep = self._handle_one(conn)
        return keep

    def finish_request(self, conn: Any, fs: Any) -> None:
        raise NotImplementedError

    def _dispatch(self, conn: Any, data: bytes) -> None:
        """In the main thread: give the connection's request (data) to a thread, or park it until its service has a
        place."""
        conn.parser.unreader.unread(data)
        method, target = asked(data)
        reserve = reserve_of(target.partition("?")[0], self.verify)
        if reserve is not None:
            self._submit(conn, self.tpool if self.tpool.free else self._reserves[reserve])
            return
        bound = self.bound_for(method, target)
        if bound is not None:
            conn.sock.place = self._parking.enter(conn, bound, time.monotonic())
            if conn.sock.place is None:
                return
        self._submit(conn, self.tpool)

    def _submit(self, conn: Any, pool: Pool) -> None:
        pool.busy += 1
        work = pool.submit(self.handle if pool is self.tpool else self._handle_one, conn)
        work.add_done_callback(lambda done: self.method_queue.defer(self._done, pool, conn, done))

    def _done(self, pool: Pool, conn: Any, work: "Future[Any]") -> None:
        pool.busy -= 1
        self.finish_request(conn, work)
        for connection, place in self._parking.entered():
            connection.sock.place = place
            self._submit(connection, self.tpool)

    def _handle_one(self, conn: Any) -> Any:
        try:
            return super().handle(conn)  # type: ignore[misc]  # gunicorn's
        finally:
            if not self.gunicorns:
                conn.sock.reset()

    def _follows(self, conn: Any) -> bool:
        """Whether the thread has the connection's next request, or its end. A thread never waits for the rest of a
        request."""
        unreader = conn.parser.unreader
        if self.gunicorns:
            return bool(unreader.buf.getbuffer().nbytes) or self._stays(conn)
        if conn.sock.unsent:
            return False
        data, ended = unreader.take_buffered(), False
        if not _is_whole(data) and self._stays(conn):
            arrived = received(conn.sock)
            data, ended = data + (arrived or b""), arrived == b""
        unreader.unread(data)
        return ended or (_is_whole(data) and self._has_place(conn, data))

    def _has_place(self, conn: Any, data: bytes) -> bool:
        """Whether the same thread may answer the request: not while parked requests wait for the place that it would
        take."""
        bound = self.bound_for(*asked(data))
        if bound is not None:
            conn.sock.place = None if self._parking else bound.bulkhead.try_enter()
        return bound is None or conn.sock.place is not None

    def _stays(self, conn: Any) -> bool:
        """Whether more bytes arrive while the thread stays. False where the main thread would answer a verify
        sooner."""
        if not self.alive:
            return _readable(conn.sock, DRAIN_MS)
        if self.tpool.wanted or self._parking or (not self._busy_threads and self.is_verify(conn.parser.mesg)):
            return False
        return _readable(conn.sock, LINGER_MS)


def _is_whole(data: bytes) -> bool:
    """Whether a thread can decide about the request without waiting for more of it."""
    return bool(data) and Arrival().add(data) not in (ArrivalState.HEAD, ArrivalState.BODY)


def _readable(sock: Any, within_ms: int) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(within_ms))
