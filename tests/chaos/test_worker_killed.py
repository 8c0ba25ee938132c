"""A worker is killed (SIGKILL, as by the kernel for want of memory): it takes no session and no count with it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.deployment import WORKERS, Deployment, Line, lines, running
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

TTL = 300
ASKED = 20
Counts = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with running(folder, TTL, more={"WEB_WORKER_CLASS": request.param}) as started:
        yield started


def counts(service: Bff) -> Counts:
    """Every sample that may only grow."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(service.metrics())
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def statuses(workers: list[Line], cookie: str) -> list[int]:
    return [line.token(cookie).status for line in workers]


def test_it_takes_no_session_and_no_count_with_it(deployment: Deployment) -> None:
    service, cookie = deployment.bff, deployment.cookie()
    with lines(service) as found:
        victim, *others = (line for (line,) in found.values())
        for _ in range(ASKED):
            assert victim.token(cookie).status == 200
        before = counts(service)
        os.kill(victim.worker, signal.SIGKILL)
        with suppress(OSError, HTTPException):  # a connection that it held
            victim.token(cookie)
        assert statuses(others, cookie) == [200] * (WORKERS - 1), "the others never noticed"
    deployment.wait(lambda: victim.worker not in service.workers())
    deployment.wait_for_workers()
    with lines(service) as found:
        assert statuses([line for (line,) in found.values()], cookie) == [200] * WORKERS
    after = counts(service)
    assert before
    assert {name: (value, after.get(name)) for name, value in before.items() if after.get(name, 0) < value} == {}
