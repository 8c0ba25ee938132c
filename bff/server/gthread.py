"""gunicorn's threaded worker with draining, inline verify, write-behind answers and bulkheads.

**Draining.** gunicorn's worker waits for idle keep-alive connections until `graceful_timeout` is over, and a reverse
proxy always holds some. It closes at once those on which it has just answered, although a request may be on its way.
This worker gives all of them 100 ms for one more request.

**Inline verify.** gunicorn gives each request to a thread of the pool, and its connection back to the main thread. The
two hand-overs and a wake-up through a pipe cost more than a verify, and the threads wait for the GIL at each system
call. So the main thread itself answers a verify that needs neither the store nor a service (`Verify.at_once`).

While a thread works on a longer request, it would delay the main thread, and with it every connection. Then each
request gets a thread. That thread stays with its connection a moment, because a reverse proxy soon sends its next
request on it. When no thread is free, the main thread answers again: it waits for the GIL then, but for no thread.

**Slow peers.** With gunicorn alone, slow clients and slow services hold the threads, and with them all other requests.
Here a thread gets a request when it is whole (bff/server/arrival.py). It leaves an answer that its client does not read
to the poller (bff/server/client_socket.py). Verify, probes and scrapes have reserved threads (bff/server/pools.py). A
request waits without a thread while its service's share of the threads is taken (bff/server/parking.py).
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
from bff.server.limits import DRAIN_MS, LEAVING, RECEIVE_BUDGET, RECEIVE_TIMEOUT, STALL_TIMEOUT, UNUSED
from bff.server.parking import asked
from bff.server.pools import WATCHED
from bff.server.waiting import Waiting


class BffThreadWorker(Dispatching, Departing, ThreadWorker):
    _closes = 0.0  # monotonic time at which a leaving worker closes idle connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counting = threading.Lock()
        self._arriving: dict[Any, Arrival] = {}
        self._receiving = Waiting(RECEIVE_TIMEOUT, RECEIVE_BUDGET)

    def enqueue_req(self, conn: Any) -> None:
        """In the main thread: a new connection; or one with bytes to read, where gunicorn reads by itself."""
        if self.gunicorns and (conn.initialized or conn.data_ready):
            self._submit(conn, self.tpool)
        elif self.gunicorns:
            self._watch(conn, self.pending_conns, self.on_pending_socket_readable)
        else:
            conn.sock = ClientSocket.of(conn.sock)
            conn.init()
            self._watch(conn, self.keepalived_conns, self.on_client_socket_readable)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """In the main thread: bytes arrived on a connection that no thread has."""
        if self.gunicorns:
            super().on_client_socket_readable(conn, client)
            return
        arrived = received(conn.sock)
        if arrived is not None:
            self._advance(conn, arrived, ended=not arrived)

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.sock.settimeout(STALL_TIMEOUT)
        req._expected_100_continue = False  # bff/server/framing.py sends 100 Continue when the body is read
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
        """Close the listeners, after accepting the connections that wait on them unless new workers will.

        The kernel accepts connections as long as one process holds a listener, so this worker must close its own. When
        the last one closes, the kernel resets the connections that still wait.
        """
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
        """In the main thread, after a thread has finished with a connection."""
        keep = not fs.cancelled() and fs.exception() is None and fs.result() is True
        try:
            self._go_on(conn, keep=keep)
        except OSError:  # the client has disconnected
            self._close(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """gunicorn's loop calls it after every event."""
        now = time.monotonic()
        if not self.alive:
            self._closes = self._closes or now + DRAIN_MS / 1000
            for connection in (*self.keepalived_conns, *self.pending_conns):
                more = 0.0 if self.gunicorns or connection.sock.used else UNUSED
                connection.timeout = min(connection.timeout, self._closes + more)
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
        """Answer the arrived request from memory, keep it while it is incomplete, or give it to a thread with all
        bytes unread. ended: whether no more bytes will arrive."""
        first = conn not in self._arriving
        conn.sock.used = True
        if first:
            arrived = conn.parser.unreader.take_buffered() + arrived
            if self._answered(conn, arrived):  # first, since it is the cheapest path
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
                    conn.sock.shutdown(socket.SHUT_RD)  # a thread answers, without waiting for more
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
                with contextlib.suppress(OSError):  # the poller will notice a disconnect
                    conn.sock.sendall(framing.CONTINUE)

    def _release(self, conn: Any) -> None:
        """Stop polling the connection for its request."""
        self.poller.unregister(conn.sock)
        if conn in self._receiving:
            self._receiving.end(conn)
            del self._arriving[conn]
        else:
            self.keepalived_conns.remove(conn)

    def _answered(self, conn: Any, data: bytes) -> bool:
        """Whether the main thread has answered it. Never blocks: a client with a full send buffer is disconnected."""
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
        """Refuse the request of a connection that neither a thread nor the poller has, and close it."""
        answer = self.refusal(error, *asked(data), bound)
        try:
            conn.sock.setblocking(False)
            conn.sock.sendall(answer.data)
            self.note(answer)
            self._go_on(conn, keep=False)
        except OSError:
            self._close(conn)
