"""The provider takes a refresh token back: the session ends in every worker, with its reason, and nothing else does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployment import WORKERS, Deployment, lines, running

pytestmark = pytest.mark.e2e

TTL = 60


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL) as started:
        yield started


def test_the_session_ends_everywhere_and_says_why(deployment: Deployment) -> None:
    service = deployment.bff
    with deployment.without_sweep(), lines(service) as found:
        alice, bob = deployment.cookie("alice"), deployment.cookie("bob")
        workers = [line for (line,) in found.values()]
        assert [line.token(cookie).status for line in workers for cookie in (alice, bob)] == [200] * 2 * WORKERS
        deployment.provider.revoke("alice")
        deployment.clock.advance(TTL)
        answers = [line.token(alice) for line in workers]
        assert [(each.status, each.problem) for each in answers] == [(401, "session_ended")] * WORKERS
        assert [line.token(bob).status for line in workers] == [200] * WORKERS
    assert service.value("bff_sessions_destroyed_total", reason="refresh_rejected") == 1
    assert service.value("bff_sessions_destroyed_total") == 1
    ended = [record for record in service.records() if record["event"] == "session_ended"]
    assert [record["reason"] for record in ended] == ["refresh_rejected"]
