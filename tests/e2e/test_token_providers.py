"""The whole life of a session's tokens at two independent providers: what both offer, and what only the first does.

Canaille has neither token exchange nor back-channel logout, and its access tokens are plain JWTs for the very client
that asked for them, so that nothing tells them from ID tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from tests.e2e import deployment
from tests.e2e.deployment import API, BILLING, SECRET, WORKERS, Deployment, lines, service_token, stored_tokens
from tests.peers import bff, canaille, process, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.canaille import Canaille
from tests.peers.openid import Client
from tests.peers.redis import RedisServer

pytestmark = pytest.mark.e2e

TTL = 300
AT_ONCE = 100  # answers of each worker, which has heard by then that a session ended


@dataclass(frozen=True)
class Site(ABC):
    """A BFF and its provider."""

    bff: Bff
    store: RedisServer

    @abstractmethod
    def login(self, visitor: Visitor, user: str) -> None: ...

    @abstractmethod
    def active(self, token: str) -> bool:
        """By the provider's word."""

    @abstractmethod
    def revoke(self, refresh_token: str) -> None:
        """At the provider, behind the BFF's back."""


@dataclass(frozen=True)
class AtOidcProvider(Site):
    deployment: Deployment

    def login(self, visitor: Visitor, user: str) -> None:
        assert visitor.login(login_hint=user).status_code == 302

    def active(self, token: str) -> bool:
        return self.deployment.provider.is_active(token)

    def revoke(self, refresh_token: str) -> None:
        self.deployment.provider.revoke("alice")


@dataclass(frozen=True)
class AtCanaille(Site):
    provider: Canaille
    client: Client

    def login(self, visitor: Visitor, user: str) -> None:
        assert self.provider.login(visitor, user).status_code == 302

    def active(self, token: str) -> bool:
        answer: bool = self.provider.ask("introspect", self.client, token=token).json()["active"]
        return answer

    def revoke(self, refresh_token: str) -> None:
        assert self.provider.ask("revoke", self.client, token=refresh_token).status_code == 200


IDPS = f"""
providers:
  default:
    issuer: ${{OIDC_ISSUER}}
    client_id: ${{AUTH_CLIENT_ID}}
    client_secret: "${{AUTH_CLIENT_SECRET}}"
    scopes: ${{OIDC_SCOPES}}
    audiences: ["{API}"]
    introspection_aud: optional
"""
"""Its introspection names no audience of a token that is for none of its resources."""


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[AtOidcProvider]:
    (folder / "idps.yaml").write_text(IDPS)
    with deployment.running(folder, TTL) as started:
        yield AtOidcProvider(started.bff, started.store, started)


@pytest.fixture(scope="module")
def second(folder: Path) -> Iterator[AtCanaille]:
    port = process.free_port()
    client = canaille.client("bff", f"http://127.0.0.1:{port}")
    environ = {**client.environ, "OIDC_SCOPES": "openid profile email", "OIDC_AUDIENCES": "bff", "BFF_SECRETS": SECRET}
    with (
        redis.RedisServer(redis.debian(), folder) as store,
        canaille.running([client], log=folder / "canaille.log") as provider,
        bff.running(
            folder, environ | {"REDIS_URL": store.url, "OIDC_ISSUER": provider.issuer}, port=port, workers=WORKERS
        ) as service,
    ):
        yield AtCanaille(service, store, provider, client)


