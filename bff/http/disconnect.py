"""Notices that a client went away while a service works for it, so that the service can stop, too.

A thread that waits for a service hears nothing of its client. One thread of the worker looks at the clients of all
calls that have been under way for a moment; when a client has closed its connection, what was to be done then is done.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LOOK_EVERY = 0.2
"""Seconds between two looks, and the age from which a call is looked after: most are over sooner."""

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
"""Where the kernel tells the state of a connection: on Linux, as the first byte of it."""

_ESTABLISHED = 1


class DisconnectSubscription:
    """One client that is looked after, until `end`. gone: whether it went away."""

    __slots__ = ("client", "gone", "on_gone", "since")

    def __init__(self, client: Any, on_gone: Callable[[], None], since: float) -> None:
        self.client = client
        self.on_gone = on_gone
        self.since = since
        self.gone = False


class DisconnectMonitor:
    """Start it by watching; its thread is made in the process that does, and never before a fork."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: set[DisconnectSubscription] = set()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def watch(self, client: Any, on_gone: Callable[[], None]) -> DisconnectSubscription:
        """client: the connected socket. on_gone: called in the watcher's thread, once, and not after `end`."""
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
        """One look at every client whose call is not new."""
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
    """Whether the other side has closed its connection, or reset it, as it does when it leaves without having read
    everything. TCP knows that also of a client that had sent more. Elsewhere what was sent has to be read first, which
    is not done here. One that was closed at this end tells nothing."""
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
