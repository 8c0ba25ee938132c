"""Garbage from the token endpoint: 503, at a login and at a refresh, and no session ends by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployment import WORKERS, Deployment, lines, running
from tests.peers.bff import Visitor
from tests.peers.openid import Fault

pytestmark = pytest.mark.e2e

TTL = 60
MANY = 100


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with running(folder, TTL, more={"WEB_WORKER_CLASS": request.param}) as started:
        yield started


@pytest.fixture(autouse=True)
def _as_before(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.provider.heal()
    deployment.forget_sessions()


@pytest.mark.parametrize("kind", ["garbage", "html"])
def test_a_login(deployment: Deployment, kind: Fault) -> None:
    with Visitor(deployment.bff.base_url) as alice:
        deployment.provider.disturb("/token", kind)
        answer = alice.login(login_hint="alice")
        assert (answer.status_code, "Retry-After" in answer.headers, "/auth/login" in answer.text) == (503, True, True)
        assert alice.login(login_hint="alice").status_code == 302


@pytest.mark.parametrize("kind", ["garbage", "html"])
def test_a_refresh_of_a_token_that_has_expired(deployment: Deployment, kind: Fault) -> None:
    with deployment.without_sweep(), lines(deployment.bff) as found:
        cookie, workers = deployment.cookie(), [line for (line,) in found.values()]
        deployment.provider.disturb("/token", kind, times=MANY)
        deployment.clock.advance(TTL)
        assert {line.token(cookie).status for line in workers} == {503}
        deployment.provider.heal()
        deployment.wait(lambda: [line.token(cookie).status for line in workers] == [200] * WORKERS)
