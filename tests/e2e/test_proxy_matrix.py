"""Every proxy gives every kind of request the same answer, whoever sends it and whatever it claims to be.

One BFF and one application behind four real proxies, with the files in deploy/ as they are. Each request carries claims
of an identity in every spelling, of which the application must see none, and lies about what is asked for and by whom.
"""

import base64
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from bff import services, settings
from bff.services import Services
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from tests.e2e.claims import LIAR, claims, identity, lies
from tests.peers import bff, process, proxies, redis

pytestmark = pytest.mark.e2e

PROXIES = ("caddy", "traefik", "nginx", "envoy")
AGENT = "a browser made for tests"
CLIENT = "127.0.0.1"
PROFILES = "profiles: {site: {unauthenticated: redirect, authz: pdp, resource: site}}"
POLICY = """
permit(principal, action, resource is site);
@reason("The archive is closed.") forbid(principal, action, resource == site::"/archive");
"""


class Kind(NamedTuple):
    method: str
    headers: dict[str, str]


NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "application/json", "Sec-Fetch-Mode": "cors"}
KINDS = {
    "navigation": Kind("GET", NAVIGATION),
    "form": Kind("POST", NAVIGATION),
    "fetch": Kind("GET", FETCH),
    "unsafe": Kind("DELETE", FETCH),
}


class Outcome(NamedTuple):
    """The statuses by kind, and the one word that says why."""

    navigation: int
    form: int
    fetch: int
    unsafe: int
    reason: str | None


TABLE = {
    "anonymous": Outcome(302, 303, 401, 401, "unauthenticated"),
    "unknown": Outcome(302, 303, 401, 401, "unauthenticated"),
    "valid": Outcome(200, 200, 200, 200, None),
    "expired": Outcome(302, 303, 401, 401, "expired"),
    "wrong binding": Outcome(302, 303, 401, 401, "session_binding"),
    "denied": Outcome(403, 403, 403, 403, "deny"),
    "store down": Outcome(503, 503, 503, 503, "store_unavailable"),
}
UP = [name for name in TABLE if name != "store down"]


@dataclass
class Stack:
    ports: dict[str, int]
    login: str
    service: bff.Bff
    store: redis.RedisServer
    now: Services
    earlier: Services

    def cookie(self, outcome: str) -> str | None:
        """A session of alice's that nobody has used yet, such that this is what becomes of the request."""
        if outcome == "anonymous":
            return None
        if outcome == "unknown":
            return "A" * 43
        made_by = self.earlier if outcome == "expired" else self.now
        agent = "another browser" if outcome == "wrong binding" else AGENT
        cookie, _ = made_by.store.create(
            User("alice", "alice"),
            idp="embedded",
            auth_time=1_700_000_000,
            sid="",
            binding=binding_of(CLIENT, agent),
            tokens=Tokens("embedded", AccessToken("access", 2e9)),
        )
        return cookie

    def send(self, proxy: str, kind: Kind, path: str, cookie: str | None) -> "Answer":
        own = {"User-Agent": AGENT, **kind.headers, **({"Cookie": f"bff_session={cookie}"} if cookie else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[proxy], timeout=10)
        with closing(connection):
            connection.putrequest(kind.method, path)
            for name, value in [*claims(), *lies(), *own.items()]:
                connection.putheader(name, value)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    ports = {proxy: process.free_port() for proxy in PROXIES}
    origins = [f"http://127.0.0.1:{port}" for port in ports.values()]
    (folder / "policies").mkdir()
    (folder / "policies" / "site.cedar").write_text(POLICY)
    (folder / "verify.yaml").write_text(PROFILES)
    with ExitStack() as running:
        store = running.enter_context(redis.RedisServer(redis.newest(), folder))
        environ = {
            "REDIS_URL": store.url,
            "BFF_SECRETS": base64.b64encode(os.urandom(32)).decode(),
            "BFF_BASE_URL": origins[0],
            "BFF_ALLOWED_REDIRECT_HOSTS": ",".join(origins),
            "BFF_CONFIG_DIR": str(folder),
            "BFF_DATA_DIR": str(folder / "data"),
        }
        service = running.enter_context(bff.running(folder, environ))
        application = running.enter_context(proxies.echo())
        for proxy, port in ports.items():
            start = getattr(proxies, proxy)
            log = folder / f"{proxy}.log"
            running.enter_context(start(port, service.address, application, profile="@site", log=log))
        config = settings.load(environ)
        past = time.time() - config.sessions.lifetime - 60
        now = running.enter_context(_services(config, time.time))
        earlier = running.enter_context(_services(config, lambda: past))
        yield Stack(ports, f"{origins[0]}/auth/login", service, store, now, earlier)


@contextmanager
def _services(config: settings.Settings, clock: Callable[[], float]) -> Iterator[Services]:
    made = services.build(config, clock=clock)
    made.start()
    try:
        yield made
    finally:
        made.close()


def check(stack: Stack, proxy: str, outcome: str, kind: str, cookie: str | None) -> None:
    path = "/archive?page=2" if outcome == "denied" else "/reports?page=2&x=%7e"
    answer = stack.send(proxy, KINDS[kind], path, cookie)
    status, reason = getattr(TABLE[outcome], kind), TABLE[outcome].reason
    if outcome == "store down" and proxy == "envoy":
        reason = "undecided"  # it drops whatever comes with a 503
    assert (answer.status, answer.headers["X-Denied-Reason"]) == (status, reason), answer.body
    assert LIAR.encode() not in answer.body
    assert answer.headers["Set-Cookie"] is None
    back = f"{stack.login}?return_to={quote(f'http://127.0.0.1:{stack.ports[proxy]}{path}', safe='')}"
    assert answer.headers["Location"] == (back if status in (302, 303) else None)
    if status == 200:
        assert identity(answer.content)["X-User-ID"] == ["alice"]
        assert (answer.content["method"], answer.content["path"]) == (KINDS[kind].method, path)
    elif kind in ("fetch", "unsafe"):
        assert (answer.headers["Content-Type"], answer.content["code"]) == ("application/problem+json", reason)
        assert answer.content["status"] == status
        assert ("/auth/login" in answer.content.get("login_url", "")) is (status == 401)
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcome", UP)
@pytest.mark.parametrize("proxy", PROXIES)
def test_an_answer(stack: Stack, proxy: str, outcome: str, kind: str) -> None:
    check(stack, proxy, outcome, kind, stack.cookie(outcome))


@pytest.fixture(scope="module")
def without_store(stack: Stack) -> list[str]:
    """Sessions that the store had and that no worker has seen, one for each question; the store is gone."""
    cookies = [stack.cookie("valid") for _ in range(len(PROXIES) * len(KINDS))]
    stack.store.kill()
    return [cookie for cookie in cookies if cookie]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_an_answer_without_the_store(stack: Stack, without_store: list[str], proxy: str, kind: str) -> None:
    check(stack, proxy, "store down", kind, without_store.pop())


@pytest.fixture(scope="module")
def without_bff(stack: Stack) -> None:
    process.stop(stack.service.process)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.usefixtures("without_bff")
def test_nobody_passes_without_the_bff(stack: Stack, proxy: str, kind: str) -> None:
    answer = stack.send(proxy, KINDS[kind], "/reports", "A" * 43)
    assert answer.status in (500, 502, 503)
    assert LIAR.encode() not in answer.body
