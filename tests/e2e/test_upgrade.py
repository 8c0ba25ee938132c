"""What counters do when masters come and go: an upgrade (SIGUSR2) goes on counting, a fresh start begins at zero."""

import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.peers import bff
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

PATIENCE = 20


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def verify(service: Bff, times: int) -> None:
    for _ in range(times):
        assert requests.get(f"{service.base_url}/auth/verify", timeout=10).status_code == 401


def verified(service: Bff) -> float:
    return service.value("bff_verify_duration_seconds_count", status="unauthenticated")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def counters(service: Bff) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that may only grow."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(service.metrics())
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def folder_of(service: Bff) -> Path:
    """Where a worker keeps its metrics, by the files that it has open."""
    descriptors = Path(f"/proc/{service.workers()[0]}/fd").iterdir()
    return next(file.readlink().parent for file in descriptors if file.readlink().name.startswith("counter_"))


def test_an_upgrade_goes_on_counting(tmp_path: Path) -> None:
    with bff.running(tmp_path, workers=2) as service:
        former, workers, folder = service.process.pid, service.workers(), folder_of(service)
        seen = []

        def go_on() -> None:
            verify(service, 5)
            seen.append(counters(service))

        go_on()
        os.kill(former, signal.SIGUSR2)
        wait_until(lambda: len(children(former)) == 3)
        (upgraded,) = set(children(former)) - set(workers)
        wait_until(lambda: len(children(upgraded)) == 2)
        go_on()
        os.kill(former, signal.SIGTERM)
        wait_until(lambda: service.process.poll() is not None)
        go_on()
        with bff.running(tmp_path) as another:  # an instance that starts later takes no folder for abandoned
            verify(another, 1)
            assert verified(another) == 1
            assert folder_of(another) != folder
        os.kill(children(upgraded)[0], signal.SIGKILL)
        wait_until(lambda: service.value("bff_worker_restarts_total", reason="killed") == 1)
        wait_until(lambda: service.value("bff_workers") == 2)
        go_on()
        assert verified(service) == 20
        for earlier, later in pairwise(seen):
            assert {series: value for series, value in earlier.items() if later.get(series, 0) < value} == {}
        os.kill(upgraded, signal.SIGTERM)
        wait_until(lambda: gone(upgraded))
    assert not folder.exists()


def test_a_failed_upgrade_changes_nothing(tmp_path: Path) -> None:
    with bff.running(tmp_path, workers=2) as service:
        verify(service, 5)
        former, workers, folder = service.process.pid, service.workers(), folder_of(service)
        os.kill(former, signal.SIGUSR2)
        wait_until(lambda: len(children(former)) == 3)
        (upgraded,) = set(children(former)) - set(workers)
        wait_until(lambda: len(children(upgraded)) == 2)
        os.kill(upgraded, signal.SIGTERM)
        wait_until(lambda: gone(upgraded))
        verify(service, 5)
        assert verified(service) == 10
    assert not folder.exists()


def kill_all(service: Bff) -> None:
    """The master first, so that nobody tidies up."""
    workers = service.workers()
    for pid in (service.process.pid, *workers):
        os.kill(pid, signal.SIGKILL)
    service.process.wait()
    for pid in workers:
        wait_until(lambda pid=pid: gone(pid))  # type: ignore[misc]


def test_a_fresh_start_begins_at_zero_over_what_a_killed_master_left(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with bff.running(tmp_path, settings, workers=2) as service:
        verify(service, 5)
        assert verified(service) == 5
        kill_all(service)
    assert list(folder.glob("histogram_*.db"))
    with bff.running(tmp_path, settings, workers=2) as service:
        verify(service, 1)
        assert verified(service) == 1
        assert service.value("bff_workers") == 2
    assert folder.exists()  # it is the operator's


def test_the_next_start_removes_the_folder_of_a_killed_master(tmp_path: Path) -> None:
    with bff.running(tmp_path) as service:
        abandoned = folder_of(service)
        kill_all(service)
    with bff.running(tmp_path) as service:
        assert folder_of(service) != abandoned
        assert not abandoned.exists()
