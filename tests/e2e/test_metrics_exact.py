"""Counters stay true while workers are killed, recycled and reloaded under load: no scrape ever goes back, and in the
end what wrk got answers to is what /metrics counted, but for the requests that were held when a worker was killed.

`make soak` runs the same for a minute with eight workers (SOAK_SECONDS, SOAK_WORKERS).
"""

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as classic_families

from tests.peers import bff, install
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("SOAK_SECONDS", "4"))
WORKERS = int(os.environ.get("SOAK_WORKERS", "4"))
THREADS = 2
CONNECTIONS = 8
MAX_REQUESTS = 500
KILL_EVERY = 0.2
ENOUGH_KILLS = SECONDS / KILL_EVERY / 2
SCRAPE_EVERY = SECONDS / 400
ENOUGH_SCRAPES = 10 * SECONDS / 3
LONGEST = 10 * SECONDS
"""A busy machine needs more time for as many of them."""
PATIENCE = 20
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
openmetrics_families: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Bff]:
    settings = {"WEB_MAX_REQUESTS": str(MAX_REQUESTS), "WEB_THREADS": str(THREADS)}
    with bff.running(folder, settings, workers=WORKERS) as service:
        yield service


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    answered: int
    broken: int

    @classmethod
    def of(cls, output: str) -> "Load":
        answered = re.search(r"(\d+) requests in", output)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
        assert answered, output
        return cls(int(answered[1]), sum(map(int, errors.groups())) if errors else 0)


def start_load(service: Bff) -> "subprocess.Popen[str]":
    """As fast as wrk can, so that every worker always holds requests. Until it is interrupted."""
    wrk = install.debian("wrk", "wrk")
    command = [str(wrk), "-t1", f"-c{CONNECTIONS}", f"-d{LONGEST:.0f}s", f"{service.base_url}/auth/verify"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def scrape(service: Bff, *, openmetrics: bool = False) -> Samples | None:
    """Counters, buckets, sums and counts; None when the worker that should have answered was killed."""
    headers = {"Accept": OPENMETRICS} if openmetrics else {}
    try:
        answer = requests.get(f"http://{service.address}/metrics", headers=headers, timeout=PATIENCE)
    except requests.RequestException:
        return None
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text") == openmetrics
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in (openmetrics_families if openmetrics else classic_families)(answer.text)
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value for (each, found), value in samples.items() if each == name and labels.items() <= dict(found).items()
    )


class Killer(threading.Thread):
    """Ends a worker every now and then, as the kernel does when memory is short, and reloads the rest half-way."""

    def __init__(self, service: Bff, seconds: float) -> None:
        super().__init__()
        self.victims: set[int] = set()
        self._service = service
        self._until = time.monotonic() + seconds
        self._at_last = time.monotonic() + LONGEST
        self._reload_at = time.monotonic() + seconds / 2

    def run(self) -> None:
        while time.monotonic() < self._until or self._too_few():
            time.sleep(KILL_EVERY)
            if time.monotonic() > self._reload_at:
                os.kill(self._service.process.pid, signal.SIGHUP)
                self._reload_at = float("inf")
            workers = [pid for pid in self._service.workers() if pid not in self.victims]
            if len(workers) > 1:
                victim = random.choice(workers)
                self.victims.add(victim)
                os.kill(victim, signal.SIGKILL)

    def _too_few(self) -> bool:
        return len(self.victims) <= ENOUGH_KILLS and time.monotonic() < self._at_last


def test_counters_are_exact_while_workers_die(running: Bff) -> None:
    scrapes: list[Samples] = []
    failed = 0
    killer = Killer(running, SECONDS)
    before = settled(running)
    with start_load(running) as wrk:
        killer.start()
        while killer.is_alive() or len(scrapes) <= ENOUGH_SCRAPES:
            assert wrk.poll() is None, "even in that time there was not enough of it"
            found = scrape(running, openmetrics=len(scrapes) % 2 == 1)
            failed += found is None
            scrapes += [found] if found is not None else []
            time.sleep(SCRAPE_EVERY)
        wrk.send_signal(signal.SIGINT)
        load = Load.of(wrk.communicate(timeout=PATIENCE)[0])
    settled(running)
    # Read before the last scrape: an end is counted before its successor boots, and a worker may be about to end still.
    ended = running.log.read_text().count("Booting worker") - WORKERS
    final = settled(running)
    counted = total(final, "http_requests_total", endpoint="/auth/verify")
    held = counted - load.answered
    restarts = {
        dict(labels)["reason"]: int(value)
        for (name, labels), value in final.items()
        if name == "bff_worker_restarts_total"
    }
    print(
        f"\n{len(scrapes)} scrapes, {failed} of a worker that was just killed; {len(killer.victims)} workers killed;"
        f" restarts {restarts}: wrk saw {load.answered} answers and {load.broken} broken connections,"
        f" /metrics counted {counted:.0f}, {held:.0f} of them held by workers that died or by wrk's end"
    )
    assert went_back([before, *scrapes, final]) == Counter()
    measured = total(final, "bff_verify_duration_seconds_count")
    assert abs(measured - counted) <= len(killer.victims) * THREADS  # a kill between the two
    # A request is counted before it is answered: a kill in between leaves it counted and not answered.
    assert 0 <= held <= len(killer.victims) * THREADS + CONNECTIONS
    assert restarts["killed"] <= len(killer.victims)  # some were about to leave, and had said so
    assert restarts["max_requests"] > 0
    assert 0 <= sum(restarts.values()) - ended <= len(killer.victims)  # killed before it could say that it boots
    assert len(killer.victims) > ENOUGH_KILLS
    assert load.answered > 100 * SECONDS


def went_back(scrapes: list[Samples]) -> "Counter[str]":
    """How often each metric was less than in the scrape before."""
    return Counter(
        name
        for former, later in pairwise(scrapes)
        for (name, labels), value in former.items()
        if later.get((name, labels), 0) < value
    )


def settled(service: Bff) -> Samples:
    """A scrape when every worker that ended is replaced and buried."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = scrape(service)
        if found is not None and len(service.workers()) == WORKERS and service.value("bff_workers") == WORKERS:
            return scrape(service) or found
        time.sleep(0.1)
    raise AssertionError("the fleet did not come to rest")
