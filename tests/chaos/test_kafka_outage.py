"""Kafka is away under load, and workers are killed meanwhile: every answered request's event arrives all the same,
under one id, in order, and nobody waits for it.

`make chaos` lets the outage last a minute (CHAOS_OUTAGE, in seconds), stopped and frozen, and compares the latencies
with those of a twin whose Kafka stays: another BFF on the same machine at the same time, under the same load, whose
workers are killed at the same moments. What else the machine has to do then slows both.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
import requests

from bff.crypto import digest
from tests.peers import bff as bff_peer
from tests.peers import openid, process, proxies, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.kafka import Kafka, Message
from tests.peers.redis import RedisServer
from tests.unit.events.support import valid

pytestmark = pytest.mark.e2e

OUTAGE = float(os.environ.get("CHAOS_OUTAGE", "4"))
LONG = OUTAGE >= 60
FAULTS = ("stopped", "frozen") if LONG else ("stopped",)
SLOWER = 1.2
"""How much slower a request may be at the 99th percentile than the twin's; a minute is enough to tell."""
WORKERS, CLIENTS, KILLS = 3, 4, 3
PATIENCE = 60.0
PAUSE = 0.02
"""Seconds between two requests of a client: load, but not so much that every request waits for a processor."""
KILLED = requests.ConnectionError, requests.exceptions.ChunkedEncodingError
"""What a client sees of a worker that was killed before its answer, or in the midst of it."""
FEW = 50
"""Events wait when somebody delivers them, for a second or two."""
LOG = "bff:l:events"
TOPICS = [f"bff.{name}" for name in ("audit", "auth", "sessions", "security")]
ROUTES = """
services: {pages: {base_url: "http://%s", token: none}}
routes:
  - id: page
    path: /api/pages/{name}
    service: pages
    authz: pdp
    authz_map: {resource: pages, action: read, id_from: $.path.name}
"""
POLICY = '@id("all") permit(principal, action == Action::"read", resource is pages);'

_numbers = count()  # of pages, in all tests: whatever an earlier one left at the broker has other names


class Answer(NamedTuple):
    """sent: on the clock of this process. name: of the page, client and number."""

    sent: float
    seconds: float
    name: str


class Load:
    """Clients that ask for one page after the other, and a person who logs in and out all the time."""

    def __init__(self, bff: Bff, cookies: Sequence[str], agent: str) -> None:
        self._bff = bff
        self._cookies = cookies
        self._agent = agent
        self._over = Event()
        self.answers: list[Answer] = []
        self.logins: list[str] = []
        self.logouts: list[str] = []
        """References of sessions, when the answer had come."""

    def _ask(self, client: int) -> None:
        headers = {"Cookie": f"bff_session={self._cookies[client]}", "User-Agent": self._agent}
        with requests.Session() as session:
            while not self._over.is_set():
                name = f"{client}-{next(_numbers)}"
                sent = time.monotonic()
                with suppress(*KILLED):
                    answer = session.get(
                        f"http://{self._bff.address}/api/pages/{name}", headers=headers, timeout=PATIENCE
                    )
                    assert answer.status_code == 200, answer.text
                    self.answers.append(Answer(sent, time.monotonic() - sent, name))
                self._over.wait(PAUSE)

    def _log_in_and_out(self) -> None:
        while not self._over.wait(10 * PAUSE):
            with suppress(*KILLED), Visitor(self._bff.base_url) as alice:
                if alice.login().status_code != 302:
                    continue
                session = digest(digest(alice.cookie()))[:24]
                self.logins.append(session)
                if alice.logout().status_code == 200:
                    self.logouts.append(session)

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            clients = [pool.submit(self._ask, number) for number in range(CLIENTS)]
            clients.append(pool.submit(self._log_in_and_out))
            try:
                yield
            finally:
                self._over.set()
            for client in clients:
                client.result()

    def slow(self, stretch: tuple[float, float]) -> float:
        """Seconds at the 99th percentile, of requests in this stretch of time."""
        since, until = stretch
        taken = [each.seconds for each in self.answers if since <= each.sent < until]
        return statistics.quantiles(taken, n=100, method="inclusive")[98]


class Place(NamedTuple):
    bff: Bff
    broker: Kafka
    store: RedisServer


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    with placed(folder) as made:
        yield made


@pytest.fixture(scope="module")
def twins(folder: Path) -> Iterator[list[Place]]:
    """One where latencies are compared, else none."""
    (folder / "twin").mkdir()
    with ExitStack() as stack:
        yield [stack.enter_context(placed(folder / "twin"))] if LONG else []


