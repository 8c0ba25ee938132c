"""Background jobs in real workers: the fleet's turn is taken over from who dies or freezes in the midst of it, and a
worker that is told to leave does not wait for a job that hangs."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bff.services import IDP_TIMEOUT
from bff.tasks.runner import LEASE_LIFE, LOOK, RECORDS_PERIOD, STOP_TIMEOUT
from tests.e2e.deployment import SWEEP, Deployment, running
from tests.peers import lateness, process

pytestmark = pytest.mark.e2e

TTL = 20
HOLD = 3600  # seconds: until the test is over
SLACK = 5
"""Seconds by which a busy machine may be late."""


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL) as started:
        yield started


@pytest.fixture(autouse=True)
def _as_before(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.provider.heal()
    deployment.wait_for_workers()
    deployment.forget_sessions()


def lease(deployment: Deployment) -> list[str]:
    """What the store has of the refresh sweep: held, the number of its period, host:pid and an id; or over and the
    number; or nothing."""
    value = deployment.store.command("GET", SWEEP)
    return value.decode().split() if value else []


def holder_in_the_midst_of_its_work(deployment: Deployment) -> int:
    """A worker whose refresh sweep waits for the provider."""
    deployment.cookie()
    deployment.provider.disturb("/token", "delay", times=100, delay=HOLD)
    deployment.clock.advance(TTL)
    deployment.wait_until_held()
    held, _, owner, _ = lease(deployment)
    assert held == "held"
    return int(owner.rpartition(":")[2])


def seconds_until_taken_over(deployment: Deployment, holder: int) -> float:
    with lateness.measured() as taken:
        deployment.wait(lambda: bool(found := lease(deployment)) and found[2:3] != [_owner(holder)])
    print(f"taken over after {taken.seconds:.1f} s")
    return taken.seconds


def _owner(pid: int) -> str:
    return f"{os.uname().nodename}:{pid}"


def test_the_holder_is_killed(deployment: Deployment) -> None:
    before = deployment.refreshes()
    holder = holder_in_the_midst_of_its_work(deployment)
    os.kill(holder, signal.SIGKILL)
    assert seconds_until_taken_over(deployment, holder) < LEASE_LIFE + LOOK + SLACK
    deployment.provider.heal()
    deployment.wait(lambda: deployment.refreshes() == before + 1)
    assert deployment.provider.requests("POST /token refresh_token 400") == 0, "nobody used a refresh token twice"


def test_the_holder_is_frozen(deployment: Deployment) -> None:
    before = deployment.refreshes()
    holder = holder_in_the_midst_of_its_work(deployment)
    os.kill(holder, signal.SIGSTOP)
    try:
        assert seconds_until_taken_over(deployment, holder) < LEASE_LIFE + LOOK + SLACK
        deployment.provider.heal()
        deployment.wait(lambda: deployment.refreshes() == before + 1)
    finally:
        os.kill(holder, signal.SIGCONT)
    deployment.wait(lambda: ("task_lease_lost", holder) in lines_of(deployment))
    assert deployment.provider.requests("POST /token refresh_token 400") == 0


def test_the_holder_is_told_to_leave(deployment: Deployment) -> None:
    holder = holder_in_the_midst_of_its_work(deployment)
    with lateness.measured() as taken:
        os.kill(holder, signal.SIGTERM)
        deployment.wait(lambda: not Path(f"/proc/{holder}").exists())
    print(f"left after {taken.seconds:.1f} s")
    assert taken.seconds < STOP_TIMEOUT + IDP_TIMEOUT + SLACK


def test_health_shows_that_every_job_succeeds(deployment: Deployment) -> None:
    deadline = time.monotonic() + 30 + RECORDS_PERIOD + SLACK  # the period of the slowest
    while unfinished := unsuccessful(deployment):
        assert time.monotonic() < deadline, unfinished
        time.sleep(process.POLL)


def unsuccessful(deployment: Deployment) -> dict[str, object]:
    tasks = requests.get(f"{deployment.bff.base_url}/health", timeout=10).json()["tasks"]
    assert {"session_sweep", "token_refresh", "token_revocation", "provider_default"} <= tasks.keys()
    return {name: task for name, task in tasks.items() if task["last_status"] != "success"}


def lines_of(deployment: Deployment) -> set[tuple[str, int]]:
    """Events and who logged them."""
    return {(record.get("event", ""), record["pid"]) for record in deployment.bff.records() if "pid" in record}
