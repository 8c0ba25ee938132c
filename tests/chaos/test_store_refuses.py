"""A Redis that is full (`noeviction`), or read-only as a replica is: sessions go on, logins are 503, and log, metric
and health have the reason."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.chaos.fleet import Pod, start, wait
from tests.peers import openid, process, redis
from tests.peers.bff import TIMEOUT, Visitor
from tests.peers.redis import RedisServer

pytestmark = pytest.mark.e2e


class Place(NamedTuple):
    store: RedisServer
    pods: dict[str, Pod]
    """By the class of their workers."""


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        store = stack.enter_context(RedisServer(redis.debian(), folder))
        provider = stack.enter_context(openid.running([client], autologin=True))
        environ = {
            **client.environ,
            "OIDC_ISSUER": provider.issuer,
            "REDIS_URL": store.url,
            "SESSION_OUTAGE_GRACE": "0",
        }
        pods = {
            name: Pod(folder / name, environ | {"WEB_WORKER_CLASS": name}, 1, port if name == "gthread" else 0)
            for name in ("gthread", "gevent")
        }
        start(list(pods.values()), stack)
        store.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        yield Place(store, pods)


def fill(store: RedisServer) -> Callable[[], object]:
    """What mends it."""
    store.command("CONFIG", "SET", "maxmemory", "1")
    return lambda: store.command("CONFIG", "SET", "maxmemory", "0")


def demote(store: RedisServer) -> Callable[[], object]:
    """Of a master that is gone; what mends it."""
    store.command("REPLICAOF", "127.0.0.1", process.free_port())
    return lambda: store.command("REPLICAOF", "NO", "ONE")


def health(pod: Pod) -> dict[str, Any]:
    told: dict[str, Any] = requests.get(f"http://{pod.bff.address}/health", timeout=TIMEOUT).json()
    return told


def complaints(pod: Pod) -> set[str]:
    """Reasons that the log gives for calls that failed."""
    return {record["reason"] for record in pod.bff.records() if record["event"] == "store_failed"}


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
@pytest.mark.parametrize(("reason", "spoil"), [("full", fill), ("read_only", demote)])
def test_sessions_go_on_and_the_reason_is_to_be_found(
    place: Place, worker_class: str, reason: str, spoil: Callable[[RedisServer], Callable[[], object]]
) -> None:
    pod = place.pods[worker_class]
    with closing(Visitor(place.pods["gthread"].bff.base_url)) as alice:
        assert alice.login().status_code == 302
        mend = spoil(place.store)
        try:
            _check_refused(pod, alice, reason)
        finally:
            mend()
        wait(lambda: health(pod)["status"] == "up", "its health is restored")
        assert alice.login().status_code == 302


def _check_refused(pod: Pod, alice: Visitor, reason: str) -> None:
    """alice's session is in no worker's memory at first."""
    verify = f"http://127.0.0.1:{pod.verify_port}/auth/verify"
    assert {alice.call("GET", verify).status_code for _ in range(20)} == {200}
    with closing(Visitor(pod.bff.base_url)) as bob:
        refused = bob.open(f"{pod.bff.base_url}/auth/login")
        assert (refused.status_code, "store_unavailable" in refused.text) == (503, True)
    degraded = {"status": "degraded", "reason": reason}
    wait(lambda: any(degraded.items() <= each.items() for each in health(pod)["checks"].values()), "degraded")
    assert health(pod)["status"] == "degraded"
    assert requests.get(f"http://{pod.bff.address}/health", timeout=TIMEOUT).status_code == 200
    ready = requests.get(f"http://{pod.bff.address}/health/ready", timeout=TIMEOUT)
    assert ready.status_code == 200, "no other pod does better"
    assert pod.bff.value("bff_redis_operations_total", status=reason) > 0
    assert reason in complaints(pod)
