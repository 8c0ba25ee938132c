"""One BFF, one application, and five real proxies in front of both, with the files in deploy/ as they are."""

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

import pytest

from bff import services, settings
from bff.services import Services
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from tests.e2e.claims import claims, lies
from tests.peers import bff, process, proxies, redis
from tests.peers import service as backend

PROXIES = ("caddy", "traefik", "nginx", "envoy", "haproxy")
AGENT = "a browser made for tests"
CLIENT = "127.0.0.1"
PROFILES = "profiles: {site: {unauthenticated: redirect, authz: pdp, resource: site}}"
POLICY = """
permit(principal, action, resource is site);
@reason("The archive is closed.") forbid(principal, action, resource == site::"/archive");
"""
SWEEP = "bff:k:lease:session_sweep"
ROUTES = """
services: {work: {token: none, base_url: "%s"}}
routes: [{id: work, path: "/api/work/*", service: work, auth: none, streaming: true, methods: [GET, POST]}]
"""
STREAMS = "location ~ ^/api/work/streamed/ { include to_bff.conf; include stream.conf; }"
"""nginx's streams.conf; the other proxies pass every body on as it comes."""


class Kind(NamedTuple):
    method: str
    headers: dict[str, str]


@dataclass
class Stack:
    ports: dict[str, int]
    login: str
    service: bff.Bff
    work: backend.Service
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
        work = running.enter_context(backend.running(folder))
        (folder / "routes.yaml").write_text(ROUTES % work.url)
        store = running.enter_context(redis.RedisServer(redis.newest(), folder))
        environ = {
            "REDIS_URL": store.url,
            "SESSION_BINDING": "enforce",
            "BFF_SECRETS": base64.b64encode(os.urandom(32)).decode(),
            "BFF_BASE_URL": origins[0],
            "BFF_ALLOWED_REDIRECT_HOSTS": ",".join(origins),
            "BFF_CONFIG_DIR": str(folder),
            "BFF_DATA_DIR": str(folder / "data"),
        }
        store.command("SET", SWEEP, "a test", "EX", 3600)  # which might end an expired session before anybody asks
        service = running.enter_context(bff.running(folder, environ, verify=True))
        application = running.enter_context(proxies.echo())
        for proxy, port in ports.items():
            start = getattr(proxies, proxy)
            log = folder / f"{proxy}.log"
            at = {"verify": service.verify_address, "profile": "@site", "log": log}
            at |= {"streams": STREAMS} if proxy == "nginx" else {}
            running.enter_context(start(port, service.address, application, **at))
        config = settings.load(environ)
        past = time.time() - config.sessions.lifetime - 60
        now = running.enter_context(_services(config, time.time))
        earlier = running.enter_context(_services(config, lambda: past))
        yield Stack(ports, f"{origins[0]}/auth/login", service, work, store, now, earlier)


@contextmanager
def _services(config: settings.Settings, clock: Callable[[], float]) -> Iterator[Services]:
    made = services.build(config, clock=clock)
    made.start()
    try:
        yield made
    finally:
        made.close()
