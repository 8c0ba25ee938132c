"""A bad network on loopback: a TCP proxy between a client and a server that delays, cuts, loses answers and goes down.

It knows no protocol. A request is what a client sends until the server speaks, which is right for HTTP/1.1 and Redis as
long as nobody pipelines. One thread serves each connection, and none is left when the context manager ends.
"""

import math
import select
import socket
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Literal, Self

from tests.peers import process

Fault = Literal["delay", "cut", "lose_answer", "black_hole"]
PIECE = 65536
SETTLED = 0.05  # seconds without a byte after which a request has arrived in full
CONNECT_TIMEOUT = 5
NAME = "toxic proxy"  # of its threads


class Proxy:
    """Listens on a port of its own, which it keeps while it is down, and forwards to upstream: (host, port).

    connections: how many were accepted. requests: how many arrived, forwarded or not.
    """

    def __init__(self, upstream: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, process.free_port(host)
        self.connections = self.requests = 0
        self._upstream = upstream
        self._lock = Lock()
        self._open: set[_Connection] = set()
        self._fault: Fault | None = None
        self._left = self._delay = 0.0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def disturb(self, fault: Fault, *, times: float = math.inf, delay: float = 0) -> None:
        """Let the next requests go wrong, on connections that are already open, too; this replaces the fault before.

        delay: forwarded after so many seconds. cut: received but not forwarded, then the connection ends. lose_answer:
        forwarded, and when the server answers the connection ends. black_hole: received, and nothing ever comes back.
        """
        with self._lock:
            self._fault, self._left, self._delay = fault, times, delay

    def heal(self) -> None:
        """Forward every request from now on; those in a black hole stay there."""
        with self._lock:
            self._fault, self._left, self._delay = None, 0.0, 0.0

    def up(self) -> None:
        self._going = Event()
        self._listener = socket.create_server((self.host, self.port))
        self._acceptor = Thread(target=self._accept, args=(self._listener,), name=NAME)
        self._acceptor.start()

    def down(self) -> None:
        """Refuse connections, and cut those that are open; `up` comes back on the same port."""
        self._going.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._acceptor.join()
        self._listener.close()
        for connection in list(self._open):
            connection.cut()
            connection.join()
        self._open.clear()

    def next_request(self) -> tuple["Fault | None", float]:
        """Count a request that a connection received; what goes wrong with it, and its delay in seconds."""
        with self._lock:
            self.requests += 1
            self._left -= 1
            return (self._fault, self._delay) if self._left >= 0 else (None, 0)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                client, _ = listener.accept()
                self.connections += 1
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, CONNECT_TIMEOUT)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._open = {connection for connection in self._open if connection.is_alive()}
        connection = _Connection(self, client, server, self._going)
        self._open.add(connection)
        connection.start()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._going.is_set():
            self.down()


class _Connection(Thread):
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, going: Event) -> None:
        super().__init__(name=NAME)
        self._proxy, self._client, self._server, self._going = proxy, client, server, going
        self._fault: Fault | None = None
        self._quiet = True  # the client has sent nothing since the server spoke

    def run(self) -> None:
        with self._client, self._server, suppress(OSError):  # either may be reset at any time
            while self._step():
                pass

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _step(self) -> bool:
        """Move what has arrived; whether the connection goes on."""
        forwards = self._fault not in ("cut", "black_hole")
        ends = [self._client, self._server] if forwards else [self._client]
        ready, _, _ = select.select(ends, [], [], SETTLED if self._fault == "cut" else None)
        return bool(ready) and all(self._move(end) for end in ready)

    def _move(self, end: socket.socket) -> bool:
        data = end.recv(PIECE)
        return bool(data) and (self._ask(data) if end is self._client else self._answer(data))

    def _ask(self, data: bytes) -> bool:
        if self._quiet:
            self._quiet = False
            self._fault, delay = self._proxy.next_request()
            self._going.wait(delay)
        if self._fault not in ("cut", "black_hole"):
            self._server.sendall(data)
        return True

    def _answer(self, data: bytes) -> bool:
        self._quiet = True
        if self._fault == "lose_answer":
            return False
        self._client.sendall(data)
        return True
