"""Nothing secret of logins and tokens, nor of what goes wrong beside them, gets into log, metrics, traces or errors."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from bff.sessions.tokens import Tokens
from tests.e2e import deployment
from tests.e2e.deployment import Deployment
from tests.peers import bff, openid, otlp, process, proxies, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.openid import Fault, Provider

pytestmark = pytest.mark.e2e

REDIS_PASSWORD = "the-password-of-redis"
TTL = 300
PERSON = "somebody.in.particular@example.test"
ROUTES = """
services: {orders: {base_url: "http://%s"}}
routes:
  - {id: read, path: "/api/people/{who}", service: orders, authz: pdp,
     authz_map: {resource: people, action: read, id_from: $.path.who}}
  - {id: write, path: "/api/people/{who}", service: orders, methods: PUT, authz: pdp,
     authz_map: {resource: people, action: write, id_from: $.path.who, props: {mail: $.body.mail}}}
"""
POLICY = """
@id("read") permit(principal, action == Action::"read", resource is people);
@id("never") @reason("Never that.") forbid(principal, action == Action::"write", resource is people);
"""
SHORTEST = 16  # characters; whatever this module makes up is longer, and no ordinary word is


@dataclass(frozen=True)
class Told:
    """What could be overheard, and what must not be in it."""

    log: str = field(repr=False)
    metrics: str = field(repr=False)
    telemetry: str = field(repr=False)
    errors: list[str] = field(repr=False)
    secrets: dict[str, set[str]] = field(repr=False)


@pytest.fixture(scope="module")
def told(folder: Path) -> Told:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    environ = {"BFF_SECRETS": key, "LOG_LEVEL": "debug", **client.environ}
    environ |= {"SESSION_BINDING": "enforce", "SESSION_OUTAGE_GRACE": "0"}  # so that there are errors to look at
    with (
        otlp.running() as collector,
        redis.RedisServer(redis.debian(), folder, password=REDIS_PASSWORD) as store,
        openid.running([client], autologin=True, log=folder / "provider.log") as provider,
        proxies.echo() as application,
    ):
        environ |= {
            "REDIS_URL": store.url,
            "OIDC_ISSUER": provider.issuer,
            "BFF_CONFIG_DIR": str(configuration(folder, application)),
            "OTLP_ENDPOINT": collector.grpc_url,
        }
        with bff.running(folder, environ, port=port, workers=2) as service:
            errors, cookies = whole_story(service, provider)
            metrics = service.metrics()
            store.stop()
            with Visitor(service.base_url) as late:
                late.cookies.set("bff_session", next(iter(cookies["bff_session"])))
                errors.append(late.auth_verify().text)
        telemetry = collector.text()
        known = {name: set(values) for name, values in provider.secrets().items()} | cookies
        known |= {
            "client secret": {client.secret},
            "BFF_SECRETS": {key},
            "Redis password": {REDIS_PASSWORD},
            "person": {PERSON},
        }
    return Told(service.log.read_text(), metrics, telemetry, errors, known)


def configuration(folder: Path, application: str) -> Path:
    (folder / "routes.yaml").write_text(ROUTES % application)
    (folder / "policies").mkdir()
    (folder / "policies" / "people.cedar").write_text(POLICY)
    return folder


def call_the_api(alice: Visitor) -> list[str]:
    """Through the proxy, as somebody who may read and not write; the errors."""
    path, proof = f"/api/people/{PERSON}?mail={PERSON}", {"X-CSRF-Token": alice.csrf_token()}
    assert alice.call("GET", path).status_code == 200
    refused = [alice.call("PUT", path, json=body, headers=proof) for body in ({"mail": PERSON}, {"name": PERSON})]
    refused.append(alice.call("PUT", path, data=PERSON, headers=proof))
    refused.append(alice.call("GET", f"/api/people/{PERSON}%2f"))
    codes = [answer.json()["code"] for answer in refused]
    assert codes == ["deny", "property_missing", "body_not_json", "bad_path"]
    return [answer.text for answer in refused]


def whole_story(service: Bff, provider: Provider) -> tuple[list[str], dict[str, set[str]]]:
    """Log in, look around, log out, and do everything wrong in between: (error bodies, cookie values by name)."""
    errors: list[str] = []
    cookies: dict[str, set[str]] = {}

    def remember(visitor: Visitor) -> None:
        for cookie in visitor.cookies:
            cookies.setdefault(cookie.name, set()).add(cookie.value or "")

    with Visitor(service.base_url) as alice, Visitor(service.base_url) as mallory:
        callback = alice.authorize(alice.start_login(return_to="/?from=here"))
        remember(alice)
        errors.append(mallory.open(callback).text)  # somebody else's browser
        assert alice.open(callback).status_code == 302
        errors.append(mallory.open(callback).text)  # used
        assert alice.auth_verify().status_code == 200
        alice.session()
        errors.extend(call_the_api(alice))
        errors.append(alice.call("POST", "/auth/logout", json={}).text)  # no CSRF token
        alice.csrf_token()
        remember(alice)
        mallory.cookies.set("bff_session", alice.cookie()[::-1])  # forged
        errors.append(mallory.auth_verify().text)

        for status in (400, 503):
            provider.fail("/token", status=status)
            errors.append(mallory.login().text)
            remember(mallory)
        mallory.headers["User-Agent"] = "another browser"
        mallory.cookies.set("bff_session", alice.cookie())
        errors.append(mallory.auth_verify().text)  # another browser
        assert alice.login().status_code == 302
        remember(alice)
        assert alice.logout().status_code == 200
    return errors, cookies


@pytest.fixture(scope="module")
def told_of_tokens(folder: Path) -> Told:
    """The same of what comes after a login, at a provider that binds every token to a key."""
    own = folder / "tokens"
    own.mkdir()
    with otlp.running() as collector:
        with deployment.running(own, TTL, dpop=True, more={"OTLP_ENDPOINT": collector.grpc_url}) as started:
            errors, known = life_of_tokens(started)
            metrics = started.bff.metrics()
            known |= {name: set(values) for name, values in started.provider.secrets().items()}
        telemetry = collector.text()
    known |= {"BFF_SECRETS": {deployment.SECRET}}
    return Told(started.bff.log.read_text(), metrics, telemetry, errors, known)


def life_of_tokens(started: Deployment) -> tuple[list[str], dict[str, set[str]]]:
    """Two sessions whose tokens are refreshed, exchanged and validated, with every failure; the provider ends the first
    by a logout token and the second by a refusal: (error bodies, cookie values and private keys)."""
    errors: list[str] = []
    known: dict[str, set[str]] = {"bff_session": set(), "dpop_key": set()}
    service, provider = started.bff, started.provider

    def post(path: str, **body: str) -> None:
        answer = alice.call("POST", path, json=body, headers={"X-CSRF-Token": alice.csrf_token()})
        errors.extend([] if answer.ok else [answer.text])

    def login() -> Tokens:
        assert alice.login(login_hint="alice").status_code == 302
        held = deployment.stored_tokens(started.store, alice.cookie())
        known["bff_session"].add(alice.cookie())
        known["dpop_key"].add(json.loads(held.dpop_key or "")["d"])
        return held

    with Visitor(service.base_url) as alice:
        held = login()
        post("/auth/tokens/refresh")
        for name in ("api", "billing", "own"):
            post("/auth/tokens/exchange", service=name)
        assert errors == []
        faults: list[tuple[str, Fault, int]] = [("user", "garbage", 0), ("api", "html", 0), ("own", "status", 400)]
        for name, kind, status in faults:
            provider.disturb("/token", kind, status=status)
            post("/auth/tokens/refresh", service=name)
        for token in (provider.secrets()["access_token"][-1], held.access.value, held.id_token):  # bound, or no such
            headers = {"Authorization": f"Bearer {token}"}
            errors.append(alice.call("GET", "/auth/tokens/validate", headers=headers).text)
        query = urlencode({"id_token_hint": held.id_token, "post_logout_redirect_uri": alice.base_url})
        alice.walk(f"{provider.issuer}/session/end?{query}", alice.base_url, logout="yes")
        errors.append(alice.auth_verify().text)
        (token,) = provider.secrets()["logout_token"]
        for sent in (token, token[:-9]):  # once more, and broken
            errors.append(alice.call("POST", "/auth/backchannel-logout", data={"logout_token": sent}).text)
        login()
        provider.disturb("/token", "lose_answer")
        post("/auth/tokens/refresh", service="api")
        provider.revoke("alice")
        post("/auth/tokens/refresh")
        errors.append(alice.auth_verify().text)
    return errors, known


def test_every_kind_of_token_was_there_to_be_told(told_of_tokens: Told) -> None:
    kinds = {"access_token", "refresh_token", "id_token", "token", "logout_token", "dpop_key", "bff_session"}
    assert {
        name for name, values in told_of_tokens.secrets.items() if any(len(value) > SHORTEST for value in values)
    } >= kinds
    words = "grant_refused", "refresh_failed", "backchannel_logout", "logout_token_rejected", "refresh_rejected"
    assert '"refresh"' in told_of_tokens.telemetry
    assert [word for word in words if f'"event": "{word}"' not in told_of_tokens.log] == []
    codes = {json.loads(error)["code"] for error in told_of_tokens.errors}
    assert codes >= {"token_unavailable", "token_refused", "invalid_token", "invalid_request", "session_ended"}


def test_every_kind_of_secret_was_there_to_be_told(told: Told) -> None:
    kinds = {"state", "nonce", "code", "code_verifier", "access_token", "refresh_token", "id_token", "bff_session"}
    assert {name for name, values in told.secrets.items() if any(len(value) > SHORTEST for value in values)} >= kinds
    assert told.log.count('"path": "/auth/callback"') > 1
    assert told.metrics.count("bff_logins_total") > 1
    assert told.telemetry.count("/auth/callback") > 1
    assert [error for error in told.errors if not ("<" in error or '"code"' in error)] == []


@pytest.mark.parametrize("place", ["log", "metrics", "telemetry", "errors"])
@pytest.mark.parametrize("story", ["told", "told_of_tokens"])
def test_nothing_secret_is_told(request: pytest.FixtureRequest, story: str, place: str) -> None:
    told: Told = request.getfixturevalue(story)
    text = str(getattr(told, place))
    spellings = {
        (name, spelling)
        for name, values in told.secrets.items()
        for value in values
        if len(value) > SHORTEST
        for spelling in (value, quote(value, safe=""), base64.b64encode(value.encode()).decode().rstrip("="))
    }
    assert {name for name, spelling in spellings if spelling in text} == set()
