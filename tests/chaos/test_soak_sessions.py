"""Every end of a session has a cause that the script brought about, through faults of all kinds at once.

People with a browser or two, and two providers, log in, stay away, refresh, log out, are logged out by a provider, get
other roles and lose their grants, while workers are killed, pods restarted and reloaded, and Redis fails over. The
short form takes a number of steps; `make soak-sessions` takes 1,000 people and ten minutes (SOAK_PEOPLE,
SOAK_SESSIONS_SECONDS).
"""

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos import soak_ground
from tests.chaos.soak_ground import Ground
from tests.chaos.soak_ledger import Ledger
from tests.chaos.soak_people import Person
from tests.chaos.soak_site import Site
from tests.peers import process

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("SOAK_SESSIONS_SECONDS", "0"))
PEOPLE = int(os.environ.get("SOAK_PEOPLE", "60"))
IDLE, TTL, PACE = (30, 40, 9.0) if SECONDS else (10, 8, 0.8)
STEPS = 40 * PEOPLE
THREADS = 8
BETWEEN_FAULTS = 15.0
"""Seconds; in the short form they are spread over its steps."""
FAULTS = 7


class Crowd:
    """People in turn, by when each wants to do something."""

    def __init__(self, people: list[Person], over: Callable[[int], bool]) -> None:
        """over: asked with the number of steps so far."""
        self._due = [(0.0, number, person) for number, person in enumerate(people)]
        self._lock = threading.Lock()
        self._over = over
        self._numbers = itertools.count(len(people))
        self.steps = 0

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for each in [pool.submit(self._go_on) for _ in range(THREADS)]:
                each.result()

    def _go_on(self) -> None:
        while not self._over(self.steps):
            person = self._next()
            if person is None:
                time.sleep(process.POLL)
                continue
            again = time.monotonic() + person.step()
            with self._lock:
                heapq.heappush(self._due, (again, next(self._numbers), person))

    def _next(self) -> Person | None:
        with self._lock:
            if not self._due or self._due[0][0] > time.monotonic():
                return None
            self.steps += 1
            return heapq.heappop(self._due)[2]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with soak_ground.running(tmp_path, idle_timeout=IDLE, access_token_ttl=TTL) as started:
        yield started


def bring_about(faults: Iterator[Callable[[], None]], crowd: Crowd, over: threading.Event) -> None:
    """One after the other, with a pause; in the short form after so many steps."""
    for number, fault in enumerate(faults, 1):
        if SECONDS:
            over.wait(BETWEEN_FAULTS)
        while not SECONDS and crowd.steps < number * STEPS / (FAULTS + 1) and not over.is_set():
            time.sleep(0.05)
        if over.is_set():
            return
        fault()


def test_every_end_of_a_session_has_a_cause(ground: Ground) -> None:
    ledger = Ledger(ground.providers, IDLE)
    site = Site(ground.base_url, [pod.port for pod in ground.pods])
    people = [
        Person(f"person-{each}", site, ledger, browsers=1 if each % 4 else 2, idle_timeout=IDLE, pace=PACE)
        for each in range(PEOPLE)
    ]
    until = time.monotonic() + SECONDS
    crowd = Crowd(people, lambda steps: time.monotonic() > until if SECONDS else steps >= STEPS)
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        faults = pool.submit(bring_about, ground.faults(ledger), crowd, over)
        try:
            crowd.run()
        finally:
            over.set()
        faults.result()
    for person in people:
        person.look_again()
    site.close()
    for pod in ground.pods:
        pod.stop()
    for record in ground.records():
        report(ledger, record)
    print(f"{crowd.steps} steps of {PEOPLE} people: {dict(sorted(ledger.counts.items()))}")
    print("\n".join(ledger.unexplained))
    assert ledger.unexplained == []
    check_that_all_happened(ledger)


def report(ledger: Ledger, record: dict[str, object]) -> None:
    event = record.get("cloudevent")
    if isinstance(event, dict) and event["type"].endswith("session.ended"):
        at = datetime.fromisoformat(event["time"]).timestamp()
        ledger.reported(event["data"]["session"], event["data"]["reason"], at)


def check_that_all_happened(ledger: Ledger) -> None:
    """Otherwise it would show nothing."""
    counted = ledger.counts
    for what in ("kill", "failover", "stays away", "another role", "lost grant", "end 200", "answer 401"):
        assert counted[what], what
    for reason in ("idle_timeout", "logout", "backchannel", "replaced", "refresh_rejected"):
        assert counted[f"event: {reason}"], reason
    assert counted["answer 200"] > 5 * counted["answer 503"]
