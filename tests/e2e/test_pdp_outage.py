"""The policy decision point is killed, and frozen, while requests keep coming: what is remembered goes on, all else is
denied in time, and soon after its return decisions are made again.

`make chaos` lets each outage last a minute (CHAOS_OUTAGE, in seconds).
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest
import requests

from tests.peers import bff as bff_peer
from tests.peers import cerbos
from tests.peers.bff import Bff
from tests.peers.cerbos import Cerbos

pytestmark = pytest.mark.e2e

OUTAGE = float(os.environ.get("CHAOS_OUTAGE", "6"))
TTL = OUTAGE / 2
TIMEOUT = 0.5
LATEST = TIMEOUT * 1.1
RECOVERY = 2.0
WORKERS, CLIENTS = 2, 6
PATIENCE = 30.0
ENOUGH = 30  # answers one after the other that show that every worker decides again
COMMAND = (str(Path(sys.executable).parent / "gunicorn"), "-c", "gunicorn.conf.py", "tests.e2e.guarded:app")


class Answer(NamedTuple):
    """sent, got: on the clock of this process. seconds: what the BFF needed to know. code: empty when let through."""

    sent: float
    got: float
    name: str
    code: str
    seconds: float
    worker: int


class Load:
    """Clients that ask without a pause, every other time about a page that nobody has asked about before."""

    def __init__(self, bff: Bff) -> None:
        self._bff = bff
        self._over = Event()
        self._numbers = count()
        self.answers: list[Answer] = []

    def ask(self, session: requests.Session, name: str) -> Answer:
        sent = time.monotonic()
        content = session.get(f"http://{self._bff.address}/test/pages/{name}", timeout=30).json()
        return Answer(sent, time.monotonic(), name, content["code"], content["seconds"], content["worker"])

    def new_name(self) -> str:
        return f"new-{next(self._numbers)}"

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                self.answers += [self.ask(session, "known"), self.ask(session, self.new_name())]

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._run) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._over.set()
            for client in clients:
                client.result()

    def known(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.name == "known"]

    def new(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.name != "known"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Cerbos:
    return cerbos.prepared(tmp_path_factory.mktemp("cerbos"))


@pytest.fixture(scope="module")
def bff(server: Cerbos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    folder = tmp_path_factory.mktemp("bff")
    settings = {
        "TEST_PDP": server.base_url, "TEST_PDP_TIMEOUT": str(TIMEOUT), "TEST_PDP_TTL": str(TTL),
        "PYTHONPATH": str(bff_peer.ROOT),
    }  # fmt: skip
    with bff_peer.running(folder, settings, workers=WORKERS, command=COMMAND) as running:
        yield running


def recovered(load: Load) -> float:
    """When decisions about new pages began to be made again, so many of them that every worker has."""
    deadline = time.monotonic() + PATIENCE
    with requests.Session() as session:
        since, row = 0.0, 0
        while row < ENOUGH:
            assert time.monotonic() < deadline, "it never recovered"
            answer = load.ask(session, load.new_name())
            row = row + 1 if answer.code == "" else 0
            since = answer.got if row == 1 else since
    return since


def judge(load: Load, gone: float, back: float, recovery: float) -> None:
    """What must hold of every answer. gone, back: when the PDP was. recovery: seconds after its return until every
    worker decided again."""
    slowest = max(load.answers, key=lambda answer: answer.seconds)
    print(f"{len(load.answers)} answers, slowest decision {slowest.seconds:.3f} s, recovered after {recovery:.2f} s")
    assert recovery < RECOVERY
    assert slowest.seconds < LATEST, slowest
    assert {answer.code for answer in load.answers} == {"", "error"}, "and never a denial"
    settled = [each for each in load.new() if gone < each.sent and each.got < back]
    assert len(settled) > ENOUGH
    assert {answer.code for answer in settled} == {"error"}
    assert {answer.code for answer in load.new() if answer.got < gone} == {""}
    remembered = [each for each in load.known() if gone < each.sent and each.got < back and each.code == ""]
    assert remembered, "what was remembered went on"
    assert max(each.sent for each in remembered) < gone + TTL + LATEST, "and no longer than its time"
    forgotten = [each for each in load.known() if gone < each.sent and each.code == "error"]
    assert forgotten, "the outage was longer than that"


def test_killed(bff: Bff, server: Cerbos) -> None:
    load, errors = Load(bff), bff.value("bff_authz_requests_total", decision="error")
    with ExitStack() as second, server.running() as first:
        recovered(load)
        with load.running():
            time.sleep(1)
            first.kill()
            first.wait()
            gone = time.monotonic()
            time.sleep(OUTAGE)
            back = time.monotonic()
            second.enter_context(server.running())
            listening = time.monotonic()
            since = recovered(load)
        judge(load, gone, back, since - listening)
    assert bff.value("bff_authz_requests_total", decision="error") > errors


def test_frozen(bff: Bff, server: Cerbos) -> None:
    """The worst that it can do: it takes connections and questions, and says nothing."""
    load = Load(bff)
    with server.running() as process:
        recovered(load)
        with load.running():
            time.sleep(1)
            cerbos.freeze(process)
            gone = time.monotonic()
            time.sleep(OUTAGE)
            back = time.monotonic()
            cerbos.thaw(process)
            since = recovered(load)
        judge(load, gone, back, since - back)
