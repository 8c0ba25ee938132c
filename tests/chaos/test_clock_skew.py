"""Clocks of BFF and provider differ by up to a minute: logins, refreshes and logout tokens work all the same."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.deployment import Deployment, lines, running, stored_tokens
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e

TTL = 300
SKEW = 50.0  # and ten seconds that the test itself may take
TOO_MUCH = -3600.0


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL) as started:
        yield started


@pytest.fixture(autouse=True)
def _as_before(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.forget_sessions()


@pytest.mark.parametrize("skew", [SKEW, -SKEW])
def test_every_check_of_a_token_has_its_leeway(deployment: Deployment, skew: float) -> None:
    deployment.clock.advance(skew)
    with Visitor(deployment.bff.base_url) as alice, lines(deployment.bff) as found, deployment.without_sweep():
        assert alice.login(login_hint="alice").status_code == 302
        (line,) = next(iter(found.values()))
        before = line.token(alice.cookie())
        headers = {"X-CSRF-Token": alice.csrf_token()}
        assert alice.call("POST", "/auth/tokens/refresh", json={}, headers=headers).status_code == 200
        after = line.token(alice.cookie())
        assert (before.status, after.status, before.digest != after.digest) == (200, 200, True)
        hint = stored_tokens(deployment.store, alice.cookie()).id_token
        query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": alice.base_url})
        alice.walk(f"{deployment.provider.issuer}/session/end?{query}", alice.base_url, logout="yes")
        deployment.wait(lambda: line.token(alice.cookie()).status == 401)  # by the provider's logout token


def test_an_hour_is_too_much(deployment: Deployment) -> None:
    """Otherwise the test above would show nothing."""
    deployment.clock.advance(TOO_MUCH)
    with Visitor(deployment.bff.base_url) as alice:
        assert alice.login(login_hint="alice").status_code == 400