@contextmanager
def placed(folder: Path) -> Iterator[Place]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    (folder / "policies").mkdir()
    (folder / "policies" / "pages.cedar").write_text(POLICY)
    with ExitStack() as stack:
        store = stack.enter_context(RedisServer(redis.debian(), folder))
        broker = stack.enter_context(Kafka(folder))
        application = stack.enter_context(proxies.echo())
        provider = stack.enter_context(openid.running([client], autologin=True))
        (folder / "routes.yaml").write_text(ROUTES % application)
        environ = {
            **client.environ,
            "OIDC_ISSUER": provider.issuer,
            "BFF_CONFIG_DIR": str(folder),
            "REDIS_URL": store.url,
            "KAFKA_BOOTSTRAP_SERVERS": broker.address,
        }
        bff = stack.enter_context(bff_peer.running(folder, environ, port=port, workers=WORKERS))
        yield Place(bff, broker, store)


@contextmanager
def loaded(place: Place) -> Iterator[Load]:
    """Load, running."""
    with ExitStack() as stack:
        people = [stack.enter_context(Visitor(place.bff.base_url)) for _ in range(CLIENTS)]
        for person in people:
            assert person.login().status_code == 302
        load = Load(place.bff, [person.cookie() for person in people], str(people[0].headers["User-Agent"]))
        with load.running():
            yield load


def kill_workers(*bffs: Bff) -> tuple[float, float]:
    """One after the other, the oldest first, while the outage lasts: from when until when."""
    begun = time.monotonic()
    for _ in range(KILLS):
        time.sleep(OUTAGE / (KILLS + 1))
        for bff in bffs:
            with suppress(ProcessLookupError):
                os.kill(min(bff.workers()), signal.SIGKILL)
    time.sleep(OUTAGE / (KILLS + 1))
    return begun, time.monotonic()


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(process.POLL)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(place: Place, twins: list[Place], fault: str) -> None:
    bff, broker, store = place
    leave, come_back = {"stopped": (broker.stop, broker.start), "frozen": (broker.freeze, broker.thaw)}[fault]
    with ExitStack() as stack:
        load, *others = [stack.enter_context(loaded(each)) for each in (place, *twins)]
        time.sleep(1)
        wait(lambda: store.command("XLEN", LOG) < FEW, "nobody delivers")
        leave()
        outage = kill_workers(bff, *(twin.bff for twin in twins))
        kept = int(store.command("XLEN", LOG))
        come_back()
        wait(lambda: store.command("XLEN", LOG) < FEW, "nobody delivers any more")
        emptied = time.monotonic() - outage[1]
        time.sleep(1)
    print(
        f"{fault}: {len(load.answers)} pages, {len(load.logins)} logins; {kept} events waited, gone {emptied:.1f} s"
        " after its return"
    )
    assert kept > CLIENTS, "they waited"
    for each, its in zip((place, *twins), (load, *others), strict=True):
        settled(each, its)
    for twin in others:
        own, theirs = load.slow(outage), twin.slow(outage)
        print(f"p99 {own * 1000:.1f} ms, of the twin {theirs * 1000:.1f} ms")
        assert own < theirs * SLOWER


def settled(place: Place, load: Load) -> None:
    wait(lambda: place.store.command("XLEN", LOG) == 0, "the outbox was never empty")
    judge(load, place.broker.messages(TOPICS))


def judge(load: Load, messages: Sequence[Message]) -> None:
    for each in messages:
        valid(each.event)
    by_id = {str(each.event["id"]): each for each in messages}
    print(f"{len(messages)} messages, {len(messages) - len(by_id)} of them repeated")
    first = list(by_id.values())  # a dictionary keeps the place where a key came first
    pages = [each.event["data"]["id"] for each in first if each.topic == "bff.audit"]
    assert len(pages) == len(set(pages)), "one event, one id"
    assert not {answer.name for answer in load.answers} - set(pages), "every answered request is there"
    for client in range(CLIENTS):
        own = [int(name.partition("-")[2]) for name in pages if name.startswith(f"{client}-")]
        assert own == sorted(own), "in order"
    for topic, told, wanted in (
        ("bff.auth", {"auth.login.succeeded": load.logins, "auth.logout": load.logouts}, "auth."),
        ("bff.sessions", {"session.created": load.logins, "session.ended": load.logouts}, "session."),
    ):
        complete([each.event for each in first if each.topic == topic and each.event["type"].startswith(wanted)], told)


def complete(events: Sequence[Mapping[str, Any]], told: Mapping[str, Sequence[str]]) -> None:
    """Of every session both events are there, once, and in this order."""
    of_session: dict[str, list[str]] = {}
    for event in events:
        of_session.setdefault(event["data"].get("session", ""), []).append(event["type"])
    for event_type, sessions in told.items():
        missing = [session for session in sessions if of_session.get(session, []).count(event_type) != 1]
        assert not missing, event_type
    order = list(told)
    assert all(types == order[: len(types)] for session, types in of_session.items() if session)
