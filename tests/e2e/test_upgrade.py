"""What counters do when masters come and go: an upgrade (SIGUSR2) goes on counting, a fresh start begins at zero."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.peers import bff
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

PATIENCE = 20


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def verify(service: Bff, times: int) -> None:
    for _ in range(times):
        assert requests.get(f"{service.base_url}/auth/verify", timeout=10).status_code == 401


def verified(service: Bff) -> float:
    return service.value("bff_verify_duration_seconds_count", status="unauthenticated")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_upgrade_goes_on_counting(tmp_path: Path) -> None:
    with bff.running(tmp_path, workers=2) as service:
        verify(service, 5)
        former = service.process.pid
        workers = service.workers()
        os.kill(former, signal.SIGUSR2)
        wait_until(lambda: len(children(former)) == 3)
        (upgraded,) = set(children(former)) - set(workers)
        wait_until(lambda: len(children(upgraded)) == 2)
        verify(service, 5)
        os.kill(former, signal.SIGTERM)
        wait_until(lambda: service.process.poll() is not None)
        verify(service, 5)
        assert verified(service) == 15
        assert service.value("bff_workers") == 2
        os.kill(upgraded, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{upgraded}").exists())


def test_a_fresh_start_begins_at_zero_over_what_a_killed_master_left(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with bff.running(tmp_path, settings, workers=2) as service:
        verify(service, 5)
        assert verified(service) == 5
        workers = service.workers()
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        for pid in workers:
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
    assert list(folder.glob("histogram_*.db"))
    with bff.running(tmp_path, settings, workers=2) as service:
        verify(service, 1)
        assert verified(service) == 1
