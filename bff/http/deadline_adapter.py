"""Connections with one deadline, from the first address to the last byte of the answer.

In urllib3 each address of a name, the TLS handshake and every single read may take the whole timeout, so a server that
sends a byte now and then holds its caller for ever. Here they share it. The operating system's name look-up is not
bounded; it has timeouts of its own.
"""

import http.client
import io
import socket
import time
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from bff.http.tls import TlsAdapter


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline: the socket's timeout, counted from the end of sending."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()  # nothing was read from it yet
        self.fp = io.BufferedReader(_Reader(sock))


class DeadlineConnection(HTTPConnection):
    response_class = _Response

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.timeout)  # the last answer's reader shortened it
        super().request(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        """Opens the connection. urllib3 calls it, with the timeout for the whole connection in `self.timeout`."""
        deadline = time.monotonic() + float(self.timeout or 0)
        try:
            return self._connected(deadline)
        except TimeoutError as err:
            raise ConnectTimeoutError(self, "The connection took too long.") from err
        except OSError as err:
            raise NewConnectionError(self, "The connection could not be made.") from err

    def _connected(self, deadline: float) -> socket.socket:
        """Connects to the first address that answers; each gets its share of the remaining time."""
        addresses = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        failure: OSError = ConnectionError("no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            connection = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connection.setsockopt(*option)
                connection.settimeout(_left(deadline) / (len(addresses) - number))
                connection.connect(address)
                connection.settimeout(_left(deadline))
            except OSError as err:
                connection.close()
                failure = err
                continue
            return connection
        raise failure


class DeadlineTlsConnection(HTTPSConnection, DeadlineConnection):
    """TLS from HTTPSConnection; the methods that it leaves to HTTPConnection come from DeadlineConnection."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = DeadlineConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = DeadlineTlsConnection


class DeadlineAdapter(TlsAdapter):
    """For calls with a `urllib3.Timeout(total=...)`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_own_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        _use_own_pools(manager)
        return manager


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
