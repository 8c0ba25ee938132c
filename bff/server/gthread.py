"""gunicorn's threaded worker, made to leave when told to, to answer at once what it can, and to wait for nobody.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some; and it closes at once those on which it has just answered, as if no request could be
on its way. Here all of them have a tenth of a second for one more.

As it comes, too, each request goes to a thread of the pool and its connection back to the main thread: two hand-overs
and a wake-up through a pipe, which cost more than a verify; and the threads wait for one another at each system call,
since only one of them may run Python. So the main thread answers itself what needs nobody else (`Verify.at_once`).
While a thread works on anything longer, that one would make the main thread wait, and not only with one request: then
each request gets a thread, which stays with its connection a moment, as a reverse proxy soon sends its next request on
it. When no thread is free the main thread answers all the same: it waits for the interpreter then, but for no thread.

As it comes, last, slow clients and slow services hold the threads, and with them everything else. Here a thread gets a
request when it is whole (bff/server/arrival.py), and leaves an answer that its client does not take
(bff/server/client_socket.py); the poller waits for both. What must answer whatever the rest does has threads of its own
(bff/server/pools.py), and requests for a service whose share of the threads is taken wait without one
(bff/server/parking.py).
"""

import contextlib
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from bff.bulkhead import Bound
from bff.errors import BFFError, RequestTimeout
from bff.server import draining, framing
from bff.server.arrival import Arrival, ArrivalState
from bff.server.client_socket import ClientSocket, received
from bff.server.departing import Departing
from bff.server.dispatching import Dispatching
from bff.server.limits import DRAIN_MS, LEAVING, RECEIVE_BUDGET, RECEIVE_TIMEOUT, STALL_TIMEOUT
from bff.server.parking import asked
from bff.server.pools import WATCHED
from bff.server.waiting import Waiting


