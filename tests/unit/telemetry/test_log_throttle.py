"""OpenTelemetry's loggers are heard once a minute, and quoted only where they speak of the collector."""

import logging
from typing import Any

import pytest

from bff.observability.otlp.log_throttle import QUIET, LogThrottle
from tests.clock import Clock

EXPORTER = "opentelemetry.exporter.otlp.proto.grpc.exporter"


@pytest.fixture
def clock() -> Clock:
    return Clock(0)


@pytest.fixture
def noise(clock: Clock) -> LogThrottle:
    return LogThrottle(clock)


def say(noise: LogThrottle, name: str, message: str, *words: str) -> None:
    noise.handle(logging.LogRecord(name, logging.WARNING, "", 0, message, words, None))


def heard(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == "telemetry_trouble"]


def test_of_a_flood_one_line(noise: LogThrottle, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        say(noise, EXPORTER, "Failed to export %s", "traces")
    say(noise, "opentelemetry.trace", "Something else")
    assert [line["library"] for line in heard(caplog)] == [EXPORTER, "opentelemetry.trace"]
    clock.now += QUIET
    say(noise, EXPORTER, "Failed to export %s", "traces")
    last = heard(caplog)[-1]
    assert (last["detail"], last["unheard"]) == ("Failed to export traces", 999)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        (EXPORTER, True),
        ("opentelemetry.exporter.otlp.proto.http.trace_exporter", True),
        ("opentelemetry.trace.span", False),
        ("opentelemetry.util.re", False),  # quotes OTEL_EXPORTER_OTLP_HEADERS
    ],
)
def test_only_exporters_are_quoted(
    noise: LogThrottle, caplog: pytest.LogCaptureFixture, name: str, quoted: bool
) -> None:
    say(noise, name, "this is about %s", "a secret")
    (line,) = heard(caplog)
    assert ("a secret" in str(line)) == quoted


def test_a_quotation_is_short(noise: LogThrottle, caplog: pytest.LogCaptureFixture) -> None:
    say(noise, EXPORTER, "x" * 100_000)
    assert len(heard(caplog)[0]["detail"]) == 300


def test_what_is_not_wrong_is_not_heard(noise: LogThrottle, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.Logger("opentelemetry.test")
    logger.addHandler(noise)
    logger.info("all is well")
    assert heard(caplog) == []
