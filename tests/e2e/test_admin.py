"""Sessions taken back while four workers serve them, by their user and by an operator, on Redis and on SQLite."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bff.kv import KeyValue
from bff.kv.redis import RedisStore
from bff.kv.sqlite import SqliteStore
from bff.sessions.token_store import INVALIDATIONS
from tests.e2e.deployment import PATIENCE, SECRET, WORKERS, Deployment, Line, lines
from tests.peers import bff, openid, process, redis
from tests.peers.bff import ROOT, Bff, Visitor
from tests.peers.openid import Provider

pytestmark = pytest.mark.e2e

ALLOWED_DELAY = 0.1
ALLOWED_ROUNDS = round(ALLOWED_DELAY / process.POLL)
"""In which each worker answers, and so has had a processor for what it was to hear."""
COMMAND = (sys.executable, "-m", "bff.admin")
REVOKED = "POST /token/revocation 200"


@dataclass(frozen=True)
class Fleet:
    bff: Bff
    provider: Provider
    environ: dict[str, str]
    kv: KeyValue
    published: list[float] = field(default_factory=list)

    def admin(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """As an operator runs it beside the server."""
        return subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False
        )

    def visitor(self, user: str = "alice") -> Visitor:
        person = Visitor(self.bff.base_url)
        assert person.login(login_hint=user).status_code == 302
        return person


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        settings = {**client.environ, "BFF_SECRETS": SECRET, "SESSION_CACHE_TTL": "60"}
        if request.param == "redis":
            settings["REDIS_URL"] = stack.enter_context(redis.RedisServer(redis.debian(), folder)).url
        provider = stack.enter_context(openid.running([client], autologin=True, log=folder / "provider.log"))
        settings["OIDC_ISSUER"] = provider.issuer
        service = stack.enter_context(bff.running(folder, settings, port=port, workers=WORKERS))
        environ = bff.environment(folder, settings, port=port)
        kv = _store(settings, folder)
        stack.callback(kv.close)
        kv.start()
        running = Fleet(service, provider, environ, kv)
        kv.subscribe(INVALIDATIONS, lambda _: running.published.append(time.perf_counter()), lambda _: None)
        yield running


def _store(settings: dict[str, str], folder: Path) -> KeyValue:
    if "REDIS_URL" in settings:
        return RedisStore(settings["REDIS_URL"])
    return SqliteStore(folder / "data" / "store.sqlite3")


@pytest.fixture
def workers(fleet: Fleet) -> Iterator[list[Line]]:
    """A line to each."""
    with lines(fleet.bff) as found:
        yield [line for (line,) in found.values()]


def statuses(workers: list[Line], person: Visitor) -> list[int]:
    for worker in workers:
        worker.ask(person.cookie(), "/auth/verify")
    return [_status(worker) for worker in workers]


def _status(worker: Line) -> int:
    answer = worker.connection.getresponse()
    answer.read()
    return answer.status


def refused_after(fleet: Fleet, workers: list[Line], person: Visitor, act: Callable[[], None]) -> int:
    """Rounds of answers, after `act` let the workers know, until each of them refuses this person."""
    assert statuses(workers, person) == [200] * WORKERS, "each has it in memory from here on"
    fleet.published.clear()
    acting = threading.Thread(target=act)
    acting.start()
    deadline, begun = time.monotonic() + PATIENCE, [time.perf_counter()]
    while statuses(workers, person) != [401] * WORKERS:
        assert time.monotonic() < deadline
        time.sleep(process.POLL)
        begun.append(time.perf_counter())
    refused = time.perf_counter()
    acting.join()
    Deployment.wait(lambda: bool(fleet.published))
    print(f"refused by all {(refused - fleet.published[0]) * 1000:.1f} ms after it was published")
    return sum(each > fleet.published[0] for each in begun)


def reference(person: Visitor) -> str:
    return person.auth_verify().headers["X-Session-ID"]


def test_a_user_takes_back_a_session_on_another_device(fleet: Fleet, workers: list[Line]) -> None:
    with fleet.visitor() as here, fleet.visitor() as there:
        shown = here.call("GET", "/auth/sessions").json()["sessions"]
        assert [(each["id"], each["current"]) for each in shown][:2] == [
            (reference(there), False),
            (reference(here), True),
        ]
        path, proof = f"/auth/sessions/{reference(there)}", {"X-CSRF-Token": here.csrf_token()}
        answers = []

        def act() -> None:
            answers.append(here.call("DELETE", path, headers=proof).status_code)

        rounds = refused_after(fleet, workers, there, act)
        assert answers == [204]
        assert rounds <= ALLOWED_ROUNDS
        assert statuses(workers, here) == [200] * WORKERS


@pytest.mark.parametrize("by", ["user", "session"])
def test_an_operator_takes_sessions_back(fleet: Fleet, workers: list[Line], by: str) -> None:
    revoked = fleet.provider.requests(REVOKED)
    with fleet.visitor("bob") as bob, fleet.visitor() as alice:
        name = "bob" if by == "user" else reference(bob)
        ran = []
        rounds = refused_after(fleet, workers, bob, lambda: ran.append(fleet.admin(f"revoke-{by}", name, "--json")))
        (ended,) = ran
        assert (ended.returncode, ended.stderr) == (0, "1 session revoked.\n")
        assert rounds <= ALLOWED_ROUNDS
        assert statuses(workers, alice) == [200] * WORKERS
    Deployment.wait(lambda: fleet.provider.requests(REVOKED) > revoked)


def test_an_operator_looks_at_the_fleet(fleet: Fleet) -> None:
    with fleet.visitor("bob") as bob:
        listed = fleet.admin("sessions", "--user", "bob")
        assert (listed.returncode, listed.stderr) == (0, "1 session.\n")
        heading, row = listed.stdout.splitlines()
        assert heading.startswith("ID")
        assert row.startswith(reference(bob))
        numbers: dict[str, Any] = json.loads(fleet.admin("stats", "--json").stdout)
        assert numbers["sessions"] == fleet.bff.value("bff_active_sessions_total")
        assert numbers["idps"] == {"default": numbers["sessions"]}
        assert bob.cookie() not in listed.stdout + str(numbers)
        assert bob.logout().status_code == 200


def test_what_the_operator_did_is_in_the_log_of_events(fleet: Fleet) -> None:
    with fleet.visitor("bob") as bob:
        name = reference(bob)
        assert fleet.admin("revoke-session", name).returncode == 0

    def told() -> list[dict[str, Any]]:
        events = [line["cloudevent"] for line in fleet.bff.records() if "cloudevent" in line]
        return [event for event in events if event["data"].get("session") == name]

    Deployment.wait(lambda: {event["type"] for event in told()} >= {"session.revoked", "session.ended"})
    (event,) = [event for event in told() if event["type"] == "session.revoked"]
    assert event["data"] == {"session": name, "by": "operator"}
