"""What goes out by OTLP is what Prometheus counted, in milliseconds, since the worker was started."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY

from bff.observability import metrics
from bff.observability.otlp.prometheus_bridge import INSTRUMENTS, PrometheusBridge
from tests.fuzz import examples

RESOURCE = Resource({"service.name": "bff-service"})


class Nanoseconds:
    now = 1_800_000_000_000_000_000

    def __call__(self) -> int:
        return self.now


def points(data: MetricsData, name: str) -> list[Any]:
    found = [metric for metric in data.resource_metrics[0].scope_metrics[0].metrics if metric.name == name]
    return list(found[0].data.data_points) if found else []


def point(data: MetricsData, name: str, **attributes: str) -> Any:
    (found,) = [each for each in points(data, name) if each.attributes == attributes]
    return found


def test_the_five_of_the_contract() -> None:
    assert [each.name for each in INSTRUMENTS] == [
        "bff_forwardauth_duration_ms", "bff_session_validation_duration_ms", "bff_token_refresh_duration_ms",
        "bff_auth_requests_total", "bff_session_binding_failures_total",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "name", "attributes"),
    [
        (
            lambda: metrics.VERIFY_DURATION.labels("expired").observe(0.0004),
            "bff_forwardauth_duration_ms",
            {"status": "expired"},
        ),
        (lambda: metrics.SESSION_VALIDATION.observe(0.0004), "bff_session_validation_duration_ms", {}),
        (lambda: metrics.oauth_flow("refresh", 0.0004), "bff_token_refresh_duration_ms", {}),
    ],
)
def test_a_duration(record: Callable[[], None], name: str, attributes: dict[str, str]) -> None:
    readings = PrometheusBridge(RESOURCE, delta=False, clock=Nanoseconds())
    assert points(readings.take(), name) == []
    record()
    found = point(readings.take(), name, **attributes)
    assert (found.count, found.sum) == (1, pytest.approx(0.4))
    assert sum(found.bucket_counts) == 1
    at = list(found.bucket_counts).index(1)
    bounds = [float("-inf"), *found.explicit_bounds, float("inf")]
    assert bounds[at] < 0.4 <= bounds[at + 1]
    assert len(found.bucket_counts) == len(found.explicit_bounds) + 1


@pytest.mark.parametrize(
    ("record", "name", "attributes"),
    [
        (
            lambda: metrics.http_request("POST", "/auth/logout", 200, 0.1),
            "bff_auth_requests_total",
            {"method": "POST", "endpoint": "/auth/logout", "status": "200"},
        ),
        (lambda: metrics.binding_failure("ip"), "bff_session_binding_failures_total", {"reason": "ip"}),
    ],
)
def test_a_count(record: Callable[[], None], name: str, attributes: dict[str, str]) -> None:
    readings = PrometheusBridge(RESOURCE, delta=False)
    record()
    record()
    assert point(readings.take(), name, **attributes).value == 2
    record()
    assert point(readings.take(), name, **attributes).value == 3


def test_other_flows_and_other_endpoints_are_not_meant() -> None:
    readings = PrometheusBridge(RESOURCE, delta=False)
    metrics.oauth_flow("logout", 0.1)
    metrics.http_request("GET", "orders", 200, 0.1)
    metrics.http_request("GET", None, 404, 0.1)
    assert readings.take().resource_metrics[0].scope_metrics[0].metrics == []


def test_only_what_came_since_the_last_reading() -> None:
    clock = Nanoseconds()
    readings = PrometheusBridge(RESOURCE, delta=True, clock=clock)
    for number in (2, 3):
        for _ in range(number):
            metrics.binding_failure("both")
        start, clock.now = clock.now, clock.now + 10**9
        found = point(readings.take(), "bff_session_binding_failures_total", reason="both")
        assert (found.value, found.start_time_unix_nano, found.time_unix_nano) == (number, start, clock.now)
    assert points(readings.take(), "bff_session_binding_failures_total") == []


@pytest.mark.parametrize("delta", [False, True])
def test_it_is_what_the_exporter_takes(delta: bool) -> None:
    readings = PrometheusBridge(RESOURCE, delta=delta)
    metrics.SESSION_VALIDATION.observe(0.001)
    metrics.binding_failure("ip")
    sent = encode_metrics(readings.take()).resource_metrics[0].scope_metrics[0].metrics
    assert [metric.name for metric in sent] == [
        "bff_session_validation_duration_ms", "bff_session_binding_failures_total",
    ]  # fmt: skip
    kind = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    assert {sent[0].histogram.aggregation_temporality, sent[1].sum.aggregation_temporality} == {kind.value}
    assert sent[1].sum.is_monotonic
    assert sent[0].unit == "ms"
    assert not sent[0].histogram.data_points[0].HasField("min")


@given(
    seconds=st.lists(st.lists(st.floats(0, 2), max_size=8), min_size=1, max_size=5),
    delta=st.booleans(),
)
@examples(50)
def test_totals_are_those_of_prometheus(seconds: list[list[float]], delta: bool) -> None:
    """Over any number of readings, whatever was recorded between them."""
    before = prometheus()
    readings = PrometheusBridge(RESOURCE, delta=delta)
    taken = []
    for each in seconds:
        for value in each:
            metrics.SESSION_VALIDATION.observe(value)
        taken += points(readings.take(), "bff_session_validation_duration_ms")
    told = taken if delta else taken[-1:]
    bounds = len(metrics.VERIFY_BUCKETS) + 1
    buckets = [sum(point.bucket_counts[number] for point in told) for number in range(bounds)]
    cumulative = [sum(buckets[: number + 1]) for number in range(bounds)]
    assert cumulative == [here - there for here, there in zip(prometheus(), before, strict=True)]
    assert sum(point.sum for point in told) == pytest.approx(1000 * sum(map(sum, seconds)))


def prometheus() -> list[float]:
    return [
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "bff_session_validation_duration_seconds_bucket"
    ]
