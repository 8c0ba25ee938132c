"""Traffic of every kind, a real Prometheus, and every panel and rule has something to show. One alert arrives."""

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import prometheus_artifacts
from tests.e2e.generated_traffic import Watched, watched
from tests.peers import install
from tests.prometheus_artifacts import Expression

pytestmark = pytest.mark.e2e

MISSION = [
    "http_requests_total",
    "http_request_duration_seconds",
    "bff_active_sessions_total",
    "bff_sessions_created_total",
    "bff_sessions_destroyed_total",
    "bff_verify_duration_seconds",
    "bff_oauth_flow_duration_seconds",
    "bff_session_binding_failures_total",
    "bff_token_refresh_success_total",
    "bff_token_refresh_failed_total",
    "bff_token_refresh_total",
    "bff_token_exchange_total",
    "bff_token_validation_total",
    "bff_token_expiry_total",
    "bff_authz_requests_total",
    "bff_authz_latency_seconds",
    "bff_redis_operations_total",
    "bff_redis_latency_seconds",
    "bff_idp_requests_total",
    "bff_idp_latency_seconds",
    "bff_kafka_messages_total",
    "circuit_breaker_status",
    "circuit_breaks_total",
    "bff_csrf_violations_total",
    "bff_rate_limit_violations_total",
    "bff_security_events_total",
    "bff_background_tasks_total",
    "bff_background_task_duration_seconds",
    "bff_public_metrics_total",
]
INSTRUMENTS = [
    "bff_forwardauth_duration_ms",
    "bff_session_validation_duration_ms",
    "bff_auth_requests_total",
    "bff_token_refresh_duration_ms",
    "bff_session_binding_failures_total",
]
FAULTS = "bff_event_faults_total"
"""Counts mistakes of ours in events, which no traffic brings about; its panel shows zero."""
ALERT = "BffWorkerChurn"
KILLED = 4


@pytest.fixture(scope="module")
def fleet(folder: Path) -> Iterator[Watched]:
    with watched(folder) as fleet:
        for _ in range(2):  # a rate needs something before and after
            fleet.drive()
            fleet.scraped()
        yield fleet


def numbers(fleet: Watched, expression: str) -> list[float]:
    found = [float(each["value"][1]) for each in fleet.prometheus.query(expression)]
    return [each for each in found if not math.isnan(each)]


def unfiltered(expression: Expression) -> str:
    """An alert's expression with comparisons that say yes or no, so that it returns something while all is well."""
    return re.sub(r" (>|==|<=) ", r" \1 bool ", expression.text)


def test_every_panel_and_every_rule_returns_data(fleet: Watched) -> None:
    silent = [each for each in prometheus_artifacts.expressions() if not numbers(fleet, unfiltered(each))]
    assert not silent


def test_every_metric_that_is_asked_for_was_there(fleet: Watched) -> None:
    asked = {name for each in prometheus_artifacts.expressions() for name in prometheus_artifacts.metrics_of(each.text)}
    names = {each["metric"]["__name__"] for each in fleet.prometheus.query('count by (__name__) ({job="bff"})')}
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert asked - seen <= {FAULTS}


def test_every_recording_rule_has_recorded(fleet: Watched) -> None:
    records = [rule["record"] for rule in prometheus_artifacts.rules() if "record" in rule]
    assert [record for record in records if not numbers(fleet, record)] == []


def test_every_family_of_the_specification_has_data(fleet: Watched) -> None:
    assert len(set(MISSION)) == 29
    most = {
        name: max(numbers(fleet, f'max_over_time({{__name__=~"{name}(_count)?"}}[10m])'), default=0) for name in MISSION
    }
    assert [name for name, value in most.items() if not value] == []


def test_every_instrument_reached_the_collector(fleet: Watched) -> None:
    assert [name for name in INSTRUMENTS if not sum(fleet.collector.totals(name).values())] == []


def test_an_alert_goes_all_the_way(fleet: Watched) -> None:
    assert ALERT not in {each["labels"]["alertname"] for each in fleet.webhook.alerts}
    fleet.kill(KILLED)
    fleet.deployment.wait(lambda: any(each["labels"]["alertname"] == ALERT for each in fleet.webhook.alerts))
    (told, *_) = [each for each in fleet.webhook.alerts if each["labels"]["alertname"] == ALERT]
    assert (told["status"], told["labels"]["job"], told["labels"]["reason"]) == ("firing", "bff", "killed")
    assert told["annotations"]["summary"] == "Workers of bff die: killed"
    assert (prometheus_artifacts.ROOT / told["annotations"]["runbook_url"]).exists()


@pytest.mark.parametrize(
    "case", sorted((prometheus_artifacts.PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.name
)
def test_promtool_agrees(case: Path) -> None:
    promtool = install.debian("promtool", "prometheus")
    result = subprocess.run([promtool, "test", "rules", case], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_accepts_the_configuration() -> None:
    promtool = install.debian("promtool", "prometheus")
    file = prometheus_artifacts.PROMETHEUS / "prometheus.yml"
    result = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
