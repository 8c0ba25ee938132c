"""Write-behind socket: a thread that has answered does not wait for its client to read.

A small answer that a client does not take is kept, and the poller sends the rest, so that slow readers hold no thread.
A service's answer is sent as its client takes it: it has no bound, and holds its service's place in the bulkhead.
"""

import errno
import os
import select
import socket
from typing import Any

from bff.bulkhead import Place
from bff.server.fast_http import LONGEST

MOST_UNSENT = 256 * 1024
"""Bytes of an answer that are kept. A thread with more than that waits."""


class ClientSocket(socket.socket):
    """One for each connection, used by one thread at a time. unsent: what its client has not taken yet.
    place: taken in the bulkhead of the service that the next request is for."""

    __slots__ = ("_streams", "place", "unsent")
    place: Place | None
    unsent: bytearray

    @classmethod
    def of(cls, sock: socket.socket) -> "ClientSocket":
        """In the place of a socket that is not used any more."""
        client = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        client.unsent = bytearray()
        client.place = None
        client.reset()
        return client

    def reset(self) -> None:
        """The request was answered."""
        self._streams = False
        if (place := self.take_place()) is not None:
            place.leave()

    def stream(self) -> None:
        """The answer that has begun is sent as the client takes it."""
        self._streams = True

    def take_place(self) -> Place | None:
        place, self.place = self.place, None
        return place

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Raises BrokenPipeError when a client takes nothing for as long as the socket's timeout is."""
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
    """None where nothing has arrived; nothing at the end, whatever it was that ended it."""
    try:
        return bytes(sock.recv(most))
    except BlockingIOError:
        return None
    except OSError:
        return b""
