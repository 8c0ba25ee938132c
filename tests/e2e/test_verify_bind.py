"""VERIFY_BIND: proxies ask on a listener of their own, and a peer that reaches the public one directly asks in vain."""

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from requests.cookies import RequestsCookieJar

from tests.peers import bff, openid, process
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e

PATIENCE = 20
CONFIG = {
    "verify.yaml": "profiles:\n  svc: {service: svc}\n  strict: {authz: pdp, resource: site}\n  pages: {}",
    "routes.yaml": "services: {svc: {token: user}}",
    "policies/site.cedar": "permit(principal, action, resource is site);",
}
CAME_FROM = {"X-Forwarded-For": "127.0.0.1"}
ASKED = {**CAME_FROM, "X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Uri": "/"}
NGINX = {**CAME_FROM, "X-Original-Method": "GET", "X-Original-URL": "http://a.test/"}
QUESTIONS = {
    "/auth/verify": ASKED,
    "/auth/forward": ASKED,
    "/auth/verify@pages": ASKED,
    "/auth/verify@svc": ASKED,
    "/auth/forward@strict": ASKED,
    "/auth/verify/nginx": NGINX,
    "/auth/verify/nginx@svc": NGINX,
    "/auth/verify/nginx@strict": NGINX,
    "/auth/verify/envoy/a": CAME_FROM,
    "/auth/verify/envoy@svc/a": CAME_FROM,
    "/auth/verify/envoy@strict/a": CAME_FROM,
}
ELSEWHERE = ("/", "/auth/session", "/auth/login", "/health", "/health/ready", "/metrics", "/api/me", "/openapi.json")


class Line:
    """A connection that is kept, to host:port or to a socket file."""

    def __init__(self, address: str) -> None:
        path = address.removeprefix("unix:")
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port) if path == address else 0, timeout=PATIENCE)
        if path != address:
            self._connection.sock = socket.socket(socket.AF_UNIX)
            self._connection.sock.settimeout(PATIENCE)
            self._connection.sock.connect(path)

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._connection.request("GET", path, headers=dict(headers))
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def close(self) -> None:
        self._connection.close()


def of(cookies: RequestsCookieJar, more: Mapping[str, str] | None = None) -> dict[str, str]:
    agent = openid.NAVIGATION["User-Agent"]
    return {"User-Agent": agent, "Cookie": f"bff_session={cookies['bff_session']}", **(more or {})}


def configured(folder: Path) -> None:
    (folder / "policies").mkdir()
    for name, content in CONFIG.items():
        (folder / name).write_text(content)


@pytest.fixture(scope="module", params=["gthread tcp", "gthread unix", "gevent tcp", "gevent unix"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    folder = tmp_path_factory.mktemp("verify")
    configured(folder)
    kind, way = request.param.split()
    settings = {"WEB_WORKER_CLASS": kind, "BFF_CONFIG_DIR": str(folder), "TRUSTED_PROXIES": "127.0.0.0/8,unix"}
    if way == "unix":
        settings["VERIFY_BIND"] = f"unix:{folder}/verify.sock"
    with bff.running(folder, settings, verify=True) as running:
        yield running


@pytest.fixture(scope="module")
def alice(service: Bff) -> Iterator[RequestsCookieJar]:
    with Visitor(service.base_url) as visitor:
        assert visitor.login().status_code == 302
        yield visitor.cookies


def test_proxies_are_answered(service: Bff, alice: RequestsCookieJar) -> None:
    """Three times each on one connection: the worker reads what follows the first by itself."""
    with closing(Line(service.verify_address)) as line:
        for path, asked in QUESTIONS.items():
            answers = [line.get(path, of(alice, asked)) for _ in range(3)]
            assert [status for status, _, _ in answers] == [200] * 3, path
            assert all(("Authorization" in headers) is ("@svc" in path) for _, headers, _ in answers), path


def test_a_direct_peer_is_not(service: Bff, alice: RequestsCookieJar) -> None:
    """Whatever it says of where it goes: the listener's own name included."""
    named = service.verify_address.rpartition("/")[2]
    lies: tuple[dict[str, str], ...] = (
        {},
        {"Host": named},
        {"Host": "verify"},
        {"BFF-Listener": named, "X-Forwarded-Host": named, "Server": named},
    )
    before = service.value("bff_verify_duration_seconds_count")
    with closing(Line(service.address)) as line:
        for path, asked in [*QUESTIONS.items(), ("/auth/verify@nope", ASKED)]:
            for lie in lies:
                status, headers, body = line.get(path, of(alice, {**asked, **lie}))
                assert (status, b'"not_found"' in body, "X-User-ID" in headers) == (404, True, False), (path, lie)
                assert "Authorization" not in headers
    assert service.value("bff_verify_duration_seconds_count") == before


def test_nothing_else_is_answered_to_proxies(service: Bff, alice: RequestsCookieJar) -> None:
    with closing(Line(service.verify_address)) as line:
        for path in ELSEWHERE:
            status, headers, body = line.get(path, of(alice))
            assert (status, headers["Content-Type"], b'"not_found"' in body) == (404, "application/problem+json", True)
        assert line.get("/health/live", {})[0] == 200
        status, _, body = line.get("/auth/verify@nope", of(alice))
        assert (status, b'"unknown_profile"' in body) == (500, True)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(process.POLL)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def asked(address: str, path: str = "/auth/verify@svc") -> int:
    """The status of a stranger's question; 0 where nobody listens."""
    try:
        with closing(Line(address)) as line:
            return line.get(path, ASKED)[0]
    except ConnectionError:
        return 0


def test_an_upgrade_keeps_both_listeners(service: Bff) -> None:
    former, workers = service.process.pid, service.workers()
    os.kill(former, signal.SIGUSR2)
    wait_until(lambda: len(children(former)) == len(workers) + 1)
    (upgraded,) = set(children(former)) - set(workers)
    wait_until(lambda: bool(children(upgraded)))
    os.kill(former, signal.SIGTERM)
    wait_until(lambda: service.process.poll() is not None)
    try:
        assert (asked(service.verify_address), asked(service.address)) == (401, 404)
    finally:
        os.kill(upgraded, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{upgraded}").exists())


def test_a_reload_does_not_move_it(tmp_path: Path) -> None:
    """Nor does it close the listeners, which gunicorn could not open again."""
    configured(tmp_path)
    first, second = (f"127.0.0.1:{process.free_port()}" for _ in range(2))
    file = tmp_path / "bind"
    file.write_text(first)
    with bff.running(tmp_path, {"BFF_CONFIG_DIR": str(tmp_path), "VERIFY_BIND_FILE": str(file)}) as service:

        def reload(content: str) -> None:
            file.write_text(content)
            former = set(service.workers())
            os.kill(service.process.pid, signal.SIGHUP)
            wait_until(lambda: bool(service.workers()) and not former & set(service.workers()))

        assert asked(first) == 401
        for content, reason in (("", "profiles.svc"), (second, "PORT, VERIFY_BIND")):
            reload(content)
            refused = [record["problems"] for record in service.records() if record["event"] == "reload_refused"]
            assert reason in str(refused[-1])
            assert (asked(first), asked(second), asked(service.address)) == (401, 0, 404)
        reload(first)
        assert (asked(first), asked(service.address)) == (401, 404)
        assert len([1 for record in service.records() if record["event"] == "reload_refused"]) == 2
