"""Counters stay true while workers are killed and recycled under load: no scrape ever goes back, and in the end what
clients counted is what /metrics counts, but for the requests that a killed worker held.

`make soak` runs the same for a minute with eight workers (SOAK_SECONDS, SOAK_WORKERS).
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.peers import bff
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
WORKERS = int(os.environ.get("SOAK_WORKERS", "4"))
THREADS = 2
CLIENTS = 6
KILL_EVERY = 0.2
SCRAPE_EVERY = SECONDS / 400
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    settings = {"WEB_MAX_REQUESTS": "500", "WEB_THREADS": str(THREADS)}
    with bff.running(tmp_path_factory.mktemp("exact"), settings, workers=WORKERS) as service:
        yield service


class Load:
    """Clients that ask for a verify over and over, each on its own connection, and count what came back."""

    def __init__(self, service: Bff) -> None:
        self.answered = 0
        self.broken = 0
        self._url = f"{service.base_url}/auth/verify"
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._stopping.is_set():
                try:
                    answered = session.get(self._url, timeout=10).status_code == 401
                except requests.RequestException:
                    answered = False
                with self._lock:
                    self.answered += answered
                    self.broken += not answered


def scrape(service: Bff) -> Samples | None:
    """Counters, buckets, sums and counts; None when the worker that should answer was killed."""
    try:
        page = service.metrics()
    except requests.RequestException:
        return None
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def verifies(samples: Samples) -> float:
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "http_requests_total" and ("endpoint", "/auth/verify") in labels
    )


def kill_now_and_then(service: Bff, until: float, kills: "list[int]") -> None:
    while time.monotonic() < until:
        time.sleep(KILL_EVERY)
        workers = service.workers()
        if len(workers) > 1:
            victim = random.choice(workers)
            os.kill(victim, signal.SIGKILL)
            kills.append(victim)


def test_counters_are_exact_while_workers_die(running: Bff) -> None:
    kills: list[int] = []
    scrapes: list[Samples] = []
    until = time.monotonic() + SECONDS
    killer = threading.Thread(target=kill_now_and_then, args=(running, until, kills))
    with Load(running) as load:
        killer.start()
        while time.monotonic() < until:
            if (found := scrape(running)) is not None:
                scrapes.append(found)
            time.sleep(SCRAPE_EVERY)
        killer.join()
    final = settled(running)
    went_back = Counter(
        name
        for former, later in zip([*scrapes], [*scrapes[1:], final], strict=True)
        for (name, labels), value in former.items()
        if later.get((name, labels), 0) < value
    )
    counted = verifies(final)
    print(
        f"\n{len(scrapes)} scrapes, {len(kills)} workers killed, restarts"
        f" {reasons(final)}: clients saw {load.answered} answers and {load.broken} broken requests,"
        f" /metrics counted {counted:.0f}"
    )
    assert not went_back
    assert len(kills) > SECONDS / KILL_EVERY / 3
    assert load.answered > 100 * SECONDS / WORKERS
    # A request is counted before it is answered: a kill in between leaves it counted and not answered.
    assert 0 <= counted - load.answered <= min(load.broken, len(kills) * THREADS)


def settled(service: Bff) -> Samples:
    """A scrape after every dead worker has been buried."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = scrape(service)
        if found is not None and len(service.workers()) == WORKERS and scrape(service) is not None:
            return scrape(service) or found
        time.sleep(0.1)
    raise AssertionError("the fleet did not come to rest")


def reasons(samples: Samples) -> dict[str, int]:
    return {
        dict(labels)["reason"]: int(value)
        for (name, labels), value in samples.items()
        if name == "bff_worker_restarts_total"
    }
