"""The BFF itself, as an operator starts it: gunicorn with the project's own configuration file; and its visitors."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import urljoin

import requests
from prometheus_client.parser import text_string_to_metric_families

from bff.settings.environment import VARIABLES
from tests.peers import process
from tests.peers.openid import Browser

ROOT = Path(__file__).parents[2]
COMMAND = (str(Path(sys.executable).parent / "gunicorn"), "-c", "gunicorn.conf.py", "wsgi:app")
TIMEOUT = 10


@dataclass(frozen=True)
class Bff:
    base_url: str
    port: int
    process: "Popen[bytes]"
    log: Path
    verify_address: str = ""
    """host:port where alone proxies may ask (VERIFY_BIND); where there is none, the public one."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def verify_url(self) -> str:
        return f"http://{self.verify_address}"

    def workers(self) -> list[int]:
        """Process ids of the live workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def worker_of(self, client: socket.socket) -> int | None:
        """The worker that accepted this client's connection; None while none has."""
        ports = f"{self.port:04X}", f"{client.getsockname()[1]:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inodes = [row[9] for row in rows if (row[1][-4:], row[2][-4:]) == ports]
        return next((pid for pid in self.workers() if inodes and _has_socket(pid, inodes[0])), None)

    def records(self) -> list[dict[str, Any]]:
        """The log so far. Raises JSONDecodeError for a line that is not JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metrics(self) -> str:
        answer = requests.get(f"http://{self.address}/metrics", timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.text

    def value(self, name: str, /, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 when there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def _has_socket(pid: int, inode: str) -> bool:
    with suppress(OSError):  # the worker ended, or a descriptor was closed, while we looked
        return any(file.readlink() == Path(f"socket:[{inode}]") for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


@contextmanager
def running(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
    workers: int = 1,
    command: Sequence[str] = COMMAND,
    verify: bool = False,
) -> Iterator[Bff]:
    """A BFF whose data and log are in folder; settings that are not given are unset. verify: whether proxies ask at a
    listener of their own."""
    settings, port, log = dict(settings or {}), port or process.free_port(), folder / "bff.log"
    if verify:
        settings.setdefault("VERIFY_BIND", f"127.0.0.1:{process.free_port()}")
    env = environment(folder, settings, port=port, workers=workers)
    with process.running(command, port=port, env=env, cwd=ROOT, log=log) as master:
        asked_at = settings.get("VERIFY_BIND") or f"127.0.0.1:{port}"
        bff = Bff(settings.get("BFF_BASE_URL") or f"http://127.0.0.1:{port}", port, master, log, asked_at)
        _wait_until_live(bff, workers)
        yield bff


def environment(folder: Path, settings: Mapping[str, str], *, port: int, workers: int = 1) -> dict[str, str]:
    """This process's environment, but of the BFF's settings only these, and a trusted proxy on this machine."""
    own = {
        "PORT": str(port),
        "WEB_CONCURRENCY": str(workers),
        "BFF_DATA_DIR": str(folder / "data"),
        "TRUSTED_PROXIES": "127.0.0.0/8,::1",
        "DRAIN_DELAY": "0",  # a hundred tests end theirs
    }
    return {**os.environ, **dict.fromkeys(VARIABLES, ""), **own, **settings}


def _wait_until_live(bff: Bff, workers: int, seconds: float = 30) -> None:
    """The port is bound before the workers have started, and each must be there before a test counts them."""
    deadline = time.monotonic() + seconds
    while not (_live(bff) and len(bff.workers()) >= workers):
        if bff.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the BFF does not answer\n{bff.log.read_text(errors='replace')[-2000:]}")
        time.sleep(process.POLL)


def _live(bff: Bff) -> bool:
    try:
        return requests.get(f"http://{bff.address}/health/live", timeout=TIMEOUT).status_code == 200
    except requests.RequestException:
        return False


class Visitor(Browser):
    """A person at one BFF: logs in by hand, and calls the BFF as the application's scripts would."""

    def __init__(self, base_url: str, verify_url: str = "") -> None:
        """verify_url: where a proxy would ask about this person, if that is another listener."""
        super().__init__()
        self.base_url = base_url
        self.verify_url = verify_url or base_url

    def start_login(self, **query: str) -> str:
        """Where /auth/login sends the browser."""
        answer = self.get(f"{self.base_url}/auth/login", params=query, allow_redirects=False, timeout=TIMEOUT)
        if answer.status_code != 302:
            raise AssertionError(f"{answer.status_code} from /auth/login: {answer.text[:500]}")
        return answer.headers["Location"]

    def authorize(self, url: str, user: str = "alice") -> str:
        """Log in at the provider; the callback's address, not opened yet."""
        return self.walk(url, f"{self.base_url}/auth/callback", login=user, password="any", user=user)

    def login(self, user: str = "alice", **query: str) -> requests.Response:
        """The whole login; the answer of the callback."""
        return self.open(self.authorize(self.start_login(**query), user))

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """What fetch() in a page of the application sends."""
        headers = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Origin": self.base_url}
        headers |= options.pop("headers", {})
        return self.request(
            method, urljoin(self.base_url, path), headers=headers, allow_redirects=False, timeout=TIMEOUT, **options
        )

    def session(self) -> dict[str, Any]:
        content: dict[str, Any] = self.call("GET", "/auth/session").json()
        return content

    def auth_verify(self, profile: str = "", **headers: str) -> requests.Response:
        """What a proxy asks that has this person's cookie before it. profile: with the `@`."""
        return self.call("GET", f"{self.verify_url}/auth/verify{profile}", headers=headers)

    def csrf_token(self) -> str:
        token: str = self.call("GET", "/auth/csrf").json()["csrf_token"]
        return token

    def logout(self, **body: Any) -> requests.Response:
        return self.call("POST", "/auth/logout", json=body, headers={"X-CSRF-Token": self.csrf_token()})

    def logout_at_provider(self, url: str) -> str:
        """RP-initiated logout from the BFF's logout_url on; the first address back at the BFF."""
        return self.walk(self.sent_on(url), self.base_url, logout="yes")

    def sent_on(self, url: str) -> str:
        """Where the BFF's one-time address leads; one of the provider's own is that already."""
        return self.open(url).headers["Location"] if url.startswith(self.base_url) else url

    def cookie(self, name: str = "bff_session") -> str:
        return str(self.cookies[name])
