"""Cost of the API proxy: one small GET through it, beside the same service called by a plain Flask view.

CPU time in this process, for a request that is dispatched in turn: the BFF checks the session, asks the policy (a
cached decision), takes the session's token and counts; the view calls `requests` and returns the answer. The service
runs in a process of its own. `bare` is the proxy's own call, without anything around it.
"""

import base64
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import requests
from flask import Flask, Response
from werkzeug.test import create_environ

from benchmarks.cpu import cpu
from benchmarks.servers import ROOT
from bff import services, settings
from bff.app import create_app
from bff.http import DisconnectMonitor, HttpUpstream, UpstreamRequest
from bff.services import Services
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import UpstreamSettings
from tests.peers.process import free_port, running

ROUNDS = 11
TIMES = 500
AT_MOST = 0.4
ADDRESS, AGENT = "203.0.113.7", "a browser"
ROUTES = """
services: {orders: {base_url: "%s"}}
routes:
  - id: orders-read
    path: /api/orders/{id}
    service: orders
    authz: pdp
    authz_map: {resource: orders, action: read, id_from: $.path.id}
"""
POLICY = 'permit(principal in role::"staff", action == Action::"read", resource is orders);'
Call = Callable[[], object]


def main() -> bool:
    """Whether the target was met."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [
            sys.executable, "-m", "gunicorn", "-c", "/dev/null", "-b", f"127.0.0.1:{port}", "-k", "gthread",
            "--threads", "4", "benchmarks.references:empty",
        ]  # fmt: skip
        stack.enter_context(running(command, port=port, cwd=ROOT))
        base_url = f"http://127.0.0.1:{port}"
        bff = stack.enter_context(closing(_services(folder, base_url)))
        disconnects = stack.enter_context(closing(DisconnectMonitor()))
        upstream = stack.enter_context(closing(HttpUpstream(UpstreamSettings("bare", base_url), disconnects)))
        calls = {
            "reference": _dispatch(_reference(base_url), _request()),
            "proxied": _dispatch(create_app(services=bff), _request(_log_in(bff))),
            "bare": lambda: _read(upstream),
        }
        for call in calls.values():
            cpu(call, TIMES)
        rounds = [{name: cpu(call, TIMES) for name, call in calls.items()} for _ in range(ROUNDS)]
    return _report(rounds)


def _services(folder: Path, base_url: str) -> Services:
    (folder / "policies").mkdir()
    (folder / "routes.yaml").write_text(ROUTES % base_url)
    (folder / "policies" / "orders.cedar").write_text(POLICY)
    environ = {
        "ENVIRONMENT": "staging", "BFF_BASE_URL": "https://app.example",
        "BFF_SECRETS": base64.b64encode(os.urandom(32)).decode(),
        "BFF_DATA_DIR": str(folder), "OIDC_ISSUER": "https://idp.example", "AUTH_CLIENT_ID": "bff",
        "AUTH_CLIENT_SECRET": "secret", "SESSION_CACHE_TTL": "60", "PDP_CACHE_ALLOW_TTL": "600",
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }  # fmt: skip
    built = services.build(settings.load(environ, folder))
    built.start()
    return built


def _log_in(bff: Services) -> str:
    """The cookie of a new session, which this worker caches at the first use."""
    token = AccessToken("a" * 800, time.time() + 3000, time.time() + 3600, "openid profile")
    cookie, _ = bff.store.create(
        User("alice", "alice", roles=("staff",)), idp="default", auth_time=1, sid="",
        binding=binding_of(ADDRESS, AGENT), tokens=Tokens("default", token, "r" * 40),
    )  # fmt: skip
    deadline = time.monotonic() + 5
    while not bff.cache.truthful and time.monotonic() < deadline:
        time.sleep(0.01)
    return f"{bff.settings.cookies.name}={cookie}"


def _reference(base_url: str) -> Flask:
    app, session = Flask("reference", static_folder=None), requests.Session()

    @app.get("/api/orders/<number>")
    def order(number: str) -> Response:
        answer = session.get(f"{base_url}/orders/{number}", timeout=5)
        return Response(answer.content, answer.status_code)

    return app


def _request(cookie: str = "") -> dict[str, Any]:
    headers = {"Accept": "application/json", "User-Agent": AGENT, "Cookie": cookie}
    return create_environ("/api/orders/7", headers=headers, environ_base={"REMOTE_ADDR": ADDRESS})


def _dispatch(app: Flask, environ: dict[str, Any]) -> Call:
    def start_response(status: str, _headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], object]:
        if not status.startswith("200"):
            raise RuntimeError(status)
        return len

    def call() -> None:
        answer = app.wsgi_app(environ.copy(), start_response)
        b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()

    return call


def _read(upstream: HttpUpstream) -> None:
    with closing(upstream.send(UpstreamRequest("GET", "/orders/7", {"Accept": "application/json"}, 5.0))) as answer:
        b"".join(answer)


def _report(rounds: list[dict[str, float]]) -> bool:
    over = []
    print(f"one small GET: a Flask view that calls requests, the API proxy, its bare call; CPU, {ROUNDS} rounds")
    for number, found in enumerate(rounds, 1):
        over.append(found["proxied"] / found["reference"] - 1)
        own = (found["proxied"] - found["bare"]) / found["reference"]
        figures = ", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in found.items())
        print(f"  round {number}: {figures}; over the reference {over[-1]:+.2f}, all but the bare call {own:.2f} of it")
    print(f"median over the reference {statistics.median(over):+.2f} (target: under {AT_MOST:+.2f})")
    return statistics.median(over) < AT_MOST
