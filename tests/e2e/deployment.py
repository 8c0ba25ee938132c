"""Four workers, Redis, and a strict OpenID Provider behind a network that may be bad: what the token tests run in."""

import base64
import hashlib
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bff.crypto import Keyring, digest
from bff.kv.redis import RedisStore
from bff.sessions.token_store import TokenStore
from bff.sessions.tokens import Tokens
from tests.peers import bff, openid, process, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.clock import SharedClock
from tests.peers.faulty_proxy import Proxy
from tests.peers.openid import Provider
from tests.peers.redis import RedisServer

WORKERS = 4
COMMAND = (*bff.COMMAND[:-1], "tests.e2e.tokens:app")
PATIENCE = 40
AT_ONCE = 16
SWEEP = "bff:k:lease:token_refresh"
REFRESHED_AHEAD = "bff:i:token-refresh"
SECRET = base64.b64encode(secrets.token_bytes(32)).decode()
API, BILLING = "https://api.example.test", "https://billing.example.test"
ROUTES = f"""
services:
  api: {{token: exchange, resource: {API}, scope: api:read}}
  billing: {{token: exchange, audience: {BILLING}, scope: billing:read}}
  own: {{token: client_credentials, resource: {BILLING}, scope: billing:read}}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    content: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of the token that the view got."""
        return str(self.content.get("digest"))

    @property
    def problem(self) -> str:
        """Its code; empty when there is none."""
        return "" if self.status == 200 else str(self.content.get("code", self.status))


class Line:
    """A connection kept alive, and so a line to one certain worker."""

    def __init__(self, service: Bff) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
        self.connection.connect()
        self.worker = 0

    def ask(self, cookie: str, path: str = "/test/token") -> None:
        """Send a request; `answer` reads what comes back."""
        headers = {"Cookie": f"bff_session={cookie}", "User-Agent": openid.NAVIGATION["User-Agent"]}
        self.connection.request("GET", path, headers={**headers, "Accept": "application/json"})

    def answer(self) -> Answer:
        """Raises OSError or HTTPException when the worker is gone."""
        answer = self.connection.getresponse()
        return Answer(answer.status, json.loads(answer.read() or "{}"))

    def token(self, cookie: str, service: str = "user") -> Answer:
        self.ask(cookie, f"/test/token?service={service}")
        return self.answer()


@contextmanager
def lines(service: Bff, each: int = 1) -> Iterator[dict[int, list[Line]]]:
    """So many lines to each worker, by its process id."""
    found: dict[int, list[Line]] = {worker: [] for worker in service.workers()}
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        while any(len(those) < each for those in found.values()):
            assert time.monotonic() < deadline, {worker: len(those) for worker, those in found.items()}
            for line in _connected(service):
                those = found[line.worker]
                if len(those) < each:
                    those.append(line)
                    stack.callback(line.connection.close)
                else:
                    line.connection.close()
        yield found


def _connected(service: Bff) -> list[Line]:
    """All at once, so that one idle worker does not take them all."""
    connected = [Line(service) for _ in range(AT_ONCE)]
    for line in connected:
        line.ask("", "/health/live")
    for line in connected:
        line.answer()
        line.worker = service.worker_of(line.connection.sock) or 0
    return connected


@dataclass(frozen=True)
class Deployment:
    bff: Bff
    provider: Provider
    network: Proxy
    store: RedisServer
    clock: SharedClock

    def cookie(self, user: str = "alice") -> str:
        """Of a new session."""
        with Visitor(self.bff.base_url) as person:
            assert person.login(login_hint=user).status_code == 302
            return person.cookie()

    def refreshes(self, status: str = "200") -> int:
        """Refreshes that the provider answered so."""
        return self.provider.requests(f"POST /token refresh_token {status}")

    def wait_until_held(self) -> None:
        """Until the provider has got a request that a fault keeps it from handling."""
        self.wait(lambda: self.provider.held() > 0)

    def wait_for_workers(self) -> None:
        self.wait(lambda: len(self.bff.workers()) == WORKERS)

    def alive(self, digest: str) -> bool:
        """Whether the provider honours the token with this digest, and the refresh token that came with it."""
        known = self.provider.secrets()
        newest = known["access_token"][-1], known["refresh_token"][-1]
        return hashlib.sha256(newest[0].encode()).hexdigest()[:16] == digest and all(
            self.provider.is_active(token) for token in newest
        )

    @contextmanager
    def without_sweep(self) -> Iterator[None]:
        """The background job that refreshes ahead of requests is taken to be under way elsewhere."""
        self.store.command("SET", SWEEP, "a test", "EX", 3600)
        try:
            yield
        finally:
            self.store.command("DEL", SWEEP)

    def forget_sessions(self) -> None:
        """Begin anew: nobody refreshes those that are there when the clock is set forward for others."""
        self.store.command("DEL", REFRESHED_AHEAD)
        self.clock.reset()

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        """Until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(process.POLL)


def stored_tokens(store: RedisServer, cookie: str) -> Tokens:
    """What the BFF with SECRET holds for a session."""
    kv = RedisStore(store.url)
    try:
        held = TokenStore(kv, Keyring([base64.b64decode(SECRET)]), time.time, login_timeout=900).read(digest(cookie))
    finally:
        kv.close()
    assert held is not None
    return held.tokens


def service_token(store: RedisServer, cookie: str, service: str) -> str:
    """The only token that a session holds for this service."""
    (token,) = [each for name, each in stored_tokens(store, cookie).services.items() if name.startswith(f"{service}:")]
    return token.value


@contextmanager
def running(
    folder: Path,
    ttl: int,
    *,
    dpop: bool = False,
    more: Mapping[str, str] | None = None,
    verify: bool = False,
) -> Iterator[Deployment]:
    """ttl: of access tokens, in seconds on the clock. dpop: tokens are bound to a key, with nonces (RFC 9449). more:
    of the BFF's settings. verify: whether proxies ask at a listener of their own."""
    port, upstream = process.free_port(), process.free_port(openid.HOST)
    base_url = f"http://127.0.0.1:{port}"
    client = openid.client(
        "bff",
        base_url,
        grants=(openid.TOKEN_EXCHANGE, "client_credentials"),
        dpop=dpop,
        backchannel_logout_uri=f"{base_url}/auth/backchannel-logout",
    )
    clock = SharedClock(folder / "clock")
    (folder / "routes.yaml").write_text(ROUTES)
    environ = {
        **client.environ,
        "BFF_CONFIG_DIR": str(folder),
        "BFF_SECRETS": SECRET,
        "LOG_LEVEL": "debug",
        "DPOP_ENABLED": str(dpop).lower(),
        "OIDC_AUDIENCES": API,
        "SESSION_CACHE_TTL": "60",
        "TEST_CLOCK": str(folder / "clock"),
        "WEB_THREADS": str(AT_ONCE),
        **(more or {}),
    }
    with (
        redis.RedisServer(redis.debian(), folder) as store,
        Proxy((openid.HOST, upstream), host=openid.HOST) as network,
        openid.running(
            [client],
            autologin=True,
            access_token_ttl=ttl,
            port=upstream,
            issuer=f"http://{network.address}",
            dpop_nonces=dpop,
            log=folder / "provider.log",
        ) as provider,
        bff.running(
            folder,
            environ | {"REDIS_URL": store.url, "OIDC_ISSUER": provider.issuer},
            port=port,
            workers=WORKERS,
            command=COMMAND,
            verify=verify,
        ) as service,
    ):
        yield Deployment(service, provider, network, store, clock)
