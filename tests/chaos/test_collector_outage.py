"""A collector that is slow, silent, gone or behind another one: no request notices, what is lost is counted, and a stop
ends in time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.peers import bff, lateness, otlp, process
from tests.peers.bff import Bff
from tests.peers.otlp import Collector

pytestmark = pytest.mark.e2e

QUEUE = 32
SOON = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16",
    "OTEL_METRIC_EXPORT_INTERVAL": "100",
}
ASKED = 100
TRACE = "0af7651916cd43dd8448eb211c80319c"
STOPPED_WITHIN = 6
"""Seconds: STOP_WITHIN of bff/observability/telemetry.py, and what a worker and its master need without telemetry."""


@pytest.fixture(scope="module")
def collector(folder: Path) -> Iterator[Collector]:
    with otlp.running(folder / "collector.log") as running:
        yield running


def ask(service: Bff, times: int = ASKED, sampled: bool = True) -> float:
    """Verify so often, in a trace that is recorded; the longest answer's seconds, without what this machine lost."""
    longest = 0.0
    with requests.Session() as proxy:
        for number in range(times):
            proxy.headers["traceparent"] = f"00-{TRACE}-{number + 1:016x}-{'01' if sampled else '00'}"
            with lateness.measured() as taken:
                assert proxy.get(f"http://{service.address}/auth/verify", timeout=10).status_code == 401
            longest = max(longest, taken.seconds)
    return longest


@contextmanager
def running(folder: Path, name: str, settings: Mapping[str, str]) -> Iterator[Bff]:
    own = folder / name
    own.mkdir()
    with bff.running(own, {**SOON, **settings}) as service:
        yield service


def stopped_within(service: Bff) -> float:
    with lateness.measured() as taken:
        process.stop(service.process)
    return taken.seconds


@pytest.mark.parametrize("kind", ["silent", "black hole, gRPC", "black hole, HTTP", "gone"])
def test_it_costs_nothing_but_a_counter(folder: Path, collector: Collector, kind: str) -> None:
    with otlp.black_hole() as hole:
        gone = f"http://127.0.0.1:{process.free_port()}"
        protocol = "http/protobuf" if kind.endswith("HTTP") else "grpc"
        endpoint = {"silent": collector.grpc_url, "gone": gone}.get(kind, hole)
        collector.silence(kind == "silent")
        with running(folder, kind, {"OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}) as service:
            longest = ask(service)
            assert longest < 1
            lost = service.value("bff_telemetry_dropped_total", signal="spans")
            assert lost >= ASKED - QUEUE - 1
            assert stopped_within(service) < STOPPED_WITHIN
        records = service.records()
        collector.silence(False)
    assert not [line for line in records if line["level"] == "ERROR" and "exc_info" in line]
    troubles = [line for line in records if line["event"] == "telemetry_trouble"]
    assert len(troubles) <= 6  # loggers, each once a minute
    assert all("detail" in line for line in troubles if line["library"].startswith("opentelemetry.exporter"))


def test_it_comes_back(folder: Path, collector: Collector) -> None:
    """What waits is sent, and metrics catch up: they are totals."""
    collector.forget()
    collector.silence()
    with running(folder, "back", {"OTLP_ENDPOINT": collector.grpc_url}) as service:
        ask(service, QUEUE // 2)
        collector.silence(False)
        collector.wait(lambda spans: len(spans) >= QUEUE // 2)
        ask(service, 1)
    assert sum(collector.totals("bff_forwardauth_duration_ms").values()) == QUEUE // 2 + 1
    assert len(collector.spans()) == QUEUE // 2 + 1


def test_a_flood_of_recorded_traces_is_bounded(folder: Path, collector: Collector) -> None:
    collector.forget()
    with running(folder, "flood", {"OTLP_ENDPOINT": collector.grpc_url, "TELEMETRY_TRACES_PER_SECOND": "5"}) as service:
        start = time.monotonic()
        ask(service)
        most = 5 + 5 * (time.monotonic() - start)
        assert service.value("bff_telemetry_dropped_total") == 0
    assert 5 <= len(collector.spans()) <= most
    assert sum(collector.totals("bff_forwardauth_duration_ms").values()) == ASKED


def test_only_what_changed_is_told_where_that_is_wanted(folder: Path, collector: Collector) -> None:
    collector.forget()
    delta = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta", "OTEL_TRACES_EXPORTER": "none"}
    with running(folder, "delta", {"OTLP_ENDPOINT": collector.grpc_url, **delta}) as service:
        ask(service, 10)
        time.sleep(0.3)  # so that there is more than one export; the total must be right in any case
        ask(service, 10)
    points = [point for point in collector.points() if point.metric == "bff_forwardauth_duration_ms"]
    assert all(point.delta for point in points)
    assert sum(point.value for point in points) == 20
    assert collector.spans() == []


@pytest.mark.parametrize("variable", ["TELEMETRY_ENABLED", "OTEL_SDK_DISABLED"])
def test_off_is_off(folder: Path, collector: Collector, variable: str) -> None:
    collector.forget()
    value = "false" if variable == "TELEMETRY_ENABLED" else "true"
    with running(folder, variable, {"OTLP_ENDPOINT": collector.grpc_url, variable: value}) as service:
        ask(service, 5)
        maps = Path(f"/proc/{service.workers()[0]}/maps").read_text()
        assert "grpc" not in maps, "nobody pays for what is not used"
    assert collector.spans() == []
    assert collector.points() == []


def test_behind_another_collector(folder: Path, collector: Collector) -> None:
    """Rotel, which batches and passes on."""
    collector.forget()
    with (
        otlp.rotel(collector, folder / "rotel.log") as between,
        running(folder, "between", {"OTLP_ENDPOINT": between}) as service,
    ):
        ask(service, 5)
        spans = collector.wait(lambda spans: len(spans) >= 5 and spans)
        assert {span.trace_id for span in spans} == {TRACE}
        assert {span.resource["service.name"] for span in spans} == {"bff-service"}
