"""Whether a Kafka broker is there: it is asked what it can do (ApiVersions, KIP-35), as every client asks first.

No login is needed for that, and it says more than that a port is open: the kernel still takes connections for a broker
that hangs. The library's own clients would each keep connections and threads for it.
"""

import itertools
import socket
import ssl
import struct
from contextlib import closing

from bff.errors import BFFError
from bff.settings import KafkaSettings

TIMEOUT = 1.0
"""Seconds for each step with one broker: to connect, to shake hands, to answer."""

_API_VERSIONS, _VERSION = 18, 0
_CLIENT = b"bff"
_REQUEST = struct.Struct(f">ihhih{len(_CLIENT)}s")  # length, key, version, correlation id, client's id
_ANSWER = struct.Struct(">ii")  # length, correlation id; what the broker can do follows


class KafkaUnavailable(BFFError):
    """Events wait in the outbox meanwhile."""

    code = "kafka_unavailable"
    title = "No Kafka broker answers"


class Brokers:
    def __init__(self, settings: KafkaSettings, timeout: float = TIMEOUT) -> None:
        self._servers = [_address(server) for server in settings.servers]
        self._tls = settings.protocol.endswith("ssl")
        self._ca_file = settings.ca_file
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        self._numbers = itertools.count(1)

    def check(self) -> None:
        """Ask one after the other until one answers. Raises KafkaUnavailable when none does."""
        if not any(self._answers(host, port) for host, port in self._servers):
            raise KafkaUnavailable

    def _answers(self, host: str, port: int) -> bool:
        number = next(self._numbers)
        try:
            with closing(self._connected(host, port)) as connection:
                length = _REQUEST.size - 4
                connection.sendall(_REQUEST.pack(length, _API_VERSIONS, _VERSION, number, len(_CLIENT), _CLIENT))
                return bool(_ANSWER.unpack(_exactly(connection, _ANSWER.size))[1] == number)
        except OSError:
            return False

    def _connected(self, host: str, port: int) -> socket.socket:
        connection = socket.create_connection((host, port), self._timeout)
        if not self._tls:
            return connection
        try:
            self._context = self._context or ssl.create_default_context(cafile=self._ca_file)
            return self._context.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Raises OSError when the connection ends before."""
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionResetError
        received += part
    return received


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
