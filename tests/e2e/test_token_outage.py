"""The provider fails in every way that a network and a server can, while tokens are still good: no user notices.

`make chaos` lets the outage last a minute, with tokens that are good for two (CHAOS_OUTAGE, in seconds).
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.deployment import PATIENCE, WORKERS, Answer, Deployment, Line, lines, running
from tests.peers import process
from tests.peers.openid import Fault

pytestmark = pytest.mark.e2e

OUTAGE = float(os.environ.get("CHAOS_OUTAGE", "6"))
TTL = round(11 * OUTAGE)
AHEAD = 0.81 * TTL + 1  # seconds after a login: every token wants to be refreshed from 0.8 to 0.85 of its life on
SESSIONS = 3 * WORKERS
SLOW = 1.5  # seconds that a probe takes, so that it is seen
EVERY = 0.05
BREAKER = {"service": "idp_default_token"}


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL) as started:
        yield started


@pytest.fixture
def workers(deployment: Deployment) -> Iterator[list[Line]]:
    with lines(deployment.bff) as found:
        yield [line for (line,) in found.values()]


@pytest.fixture(autouse=True)
def _as_before(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.provider.heal()
    deployment.network.heal()
    deployment.clock.reset()


def test_an_outage_while_tokens_are_good_for_twice_as_long(deployment: Deployment, workers: list[Line]) -> None:
    cookies = [deployment.cookie() for _ in range(SESSIONS)]
    failed, opened = failures(deployment), deployment.bff.value("circuit_breaks_total", **BREAKER)
    deployment.clock.advance(0.81 * TTL)
    deployment.network.down()
    until = time.monotonic() + OUTAGE
    answers = [Answer(200, {})]
    while time.monotonic() < until:
        answers = asked(workers, cookies)
        assert {answer.status for answer in answers} == {200}
        time.sleep(EVERY)
    assert min(answer.content["expires_in"] for answer in answers) > 0
    assert deployment.bff.value("circuit_breaker_status", **BREAKER) == 2
    assert deployment.bff.value("circuit_breaks_total", **BREAKER) > opened
    counted = failures(deployment)
    assert {reason for reason, count in counted.items() if count > failed[reason]} == {"connection", "circuit_open"}

    deployment.network.disturb("delay", delay=SLOW)
    deployment.network.up()
    with watched(deployment) as states:
        for cookie in cookies:
            refreshed_everywhere(workers, cookie, patience=OUTAGE)
    assert [state for state, after in zip(states, [*states[1:], None], strict=True) if state != after] == [2, 1, 0]
