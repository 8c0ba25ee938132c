"""The gevent worker class serves a whole login, here at a provider that keeps names and roles for its userinfo."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff, openid, process, redis
from tests.peers.bff import TIMEOUT, Bff, Visitor

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Bff]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}", method="client_secret_post")
    with (
        redis.RedisServer(redis.newest(), folder) as store,
        openid.running([client], autologin=True, userinfo_only=True, log=folder / "provider.log") as provider,
        bff.running(
            folder,
            {"WEB_WORKER_CLASS": "gevent", "REDIS_URL": store.url, "OIDC_ISSUER": provider.issuer, **client.environ},
            port=port,
            workers=2,
        ) as running,
    ):
        yield running


def test_login_verify_and_logout(service: Bff) -> None:
    with Visitor(service.base_url) as bob:
        assert bob.login(login_hint="bob").status_code == 302
        assert bob.session()["user"] == {
            "sub": "bob",
            "name": "Bob Brown",
            "email": "bob@example.com",
            "roles": ["user"],
        }
        assert [bob.auth_verify().headers["X-User-ID"] for _ in range(6)] == ["bob"] * 6
        assert bob.logout().status_code == 200
        assert bob.auth_verify().status_code == 401
    assert service.value("bff_idp_requests_total", endpoint="userinfo", status="200") == 1


def test_every_background_job_succeeds(service: Bff) -> None:
    deadline = time.monotonic() + 40  # the slowest has a period of 30 seconds
    while True:
        tasks = requests.get(f"{service.base_url}/health", timeout=TIMEOUT).json()["tasks"]
        unfinished = {name: task for name, task in tasks.items() if task["last_status"] != "success"}
        if not unfinished:
            break
        assert time.monotonic() < deadline, unfinished
        time.sleep(process.POLL)


def test_the_log_says_which_worker_class_runs(service: Bff) -> None:
    assert "gevent" in service.log.read_text()
