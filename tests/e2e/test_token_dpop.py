"""Tokens bound to a key of the session (RFC 9449), at a provider that wants a nonce of its own in every proof."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bff.oidc.dpop import thumbprint
from tests.e2e.deployment import WORKERS, Answer, Deployment, lines, running, stored_tokens
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e

TTL = 30  # the clock may not be far ahead of the provider's, which looks at the time of a proof


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with running(folder, TTL, dpop=True) as started:
        yield started


def bound_to(token: str) -> Any:
    claims = token.split(".")[1]
    return json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["cnf"]


def good(answers: list[Answer]) -> bool:
    """All the same token of the right kind."""
    assert [answer.status for answer in answers] == [200] * WORKERS
    assert {answer.content["token_type"] for answer in answers} == {"DPoP"}
    return len({answer.digest for answer in answers}) == 1


def test_login_refresh_and_exchange(deployment: Deployment) -> None:
    provider = deployment.provider
    with deployment.without_sweep(), Visitor(deployment.bff.base_url) as alice, lines(deployment.bff) as found:
        workers = [line for (line,) in found.values()]
        assert alice.login(login_hint="alice").status_code == 302
        cookie = alice.cookie()
        former = stored_tokens(deployment.store, cookie)
        assert provider.requests("POST /token authorization_code 400") == 1, "the first proof had no nonce"
        assert good([line.token(cookie) for line in workers])

        for line in workers:  # each worker has to learn the nonce
            deployment.clock.advance(TTL)
            before = deployment.refreshes()
            assert line.token(cookie).status == 200
            assert deployment.refreshes() == before + 1
        assert deployment.refreshes("400") == WORKERS - 1
        tokens = stored_tokens(deployment.store, cookie)
        assert tokens.refresh_token != former.refresh_token
        assert tokens.dpop_key
        assert tokens.dpop_key == former.dpop_key

        for service in ("api", "billing", "own"):
            assert good([line.token(cookie, service) for line in workers])
        exchanged = stored_tokens(deployment.store, cookie).services
        assert [bound_to(token.value) for token in exchanged.values()] == [{"jkt": thumbprint(tokens.dpop_key)}] * 2
        assert all(len(provider.secrets()[name]) > 1 for name in ("access_token", "refresh_token"))

        assert alice.logout().status_code == 200
        assert tokens.refresh_token
        assert not provider.is_active(tokens.refresh_token)
