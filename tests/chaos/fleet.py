"""A fleet: three pods on one Redis, behind HAProxy that goes by their readiness."""

import base64
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.peers import bff, install, openid, process, redis, service
from tests.peers.bff import Bff
from tests.peers.kafka import Kafka
from tests.peers.openid import Provider
from tests.peers.redis import RedisServer

PATIENCE = 90
LOG = "bff:l:events"
LIMITS = ("login", "callback", "token_refresh", "end_session")
SECRET = base64.b64encode(secrets.token_bytes(32)).decode()
ROUTES = """services:
  orders: {token: none, base_url: "%s"}
routes:
  - {id: orders, path: "/api/orders/*", service: orders, streaming: true}
"""
BALANCER = """global
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option httpchk GET /health/ready
  http-check expect status 200
  default-server inter {every} fall 1 rise 1
frontend site
  bind 127.0.0.1:{site}
  default_backend pods
frontend questions
  bind 127.0.0.1:{questions}
  default_backend verify
frontend answers
  bind 127.0.0.1:{answers}
  stats enable
  stats uri /
backend pods
{pods}
backend verify
{verify}
"""


class Pod:
    """A master and its workers, on ports that they keep when they start anew."""

    def __init__(self, folder: Path, settings: Mapping[str, str], workers: int, port: int = 0) -> None:
        folder.mkdir()
        self.port, self.verify_port = port or process.free_port(), process.free_port()
        self.secrets = folder / "secrets"
        self.secrets.write_text(SECRET)
        self.settings = {
            **settings,
            "VERIFY_BIND": f"127.0.0.1:{self.verify_port}",
            "BFF_SECRETS_FILE": str(self.secrets),
        }
        self.bff: Bff
        self._folder = folder
        self._workers = workers
        self._running = ExitStack()

    def start(self) -> None:
        self.bff = self._running.enter_context(
            bff.running(self._folder, self.settings, port=self.port, workers=self._workers)
        )

    def leave(self) -> int:
        """SIGTERM, as an orchestrator sends it; the exit code."""
        os.kill(self.bff.process.pid, signal.SIGTERM)
        code = self.bff.process.wait(PATIENCE)
        self._running.close()
        return code

    def reload(self) -> None:
        """SIGHUP, until every worker is a new one."""
        former = set(self.bff.workers())
        os.kill(self.bff.process.pid, signal.SIGHUP)
        wait(lambda: len(self.bff.workers()) == self._workers and not former & set(self.bff.workers()), "a reload")

    def close(self) -> None:
        self._running.close()


class Fleet:
    """site: where browsers come. questions: where proxies ask. answers: where the balancer says what it sees."""

    def __init__(self, pods: Sequence[Pod], site: int, questions: int, answers: int = 0) -> None:
        self.pods = pods
        self.site, self.questions = site, questions
        self._answers = answers
        self.provider: Provider
        self.store: RedisServer
        self.broker: Kafka

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.site}"

    def keep_secrets_in(self, secrets: str) -> None:
        """What the pods' next start or reload reads (BFF_SECRETS_FILE)."""
        for pod in self.pods:
            pod.secrets.write_text(secrets)

    def reload(self) -> None:
        """Each pod in turn."""
        for pod in self.pods:
            pod.reload()

    def restart(self) -> list[int]:
        """Each pod in turn leaves and starts anew; the next one when the balancer has seen it. Their exit codes."""
        codes = []
        for pod in self.pods:
            codes.append(pod.leave())
            pod.start()
            self.wait_until_ready()
        return codes

    def wait_until_ready(self) -> None:
        """Until the balancer sends requests to all pods, as it says itself."""
        wait(lambda: self._ready() == 2 * len(self.pods), "the balancer has all pods")

    def _ready(self) -> int:
        rows = requests.get(f"http://127.0.0.1:{self._answers}/;csv", timeout=PATIENCE).text.splitlines()
        return sum(",UP," in row and ",pod" in row for row in rows)


def wait(condition: object, what: str) -> None:
    """condition: called until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(process.POLL)


@contextmanager
def running(
    folder: Path,
    classes: Sequence[str],
    *,
    workers: int = 2,
    every: str = "1s",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """classes: of each pod's workers. every: how often the balancer asks for readiness."""
    site, questions, answers = (process.free_port() for _ in range(3))
    with ExitStack() as stack:
        around = stack.enter_context(_surroundings(folder, site, settings or {}))
        pods = [
            Pod(folder / f"pod{number}", around.environ | {"WEB_WORKER_CLASS": name}, workers)
            for number, name in enumerate(classes, 1)
        ]
        start(pods, stack)
        fleet = around.of(Fleet(pods, site, questions, answers))
        stack.enter_context(_balancer(folder, fleet, every, answers))
        fleet.wait_until_ready()
        yield fleet


@contextmanager
def single(folder: Path, worker_class: str, *, workers: int, settings: Mapping[str, str]) -> Iterator[Fleet]:
    """One pod, and nothing before it."""
    port = process.free_port()
    with ExitStack() as stack:
        around = stack.enter_context(_surroundings(folder, port, settings))
        pod = Pod(folder / "pod", around.environ | {"WEB_WORKER_CLASS": worker_class}, workers, port)
        start([pod], stack)
        yield around.of(Fleet([pod], pod.port, pod.verify_port))


class _Surroundings(NamedTuple):
    environ: dict[str, str]
    provider: Provider
    store: RedisServer
    broker: Kafka

    def of(self, fleet: Fleet) -> Fleet:
        fleet.provider, fleet.store, fleet.broker = self[1:]
        return fleet


@contextmanager
def _surroundings(folder: Path, site: int, settings: Mapping[str, str]) -> Iterator[_Surroundings]:
    client = openid.client("bff", f"http://127.0.0.1:{site}")
    with (
        RedisServer(redis.debian(), folder) as store,
        Kafka(folder) as broker,
        service.running(folder) as orders,
        openid.running([client], autologin=True, log=folder / "provider.log") as provider,
    ):
        (folder / "routes.yaml").write_text(ROUTES % orders.url)
        environ = {
            **client.environ,
            "BFF_BASE_URL": f"http://127.0.0.1:{site}",
            "BFF_CONFIG_DIR": str(folder),
            "KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "OIDC_ISSUER": provider.issuer,
            "RATE_LIMITS": ",".join(f"{name}=1000000/minute" for name in LIMITS),
            "REDIS_URL": store.url,
            **settings,
        }
        yield _Surroundings(environ, provider, store, broker)


def start(pods: Sequence[Pod], stack: ExitStack) -> None:
    for pod in pods:
        stack.callback(pod.close)
    with ThreadPoolExecutor(len(pods)) as pool:
        list(pool.map(Pod.start, pods))


@contextmanager
def _balancer(folder: Path, fleet: Fleet, every: str, answers: int) -> Iterator[None]:
    def servers(ports: Sequence[int]) -> str:
        numbered = enumerate(zip(ports, fleet.pods, strict=True), 1)
        return "\n".join(f"  server pod{n} 127.0.0.1:{port} check port {pod.port}" for n, (port, pod) in numbered)

    text = BALANCER.format(
        every=every,
        site=fleet.site,
        questions=fleet.questions,
        answers=answers,
        pods=servers([pod.port for pod in fleet.pods]),
        verify=servers([pod.verify_port for pod in fleet.pods]),
    )
    file = folder / "haproxy.cfg"
    file.write_text(text)
    program = install.debian("haproxy", "haproxy")
    with process.running([program, "-db", "-f", file], port=fleet.site, log=folder / "haproxy.log"):
        yield
