"""Latency of verify while slow clients and a slow service hold all they can, compared with an idle worker.

One worker with its eight threads. 64 connections have sent half a body each, and 32 wait for a service that does not
answer. Four connections send verifies, one after the other: most are answered from memory, every tenth with a session
that the worker has to look up. A scrape runs every second.
"""

import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import servers
from tests.peers import openid, raw, service
from tests.peers.bff import Bff, Visitor, running

BODIES, WAITING = 64, 32
ASKING, TIMES = 4, 1000
AT_MOST = 0.050
HEAD = b"Host: a.test\r\nContent-Type: text/plain\r\n"
BODY = b"POST /api/v1/metrics HTTP/1.1\r\n" + HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 100
CALL = b"GET /api/slow/never HTTP/1.1\r\nHost: a.test\r\n\r\n"
ROUTES = """
services: {{slow: {{token: none, base_url: "{url}"}}}}
routes: [{{id: slow, path: /api/slow/*, service: slow, auth: none, timeout: 300}}]
"""


class Took(NamedTuple):
    """Seconds."""

    median: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in self._asdict().items())


def main() -> bool:
    """Whether the target was met."""
    print(f"{BODIES} slow bodies, {WAITING} waiting for a slow service; {ASKING} ask for verify, {TIMES} times each")
    met = {kind: _measured(kind) for kind in ("gthread", "gevent")}
    return all(met.values())


def _measured(kind: str) -> bool:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work = stack.enter_context(service.running(folder))
        (folder / "routes.yaml").write_text(ROUTES.format(url=work.url))
        settings = {"WEB_WORKER_CLASS": kind, "BFF_CONFIG_DIR": str(folder), "REDIS_URL": _redis(stack, folder)}
        bff = stack.enter_context(running(folder, settings))
        alice = stack.enter_context(Visitor(bff.base_url))
        alice.login()
        stack.enter_context(servers.scraping(f"http://{bff.address}/metrics"))
        idle = _asked(bff, alice.cookie())
        with _held(bff):
            held = _asked(bff, alice.cookie())
    print(f"  {kind}, idle: {idle}")
    print(f"  {kind}, held: {held} (target: p99 at most {AT_MOST * 1000:.0f} ms)")
    return held.p99 <= AT_MOST


def _redis(stack: ExitStack, folder: Path) -> str:
    data = folder / "redis"
    data.mkdir()
    return stack.enter_context(servers.redis(data))


@contextmanager
def _held(bff: Bff) -> Iterator[None]:
    with ExitStack() as stack:
        for data in [BODY] * BODIES + [CALL] * WAITING:
            _connected(stack, bff).sendall(data)
        time.sleep(0.5)  # until all have arrived
        yield


def _connected(stack: ExitStack, bff: Bff) -> socket.socket:
    return stack.enter_context(closing(socket.create_connection(("127.0.0.1", bff.port), raw.PATIENCE)))


def _asked(bff: Bff, cookie: str) -> Took:
    with ThreadPoolExecutor(ASKING) as pool:
        took = [each for found in pool.map(lambda _: _one_asks(bff, cookie), range(ASKING)) for each in found]
    return Took(statistics.median(took), statistics.quantiles(took, n=100)[98], max(took))


def _one_asks(bff: Bff, cookie: str) -> list[float]:
    took = []
    with ExitStack() as stack:
        client = _connected(stack, bff)
        for number in range(TIMES):
            known = number % 10 != 0
            begun = time.perf_counter()
            client.sendall(_question(cookie if known else f"{number:x}".rjust(43, "A")))
            status = raw.answer(client).status
            took.append(time.perf_counter() - begun)
            if status != (200 if known else 401):
                raise RuntimeError(f"verify answered {status}")
    return took


def _question(cookie: str) -> bytes:
    agent = openid.NAVIGATION["User-Agent"]
    fields = f"Host: a.test\r\nUser-Agent: {agent}\r\nCookie: bff_session={cookie}\r\n"
    return f"GET /auth/verify HTTP/1.1\r\n{fields}\r\n".encode()
