"""Schema of OpenTelemetry's own environment variables, as far as the BFF supports them.

OpenTelemetry's specification names them, and its SDK reads them too, which warns or raises for a wrong value. Here a
wrong value is a problem like any other. They take precedence over OTLP_ENDPOINT.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bff.settings.model import SAMPLERS, Signal, TelemetrySettings
from bff.settings.yaml_fields import SECONDS, BaseUrl

GRPC, HTTP = PROTOCOLS = ("grpc", "http/protobuf")
_protocol = validate.OneOf(PROTOCOLS)
_exporter = validate.OneOf(["otlp", "none"])
_count = validate.Range(min=1, max=1_000_000)
_milliseconds = validate.Range(min=10, max=3_600_000)


def _var(field: type[fields.Field[Any]], name: str, default: Any, **options: Any) -> Any:
    return field(data_key=name, load_default=default, **options)


class OtelVariablesSchema(Schema):
    """One line per variable; docs/configuration.md explains each, and a test keeps both equal."""

    class Meta:
        unknown = EXCLUDE

    disabled = _var(fields.Boolean, "OTEL_SDK_DISABLED", False)
    endpoint = _var(BaseUrl, "OTEL_EXPORTER_OTLP_ENDPOINT", None)
    traces_endpoint = _var(BaseUrl, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None)
    metrics_endpoint = _var(BaseUrl, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", None)
    protocol = _var(fields.String, "OTEL_EXPORTER_OTLP_PROTOCOL", GRPC, validate=_protocol)
    traces_protocol = _var(fields.String, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", None, validate=_protocol)
    metrics_protocol = _var(fields.String, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", None, validate=_protocol)
    timeout = _var(fields.Float, "OTEL_EXPORTER_OTLP_TIMEOUT", 10.0, validate=SECONDS)
    compression = _var(fields.String, "OTEL_EXPORTER_OTLP_COMPRESSION", None, validate=validate.OneOf(["gzip"]))
    traces_exporter = _var(fields.String, "OTEL_TRACES_EXPORTER", "otlp", validate=_exporter)
    metrics_exporter = _var(fields.String, "OTEL_METRICS_EXPORTER", "otlp", validate=_exporter)
    temporality = _var(
        fields.String,
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "cumulative",
        validate=validate.OneOf(["cumulative", "delta", "lowmemory"]),
    )
    metrics_interval = _var(fields.Integer, "OTEL_METRIC_EXPORT_INTERVAL", 60_000, validate=_milliseconds)
    sampler = _var(fields.String, "OTEL_TRACES_SAMPLER", "parentbased_always_on", validate=validate.OneOf(SAMPLERS))
    sampler_ratio = _var(fields.Float, "OTEL_TRACES_SAMPLER_ARG", 1.0, validate=validate.Range(min=0, max=1))
    spans_delay = _var(fields.Integer, "OTEL_BSP_SCHEDULE_DELAY", 5000, validate=_milliseconds)
    spans_queue = _var(fields.Integer, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, validate=_count)
    spans_batch = _var(fields.Integer, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, validate=_count)


def telemetry(environ: Mapping[str, str], values: Mapping[str, Any]) -> tuple[TelemetrySettings, list[str]]:
    """The settings, and one sentence for each wrong variable (its default is used). values: those of
    bff.settings.environment."""
    found, problems = _read(environ)
    if not values["telemetry_enabled"] or found["disabled"]:
        return TelemetrySettings(), []
    traces = _signal("traces", found, values["otlp_endpoint"])
    metrics = _signal("metrics", found, values["otlp_endpoint"])
    problems += _together(environ, found, traces, metrics)
    return TelemetrySettings(
        traces=traces,
        metrics=metrics,
        timeout=found["timeout"],
        sampler=found["sampler"],
        sampler_ratio=found["sampler_ratio"],
        traces_per_second=values["traces_per_second"],
        spans_delay=found["spans_delay"] / 1000,
        spans_queue=found["spans_queue"],
        spans_batch=min(found["spans_batch"], found["spans_queue"]),
        metrics_interval=found["metrics_interval"] / 1000,
        metrics_delta=found["temporality"] != "cumulative",
    ), problems


def _read(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    names = {str(field.data_key) for field in OtelVariablesSchema().fields.values()}
    given = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
    try:
        return OtelVariablesSchema().load(given), []
    except ValidationError as err:
        wrong = err.normalized_messages()
        rest = {name: value for name, value in given.items() if name not in wrong}
        problems = [f"{name}: {' '.join(map(str, messages))}" for name, messages in wrong.items()]
        return OtelVariablesSchema().load(rest), problems


def _signal(name: str, found: Mapping[str, Any], ours: str | None) -> Signal | None:
    """The target of one signal (OTLP exporter specification); None for no export."""
    if found[f"{name}_exporter"] == "none":
        return None
    protocol = found[f"{name}_protocol"] or found["protocol"]
    if own := found[f"{name}_endpoint"]:
        return Signal(own, protocol)
    base = found["endpoint"] or ours
    if base is None:
        return None
    return Signal(f"{base}/v1/{name}" if protocol == HTTP else base, protocol)


def _together(
    environ: Mapping[str, str], found: Mapping[str, Any], traces: Signal | None, metrics: Signal | None
) -> list[str]:
    problems = []
    if environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") and found["spans_batch"] > found["spans_queue"]:
        problems.append("OTEL_BSP_MAX_EXPORT_BATCH_SIZE: is larger than OTEL_BSP_MAX_QUEUE_SIZE.")
    by_grpc = [each for each in (traces, metrics) if each is not None and each.protocol == GRPC]
    if by_grpc and environ.get("WEB_WORKER_CLASS") == "gevent":
        problems.append(
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf with WEB_WORKER_CLASS gevent, since a call by gRPC"
            " would hold up every request of the worker."
        )
    return problems
