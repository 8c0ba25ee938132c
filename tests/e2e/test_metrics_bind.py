"""METRICS_BIND: the page is served by a process beside the workers, guarded, and comes back when it is killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff, process
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

TOKEN = "open-sesame"


@pytest.fixture(scope="module")
def port() -> int:
    return process.free_port()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Bff]:
    settings = {"METRICS_BIND": f"127.0.0.1:{port}", "METRICS_TOKEN": TOKEN, "METRICS_ALLOWED_CIDRS": "127.0.0.0/8"}
    with bff.running(tmp_path_factory.mktemp("metrics"), settings, workers=2) as service:
        yield service


def scrape(port: int, token: str = TOKEN, **headers: str) -> requests.Response:
    """As soon as the process listens."""
    deadline = time.monotonic() + 15
    while True:
        try:
            wanted = {"Authorization": f"Bearer {token}", **headers}
            return requests.get(f"http://127.0.0.1:{port}/metrics", headers=wanted, timeout=10)
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "nobody listens on METRICS_BIND"
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_page_has_its_own_port(running: Bff, port: int) -> None:
    assert requests.get(f"{running.base_url}/auth/verify", timeout=10).status_code == 401
    assert requests.get(f"{running.base_url}/metrics", timeout=10).status_code == 404
    page = scrape(port)
    assert page.status_code == 200
    assert 'bff_verify_duration_seconds_count{status="unauthenticated"} 1.0' in page.text
    assert "bff_workers 2.0" in page.text
    assert "bff_active_sessions_total 0.0" in page.text


def test_it_is_guarded(running: Bff, port: int) -> None:
    assert scrape(port, token="guessed").status_code == 401
    assert scrape(port, **{"X-Forwarded-For": "203.0.113.9"}).status_code == 403


def test_it_comes_back(running: Bff, port: int) -> None:
    scrape(port)
    supervisor = next(
        pid for pid in running.workers() if b"metrics_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    server = children(supervisor)[0]
    os.kill(server, signal.SIGKILL)
    page = scrape(port)
    assert page.status_code == 200
    assert children(supervisor) != [server]