@pytest.fixture(params=["first", "second"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


@contextmanager
def somebody(site: Site, user: str = "alice") -> Iterator[Visitor]:
    """Who has logged in."""
    with Visitor(site.bff.base_url) as visitor:
        site.login(visitor, user)
        yield visitor


def post(visitor: Visitor, path: str, **body: str) -> requests.Response:
    return visitor.call("POST", path, json=body, headers={"X-CSRF-Token": visitor.csrf_token()})


def validate(site: Site, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{site.bff.base_url}/auth/tokens/validate", headers=headers, timeout=bff.TIMEOUT)


def test_refreshed_and_revoked_at_logout(site: Site) -> None:
    with somebody(site) as alice:
        former = stored_tokens(site.store, alice.cookie())
        answer = post(alice, "/auth/tokens/refresh")
        assert answer.status_code == 200
        (listed,) = (one for one in answer.json() if one["service"] == "user")
        assert listed["refreshable"]
        tokens = stored_tokens(site.store, alice.cookie())
        assert not tokens.access.same(former.access)
        assert tokens.refresh_token
        assert tokens.refresh_token != former.refresh_token
        assert site.active(tokens.access.value)

        assert alice.logout().status_code == 200
        assert not site.active(tokens.refresh_token)
        assert not site.active(tokens.access.value)


def test_an_opaque_token_is_validated_by_asking_its_provider(first: AtOidcProvider) -> None:
    with somebody(first) as alice:
        token = stored_tokens(first.store, alice.cookie()).access.value
        answer = validate(first, token)
        assert (answer.status_code, answer.json()["sub"]) == (200, "alice")
        assert validate(first, token[::-1]).status_code == 401
        for status in ("valid", "inactive"):
            assert first.bff.value("bff_token_validation_total", token_type="access_token_opaque", status=status) == 1


def test_an_access_token_that_looks_like_an_id_token_is_told_from_one_by_its_provider(second: AtCanaille) -> None:
    """Canaille's have the same claims. Bob's, since Canaille's of one person and second are equal."""
    with somebody(second, "bob") as bob:
        tokens = stored_tokens(second.store, bob.cookie())
        assert tokens.id_token
        answer = validate(second, tokens.access.value)
        assert (answer.status_code, answer.json()["sub"]) == (200, "bob")
        assert validate(second, tokens.id_token).status_code == 401
        refreshed = post(bob, "/auth/tokens/refresh")
        assert refreshed.status_code == 200
        tokens = stored_tokens(second.store, bob.cookie())
        assert tokens.id_token
        assert validate(second, tokens.id_token).status_code == 401, "this one may come without a nonce"
        assert second.bff.value("bff_token_validation_total", token_type="access_token_jwt", status="valid") == 1


def test_a_refresh_token_that_was_revoked_there_ends_the_session(site: Site) -> None:
    with somebody(site) as alice:
        rejected = site.bff.value("bff_sessions_destroyed_total", reason="refresh_rejected")
        token = stored_tokens(site.store, alice.cookie()).refresh_token
        assert token
        site.revoke(token)
        answer = post(alice, "/auth/tokens/refresh")
        assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")
        assert site.bff.value("bff_sessions_destroyed_total", reason="refresh_rejected") == rejected + 1


def test_exchanged_for_services(first: AtOidcProvider) -> None:
    with somebody(first) as alice, lines(first.bff) as found:
        counted = first.deployment.provider.requests
        before = counted("POST /token token-exchange 200"), counted("POST /token client_credentials 200")
        assert post(alice, "/auth/tokens/exchange", service="api").status_code == 200
        answers = {
            service: [line.token(alice.cookie(), service) for (line,) in found.values()]
            for service in ("api", "billing", "own")
        }
        assert [answer.status for those in answers.values() for answer in those] == [200] * 3 * WORKERS
        assert [len({answer.digest for answer in those}) for those in answers.values()] == [1, 1, 1]
        after = counted("POST /token token-exchange 200"), counted("POST /token client_credentials 200")
        assert (after[0] - before[0], after[1] - before[1]) == (2, 1)

        token = service_token(first.store, alice.cookie(), "api")
        valid = validate(first, token)
        assert valid.status_code == 200
        expected = {"sub": "alice", "scope": ["api:read"], "aud": [API], "roles": ["admin", "user"]}
        assert expected.items() <= valid.json().items()
        header, claims, signature = token.split(".")
        assert validate(first, f"{header}.{claims}.{signature[::-1]}").status_code == 401
        for_another = service_token(first.store, alice.cookie(), "billing")
        assert validate(first, for_another).status_code == 401, f"{BILLING} is not us"


def test_the_provider_ends_a_session_in_every_worker_at_once(first: AtOidcProvider) -> None:
    """Back-channel logout by `sid`: her other session, and everybody else's, go on."""
    with somebody(first) as alice, somebody(first) as elsewhere, lines(first.bff) as found:
        workers = [line for (line,) in found.values()]
        assert [line.token(alice.cookie()).status for line in workers] == [200] * WORKERS
        tokens = stored_tokens(first.store, alice.cookie())
        query = urlencode({"id_token_hint": tokens.id_token, "post_logout_redirect_uri": alice.base_url})
        alice.walk(f"{first.deployment.provider.issuer}/session/end?{query}", alice.base_url, logout="yes")
        rounds = 0
        while {line.token(alice.cookie()).status for line in workers} != {401}:
            rounds += 1
            assert rounds < AT_ONCE
        assert [line.token(elsewhere.cookie()).status for line in workers] == [200] * WORKERS
        assert first.bff.value("bff_sessions_destroyed_total", reason="backchannel") == 1
        assert first.bff.value("bff_token_validation_total", token_type="logout_token", status="valid") == 1
