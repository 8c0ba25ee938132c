"""A provider that hangs, drips or refuses when the BFF starts: logins have their answer in time, all else goes on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.peers import openid, raw
from tests.peers.bff import Bff, running
from tests.peers.process import free_port

pytestmark = pytest.mark.e2e

LOGINS, THREADS, TIMES = 24, 4, 10
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Provider:
    """Takes connections, and answers none of them to the end. kind: hangs, drips a header, or drips a body."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.issuer = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._speak, args=(client,)))
                self._threads[-1].start()

    def _speak(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(65536)
            self.asked.set()
            if self._kind != "hangs":
                client.sendall(HEAD + (b"Content-Length: 5000\r\n\r\n{" if self._kind == "drips a body" else b"X: "))
            while not self._over.wait(0.1):  # a byte now and then, far within any timeout for one read
                if self._kind != "hangs":
                    client.sendall(b" ")

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(kind: str, issuer: str) -> dict[str, str]:
    return {
        "WEB_WORKER_CLASS": kind,
        "WEB_THREADS": str(THREADS),
        "OIDC_ISSUER": issuer,
        "AUTH_CLIENT_ID": "bff",
        "AUTH_CLIENT_SECRET": "a secret",
        "RATE_LIMITS": "login=100000/minute",
    }


@pytest.fixture(params=["hangs", "drips a header", "drips a body"])
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    with closing(Provider(request.param)) as made:
        yield made


@pytest.fixture
def bff(kind: str, provider: Provider, tmp_path: Path) -> Iterator[Bff]:
    with running(tmp_path, settings(kind, provider.issuer)) as started:
        yield started


def request(bff: Bff, path: str, more: str = "") -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in openid.NAVIGATION.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{bff.port}\r\n{fields}{more}\r\n".encode()


def check_the_rest(bff: Bff) -> None:
    for _ in range(TIMES):
        assert raw.ask(bff.port, request(bff, "/health/live")).status == 200
        assert raw.ask(bff.port, request(bff, "/auth/verify", f"Cookie: bff_session={'A' * 43}\r\n")).status == 401


def check_refused(answer: raw.Answer) -> None:
    assert (answer.status, b"idp_unavailable" in answer.body) == (503, True)


def test_logins_have_their_answer_and_all_else_goes_on(bff: Bff, provider: Provider) -> None:
    """The answers take six seconds at most. They are waited for as long as `raw.PATIENCE`, since this machine may be
    busy; without the bounds the first one takes 20 seconds, and each other as long as the ones before it."""
    with ExitStack() as stack:
        logins = []
        for _ in range(LOGINS):
            client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", bff.port), raw.PATIENCE)))
            client.sendall(request(bff, "/auth/login"))
            logins.append(client)
        assert provider.asked.wait(raw.PATIENCE)
        check_the_rest(bff)
        for client in logins:
            check_refused(raw.answer(client))


def test_a_provider_that_refuses_connections(kind: str, tmp_path: Path) -> None:
    with running(tmp_path, settings(kind, f"http://127.0.0.1:{free_port()}")) as bff:
        for _ in range(LOGINS):
            check_refused(raw.ask(bff.port, request(bff, "/auth/login")))
        check_the_rest(bff)
