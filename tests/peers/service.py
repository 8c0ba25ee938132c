"""A service behind the BFF, in a process of its own: `tests/peers/streaming`, and what it remembers of each request."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.peers import process
from tests.peers.streaming.wire import Seen

ROOT = Path(__file__).parents[2]
PATIENCE = 10


@dataclass(frozen=True)
class Service:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self) -> list[Seen]:
        """Every request since the last `forget`."""
        return [Seen(**each) for each in self._ask("seen")]

    def forget(self) -> None:
        self._ask("forget")

    def wait(self, holds: Callable[[list[Seen]], object]) -> list[Seen]:
        """Every request, as soon as this holds of them."""
        deadline = time.monotonic() + PATIENCE
        while not holds(seen := self.seen()):
            assert time.monotonic() < deadline, seen[-1:]
            time.sleep(process.POLL)
        return seen

    def last(self, holds: Callable[[Seen], object] = lambda seen: True) -> Seen:
        """The last request, as soon as there is one of which this holds."""
        return self.wait(lambda seen: seen and holds(seen[-1]))[-1]

    def _ask(self, what: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = requests.get(f"{self.url}/_test/{what}", timeout=PATIENCE).json()
        return answer


def fields(seen: Seen) -> list[tuple[str, str]]:
    """The header fields of a request, as they were sent."""
    lines = seen.head.split("\r\n")[1:-2]
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def request_line(seen: Seen) -> str:
    return seen.head.partition("\r\n")[0]


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    port = process.free_port()
    command = [sys.executable, "-m", "tests.peers.streaming", str(port)]
    with process.running(command, port=port, cwd=ROOT, log=folder / "service.log"):
        yield Service(port)
