"""Login and logout at a second OpenID Provider, so that nothing here is right only for the first one's habits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.peers import bff, canaille, process
from tests.peers.bff import Bff, Visitor
from tests.peers.canaille import PASSWORD, Canaille
from tests.peers.openid import Browser, Client

pytestmark = pytest.mark.e2e

SCOPE = "openid profile email"
CALLBACK = "http://127.0.0.1:9/auth/callback"  # nobody is there, and no browser gets that far
VERIFIER = "v" * 43


@dataclass(frozen=True)
class Deployment:
    bff: Bff
    provider: Canaille
    direct: Client


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    port = process.free_port()
    client = canaille.client("bff", f"http://127.0.0.1:{port}")
    direct = canaille.client("direct", CALLBACK.removesuffix("/auth/callback"))
    with (
        canaille.running([client, direct], log=folder / "canaille.log") as provider,
        bff.running(
            folder, {**client.environ, "OIDC_ISSUER": provider.issuer, "OIDC_SCOPES": SCOPE}, port=port
        ) as service,
    ):
        yield Deployment(service, provider, direct)


def test_login_and_logout(deployment: Deployment) -> None:
    provider = deployment.provider
    with Visitor(deployment.bff.base_url) as visitor:
        assert visitor.auth_verify().status_code == 401
        assert provider.login(visitor, "alice").status_code == 302
        user = visitor.session()["user"]
        assert (user["sub"], user["name"], user["email"]) == ("alice", "Alice Adams", "alice@example.com")
        allowed = visitor.auth_verify()
        assert (allowed.status_code, allowed.headers["X-User-ID"]) == (200, "alice")

        answer = visitor.logout()
        assert deployment.bff.value("bff_idp_requests_total", endpoint="revocation", status="200") == 1
        assert visitor.auth_verify().status_code == 401
        provider.logout(visitor, answer.json()["logout_url"])
        asked = visitor.open(visitor.start_login())  # logged out there as well: it asks again who this is
        assert urlsplit(asked.headers["Location"]).path == "/login"


def test_tokens_are_refreshed_introspected_and_revoked(deployment: Deployment) -> None:
    provider, client = deployment.provider, deployment.direct
    first = _tokens(provider, client)
    answer = provider.ask("token", client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert answer.status_code == 200
    second = answer.json()
    assert second["refresh_token"] != first["refresh_token"]
    assert provider.ask("introspect", client, token=second["access_token"]).json()["active"] is True
    assert provider.ask("revoke", client, token=second["refresh_token"]).status_code == 200
    assert provider.ask("introspect", client, token=second["access_token"]).json()["active"] is False
    refused = provider.ask("token", client, grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def _tokens(provider: Canaille, client: Client) -> dict[str, str]:
    """Of a login without a BFF."""
    query = {"client_id": "direct", "response_type": "code", "scope": SCOPE, "redirect_uri": CALLBACK, "nonce": "n"}
    query |= {"code_challenge": VERIFIER, "code_challenge_method": "plain"}
    with Browser() as browser:
        landed = browser.walk(
            f"{provider.issuer}/oauth/authorize?{urlencode(query)}",
            CALLBACK,
            login="bob",
            password=PASSWORD,
            answer="accept",
        )
    code = parse_qs(urlsplit(landed).query)["code"][0]
    parameters = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    answer = provider.ask("token", client, grant_type="authorization_code", **parameters)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens
