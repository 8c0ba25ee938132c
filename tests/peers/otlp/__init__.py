"""A collector: receives OTLP by gRPC and HTTP in a process of its own, keeps everything, and goes silent when told to.

`black_hole` is worse than that: a port that takes connections and never says a word.
"""

import importlib.util
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.peers import install, process

ROOT = Path(__file__).parents[3]
PATIENCE = 20


@dataclass(frozen=True)
class Span:
    """kind: such as CLIENT. resource: the attributes of whoever sent it."""

    trace_id: str
    span_id: str
    parent: str
    name: str
    kind: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    error: bool
    events: int
    start: int
    end: int

    def within(self, other: "Span") -> bool:
        return (self.trace_id, self.parent) == (other.trace_id, other.span_id)


@dataclass(frozen=True)
class Point:
    """The last point of one stream: a counter's value, or a histogram's count, sum and buckets."""

    metric: str
    instance: str
    attributes: Mapping[str, Any]
    value: float
    sum: float
    buckets: tuple[int, ...]
    delta: bool


@dataclass(frozen=True)
class Collector:
    grpc: int
    http: int

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self.grpc}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def spans(self) -> list[Span]:
        return [Span(**each) for each in self._get("spans")]

    def points(self) -> list[Point]:
        """Every point that came, in order."""
        return [Point(**{**each, "buckets": tuple(each["buckets"])}) for each in self._get("points")]

    def totals(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The counts of all workers added up, by the values of these attributes."""
        streams: dict[tuple[Any, ...], float] = {}
        for point in self.points():
            if point.metric == metric:
                values = tuple(str(point.attributes[label]) for label in labels)
                stream = (point.instance, *sorted(point.attributes.items())), values
                streams[stream] = point.value + (streams.get(stream, 0) if point.delta else 0)
        found: dict[tuple[str, ...], float] = {}
        for (_, values), value in streams.items():
            found[values] = found.get(values, 0) + value
        return found

    def text(self) -> str:
        """All that was received, as text, nothing left out."""
        return requests.get(f"{self.http_url}/_test/text", timeout=PATIENCE).text

    def silence(self, silent: bool = True) -> None:
        """Take what is sent, and answer it only when this is over."""
        requests.post(f"{self.http_url}/_test/{'silent' if silent else 'speak'}", timeout=PATIENCE).raise_for_status()

    def forget(self) -> None:
        requests.post(f"{self.http_url}/_test/forget", timeout=PATIENCE).raise_for_status()

    def wait(self, found: Callable[[list[Span]], Any], seconds: float = PATIENCE) -> Any:
        """What the function finds among the spans, as soon as that is something."""
        deadline = time.monotonic() + seconds
        while not (answer := found(self.spans())):
            assert time.monotonic() < deadline, [(span.name, span.kind) for span in self.spans()]
            time.sleep(process.POLL)
        return answer

    def _get(self, what: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = requests.get(f"{self.http_url}/_test/{what}", timeout=PATIENCE).json()
        return answer


@contextmanager
def running(log: Path | None = None) -> Iterator[Collector]:
    grpc, http = process.free_port(), process.free_port()
    command = [sys.executable, "-m", "tests.peers.otlp", str(grpc), str(http)]
    with process.running(command, port=http, cwd=ROOT, log=log):
        yield Collector(grpc, http)


@contextmanager
def black_hole() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def rotel(behind: Collector, log: Path) -> Iterator[str]:
    """A collector of another make, which passes everything on by gRPC; its gRPC address."""
    spec = importlib.util.find_spec("rotel")
    if spec is None or spec.origin is None:
        install.unavailable("Rotel", "install it with: pip install -r requirements-dev.txt")
    port, http = process.free_port(), process.free_port()
    command: list[str | Path] = [
        Path(spec.origin).parent / "rotel-agent", "start",
        "--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{http}",
        "--exporter", "otlp", "--otlp-exporter-endpoint", behind.grpc_url, "--otlp-exporter-protocol", "grpc",
    ]  # fmt: skip
    with process.running(command, port=port, log=log):
        yield f"http://127.0.0.1:{port}"
