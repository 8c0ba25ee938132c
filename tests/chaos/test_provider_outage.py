"""The provider fails in every way that a network and a server can, while tokens are still good: no user notices.

`make chaos` lets the outage last a minute, with tokens that are good for two (CHAOS_OUTAGE, in seconds).
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.deployment import PATIENCE, WORKERS, Answer, Deployment, Line, lines, running
from tests.peers.openid import Fault

pytestmark = pytest.mark.e2e

OUTAGE = float(os.environ.get("CHAOS_OUTAGE", "6"))
TTL = round(15 * OUTAGE)
AHEAD = 0.86 * TTL  # a token wants to be refreshed from 0.85 of its life on at the latest, and is good for the rest
SESSIONS = 3 * WORKERS
SLOW = 1.5  # seconds that a probe takes, so that it is seen
HOLD = 3600
EVERY = 0.05
BREAKER = {"service": "idp_default_token"}
REASONS = ("invalid_grant", "timeout", "connection", "server_error", "circuit_open", "bad_response", "lock_timeout")
FAULTS: list[tuple[Fault, dict[str, float], str]] = [
    ("cut", {}, "connection"),
    ("status", {"status": 500}, "server_error"),
    ("garbage", {}, "bad_response"),
    ("html", {}, "bad_response"),
    ("delay", {"delay": HOLD}, "timeout"),
]


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
    deployment.forget_sessions()


def failures(deployment: Deployment) -> dict[str, float]:
    """Failed refreshes by reason."""
    return {reason: deployment.bff.value("bff_token_refresh_failed_total", reason=reason) for reason in REASONS}


def since(before: dict[str, float], deployment: Deployment) -> dict[str, float]:
    """The reasons of the failures since then, and how many there were."""
    return {reason: count - before[reason] for reason, count in failures(deployment).items() if count > before[reason]}


def asked(workers: list[Line], cookies: list[str]) -> list[Answer]:
    """Every worker is asked by every session, all workers at once, each beginning with other sessions."""
    answers = []
    for turn in range(len(cookies)):
        for number, line in enumerate(workers):
            line.ask(cookies[(turn + number * len(cookies) // len(workers)) % len(cookies)])
        answers += [line.answer() for line in workers]
    return answers


def test_an_outage_while_tokens_are_good_for_twice_as_long(deployment: Deployment, workers: list[Line]) -> None:
    cookies = [deployment.cookie() for _ in range(SESSIONS)]
    before, opened = failures(deployment), deployment.bff.value("circuit_breaks_total", **BREAKER)
    assert deployment.bff.value("circuit_breaker_status", **BREAKER) == 0
    deployment.clock.advance(AHEAD)
    deployment.network.down()
    over = time.monotonic() + OUTAGE
    while time.monotonic() < over:
        answers = asked(workers, cookies)
        assert {answer.problem for answer in answers} == {""}
        time.sleep(EVERY)
    assert min(answer.content["expires_in"] for answer in answers) > 0.5 * OUTAGE
    assert since(before, deployment).keys() == {"connection", "circuit_open"}
    assert 1 <= deployment.bff.value("circuit_breaks_total", **BREAKER) - opened <= WORKERS

    deployment.network.disturb("delay", delay=SLOW)
    with watched(deployment) as states:
        deployment.network.up()
        deadline, fresh = time.monotonic() + PATIENCE, False
        while not fresh or deployment.bff.value("circuit_breaker_status", **BREAKER) > 0:
            assert time.monotonic() < deadline
            if fresh:  # so some worker, which has had nothing to ask for, does not know yet that it may
                deployment.clock.advance(AHEAD)
            answers = asked(workers, cookies)
            assert {answer.problem for answer in answers} == {""}
            fresh = min(answer.content["expires_in"] for answer in answers) > TTL / 2
            time.sleep(EVERY)
    assert [state for state, _ in itertools.groupby(states)] == [2, 1, 0]
    deployment.network.heal()
    before = failures(deployment)
    deployment.clock.advance(TTL)
    assert {answer.problem for answer in asked(workers, cookies)} == {""}
    assert since(before, deployment) == {}


@contextmanager
def watched(deployment: Deployment) -> Iterator[list[float]]:
    """What circuit_breaker_status is, from the start of the block to its end."""
    states, over = [deployment.bff.value("circuit_breaker_status", **BREAKER)], threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            states.append(deployment.bff.value("circuit_breaker_status", **BREAKER))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield states
    finally:
        over.set()
        watching.join()
        states.append(deployment.bff.value("circuit_breaker_status", **BREAKER))


def test_whatever_goes_wrong_a_token_that_is_good_is_used(deployment: Deployment, workers: list[Line]) -> None:
    """And once nothing does, another one is fetched: none of these cost the refresh token."""
    with deployment.without_sweep():
        cookies = [deployment.cookie() for _ in FAULTS]
        old = [workers[0].token(cookie).digest for cookie in cookies]
        deployment.clock.advance(AHEAD)
        for (kind, options, reason), cookie, digest in zip(FAULTS, cookies, old, strict=True):
            before = failures(deployment)
            deployment.provider.disturb("/token", kind, **options)  # type: ignore[arg-type]
            for line in workers:
                line.ask(cookie)
            answers = [line.answer() for line in workers]
            assert [(answer.status, answer.digest) for answer in answers] == [(200, digest)] * WORKERS, kind
            deployment.wait(lambda: len(since(before, deployment)) > 0)  # noqa: B023 - called at once
            assert since(before, deployment) == {reason: 1}, kind
        for cookie, digest in zip(cookies, old, strict=True):
            deployment.wait(lambda: workers[0].token(cookie).digest != digest)  # noqa: B023 - called at once
            assert deployment.alive(workers[0].token(cookie).digest)


def test_nobody_waits_for_a_slow_provider(deployment: Deployment, workers: list[Line]) -> None:
    with deployment.without_sweep():
        cookie = deployment.cookie()
        old = workers[0].token(cookie).digest
        deployment.clock.advance(AHEAD)
        deployment.provider.disturb("/token", "delay", delay=HOLD)
        first = workers[0].token(cookie)
        deployment.wait(lambda: deployment.provider.held() > 0)
        answers = [first, *(line.token(cookie) for line in workers)]
        assert [(answer.status, answer.digest) for answer in answers] == [(200, old)] * (1 + WORKERS)
        deployment.provider.heal()
        deployment.wait(lambda: workers[0].token(cookie).digest != old)
        assert deployment.alive(workers[0].token(cookie).digest)


def test_an_answer_that_is_lost_costs_the_session(deployment: Deployment, workers: list[Line]) -> None:
    """The provider has replaced the refresh token and nobody has the new one. So long as nobody tries again, the user
    notices nothing; then the provider takes the second use for theft, and the user has to log in again. No client of a
    provider that allows no second use could do better: RFC 9700 section 4.14.2 wants it so."""
    with deployment.without_sweep():
        cookie, before, refreshed = deployment.cookie(), failures(deployment), deployment.refreshes()
        old = workers[0].token(cookie).digest
        deployment.clock.advance(AHEAD)
        deployment.provider.disturb("/token", "lose_answer")
        answers = [line.token(cookie) for line in workers]
        assert [(answer.status, answer.digest) for answer in answers] == [(200, old)] * WORKERS
        deployment.wait(lambda: len(since(before, deployment)) > 0)
        assert deployment.refreshes() == refreshed + 1
        deadline = time.monotonic() + PATIENCE
        while (answer := workers[0].token(cookie)).status == 200:
            assert answer.digest == old
            assert time.monotonic() < deadline
        assert (answer.status, answer.content["code"]) == (401, "session_ended")
        deployment.wait(lambda: len(since(before, deployment)) > 1)  # it ends first and is counted then
        assert since(before, deployment) == {"connection": 1, "invalid_grant": 1}
        assert [line.token(cookie).status for line in workers] == [401] * WORKERS
        assert workers[0].token(deployment.cookie()).status == 200
