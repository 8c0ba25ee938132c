"""Redis' master dies and a sentinel makes its replica the master: users that a worker knew see nothing of it, and a
session that was ended meanwhile is refused as soon as the worker hears the new master."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest

from tests.chaos.fleet import Pod, start, wait
from tests.peers import openid, process, redis
from tests.peers.bff import Visitor
from tests.peers.faulty_proxy import Proxy
from tests.peers.redis import Watched

pytestmark = pytest.mark.e2e

PASSWORD = "correct-horse-battery"
GRACE = "60"
"""Seconds: longer than this takes on any machine."""
PAUSE = 0.02


class Place(NamedTuple):
    """pods: a gthread and a gevent worker, which find the master by the network. near: a pod that needs no sentinel,
    since it has the replica's address."""

    redis: Watched
    network: Proxy
    pods: list[Pod]
    near: Pod


@pytest.fixture
def place(folder: Path) -> Iterator[Place]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        watched = stack.enter_context(redis.watched(redis.debian(), folder, PASSWORD))
        network = stack.enter_context(Proxy(("127.0.0.1", watched.watching.port)))
        provider = stack.enter_context(openid.running([client], autologin=True, revocation=False))
        common = {
            **client.environ,
            "OIDC_ISSUER": provider.issuer,
            "REDIS_URL": f"redis+sentinel://:{PASSWORD}@{network.address}/main/0",
            "SESSION_OUTAGE_GRACE": GRACE,
        }
        pods = [
            Pod(folder / name, common | {"WEB_WORKER_CLASS": name}, 1, port if name == "gthread" else 0)
            for name in ("gthread", "gevent")
        ]
        near = Pod(folder / "near", common | {"REDIS_URL": watched.replica.url}, 1)
        start([*pods, near], stack)
        yield Place(watched, network, pods, near)


class Watch:
    """Asks each pod about a session, one time after the other; what they answered, by the pod's port."""

    def __init__(self, pods: list[Pod], person: Visitor) -> None:
        self._over = Event()
        self._pods, self._person = pods, person
        self.seen: dict[int, list[int]] = {pod.port: [] for pod in pods}

    def _ask(self, pod: Pod) -> None:
        while not self._over.wait(PAUSE):
            self.seen[pod.port].append(verified(self._person, pod))

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(len(self._pods)) as pool:
            asking = [pool.submit(self._ask, pod) for pod in self._pods]
            try:
                yield
            finally:
                self._over.set()
            for each in asking:
                each.result()


def verified(person: Visitor, pod: Pod) -> int:
    return person.call("GET", f"http://127.0.0.1:{pod.verify_port}/auth/verify").status_code


def logged_in(place: Place) -> Visitor:
    """Somebody whom each pod's worker knows."""
    person = Visitor(place.pods[0].bff.base_url)
    assert person.login().status_code == 302
    assert [verified(person, pod) for pod in place.pods] == [200, 200]
    return person


def log_out_near(place: Place, person: Visitor) -> int:
    """As soon as the pod believes that its Redis is back."""
    with Visitor(place.near.bff.base_url) as same:
        same.cookies.update(person.cookies)
        wait(lambda: same.call("GET", "/auth/csrf").status_code == 200, "the near pod has its store")
        return same.logout().status_code


def test_nobody_sees_it_and_what_ended_meanwhile_is_over(place: Place) -> None:
    wait(place.redis.reached, "the sentinel knows the replica")
    with closing(logged_in(place)) as kept, closing(logged_in(place)) as revoked, closing(Visitor("")) as stranger:
        stranger.cookies.set("bff_session", "A" * 43)
        watch = Watch(place.pods, kept)
        with watch.running():
            place.network.down()  # so that the pods hear of no other master until the session was ended
            place.redis.master.kill()
            begun = time.monotonic()
            wait(lambda: place.redis.replica.command("ROLE")[0] == b"master", "the replica takes over")
            assert log_out_near(place, revoked) == 200
            assert [verified(revoked, pod) for pod in place.pods] == [200, 200], "they cannot know"
            assert [verified(stranger, pod) for pod in place.pods] == [503, 503]
            place.network.up()
            for pod in place.pods:
                wait(lambda pod=pod: verified(revoked, pod) == 401, "its end is heard of")
            seconds = time.monotonic() - begun
        print(f"{seconds:.1f} s, {[len(each) for each in watch.seen.values()]} answers")
        assert [set(each) for each in watch.seen.values()] == [{200}, {200}]
        assert [verified(stranger, pod) for pod in place.pods] == [401, 401]
        with closing(logged_in(place)):
            """At the new master."""
