"""SIGHUP puts the configuration files into effect; files that do not validate change nothing, and the log says why."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

PATIENCE = 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reload")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, {"BFF_CONFIG_DIR": str(folder)}, workers=2) as service:
        yield service


def reload(service: Bff, idps: Path, content: str) -> None:
    """Write the file, say SIGHUP, and wait until every worker is a new one."""
    idps.write_text(content)
    former = set(service.workers())
    os.kill(service.process.pid, signal.SIGHUP)
    wait_until(lambda: len(service.workers()) == 2 and not former & set(service.workers()))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def provider_of(service: Bff) -> str:
    headers = {"Accept": "text/html"}
    answer = requests.get(f"{service.base_url}/auth/login", headers=headers, allow_redirects=False, timeout=10)
    return answer.headers.get("Location", str(answer.status_code))


def test_a_reload(running: Bff, folder: Path) -> None:
    idps = folder / "idps.yaml"
    assert provider_of(running).startswith(f"{running.base_url}/dev/idp/")

    reload(running, idps, "providers: {corporate: {issuer: 5}}")
    assert provider_of(running).startswith(f"{running.base_url}/dev/idp/")
    refused = [record for record in running.records() if record["event"] == "reload_refused"]
    assert "providers.corporate.issuer" in str(refused[-1]["problems"])

    reload(running, idps, "providers: {corporate: {issuer: 'http://127.0.0.2:9', client_id: a, client_secret: b}}")
    assert provider_of(running) == "503"  # the new provider, which does not exist

    assert running.value("bff_logins_total", result="started") == 2
