"""Cancellation watcher: notices that a client disconnected while a service works for it, and cancels the call.

A thread that waits for a service does not notice its client. One thread of the worker checks the clients of all calls
that have been under way for a moment, and calls back when a client has closed its connection.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LOOK_EVERY = 0.2
"""Seconds between two checks, and the age from which a call is watched: most are over sooner."""

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
"""Socket option with the state of a connection: on Linux, its first byte."""

_ESTABLISHED = 1


class DisconnectSubscription:
    """One watched client, until `end`. gone: whether it disconnected."""

    __slots__ = ("client", "gone", "on_gone", "since")

    def __init__(self, client: Any, on_gone: Callable[[], None], since: float) -> None:
        self.client = client
        self.on_gone = on_gone
        self.since = since
        self.gone = False


class DisconnectMonitor:
    """The first watch starts the thread, so in the process that uses it and never before a fork."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: set[DisconnectSubscription] = set()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def watch(self, client: Any, on_gone: Callable[[], None]) -> DisconnectSubscription:
        """Watches a client. client: the connected socket. on_gone: called in the watcher's thread, once, and not after
        `end`."""
        watch = DisconnectSubscription(client, on_gone, self._clock())
        with self._changing:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="client-watcher", daemon=True)
                self._thread.start()
        return watch

    def end(self, watch: DisconnectSubscription) -> None:
        with self._changing:
            self._watches.discard(watch)

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Checks every client with a call that is not new."""
        old = self._clock() - LOOK_EVERY
        for watch in self._snapshot():
            if watch.since <= old and _gone(watch.client):
                self._notify(watch)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_EVERY):
            self.look()

    def _snapshot(self) -> list[DisconnectSubscription]:
        with self._changing:
            return list(self._watches)

    def _notify(self, watch: DisconnectSubscription) -> None:
        with self._changing:
            if watch in self._watches:
                self._watches.discard(watch)
                watch.gone = True
                watch.on_gone()


def _gone(client: Any) -> bool:
    """Whether the client has closed its connection, or reset it, as a client that leaves with unread bytes does. On
    Linux TCP's state shows that also after unread bytes from the client. Elsewhere these would have to be read first,
    which is not done here. A socket that was closed at this end counts as present."""
    with suppress(OSError, ValueError):
        if _TCP_INFO is not None and client.family != socket.AF_UNIX:
            return bool(client.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] != _ESTABLISHED)
        return _readable(client) and _ended(client)
    return False


def _readable(client: Any) -> bool:
    poller = select.poll()
    poller.register(client, select.POLLIN)
    return bool(poller.poll(0))


def _ended(client: Any) -> bool:
    try:
        return bool(client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
    except ConnectionError:
        return True
