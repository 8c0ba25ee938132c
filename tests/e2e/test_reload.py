"""SIGHUP puts the configuration files into effect; files that do not validate change nothing, and the log says why."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff, service
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

PATIENCE = 15
ROUTES = """services:
  orders: {token: none, base_url: "%s"}
routes:
  - id: orders
    path: /api/orders
    service: orders
    auth: none
"""
WRONG = ROUTES.replace("path:", "pth:") + "  - {id: baskets, path: /api/baskets, service: order}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reload")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, {"BFF_CONFIG_DIR": str(folder)}, workers=2) as service:
        yield service


def reload(service: Bff, file: Path, content: str) -> None:
    """Write the file, say SIGHUP, and wait until every worker is a new one."""
    file.write_text(content)
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


def refused(service: Bff) -> list[str]:
    """What the log says about the last configuration that did not validate."""
    found = [record["problems"] for record in service.records() if record["event"] == "reload_refused"]
    return list(found[-1])


def status(service: Bff, path: str) -> int:
    return requests.get(service.base_url + path, timeout=10).status_code


def test_a_reload(running: Bff, folder: Path) -> None:
    idps = folder / "idps.yaml"
    assert provider_of(running).startswith(f"{running.base_url}/dev/idp/")

    reload(running, idps, "providers: {corporate: {issuer: 5}}")
    assert provider_of(running).startswith(f"{running.base_url}/dev/idp/")
    assert "providers.corporate.issuer" in str(refused(running))

    reload(running, idps, "providers: {corporate: {issuer: 'http://127.0.0.2:9', client_id: a, client_secret: b}}")
    assert provider_of(running) == "503"  # the new provider, which does not exist

    assert running.value("bff_logins_total", result="started") == 2


def test_a_reload_of_the_routes(running: Bff, folder: Path) -> None:
    routes = folder / "routes.yaml"
    with service.running(folder) as orders:
        assert status(running, "/api/orders") == 404
        reload(running, routes, ROUTES % orders.url)
        assert status(running, "/api/orders") == 200

        reload(running, routes, WRONG % orders.url)
        assert [status(running, "/api/orders") for _ in range(10)] == [200] * 10, "the running table is kept"
        problems = refused(running)
        for line, mistake in ((4, "routes.0.path"), (5, "Did you mean path?"), (8, "no such service")):
            assert any(f"{routes}:{line}: " in each and mistake in each for each in problems), problems

        reload(running, routes, (ROUTES % orders.url).replace("/api/orders", "/api/baskets"))
        assert (status(running, "/api/baskets"), status(running, "/api/orders")) == (200, 404)
        assert [seen.head.split(" ")[1] for seen in orders.seen()] == ["/orders"] * 11 + ["/baskets"]
