"""Started and stopped in one process, against a real collector and against none: what it is called, and how it ends."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, propagate
from opentelemetry.trace import get_current_span

from bff import settings
from bff.observability import metrics, traces
from bff.observability.telemetry import OWN_VARIABLES, STOP_WITHIN, Telemetry
from tests.peers import otlp
from tests.peers.otlp import Collector
from tests.unit.support import counted

HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
PATIENCE = 5
New = Callable[..., Telemetry]


@pytest.fixture(scope="module")
def shared() -> Iterator[Collector]:
    with otlp.running() as running:
        yield running


@pytest.fixture
def collector(shared: Collector) -> Collector:
    shared.silence(False)
    shared.forget()
    return shared


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[New]:
    """Starts one; all are stopped, and the process is as it was."""
    before = {name: os.environ.get(name) for name in OWN_VARIABLES}
    logger = logging.getLogger("opentelemetry")
    speaks, handlers = logger.propagate, list(logger.handlers)
    made: list[Telemetry] = []

    def start(endpoint: str, **environ: str) -> Telemetry:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)  # where the SDK reads it
        given = {"OTLP_ENDPOINT": endpoint, "BFF_DATA_DIR": str(tmp_path), "BFF_VERSION": "9.8", **environ}
        made.append(Telemetry(settings.load(given)))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()
    logger.propagate, logger.handlers[:] = speaks, handlers
    for name, value in before.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)


def record(number: int = 1) -> None:
    for _ in range(number):
        with traces.span("refresh", {"bff.idp": "default"}, begins=True):
            metrics.SESSION_VALIDATION.observe(0.001)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if "Otel" in each.name or "telemetry" in each.name]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_was_done_arrives_when_it_stops(new: New, collector: Collector, protocol: str) -> None:
    endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
    telemetry = new(endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    record(3)
    telemetry.stop()
    assert [span.name for span in collector.spans()] == ["refresh"] * 3
    assert sum(collector.totals("bff_session_validation_duration_ms").values()) == 3
    assert threads() == []


def test_it_says_who_it_is(new: New, collector: Collector) -> None:
    new(collector.grpc_url).stop()
    for _ in range(2):
        telemetry = new(collector.grpc_url)
        record()
        telemetry.stop()
    first, second = (dict(span.resource) for span in collector.spans())
    assert first.pop("service.instance.id") != second.pop("service.instance.id")
    assert first.items() >= {
        "service.name": "bff-service", "service.version": "9.8", "deployment.environment": "development",
    }.items()  # fmt: skip


def test_the_operator_may_call_it_otherwise(new: New, collector: Collector) -> None:
    """But for the instance: two workers under one name would overwrite one another."""
    telemetry = new(
        collector.grpc_url,
        OTEL_SERVICE_NAME="shop-bff",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=blue,service.instance.id=one,team=web",
    )
    record()
    telemetry.stop()
    (span,) = collector.spans()
    assert {name: span.resource[name] for name in ("service.name", "deployment.environment", "team")} == {
        "service.name": "shop-bff", "deployment.environment": "blue", "team": "web",
    }  # fmt: skip
    assert span.resource["service.instance.id"] != "one"


@pytest.mark.parametrize("more", [{}, HTTP])
def test_a_collector_that_never_answers_delays_no_stop(new: New, more: dict[str, str]) -> None:
    with otlp.black_hole() as endpoint:
        telemetry = new(endpoint, **more)
        lost = counted("bff_telemetry_dropped_total", signal="spans")
        record(5)
        start = time.monotonic()
        telemetry.stop()
        assert time.monotonic() - start < STOP_WITHIN + 1
        if not more:  # a call by gRPC can be broken off
            deadline = time.monotonic() + PATIENCE
            while threads():
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert counted("bff_telemetry_dropped_total", signal="spans") == lost + 5


def test_after_the_stop_nothing_is_recorded(new: New, collector: Collector) -> None:
    new(collector.grpc_url).stop()
    with traces.span("refresh", {}, begins=True) as span:
        assert not span.is_recording()
    assert collector.spans() == []


@pytest.mark.parametrize(
    ("variable", "spans", "points"), [("OTEL_TRACES_EXPORTER", 0, True), ("OTEL_METRICS_EXPORTER", 1, False)]
)
def test_one_of_the_two_is_enough(new: New, collector: Collector, variable: str, spans: int, points: bool) -> None:
    telemetry = new(collector.grpc_url, **{variable: "none"})
    record()
    telemetry.stop()
    assert (len(collector.spans()), bool(collector.points())) == (spans, points)


def test_what_cannot_be_started_is_logged(new: New, caplog: pytest.LogCaptureFixture, collector: Collector) -> None:
    """Here by a variable that only the SDK knows."""
    telemetry = new(collector.grpc_url, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="many")
    assert "telemetry_not_started" in caplog.text
    record()
    telemetry.stop()
    assert collector.spans() == []


def test_baggage_is_not_read(new: New, collector: Collector) -> None:
    new(collector.grpc_url, OTEL_PROPAGATORS="baggage,b3")
    publisher: dict[str, Any] = {"baggage": "who=alice", "b3": "4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-1"}
    found = propagate.extract(publisher)
    assert not baggage.get_all(found)
    assert not get_current_span(found).get_span_context().is_valid
