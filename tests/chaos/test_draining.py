"""An instance that is told to stop says so at once, answers everything until its clients had the time to go elsewhere,
and then finishes what it has begun, while nothing new can reach it."""

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest
import requests

from tests.peers import bff, process, service
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

PATIENCE = 60
DELAY = "1.5"
ROUTES = """services:
  orders: {token: none, base_url: "%s"}
routes:
  - {id: orders, path: "/api/orders/*", service: orders, auth: none, streaming: true}
"""
EVENTS = 40  # a tenth of a second each: the stream outlives the delay
REFUSED = "refused"


@pytest.fixture(params=["gthread", "gevent"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bff]:
    with service.running(tmp_path) as orders:
        (tmp_path / "routes.yaml").write_text(ROUTES % orders.url)
        settings = {"WEB_WORKER_CLASS": request.param, "DRAIN_DELAY": DELAY, "BFF_CONFIG_DIR": str(tmp_path)}
        with bff.running(tmp_path, settings, workers=2, verify=True) as started:
            wait_until_ready(started)
            yield started


def ask(port: int, path: str) -> str:
    """What a new connection gets: the status of its answer, or what it met instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        try:
            connection.connect()
        except ConnectionRefusedError:
            return REFUSED
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as err:
            return type(err).__name__


def wait_until_ready(started: Bff) -> None:
    deadline = time.monotonic() + PATIENCE
    while [ask(started.port, "/health/ready") for _ in range(10)] != ["200"] * 10:
        assert time.monotonic() < deadline, "it is not ready in time"
        time.sleep(process.POLL)


def tell_to_stop(started: Bff) -> None:
    """As an orchestrator does, and until its load balancer would see it."""
    os.kill(started.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while (seen := ask(started.port, "/health/ready")) != "503":
        assert (seen, time.monotonic() < deadline) == ("200", True)


def in_turn(seen: list[str]) -> list[str]:
    return [each for each, _ in groupby(seen)]


def asked_until_refused(port: int, path: str) -> list[str]:
    """What is said to one new connection after another, until there are no more."""
    seen: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while REFUSED not in seen[-1:]:
        assert time.monotonic() < deadline, in_turn(seen)
        seen.append(ask(port, path))
    return seen


@contextmanager
def stream(started: Bff) -> Iterator[Iterator[bytes]]:
    """What comes after its first piece."""
    url = f"{started.base_url}/api/orders/sse?count={EVENTS}&every=0.1&end=1"
    with requests.get(url, stream=True, timeout=PATIENCE) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_content(None)
        assert next(pieces).startswith(b"id: 1\n")
        yield pieces


def test_it_says_so_first_then_refuses_and_finishes_what_it_has_begun(running: Bff) -> None:
    verify_port = int(running.verify_address.rpartition(":")[2])
    asked = {"/health/ready": running.port, "/auth/session": running.port, "/auth/verify": verify_port}
    seen: dict[str, list[str]] = {}
    with stream(running) as orders:
        tell_to_stop(running)
        told = requests.get(f"{running.base_url}/health", timeout=PATIENCE)
        assert (told.status_code, told.json()["status"]) == (503, "draining")

        threads = [
            threading.Thread(target=lambda path, port: seen.update({path: asked_until_refused(port, path)}), args=each)
            for each in asked.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {path: in_turn(each) for path, each in seen.items()} == {
            "/health/ready": ["503", REFUSED],
            "/auth/session": ["200", REFUSED],
            "/auth/verify": ["401", REFUSED],
        }
        assert running.process.poll() is None, "the stream is to be finished"
        assert [ask(port, path) for path, port in asked.items()] == [REFUSED] * 3
        rest = b"".join(orders)
    assert f"id: {EVENTS}\n".encode() in rest
    assert running.process.wait(PATIENCE) == 0


@dataclass
class Client:
    """Asks on one connection after another, and on each a few times, until its load balancer goes elsewhere."""

    port: int
    elsewhere: threading.Event
    answers: list[str] = field(default_factory=list)

    def run(self) -> None:
        while not self.elsewhere.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
                for _ in range(5):
                    self.answers.append(self._ask(connection))

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", "/auth/session")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as err:
            return type(err).__name__
        return str(answer.status)


def test_clients_that_go_by_readiness_lose_no_request(running: Bff) -> None:
    elsewhere = threading.Event()
    clients = [Client(running.port, elsewhere) for _ in range(4)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    tell_to_stop(running)
    elsewhere.set()
    for thread in threads:
        thread.join()
    answers = [each for client in clients for each in client.answers]
    assert len(answers) >= 20
    assert set(answers) == {"200"}
    assert running.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_ends_the_delay(tmp_path: Path, worker_class: str, second: signal.Signals) -> None:
    settings = {"WEB_WORKER_CLASS": worker_class, "DRAIN_DELAY": "600"}
    with bff.running(tmp_path, settings) as started:
        wait_until_ready(started)
        tell_to_stop(started)
        os.kill(started.process.pid, second)
        assert started.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_worker_that_is_replaced_announces_nothing(tmp_path: Path, worker_class: str) -> None:
    """Whatever replaces it: SIGHUP, or one that left (as after `max_requests`)."""
    with bff.running(tmp_path, {"WEB_WORKER_CLASS": worker_class, "DRAIN_DELAY": "600"}) as started:
        wait_until_ready(started)
        for number in (signal.SIGHUP, signal.SIGTERM):
            former, seen = set(started.workers()), []
            os.kill(started.process.pid if number == signal.SIGHUP else min(former), number)
            deadline = time.monotonic() + PATIENCE
            while former & set(started.workers()) or len(started.workers()) < 1:
                assert time.monotonic() < deadline
                seen.append(ask(started.port, "/auth/session"))
            wait_until_ready(started)
            assert set(seen) == {"200"}
        os.kill(started.process.pid, signal.SIGINT)
        assert started.process.wait(PATIENCE) == 0


def test_the_stop_of_an_older_master_announces_nothing(tmp_path: Path) -> None:
    """The newer one serves on the same sockets (SIGUSR2)."""
    with bff.running(tmp_path, {"DRAIN_DELAY": "600"}) as started:
        former = set(started.workers())
        os.kill(started.process.pid, signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE
        while not (newer := set(started.workers()) - former) or not _children(min(newer)):
            assert time.monotonic() < deadline
            time.sleep(process.POLL)
        master = min(newer)
        os.kill(started.process.pid, signal.SIGTERM)
        assert started.process.wait(PATIENCE) == 0
        wait_until_ready(started)
        os.kill(master, signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        while ask(started.port, "/health/live") != REFUSED:
            assert time.monotonic() < deadline
            time.sleep(process.POLL)


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()
