"""A client whose timeout is for a whole call: servers that are slow in every way that a server can be, and no call that
takes longer than a tenth more than it may."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from bff.errors import UpstreamError
from bff.http import HttpClient
from tests.peers import certificates, lateness, tls

TIMEOUT = 0.4
LATEST = TIMEOUT * 1.1
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = HEAD + b"Content-Length: 2\r\n\r\n{}"
Speak = Callable[[socket.socket, threading.Event], None]


class Server:
    """Speaks as told on every connection, once it has received something."""

    def __init__(self, speak: Speak) -> None:
        self._speak = speak
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._clients: list[socket.socket] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(5)
            while client.recv(65536):
                self._speak(client, self._over)

    def close(self) -> None:
        self._over.set()
        for end in (self._listener, *self._clients):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def dripping(said: bytes, dripped: bytes) -> Speak:
    """Say the one at once, and the other byte by byte, each long before a timeout."""

    def speak(client: socket.socket, over: threading.Event) -> None:
        client.sendall(said)
        for byte in dripped:
            if over.wait(TIMEOUT / 10):
                return
            client.sendall(bytes([byte]))

    return speak


def then(seconds: float, said: bytes) -> Speak:
    def speak(client: socket.socket, over: threading.Event) -> None:
        if not over.wait(seconds):
            client.sendall(said)

    return speak


@pytest.fixture
def serve() -> Iterator[Callable[[Speak], Server]]:
    servers: list[Server] = []

    def start(speak: Speak) -> Server:
        servers.append(Server(speak))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient("whole", timeout=TIMEOUT, whole=True)
    yield client
    client.close()


def timed(call: Callable[[], object]) -> tuple[float, str]:
    """(seconds, what came of it). Not counted: what this machine lost meanwhile to whatever else runs on it."""
    outcome = "answered"
    with lateness.measured() as taken:
        try:
            call()
        except UpstreamError as err:
            outcome = err.outcome
    return taken.seconds, outcome


SLOW: dict[str, Speak] = {
    "silence": then(5, BODY),
    "a head byte by byte": dripping(b"", HEAD + b"X: " + b"x" * 200),
    "a header byte by byte": dripping(HEAD, b"X-Slow: " + b"x" * 200),
    "a body byte by byte": dripping(HEAD + b"Content-Length: 200\r\n\r\n", b"x" * 200),
    "a body chunk by chunk": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
    "half a body and silence": then(0, HEAD + b"Content-Length: 200\r\n\r\nx"),
    "not now, for as long as it is asked": then(TIMEOUT / 3, b"HTTP/1.1 503 Not Now\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize("speak", SLOW.values(), ids=SLOW)
def test_no_call_takes_longer_than_it_may(client: HttpClient, serve: Callable[[Speak], Server], speak: Speak) -> None:
    url = serve(speak).url
    seconds, outcome = timed(lambda: client.post_json(url, {}, target="t", idempotent=True))
    assert seconds < LATEST
    assert outcome in ("timeout", "answered"), "answered is a 503, which is no success"


def test_a_server_that_reads_nothing(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        big = {"x": "y" * 30_000_000}
        writing, _ = timed(lambda: json.dumps(big).encode())
        seconds, outcome = timed(lambda: client.post_json(url, big, target="t"))
        assert outcome in ("timeout", "connection")
        assert seconds - writing < LATEST


def test_a_host_that_takes_no_connection(client: HttpClient) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        seconds, outcome = timed(lambda: client.get(f"http://127.0.0.1:{address[1]}/", target="t"))
        for each in waiting:
            each.close()
    assert (seconds < LATEST, outcome) == (True, "timeout")


def test_every_address_of_a_name_gets_its_share(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a name of four addresses of which none answers, the call still takes one timeout, and all were tried."""
    tried = []
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())] * 4
        connect, asking = socket.socket.connect, threading.current_thread()

        class Watched(socket.socket):
            def connect(self, address: object) -> None:
                if threading.current_thread() is asking:  # a store that another test left open may connect meanwhile
                    tried.append(self.gettimeout())
                connect(self, address)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
        monkeypatch.setattr(socket, "socket", Watched)
        with lateness.measured() as late:
            seconds, _ = timed(lambda: client.get("http://pdp.example/", target="t"))
        for each in waiting:
            each.close()
    assert seconds < LATEST
    assert len(tried) == 4
    assert all(TIMEOUT / 4 * 0.9 - late.lost < (share or 0) < TIMEOUT / 4 * 1.1 for share in tried)


def test_a_tls_handshake_that_never_ends(client: HttpClient, serve: Callable[[Speak], Server]) -> None:
    record = b"\x16\x03\x03\x40\x00"
    url = serve(dripping(record, b"x" * 200)).url.replace("http:", "https:")
    timed(lambda: client.get(url, target="t"))  # the first call reads the trusted certificates
    seconds, outcome = timed(lambda: client.get(url, target="t"))
    assert seconds < LATEST
    assert outcome in {"timeout", "connection"}


def test_a_connection_serves_again_with_all_its_time(serve: Callable[[Speak], Server]) -> None:
    """What one call left of its time is no limit for the next one: together they take longer than one may. Each has
    much of it left, for a machine that is late."""
    server = serve(then(TIMEOUT, BODY))
    with closing(HttpClient("whole", timeout=4 * TIMEOUT, whole=True)) as client:
        for _ in range(5):
            assert client.post_json(server.url, {"a": 1}, target="t").json() == {}
    assert server.connections == 1


def test_who_vouches_for_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was configured, whatever the environment says of others."""

    def app(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    (tmp_path / "other").mkdir()
    files, other = certificates.make(tmp_path), certificates.make(tmp_path / "other")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.ca))
    with tls.served(app, files) as origin:
        for whole in (True, False):
            trusting = HttpClient("t", timeout=5, whole=whole, ca_file=files.ca)
            assert trusting.get(origin, target="t").ok
            trusting.close()
            for ca_file in (other.ca, None):
                strange = HttpClient("t", timeout=5, whole=whole, ca_file=ca_file)
                assert timed(partial(strange.get, origin, target="t"))[1] == "connection"
                strange.close()
