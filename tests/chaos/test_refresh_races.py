"""One refresh for everybody who needs it, whatever becomes of the worker that asks, of its answer and of the store.

The provider rotates refresh tokens and takes back the whole family when one is used twice. `make chaos` runs the first
test for more rounds (CHAOS_ROUNDS).
"""

import os
import signal
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from bff.tokens.distributed_single_flight import LOCK_LIFE
from tests.e2e.deployment import PATIENCE, WORKERS, Deployment, Line, lines, running

pytestmark = pytest.mark.e2e

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
BLOCK = 50  # rounds of one login; the provider's clock is not set forward, so its ID tokens may not end meanwhile
EACH = 16  # requests to each worker
TTL = 20
HOLD = 3600  # seconds: until the test is over


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL) as started:
        yield started


@pytest.fixture(autouse=True)
def _as_before(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.provider.heal()
    deployment.store.resume()
    deployment.forget_sessions()


def test_one_refresh_for_64_requests_in_four_workers(deployment: Deployment) -> None:
    with lines(deployment.bff, EACH) as found:
        everybody = [line for those in zip(*found.values(), strict=True) for line in those]
        assert len(everybody) == WORKERS * EACH
        for start in range(0, ROUNDS, BLOCK):
            deployment.forget_sessions()
            cookie = deployment.cookie()
            for _ in range(min(BLOCK, ROUNDS - start)):
                one_round(deployment, everybody, cookie)


def one_round(deployment: Deployment, everybody: list[Line], cookie: str) -> None:
    before, asked = deployment.refreshes(), deployment.provider.requests("POST /token 200")
    deployment.clock.advance(TTL)
    for line in everybody:
        line.ask(cookie)
    answers = [line.answer() for line in everybody]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.digest for answer in answers}) == 1
    assert (deployment.refreshes(), deployment.provider.requests("POST /token 200")) == (before + 1, asked + 1)
    assert deployment.alive(answers[0].digest)


def test_the_worker_that_asks_is_killed(deployment: Deployment) -> None:
    """Before the provider has handled its request; the others take over when its lock ends, and the family lives."""
    cookie, before = deployment.cookie(), deployment.refreshes()
    with deployment.without_sweep(), lines(deployment.bff, 2) as found:
        (winner, winners), *others = found.items()
        hold_the_refresh(deployment, winners[0], cookie)
        waiting = [line for _, those in others for line in those]
        for line in waiting:
            line.ask(cookie)
        os.kill(winner, signal.SIGKILL)
        with pytest.raises((OSError, HTTPException)):
            winners[0].answer()
        answers = [line.answer() for line in waiting]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.digest for answer in answers}) == 1
    assert deployment.refreshes() == before + 1
    assert deployment.alive(answers[0].digest)
    deployment.wait_for_workers()
    assert_family_goes_on(deployment, cookie)


def test_the_worker_that_asks_is_frozen_beyond_its_lock(deployment: Deployment) -> None:
    cookie, before = deployment.cookie(), deployment.refreshes()
    with deployment.without_sweep(), lines(deployment.bff, 2) as found:
        (winner, winners), *others = found.items()
        hold_the_refresh(deployment, winners[0], cookie)
        winners[1].ask(cookie)
        os.kill(winner, signal.SIGSTOP)
        try:
            answers = [line.token(cookie) for _, those in others for line in those]
        finally:
            os.kill(winner, signal.SIGCONT)
        answers += [line.answer() for line in winners]
    assert [answer.status for answer in answers] == [200] * len(answers)
    assert len({answer.digest for answer in answers}) == 1
    assert deployment.refreshes() == before + 1
    assert_family_goes_on(deployment, cookie)


def test_the_store_freezes_in_the_midst_of_a_refresh(deployment: Deployment) -> None:
    """For longer than the lock lives. Meanwhile nobody can be told from anybody, so 503; but no session is lost, and
    the answer that the provider gave in that time is not, either."""
    cookie, before = deployment.cookie(), deployment.refreshes()
    with deployment.without_sweep(), lines(deployment.bff) as found:
        everybody = [line for (line,) in found.values()]
        hold_the_refresh(deployment, everybody[0], cookie)
        deployment.store.pause()
        deployment.provider.heal()
        frozen_until = time.monotonic() + LOCK_LIFE + 1
        statuses = [everybody[0].answer().status]
        while time.monotonic() < frozen_until:
            statuses += [line.token(cookie).status for line in everybody]
        deployment.store.resume()
        while statuses[-WORKERS:] != [200] * WORKERS:
            assert set(statuses) <= {200, 503}
            assert time.monotonic() < frozen_until + PATIENCE
            statuses += [line.token(cookie).status for line in everybody]
    assert deployment.refreshes() == before + 1
    assert_family_goes_on(deployment, cookie)


def hold_the_refresh(deployment: Deployment, line: Line, cookie: str) -> None:
    """The token has expired, this line's worker asks for the next one, and the provider has the request."""
    deployment.provider.disturb("/token", "delay", delay=HOLD)
    deployment.clock.advance(TTL)
    line.ask(cookie)
    deployment.wait_until_held()


def assert_family_goes_on(deployment: Deployment, cookie: str) -> None:
    before = deployment.refreshes()
    deployment.clock.advance(TTL)
    with lines(deployment.bff) as found:
        answers = [line.token(cookie) for those in found.values() for line in those]
    assert [answer.status for answer in answers] == [200] * WORKERS
    assert deployment.refreshes() == before + 1
    assert deployment.alive(answers[0].digest)
