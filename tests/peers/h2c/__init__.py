"""A protected application that speaks everything: HTTP/1.1, HTTP/2 in clear (h2c) and WebSockets, under hypercorn.

It answers with what it was sent, and remembers it, so that a test sees what arrived at it by whatever way.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.peers import process

ROOT = Path(__file__).parents[3]
PATIENCE = 10


@dataclass(frozen=True)
class Application:
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def seen(self) -> list[dict[str, Any]]:
        """Every request since the last `forget`: its kind, method, path, version and header fields."""
        found: list[dict[str, Any]] = requests.get(f"http://{self.address}/_test/seen", timeout=PATIENCE).json()
        return found

    def forget(self) -> None:
        requests.get(f"http://{self.address}/_test/forget", timeout=PATIENCE).raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[Application]:
    port = process.free_port()
    command = [sys.executable, "-m", "hypercorn", "tests.peers.h2c.app:app", "--bind", f"127.0.0.1:{port}"]
    with process.running(command, port=port, cwd=ROOT, log=folder / "application.log"):
        yield Application(port)
