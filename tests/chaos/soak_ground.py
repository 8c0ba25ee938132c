"""What the soak runs on: a pod of two workers of either class, Redis with Sentinel, and two providers."""

import base64
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from joserfc.jwk import ECKey

from tests.chaos.soak_ledger import Ledger
from tests.flows.registration import SECRET
from tests.peers import bff, openid, process
from tests.peers.bff import Bff
from tests.peers.sentinel import Sentinel
from tests.peers.single_sign_on import SingleSignOn, served

PATIENCE = 60
WORKERS = 2
LIMITS = ("login", "callback", "backchannel_logout", "token_refresh")
LOGIN_TIMEOUT = 20
PROFILE = "profiles: {soak: {headers: [X-User-ID, X-Session-ID, X-User-Roles]}}"


class Pod:
    """A master and its workers, on a port that it keeps."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        folder.mkdir()
        self.port = process.free_port()
        self.service: Bff
        self._folder = folder
        self._settings = settings
        self._running = ExitStack()

    def start(self) -> None:
        self.service = self._running.enter_context(
            bff.running(self._folder, self._settings, port=self.port, workers=WORKERS)
        )

    def stop(self) -> None:
        """As an orchestrator does, so it may finish and flush."""
        if self.service.process.poll() is None:
            os.kill(self.service.process.pid, signal.SIGTERM)
            self.service.process.wait(PATIENCE)
        self._running.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        former = set(self.service.workers())
        os.kill(self.service.process.pid, signal.SIGHUP)
        self._until(lambda now: not former & now)

    def kill_worker(self) -> None:
        victim = min(self.service.workers())
        os.kill(victim, signal.SIGKILL)
        self._until(lambda now: victim not in now)

    def _until(self, holds: Callable[[set[int]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (len(now := set(self.service.workers())) == WORKERS and holds(now)):
            assert time.monotonic() < deadline
            time.sleep(process.POLL)


@dataclass(frozen=True)
class Ground:
    base_url: str
    pods: list[Pod]
    store: Sentinel
    providers: dict[str, SingleSignOn]

    def faults(self, ledger: Ledger) -> Iterator[Callable[[], None]]:
        """One after the other, for as long as they are asked for."""
        while True:
            for pod in self.pods:
                yield partial(self._kill, pod, ledger)
            yield partial(self._failover, ledger, self.store.switch)
            for pod in self.pods:
                yield pod.restart
            yield partial(self._failover, ledger, self.store.lose_master)
            for pod in self.pods:
                yield pod.reload

    @staticmethod
    def _kill(pod: Pod, ledger: Ledger) -> None:
        with ledger.fault("kill"):
            pod.kill_worker()

    def _failover(self, ledger: Ledger, bring_about: Callable[[int], None]) -> None:
        with ledger.fault("failover"):
            bring_about(WORKERS * len(self.pods))
        deadline = time.monotonic() + PATIENCE
        while not self.store.has_replica():
            assert time.monotonic() < deadline
            time.sleep(process.POLL)

    def records(self) -> Iterator[dict[str, object]]:
        """What all pods logged."""
        for pod in self.pods:
            yield from pod.service.records()


@contextmanager
def running(folder: Path, *, idle_timeout: int, access_token_ttl: int) -> Iterator[Ground]:
    """In seconds."""
    with ExitStack() as stack:
        store = stack.enter_context(Sentinel(folder))
        providers = {}
        for alias in ("corporate", "partners"):
            issuer = f"http://{openid.HOST}:{process.free_port(openid.HOST)}"
            key = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig"}, auto_kid=True)
            providers[alias] = SingleSignOn(issuer, key, time.time, access_token_ttl=access_token_ttl)
            stack.enter_context(served(providers[alias]))
        base_url = f"http://127.0.0.1:{process.free_port()}"
        (folder / "idps.yaml").write_text(
            yaml.safe_dump({"providers": {alias: _registration(each) for alias, each in providers.items()}})
        )
        (folder / "verify.yaml").write_text(PROFILE)
        settings = {
            "BFF_BASE_URL": base_url,
            "BFF_CONFIG_DIR": str(folder),
            "BFF_SECRETS": base64.b64encode(secrets.token_bytes(32)).decode(),
            "REDIS_URL": store.url,
            "SESSION_IDLE_TIMEOUT": str(idle_timeout),
            "LOGIN_TIMEOUT": str(LOGIN_TIMEOUT),
            "RATE_LIMITS": ";".join(f"{name}=1000000/minute" for name in LIMITS),
        }
        pods = []
        for worker_class in ("gthread", "gevent"):
            pods.append(Pod(folder / worker_class, {**settings, "WEB_WORKER_CLASS": worker_class}))
            pods[-1].start()
            stack.callback(pods[-1].stop)
        yield Ground(base_url, pods, store, providers)


def _registration(provider: SingleSignOn) -> dict[str, str]:
    """With ARNs, as the same people are known to both."""
    client = provider.client.client_id
    return {"issuer": provider.issuer, "client_id": client, "client_secret": SECRET, "user_id": "arn"}
