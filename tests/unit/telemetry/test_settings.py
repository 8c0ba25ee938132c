"""Which variables send traces and metrics where, and what is wrong with them; every mistake is told at once."""

from types import EllipsisType

import pytest

from bff import settings
from bff.settings import Settings, Signal, TelemetrySettings

GRPC, HTTP = "grpc", "http/protobuf"
OURS = {"OTLP_ENDPOINT": "http://collector:4317/"}


def load(**environ: str) -> Settings:
    return settings.load(environ)


def wrong(**environ: str) -> list[str]:
    return [line for line in load(**environ).problems if line.startswith(("OT", "TELEMETRY"))]


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),  # ... where the same
    [
        ({}, None, None),
        (OURS, Signal("http://collector:4317", GRPC), Signal("http://collector:4317", GRPC)),
        ({**OURS, "TELEMETRY_ENABLED": "false"}, None, None),
        ({**OURS, "OTEL_SDK_DISABLED": "true"}, None, None),
        ({**OURS, "OTEL_SDK_DISABLED": "false"}, Signal("http://collector:4317", GRPC), ...),
        ({**OURS, "OTEL_TRACES_EXPORTER": "none"}, None, Signal("http://collector:4317", GRPC)),
        ({**OURS, "OTEL_METRICS_EXPORTER": "none"}, Signal("http://collector:4317", GRPC), None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4317", **OURS}, Signal("http://other:4317", GRPC), ...),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, Signal("http://t:1/x", GRPC), None),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:1/x"}, None, Signal("http://m:1/x", GRPC)),
        (
            {**OURS, "OTEL_EXPORTER_OTLP_PROTOCOL": HTTP},
            Signal("http://collector:4317/v1/traces", HTTP),
            Signal("http://collector:4317/v1/metrics", HTTP),
        ),
        (
            {**OURS, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": HTTP},
            Signal("http://collector:4317", GRPC),
            Signal("http://collector:4317/v1/metrics", HTTP),
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": HTTP, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:4318/own"},
            Signal("http://t:4318/own", HTTP),
            None,
        ),
    ],
)
def test_where_signals_go(
    environ: dict[str, str], traces: Signal | None, metrics: Signal | EllipsisType | None
) -> None:
    found = load(**environ)
    assert wrong(**environ) == []
    assert found.telemetry.traces == traces
    expected = traces if isinstance(metrics, EllipsisType) else metrics
    assert found.telemetry.metrics == expected
    assert found.telemetry.exports == bool(traces or expected)


def test_numbers_arrive_in_seconds() -> None:
    found = load(
        **OURS,
        OTEL_BSP_SCHEDULE_DELAY="250",
        OTEL_METRIC_EXPORT_INTERVAL="1500",
        OTEL_EXPORTER_OTLP_TIMEOUT="3",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.25",
        TELEMETRY_TRACES_PER_SECOND="7.5",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="lowmemory",
    ).telemetry
    assert (found.spans_delay, found.metrics_interval, found.timeout) == (0.25, 1.5, 3.0)
    assert (found.spans_queue, found.spans_batch) == (100, 100), "a batch is never larger than the queue"
    assert (found.sampler, found.sampler_ratio, found.traces_per_second) == ("traceidratio", 0.25, 7.5)
    assert found.metrics_delta


def test_the_defaults_are_those_of_the_schemas() -> None:
    expected = TelemetrySettings(traces=Signal("http://c:1", GRPC), metrics=Signal("http://c:1", GRPC))
    assert load(OTLP_ENDPOINT="http://c:1").telemetry == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://key@collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("TELEMETRY_ENABLED", "perhaps"),
        ("TELEMETRY_TRACES_PER_SECOND", "-1"),
    ],
)
def test_a_wrong_value_is_named_and_not_quoted(name: str, value: str) -> None:
    (problem,) = wrong(**{**OURS, name: value})
    assert problem.startswith(f"{name}: ")
    assert "key@" not in problem


def test_all_mistakes_are_told_at_once() -> None:
    found = wrong(
        **OURS, OTEL_TRACES_SAMPLER="x", OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="11",
        WEB_WORKER_CLASS="gevent",
    )  # fmt: skip
    assert [line.partition(":")[0] for line in found] == [
        "OTEL_TRACES_SAMPLER", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**OURS, "OTEL_EXPORTER_OTLP_PROTOCOL": HTTP},
        {**OURS, "TELEMETRY_ENABLED": "false"},
    ],
)
def test_gevent_is_fine_without_grpc(environ: dict[str, str]) -> None:
    assert wrong(**environ, WEB_WORKER_CLASS="gevent") == []


def test_what_is_off_need_not_be_right() -> None:
    assert wrong(**OURS, OTEL_SDK_DISABLED="true", OTEL_TRACES_SAMPLER="x") == []