class BffThreadWorker(Dispatching, Departing, ThreadWorker):
    _closes = 0.0  # when a worker that leaves closes idle connections, on the monotonic clock

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counting = threading.Lock()
        self._arriving: dict[Any, Arrival] = {}
        self._receiving = Waiting(RECEIVE_TIMEOUT, RECEIVE_BUDGET)

    def enqueue_req(self, conn: Any) -> None:
        """In the main thread: a connection is new; or has something to read, where gunicorn reads by itself."""
        if self.gunicorns and (conn.initialized or conn.data_ready):
            self._submit(conn, self.tpool)
        elif self.gunicorns:
            self._watch(conn, self.pending_conns, self.on_pending_socket_readable)
        else:
            conn.sock = ClientSocket.of(conn.sock)
            conn.init()
            self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """In the main thread: something arrived on a connection that no thread has."""
        if self.gunicorns:
            super().on_client_socket_readable(conn, client)
            return
        arrived = received(conn.sock)
        if arrived is not None:
            self._advance(conn, arrived, ended=not arrived)

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.sock.settimeout(STALL_TIMEOUT)
        req._expected_100_continue = False  # bff/server/framing.py asks for a body when it is wanted
        if self.is_verify(req) or req.path in WATCHED:
            return super().handle_request(req, conn)
        with self._counting:
            self._busy_threads += 1
        try:
            return super().handle_request(req, conn)
        finally:
            with self._counting:
                self._busy_threads -= 1

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            self._leave_listeners()

    def _leave_listeners(self) -> None:
        """As long as one process holds a listener, the system accepts connections, which nobody would answer; and it
        resets those that wait when the last one goes. So they are fetched first, unless successors are there to."""
        listeners: list[Any] = self.sockets
        self.sockets: list[Any] = []
        for listener in listeners:
            accepted = -1
            while draining.begun() and accepted != self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()

    def is_parent_alive(self) -> bool:
        self.alive = self.alive and super().is_parent_alive()
        return bool(self.alive)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """In the main thread: a thread has done with a connection."""
        keep = not fs.cancelled() and fs.exception() is None and fs.result() is True
        try:
            self._go_on(conn, keep=keep)
        except OSError:  # it is gone
            self._close(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Called by gunicorn's loop after every event."""
        now = time.monotonic()
        if not self.alive:
            self._closes = self._closes or now + DRAIN_MS / 1000
            for connection in (*self.keepalived_conns, *self.pending_conns):
                connection.timeout = min(connection.timeout, self._closes)
        super().murder_keepalived(force)
        if self._receiving or self._parking or self._sending or self._hung_up:
            self._refuse_late(now)
            self._forget_late(now)

    def _refuse_late(self, now: float) -> None:
        for connection in self._receiving.due(now if self.alive else now + RECEIVE_TIMEOUT - LEAVING):
            data = bytes(self._arriving[connection].data)
            self._release(connection)
            self._refuse(connection, RequestTimeout(), data)
        for connection, bound in self._parking.refused(now):
            self._refuse(connection, bound.bulkhead.refused(), connection.parser.unreader.buf.getvalue(), bound)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, DRAIN_MS / 1000))

    def _advance(self, conn: Any, arrived: bytes, *, ended: bool) -> None:
        """Answer the request that arrived if memory can, keep it while it is not whole, else give it to a thread,
        which finds all of it unread. ended: whether nothing more comes."""
        first = conn not in self._arriving
        if first:
            arrived = conn.parser.unreader.take_buffered() + arrived
            if self._answered(conn, arrived):  # before anything else costs time
                return
        arrival = self._arriving.get(conn) or Arrival()
        state = arrival.add(arrived)
        if ended and state is ArrivalState.HEAD:
            self._release(conn)
            self._close(conn)
        elif not ended and self._waits_for(arrival, state):
            self._keep(conn, arrival)
        elif first or not self._answered(conn, bytes(arrival.data)):
            if state is ArrivalState.BAD_HEAD:
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)  # a thread answers, and does not wait for more
            self._release(conn)
            self._dispatch(conn, bytes(arrival.data))

    def _waits_for(self, arrival: Arrival, state: ArrivalState) -> bool:
        if state is ArrivalState.BODY:
            return arrival.asked or not self.streams(*asked(arrival.data))
        return state is ArrivalState.HEAD

    def _keep(self, conn: Any, arrival: Arrival) -> None:
        if conn not in self._receiving:
            self.keepalived_conns.remove(conn)
            self._arriving[conn] = arrival
        self._receiving.hold(conn, len(arrival.data), time.monotonic())
        if arrival.in_body and not arrival.asked:
            arrival.asked = True
            if arrival.waits_to_continue:
                with contextlib.suppress(OSError):  # the poller will see that it is gone
                    conn.sock.sendall(framing.CONTINUE)

    def _release(self, conn: Any) -> None:
        """The poller waits for its request no longer."""
        self.poller.unregister(conn.sock)
        if conn in self._receiving:
            self._receiving.end(conn)
            del self._arriving[conn]
        else:
            self.keepalived_conns.remove(conn)

    def _answered(self, conn: Any, data: bytes) -> bool:
        """Whether it is a question that needs nobody else, and has its answer. Never blocks: a client that leaves so
        many answers unread that no other has room is disconnected."""
        if self.verify is None or (self._busy_threads and self.tpool.free):
            return False
        full = len(self.keepalived_conns) >= self.max_keepalived
        answer = self.answer(data, conn.client, conn.server, closes=full)
        if answer is None:
            return False
        try:
            answer.closes |= conn.sock.send(answer.data) < len(answer.data)
        except OSError:
            answer.closes = True
        self.note(answer)
        if answer.closes:
            self._release(conn)
            self._close(conn)
        elif conn in self._receiving:
            self._release(conn)
            self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)
        else:
            conn.set_timeout()
            self.keepalived_conns.remove(conn)
            self.keepalived_conns.append(conn)
        return True

    def _refuse(self, conn: Any, error: BFFError, data: bytes, bound: Bound | None = None) -> None:
        """End a connection that neither a thread nor the poller has."""
        answer = self.refusal(error, *asked(data), bound)
        try:
            conn.sock.setblocking(False)
            conn.sock.sendall(answer.data)
            self.note(answer)
            self._go_on(conn, keep=False)
        except OSError:
            self._close(conn)
