"""A client that sends exactly the bytes that a test wants, and reads the answers one after the other."""

import http.client
import io
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

PATIENCE = 10


class Answer(NamedTuple):
    """status: 0 for what is no HTTP answer. complete: whether the body came to its end."""

    status: int
    fields: dict[str, str]
    body: bytes
    complete: bool = True


class _Received(io.BytesIO):
    """What arrived on a socket, for http.client to read; it survives the end of each answer."""

    def makefile(self, *_: Any) -> "_Received":
        return self

    def close(self) -> None:
        """Another answer may follow."""


def exchange(port: int, sent: bytes) -> bytes:
    """Send everything at once and nothing more; what comes back until the server closes, however it does."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        with suppress(OSError):  # it need not read to the end before it answers and closes
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while part := client.recv(65536):
                received += part
    return received


def ask(port: int, sent: bytes) -> Answer:
    """One request's answer, waited for as clients wait: a proxy takes an end of what is sent for a client that left."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, suppress(ConnectionError):
        client.sendall(sent)
        if client.recv(1, socket.MSG_PEEK):
            return _answer(client)
    return Answer(0, {}, b"", complete=False)


def answer(client: socket.socket) -> Answer:
    """The next answer on a connection that stays open."""
    return _answer(client)


def answers(received: bytes) -> list[Answer]:
    stream = _Received(received)
    found: list[Answer] = []
    while stream.tell() < len(received) and (not found or found[-1].complete):
        found.append(_answer(stream))  # type: ignore[arg-type] # it only asks for makefile
    return found


def _answer(stream: socket.socket) -> Answer:
    answer = http.client.HTTPResponse(stream)
    try:
        answer.begin()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    except http.client.IncompleteRead as err:
        return Answer(answer.status, dict(answer.getheaders()), err.partial, complete=False)
    except ConnectionError:
        return Answer(answer.status, dict(answer.getheaders()), b"", complete=False)
    except http.client.HTTPException:
        return Answer(0, {}, b"", complete=False)


@contextmanager
def event_streams(ports: Sequence[int], path: str, count: int) -> Iterator[list[socket.socket]]:
    """So many Server-Sent Events streams, taking the ports in turn; of each the first event has arrived."""
    request = f"GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n".encode()
    with ExitStack() as stack:
        streams = [
            stack.enter_context(socket.create_connection(("127.0.0.1", ports[number % len(ports)]), PATIENCE))
            for number in range(count)
        ]
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            next_event(stream)
        yield streams


def next_event(stream: socket.socket) -> bytes:
    """What arrives until an event has ended. Raises ConnectionError when the stream does before."""
    received = b""
    while b"data: " not in received or not received.endswith(b"\n\n\r\n"):
        part = stream.recv(65536)
        if not part:
            raise ConnectionResetError(received)
        received += part
    return received


def idle(stream: socket.socket) -> bool:
    """Whether it is open, and nothing has arrived."""
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    return not poller.poll(0)
