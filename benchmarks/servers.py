"""The servers that a benchmark compares, each under the same gunicorn settings, and wrk to load them."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bff import services, settings
from bff.sessions.binding import binding_of
from bff.sessions.model import Tokens, User
from tests.peers.process import free_port, running
from tests.peers.redis import RedisServer, newest

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36"
CLIENT = "203.0.113.7"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A real Redis without persistence; its URL."""
    with RedisServer(newest(), folder) as server:
        yield server.url


@contextmanager
def gunicorn(app: str, config: str, env: Mapping[str, str]) -> Iterator[str]:
    """One application under gunicorn; its base URL."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", config, app]
    with running(command, port=port, cwd=ROOT, env={**env, "PORT": str(port)}):
        yield f"http://127.0.0.1:{port}"


def environment(redis_url: str, folder: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "BFF_DATA_DIR": str(folder),
        "BFF_SECRETS": base64.b64encode(os.urandom(32)).decode(),
        "WEB_CONCURRENCY": str(WORKERS),
        "BFF_BASE_URL": "http://127.0.0.1:8000",
    }


def make_session(env: Mapping[str, str]) -> str:
    """A session in the store that `env` names; its cookie's value."""
    service = services.build(settings.load(env))
    service.start()
    cookie, _ = service.store.create(
        User("alice", "alice", "Alice Adams", "alice@example.test", ("admin",)),
        idp="embedded",
        auth_time=1_700_000_000,
        sid="",
        binding=binding_of(CLIENT, USER_AGENT),
        tokens=Tokens("access"),
    )
    service.close()
    return cookie


def wrk() -> str:
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk makes the load; install it with: apt-get install wrk")
    return program


def load(url: str, cookie: str, *, seconds: int, connections: int = 16) -> float:
    """Requests per second, as a proxy sends them. Raises when any answer was not 2xx."""
    headers = {
        "Cookie": f"theme=dark; bff_session={cookie}",
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "X-Forwarded-For": CLIENT,
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example.com",
        "X-Forwarded-Uri": "/orders/17",
    }
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(output)
    return float(found[1])
