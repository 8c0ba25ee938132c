"""Nothing secret of a whole login, nor of all that goes wrong beside it, gets into a log, a metric or an error."""

import base64
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.peers import bff, openid, process, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.openid import Provider

pytestmark = pytest.mark.e2e

REDIS_PASSWORD = "the-password-of-redis"
SHORTEST = 16  # characters; whatever this module makes up is longer, and no ordinary word is


@dataclass(frozen=True)
class Told:
    """What could be overheard, and what must not be in it."""

    log: str = field(repr=False)
    metrics: str = field(repr=False)
    errors: list[str] = field(repr=False)
    secrets: dict[str, set[str]] = field(repr=False)


@pytest.fixture(scope="module")
def told(folder: Path) -> Told:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    environ = {"BFF_SECRETS": key, "LOG_LEVEL": "debug", **client.environ}
    with (
        redis.RedisServer(redis.debian(), folder, password=REDIS_PASSWORD) as store,
        openid.running([client], autologin=True, log=folder / "provider.log") as provider,
        bff.running(
            folder, environ | {"REDIS_URL": store.url, "OIDC_ISSUER": provider.issuer}, port=port, workers=2
        ) as service,
    ):
        errors, cookies = whole_story(service, provider)
        metrics = service.metrics()
        store.stop()
        with Visitor(service.base_url) as late:
            late.cookies.set("bff_session", next(iter(cookies["bff_session"])))
            errors.append(late.auth_verify().text)
        known = {name: set(values) for name, values in provider.secrets().items()} | cookies
        known |= {"client secret": {client.secret}, "BFF_SECRETS": {key}, "Redis password": {REDIS_PASSWORD}}
    return Told(service.log.read_text(), metrics, errors, known)


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
        errors.append(mallory.auth_verify().text)  # another browser ends the session
        assert alice.login().status_code == 302
        remember(alice)
        assert alice.logout().status_code == 200
    return errors, cookies


def test_every_kind_of_secret_was_there_to_be_told(told: Told) -> None:
    kinds = {"state", "nonce", "code", "code_verifier", "access_token", "refresh_token", "id_token", "bff_session"}
    assert {name for name, values in told.secrets.items() if any(len(value) > SHORTEST for value in values)} >= kinds
    assert told.log.count('"path": "/auth/callback"') > 1
    assert told.metrics.count("bff_logins_total") > 1
    assert all("<" in error or '"code"' in error for error in told.errors)


@pytest.mark.parametrize("place", ["log", "metrics", "errors"])
def test_nothing_secret_is_told(told: Told, place: str) -> None:
    text = str(getattr(told, place))
    spellings = {
        (name, spelling)
        for name, values in told.secrets.items()
        for value in values
        if len(value) > SHORTEST
        for spelling in (value, quote(value, safe=""), base64.b64encode(value.encode()).decode().rstrip("="))
    }
    assert {name for name, spelling in spellings if spelling in text} == set()
