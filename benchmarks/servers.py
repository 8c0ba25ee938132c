"""The servers that a benchmark compares, each under the same gunicorn settings, and wrk to load them."""

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import balanced
from bff import services, settings
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from tests.peers.process import free_port, running
from tests.peers.redis import RedisServer, newest

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
CONNECTIONS = 16
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36"
CLIENT = "203.0.113.7"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A real Redis without persistence; its URL."""
    with RedisServer(newest(), folder) as server:
        yield server.url


@dataclass(frozen=True)
class Server:
    """One application under gunicorn; each worker has an address of its own."""

    addresses: tuple[str, ...]
    master: int

    @property
    def url(self) -> str:
        return self.addresses[0]

    @property
    def ports(self) -> list[int]:
        return [int(address.rpartition(":")[2]) for address in self.addresses]

    def load(self, path: str, cookie: str, *, seconds: int, **headers: str) -> float:
        """Requests per second, the workers loaded alike and at the same time. headers: further ones of each request.
        Raises when any answer was not 2xx."""
        return sum(_rate(output) for output in self._wrk(path, cookie, seconds, headers))

    def cpu_per_request(self, path: str, cookie: str, *, seconds: int, **headers: str) -> float:
        """The workers' CPU seconds per request, user and system."""
        before = self._cpu()
        requests = self.load(path, cookie, seconds=seconds, **headers) * seconds
        return (self._cpu() - before) / requests

    def p99(self, path: str, cookie: str, *, seconds: int, **headers: str) -> float:
        """Seconds."""
        return max(_p99(output) for output in self._wrk(path, cookie, seconds, headers))

    def _wrk(self, path: str, cookie: str, seconds: int, more: Mapping[str, str]) -> list[str]:
        command = _wrk_command(cookie, seconds, CONNECTIONS // len(self.addresses), more)
        running = [
            subprocess.Popen([*command, address + path], stdout=subprocess.PIPE, text=True)
            for address in self.addresses
        ]
        outputs = [each.communicate()[0] for each in running]
        for each, output in zip(running, outputs, strict=True):
            if each.returncode or "Non-2xx" in output or "Socket errors" in output:
                raise RuntimeError(output)
        return outputs

    def _cpu(self) -> float:
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gunicorn(app: str, config: str, env: Mapping[str, str]) -> Iterator[Server]:
    ports = [free_port() for _ in range(WORKERS)]
    command = [sys.executable, "-m", "gunicorn", "-c", config, app]
    own = {"PORT": str(ports[0]), "BENCHMARK_PORTS": ",".join(map(str, ports)), "PYTHONPATH": str(ROOT)}
    with running(command, port=ports[0], cwd=ROOT, env={**env, **own}) as master:
        yield Server(tuple(f"http://{balanced.HOST}:{port}" for port in ports), master.pid)


@contextmanager
def scraping(url: str) -> Iterator[None]:
    """GET url once a second, as Prometheus would."""
    stopping = threading.Event()

    def scrape() -> None:
        while not stopping.wait(1.0):
            urllib.request.urlopen(url, timeout=10).read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def cpu_of_recording(times: int = 200_000) -> float:
    """Seconds of CPU that all metrics of one allowed verify take, in a process of its own with shared files."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
        command = [sys.executable, "-m", "benchmarks.recording", str(times)]
        return float(subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def environment(redis_url: str, folder: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "BFF_DATA_DIR": str(folder),
        "BFF_SECRETS": base64.b64encode(os.urandom(32)).decode(),
        "WEB_CONCURRENCY": str(WORKERS),
        "WEB_MAX_REQUESTS": "0",  # no worker may leave its address in the middle of a measurement
        "BFF_BASE_URL": "http://127.0.0.1:8000",
    }


def make_session(env: Mapping[str, str]) -> str:
    """Creates a session in the store of `env`. Returns its cookie's value."""
    service = services.build(settings.load(env))
    service.start()
    cookie, _ = service.store.create(
        User("alice", "alice", "Alice Adams", "alice@example.test", ("admin",)),
        idp="embedded",
        auth_time=1_700_000_000,
        sid="",
        binding=binding_of(CLIENT, USER_AGENT),
        tokens=Tokens("embedded", AccessToken("access", 2e9)),
    )
    service.close()
    return cookie


def wrk() -> str:
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk makes the load; install it with: apt-get install wrk")
    return program


def _rate(output: str) -> float:
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(output)
    return float(found[1])


def _p99(output: str) -> float:
    """Seconds."""
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", output)
    if found is None:
        raise RuntimeError("wrk printed no percentiles")
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]


def _wrk_command(cookie: str, seconds: int, connections: int, more: Mapping[str, str]) -> list[str]:
    """The wrk command, with a proxy's header fields."""
    headers = {
        "Cookie": f"theme=dark; bff_session={cookie}",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "X-Forwarded-For": CLIENT,
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example.com",
        "X-Forwarded-Uri": "/orders/17",
        **more,
    }
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    return command
