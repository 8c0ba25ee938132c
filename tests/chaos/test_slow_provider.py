"""A provider that hangs, drips or refuses when the BFF starts: logins have their answer in time, all else goes on."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.peers import lateness, openid, raw
from tests.peers.bff import Bff, running
from tests.peers.process import free_port

pytestmark = pytest.mark.e2e

LOGINS, THREADS = 24, 4
QUICK, LOGIN = 0.05, 6.0
"""Seconds that health and verify take at most, and the answer to a login."""
UNKNOWN = f"Cookie: bff_session={'A' * 43}\r\n"
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


def check_refused(answer: raw.Answer) -> None:
    assert (answer.status, b"idp_unavailable" in answer.body) == (503, True)


@dataclass
class Watch:
    """Seconds that health and verify took, and so they did at a twin whose provider is well, each at the same moment;
    and after how long each login had its answer."""

    own: list[float] = field(default_factory=list)
    twin: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)

    def check_the_rest(self, bff: Bff, twin: Bff) -> None:
        for service, taken in ((bff, self.own), (twin, self.twin)):
            for path, cookie, status in (("/health/live", "", 200), ("/auth/verify", UNKNOWN, 401)):
                begun = time.monotonic()
                assert raw.ask(service.port, request(service, path, cookie)).status == status
                taken.append(time.monotonic() - begun)

    def wait(self, logins: list[socket.socket], bff: Bff, twin: Bff) -> None:
        """Until each has its answer, and look at the rest all the time."""
        begun = time.monotonic()
        while logins:
            assert time.monotonic() < begun + 3 * raw.PATIENCE, f"{len(logins)} logins have no answer"
            self.check_the_rest(bff, twin)
            for client in select.select(logins, [], [], 0)[0]:
                self.logins.append(time.monotonic() - begun)
                check_refused(raw.answer(client))
                logins.remove(client)

    def judge(self, late: lateness.Lateness) -> None:
        """What this machine was late itself, and what the twin took, is not the provider's doing."""
        print(
            f"health and verify at most {max(self.own) * 1000:.0f} ms, of the twin {max(self.twin) * 1000:.0f} ms;"
            f" logins {max(self.logins):.1f} s; this machine {late.worst * 1000:.0f} ms late"
        )
        assert max(self.own) < QUICK + max(*self.twin, late.worst)
        assert max(self.logins) < LOGIN + late.lost


@pytest.fixture(scope="module")
def twin(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    """Has the embedded provider."""
    of_workers = {name: value for name, value in settings(kind, "").items() if name.startswith(("WEB_", "RATE_"))}
    with running(tmp_path_factory.mktemp("twin"), of_workers) as started:
        yield started


def check(bff: Bff, twin: Bff, asked: Callable[[], object] = bool) -> None:
    """Many logins at once have the answer that they should, and meanwhile all else goes on."""
    watch = Watch()
    with ExitStack() as stack, lateness.measured() as late:
        logins = []
        for _ in range(LOGINS):
            for service in (bff, twin):  # the work of so many logins is not the provider's doing, either
                client = stack.enter_context(
                    closing(socket.create_connection(("127.0.0.1", service.port), raw.PATIENCE))
                )
                client.sendall(request(service, "/auth/login"))
                if service is bff:
                    logins.append(client)
        asked()
        watch.check_the_rest(bff, twin)
        watch.wait(logins, bff, twin)
    watch.judge(late)


def test_logins_have_their_answer_and_all_else_goes_on(bff: Bff, twin: Bff, provider: Provider) -> None:
    """Without the bounds the first one takes 20 seconds, and each other as long as the ones before it."""
    check(bff, twin, lambda: provider.asked.wait(raw.PATIENCE))


def test_a_provider_that_refuses_connections(kind: str, twin: Bff, tmp_path: Path) -> None:
    with running(tmp_path, settings(kind, f"http://127.0.0.1:{free_port()}")) as bff:
        check(bff, twin)
        for _ in range(LOGINS):
            check_refused(raw.ask(bff.port, request(bff, "/auth/login")))
