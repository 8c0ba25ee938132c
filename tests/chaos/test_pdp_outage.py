"""The policy decision point is killed, and frozen, while requests keep coming through the API proxy: what is remembered
goes on, all else is denied in time, and soon after its return decisions are made again.

On Redis: each decision is audited durably, and with two workers on the embedded store, one write in thousands takes
longer than the tenth of a timeout that is allowed here.

`make chaos` lets each outage last a minute (CHAOS_OUTAGE, in seconds).
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest
import requests

from tests.peers import bff as bff_peer
from tests.peers import cerbos, lateness, openid, process, proxies, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.cerbos import Cerbos
from tests.peers.lateness import Lateness

pytestmark = pytest.mark.e2e

OUTAGE = float(os.environ.get("CHAOS_OUTAGE", "3"))
TTL = OUTAGE / 2
TIMEOUT = 0.5
LATEST = TIMEOUT * 1.1
RECOVERY = 2.0
WORKERS, CLIENTS, PAUSE = 2, 6, 0.01
PATIENCE = 30.0
TURNS = 4
"""Times that an answer waits for a processor: client, worker, store, worker."""
ENOUGH = 30  # answers one after the other that show that every worker decides again
ROUTES = """
services: {pages: {base_url: "http://%s", token: none}}
routes:
  - id: page
    path: /api/pages/{name}
    service: pages
    authz: pdp
    authz_map: {resource: pages, action: read, id_from: $.path.name}
"""
PDP = """
connection: {base_url: "%s", timeout: %s}
subject: {roles_property: cerbos.roles}
cache: {allow_ttl: %s}
"""


class Answer(NamedTuple):
    """sent, got: on the clock of this process. code: empty when let through."""

    sent: float
    got: float
    name: str
    code: str


class Load:
    """Clients that ask again and again: half of them about one page, half about pages that nobody has asked about."""

    def __init__(self, bff: Bff, alice: Visitor) -> None:
        self._bff = bff
        self._headers = {"Cookie": f"bff_session={alice.cookie()}", "User-Agent": str(alice.headers["User-Agent"])}
        self._over = Event()
        self._numbers = count()
        self.answers: list[Answer] = []

    def ask(self, session: requests.Session, name: str) -> Answer:
        sent = time.monotonic()
        url = f"http://{self._bff.address}/api/pages/{name}"
        answer = session.get(url, headers=self._headers, timeout=30)
        assert answer.status_code in (200, 403), answer.text
        return Answer(sent, time.monotonic(), name, answer.headers.get("X-Denied-Reason", ""))

    def new_name(self) -> str:
        return f"new-{next(self._numbers)}"

    def _run(self, name: Callable[[], str]) -> None:
        with requests.Session() as session:
            while not self._over.wait(PAUSE):
                self.answers.append(self.ask(session, name()))

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            names = [lambda: "known", self.new_name] * (CLIENTS // 2)
            clients = [pool.submit(self._run, name) for name in names]
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
def bff(server: Cerbos, folder: Path) -> Iterator[Bff]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with (
        proxies.echo() as application,
        openid.running([client], autologin=True) as provider,
        redis.RedisServer(redis.debian(), folder) as store,
    ):
        (folder / "routes.yaml").write_text(ROUTES % application)
        (folder / "pdp.yaml").write_text(PDP % (server.base_url, TIMEOUT, TTL))
        environ = {
            **client.environ,
            "OIDC_ISSUER": provider.issuer,
            "BFF_CONFIG_DIR": str(folder),
            "REDIS_URL": store.url,
        }
        with bff_peer.running(folder, environ, port=port, workers=WORKERS) as running:
            yield running


@pytest.fixture
def alice(bff: Bff) -> Iterator[Visitor]:
    with Visitor(bff.base_url) as person:
        assert person.login().status_code == 302
        yield person


def slowest(bff: Bff, since: int) -> float:
    """Seconds that the slowest request took the BFF, of those logged since so many lines."""
    lines = [line for line in bff.records()[since:] if line.get("path") == "/api/pages/{name}"]
    return max(float(line["duration_ms"]) for line in lines) / 1000


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


def judge(load: Load, longest: float, gone: float, back: float, recovery: float, late: Lateness) -> None:
    """What must hold of every answer. longest: seconds that one took. gone, back: when the PDP was. recovery: seconds
    after its return until every worker decided again. late: this machine, meanwhile."""
    print(f"{len(load.answers)} answers, the slowest in {longest:.3f} s, recovered after {recovery:.2f} s; {late}")
    waited = TURNS * late.worst
    assert recovery < RECOVERY + waited
    assert longest < LATEST + waited
    assert {answer.code for answer in load.answers} == {"", "error"}, "and never a denial"
    settled = [each for each in load.new() if gone < each.sent and each.got < back]
    assert len(settled) > ENOUGH
    assert {answer.code for answer in settled} == {"error"}
    assert {answer.code for answer in load.new() if answer.got < gone} == {""}
    remembered = [each for each in load.known() if gone < each.sent and each.got < back and each.code == ""]
    assert remembered, "what was remembered went on"
    assert max(each.sent for each in remembered) < gone + TTL + LATEST + waited, "and no longer than its time"
    forgotten = [each for each in load.known() if gone < each.sent and each.code == "error"]
    assert forgotten, "the outage was longer than that"


def test_killed(bff: Bff, server: Cerbos, alice: Visitor) -> None:
    load, logged, errors = Load(bff, alice), len(bff.records()), bff.value("bff_authz_requests_total", decision="error")
    with ExitStack() as second, server.running() as first, lateness.measured() as late:
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
        judge(load, slowest(bff, logged), gone, back, since - listening, late)
    assert bff.value("bff_authz_requests_total", decision="error") > errors


def test_frozen(bff: Bff, server: Cerbos, alice: Visitor) -> None:
    """The worst that it can do: it takes connections and questions, and says nothing."""
    load, logged = Load(bff, alice), len(bff.records())
    with server.running() as process, lateness.measured() as late:
        recovered(load)
        with load.running():
            time.sleep(1)
            cerbos.freeze(process)
            gone = time.monotonic()
            time.sleep(OUTAGE)
            back = time.monotonic()
            cerbos.thaw(process)
            since = recovered(load)
        judge(load, slowest(bff, logged), gone, back, since - back, late)
