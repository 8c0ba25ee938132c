"""SIGHUP while a deployment replaces the files all the time, under load: the master stays, no request fails, and routes
and policies are always of one version. A worker that is started between two reloads runs what is in effect."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff, service
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e

PATIENCE = 60
IN_EFFECT, REFUSED = "configuration_in_effect", "reload_refused"
ROUTES = """services: {orders: {token: none, base_url: "%(url)s"}}
routes:
  - {id: orders, path: /api/orders, service: orders, authz: pdp, authz_map: {resource: %(version)s, action: read}}
"""
POLICY = """permit(principal, action, resource is %(version)s);"""


class Deployment(threading.Thread):
    """Puts version after version into a folder, each whole, by a link as Kubernetes does; each fifth one is broken."""

    def __init__(self, link: Path, url: str) -> None:
        super().__init__()
        self.link, self.url, self.versions = link, url, 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.deploy(broken=self.versions % 5 == 0)

    def deploy(self, *, broken: bool = False) -> None:
        self.versions += 1
        version = {"version": f"v{self.versions}", "url": self.url}
        folder = self.link.with_name(version["version"])
        (folder / "policies").mkdir(parents=True)
        routes = ROUTES % version
        (folder / "routes.yaml").write_text(routes[: len(routes) // 2] if broken else routes)
        (folder / "policies" / "all.cedar").write_text(POLICY % version)
        draft = self.link.with_name("draft")
        draft.symlink_to(folder)
        draft.rename(self.link)


class Load(threading.Thread):
    """One person who asks for what the policy of the same version allows."""

    def __init__(self, visitor: Visitor) -> None:
        super().__init__()
        self.headers = {"Cookie": f"bff_session={visitor.cookie()}", "User-Agent": str(visitor.headers["User-Agent"])}
        self.url = visitor.base_url + "/api/orders"
        self.answers: dict[str, int] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            answer = self.ask()
            self.answers[answer] = self.answers.get(answer, 0) + 1

    def ask(self) -> str:
        try:
            return str(requests.get(self.url, headers=self.headers, timeout=PATIENCE).status_code)
        except requests.RequestException as err:
            return type(err).__name__


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with service.running(tmp_path) as orders:
        (tmp_path / "deployed").mkdir()
        made = Deployment(tmp_path / "deployed" / "current", orders.url)
        made.deploy()
        yield made
        made.stopped.set()
        if made.is_alive():
            made.join()


@pytest.fixture(params=["gthread", "gevent"])
def running(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> Iterator[Bff]:
    settings = {"BFF_CONFIG_DIR": str(deployment.link), "WEB_WORKER_CLASS": request.param}
    with bff.running(tmp_path, settings, workers=2) as started:
        yield started


@pytest.fixture
def load(running: Bff) -> Iterator[Load]:
    with Visitor(running.base_url) as alice:
        assert alice.login().status_code == 302
        made = Load(alice)
        made.start()
        yield made
        made.stopped.set()
        made.join()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def outcomes(service: Bff) -> list[str]:
    """Of the start and of each reload."""
    return [record["event"] for record in service.records() if record["event"] in (IN_EFFECT, REFUSED)]


def reload(service: Bff) -> str:
    before = len(outcomes(service))
    os.kill(service.process.pid, signal.SIGHUP)
    wait_until(lambda: len(outcomes(service)) > before)
    return outcomes(service)[-1]


def hashes(service: Bff) -> list[str]:
    return [record["hash"] for record in service.records() if record["event"] == IN_EFFECT]


def test_reloads_while_files_are_replaced(running: Bff, deployment: Deployment, load: Load) -> None:
    deployment.start()
    seen: list[str] = []
    while seen.count(IN_EFFECT) < 4:
        assert len(seen) < 40, seen
        seen.append(reload(running))
    load.stopped.set()
    load.join()
    assert running.process.poll() is None
    assert load.answers.keys() == {"200"}, load.answers
    assert len(set(hashes(running))) == len(hashes(running)), "each version has its own"


def test_what_is_refused_shows_until_something_is_not(running: Bff, deployment: Deployment, load: Load) -> None:
    """And a worker that is started meanwhile has what is in effect."""

    def successful() -> float:
        return running.value("bff_config_last_reload_successful")

    def since() -> float:
        return running.value("bff_config_last_reload_success_timestamp_seconds")

    assert (successful(), running.value("bff_config_info", hash=hashes(running)[-1])) == (1, 1)
    started = since()
    deployment.deploy(broken=True)
    assert reload(running) == REFUSED
    assert (successful(), since()) == (0, started)
    victims = running.workers()
    load.stopped.set()
    load.join()  # what a killed worker holds fails
    for worker in victims:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(running.workers()) == 2 and not set(victims) & set(running.workers()))
    assert {load.ask() for _ in range(10)} == {"200"}
    deployment.deploy()
    assert reload(running) == IN_EFFECT
    assert (successful(), since() > started) == (1, True)
    assert running.value("bff_config_info", hash=hashes(running)[-1]) == 1
    assert load.answers.keys() == {"200"}, load.answers
