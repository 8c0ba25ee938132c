"""BFF_SECRETS rotated over two masters on one Redis, by their files and SIGHUP, under load, while a stream keeps an old
worker alive: no login, session or event is lost in any of the three steps."""

import base64
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.peers import bff, process, redis, service
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e

PATIENCE = 150
OLD, NEW = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
ROUTES = """services: {orders: {token: none, base_url: "%s"}}
routes: [{id: orders, path: "/api/orders/*", service: orders, auth: none, streaming: true}]
"""
LOG = "bff:l:events"


class Fleet:
    def __init__(self, folder: Path, store: redis.RedisServer, masters: list[Bff]) -> None:
        self.folder, self.store, self.masters = folder, store, masters

    def rotate(self, place: int, content: str) -> None:
        """Write one master's file, say SIGHUP, and wait until that is in effect."""
        master = self.masters[place]
        (self.folder / str(place) / "secrets").write_text(content)
        before = count(master, "configuration_in_effect")
        os.kill(master.process.pid, signal.SIGHUP)
        wait_until(lambda: count(master, "configuration_in_effect") > before)

    def steps(self) -> set[str]:
        answers = [requests.get(f"http://{each.address}/health", timeout=30).json() for each in self.masters]
        return {answer["secrets"]["step"] for answer in answers}

    def events(self) -> list[tuple[str, str]]:
        """(type, session) of each that was delivered, by whichever master."""
        records = [record for each in self.masters for record in each.records()]
        told = [record["cloudevent"] for record in records if record["event"] == "event"]
        unique = {event["id"]: (event["type"], event["data"].get("session", "")) for event in told}
        return list(unique.values())

    def waiting(self) -> int:
        with self.store.admin() as client:
            return int(client.xlen(LOG))


class Load(threading.Thread):
    """Logs in at one master with the callback at the other, is let in at both, and logs out at either."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.fleet, self.done, self.failed = fleet, 0, list[str]()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            begin, end = self.fleet.masters if self.done % 2 else reversed(self.fleet.masters)
            try:
                self.turn(begin, end)
                self.done += 1
            except Exception as err:  # noqa: BLE001 - each is a failure of the rotation
                self.failed.append(f"{type(err).__name__}: {err}")

    def go_on(self) -> None:
        """A few more people."""
        before = self.done
        wait_until(lambda: self.done + len(self.failed) > before + 5)

    def turn(self, begin: Bff, end: Bff) -> None:
        with Visitor(begin.base_url) as alice:
            callback = urlsplit(alice.authorize(elsewhere(alice, begin)))
            url = f"http://{end.address}{callback.path}?{callback.query}"
            assert alice.get(url, allow_redirects=False, timeout=30).status_code == 302
            for master in (begin, end):
                answer = alice.get(f"http://{master.address}/auth/session", timeout=30)
                assert answer.status_code == 200, answer.text
            token = alice.get(f"http://{begin.address}/auth/csrf", timeout=30).json()["csrf_token"]
            headers = {"X-CSRF-Token": token, "Origin": begin.base_url}
            answer = alice.post(f"http://{end.address}/auth/logout", json={}, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text


def elsewhere(alice: Visitor, begin: Bff) -> str:
    """Where this master's login sends the browser."""
    answer = alice.get(f"http://{begin.address}/auth/login", allow_redirects=False, timeout=30)
    return answer.headers["Location"]


def count(master: Bff, event: str) -> int:
    return sum(record["event"] == event for record in master.records())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    port = process.free_port()
    with ExitStack() as stack:
        orders = stack.enter_context(service.running(tmp_path))
        store = stack.enter_context(redis.RedisServer(redis.debian(), tmp_path))
        masters = []
        for place in range(2):
            folder = tmp_path / str(place)
            folder.mkdir()
            (folder / "routes.yaml").write_text(ROUTES % orders.url)
            (folder / "secrets").write_text(OLD)
            settings = {
                "REDIS_URL": store.url,
                "REDIS_TIMEOUT": "5",  # a busy machine that keeps Redis from a processor is not the rotation's doing
                "BFF_SECRETS_FILE": str(folder / "secrets"),
                "BFF_CONFIG_DIR": str(folder),
                "BFF_DATA_DIR": str(tmp_path / "data"),
                "BFF_BASE_URL": f"http://127.0.0.1:{port}",
                "RATE_LIMITS": "login=100000/minute;callback=100000/minute",
            }
            listens = port if place == 0 else process.free_port()
            masters.append(stack.enter_context(bff.running(folder, settings, port=listens, workers=1)))
        yield Fleet(tmp_path, store, masters)


@pytest.fixture
def load(fleet: Fleet) -> Iterator[Load]:
    made = Load(fleet)
    made.start()
    yield made
    made.stopped.set()
    made.join()


def take_step(fleet: Fleet, load: Load, content: str, then: str) -> None:
    """One master after the other, with load while only one has it."""
    fleet.rotate(0, content)
    load.go_on()
    fleet.rotate(1, content)
    wait_until(lambda: fleet.steps() == {then})


def test_three_steps(fleet: Fleet, load: Load) -> None:
    url = f"http://{fleet.masters[0].address}/api/orders/sse?count=400&every=0.1&end=1"
    with requests.get(url, stream=True, timeout=60) as stream:
        next(stream.iter_content(None))
        take_step(fleet, load, f"{OLD},{NEW}", "added")
        take_step(fleet, load, f"{NEW},{OLD}", "waiting")
    load.go_on()
    load.stopped.set()
    load.join()  # what the old secret sealed is over, as after the wait that /health tells
    wait_until(lambda: fleet.waiting() == 0)
    for place in range(2):
        fleet.rotate(place, NEW)
    wait_until(lambda: fleet.steps() == {"settled"})
    load.turn(*fleet.masters)
    wait_until(lambda: fleet.waiting() == 0)
    assert load.failed == []
    events = fleet.events()
    for kind in ("session.created", "session.ended", "auth.logout"):
        sessions = [session for each, session in events if each == kind]
        assert len(sessions) == len(set(sessions)) == load.done + 1, kind
    assert load.done > 20
