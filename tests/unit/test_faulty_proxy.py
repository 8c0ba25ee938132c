"""The bad network that end-to-end tests put between two servers does to a request what it says, and no more."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from tests.peers import faulty_proxy
from tests.peers.faulty_proxy import Proxy

PATIENCE = 5
A_MOMENT = 0.2


class Lines(ThreadingTCPServer):
    """Answers every line with the same line, and remembers what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.got: list[bytes] = []


class _Line(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.server.got.append(line)  # type: ignore[attr-defined]
            self.wfile.write(line)


@pytest.fixture
def server() -> Iterator[Lines]:
    with Lines() as lines:
        thread = threading.Thread(target=lines.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield lines
        lines.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: Lines) -> Iterator[Proxy]:
    host, port = server.server_address[:2]
    with Proxy((str(host), port)) as running:
        yield running
    assert not [thread for thread in threading.enumerate() if thread.name == faulty_proxy.NAME]


@contextmanager
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with closing(socket.create_connection((proxy.host, proxy.port), PATIENCE)) as connection:
        yield connection


def ask(connection: socket.socket, line: bytes = b"hello\n") -> bytes:
    """The answer; empty when the connection ended instead."""
    try:
        connection.sendall(line)
        return connection.recv(100)
    except ConnectionError:
        return b""


def test_requests_pass_and_are_counted(proxy: Proxy) -> None:
    with client(proxy) as one, client(proxy) as another:
        assert [ask(one), ask(one), ask(another)] == [b"hello\n"] * 3
    assert (proxy.connections, proxy.requests) == (2, 3)


def test_a_request_that_arrives_in_pieces_is_one(proxy: Proxy) -> None:
    with client(proxy) as connection:
        connection.sendall(b"hel")
        assert ask(connection, b"lo\n") == b"hello\n"
    assert proxy.requests == 1


def test_a_delay_comes_before_the_server_hears_of_it(proxy: Proxy, server: Lines) -> None:
    proxy.disturb("delay", delay=PATIENCE * 2)
    with client(proxy) as connection:
        connection.settimeout(A_MOMENT)
        with pytest.raises(TimeoutError):
            ask(connection)
        assert (server.got, proxy.requests) == ([], 1)


def test_a_short_delay_ends(proxy: Proxy) -> None:
    proxy.disturb("delay", delay=A_MOMENT / 10)
    with client(proxy) as connection:
        assert ask(connection) == b"hello\n"


@pytest.mark.parametrize(("fault", "heard"), [("cut", []), ("lose_answer", [b"hello\n"])])
def test_a_cut_connection(proxy: Proxy, server: Lines, fault: faulty_proxy.Fault, heard: list[bytes]) -> None:
    proxy.disturb(fault, times=1)
    with client(proxy) as connection:
        assert ask(connection) == b""
    assert server.got == heard
    with client(proxy) as connection:
        assert ask(connection, b"again\n") == b"again\n"


def test_a_connection_that_was_good_can_still_go_wrong(proxy: Proxy) -> None:
    with client(proxy) as connection:
        assert ask(connection) == b"hello\n"
        proxy.disturb("cut")
        assert ask(connection) == b""


def test_a_black_hole_keeps_what_it_has(proxy: Proxy, server: Lines) -> None:
    proxy.disturb("black_hole")
    with client(proxy) as connection:
        connection.settimeout(A_MOMENT)
        with pytest.raises(TimeoutError):
            ask(connection)
        proxy.heal()
        with pytest.raises(TimeoutError):
            ask(connection)
        with client(proxy) as another:
            assert ask(another, b"later\n") == b"later\n"
    assert server.got == [b"later\n"]


def test_down_and_up_again(proxy: Proxy) -> None:
    with client(proxy) as connection:
        assert ask(connection) == b"hello\n"
        proxy.down()
        assert ask(connection) == b""
    with pytest.raises(ConnectionRefusedError), client(proxy):
        pass
    proxy.up()
    with client(proxy) as connection:
        assert ask(connection) == b"hello\n"


def test_no_server_behind_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()
    with Proxy(nobody) as proxy, client(proxy) as connection:
        assert ask(connection) == b""
    assert (proxy.connections, proxy.requests) == (1, 0)
