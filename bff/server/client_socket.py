"""Write-behind socket: a thread that has answered does not wait for its client to read.

A small answer that a client has not read is kept, and the poller sends the rest, so that slow readers hold no thread. A
service's answer is sent at the client's pace: it has no bound, and holds its service's place in the bulkhead.
"""

import errno
import os
import select
import socket
from typing import Any

from bff.bulkhead import Place
from bff.server.fast_http import LONGEST

MOST_UNSENT = 256 * 1024
"""Bytes of an answer that are kept. A thread waits while more than that is unsent."""


class ClientSocket(socket.socket):
    """The socket of one connection, used by one thread at a time. unsent: bytes that the client has not accepted
    yet. place: in the bulkhead of the service that the next request is for. used: whether a byte of a request has
    arrived."""

    __slots__ = ("_streams", "place", "unsent", "used")
    place: Place | None
    unsent: bytearray
    used: bool

    @classmethod
    def of(cls, sock: socket.socket) -> "ClientSocket":
        """Replaces a socket that is not used any more."""
        client = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        client.unsent = bytearray()
        client.place = None
        client.used = False
        client.reset()
        return client

    def reset(self) -> None:
        """Call when the request has been answered: leaves the service's place."""
        self._streams = False
        if (place := self.take_place()) is not None:
            place.leave()

    def stream(self) -> None:
        """From now on `sendall` blocks until the client has accepted the answer."""
        self._streams = True

    def take_place(self) -> Place | None:
        place, self.place = self.place, None
        return place

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Raises BrokenPipeError when the client accepts no byte within the socket's timeout."""
        if not self.unsent:
            data = memoryview(data)[self._written(data) :]
            if not data:
                return
        self.unsent += data
        while not self.flush() and (self._streams or len(self.unsent) > MOST_UNSENT):
            self._wait()

    def flush(self) -> bool:
        """Whether everything has been sent."""
        while self.unsent:
            sent = self._written(self.unsent)
            if not sent:
                return False
            del self.unsent[:sent]
        return True

    def _written(self, data: Any) -> int:
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0

    def _wait(self) -> None:
        poller, timeout = select.poll(), self.gettimeout()
        poller.register(self, select.POLLOUT)
        if not poller.poll(None if timeout is None else timeout * 1000):
            raise BrokenPipeError(errno.EPIPE, "the client takes nothing")


def received(sock: Any, most: int = LONGEST) -> bytes | None:
    """The bytes that have arrived. None without any; empty at the connection's end, error or not."""
    try:
        return bytes(sock.recv(most))
    except BlockingIOError:
        return None
    except OSError:
        return b""
