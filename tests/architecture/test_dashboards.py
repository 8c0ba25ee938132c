"""deploy/grafana is what deploy/dashboards says, and its panels speak of metrics that exist, in words that help."""

import re
from typing import Any

import pytest
import yaml

from bff.observability import catalogue
from deploy.dashboards.__main__ import FOLDER, files
from tests import prometheus_artifacts

MISSION = [
    "histogram_quantile(0.95, sum(rate(bff_verify_duration_seconds_bucket[5m])) by (le))",
    "rate(bff_token_refresh_failed_total[5m])",
    'sum(rate(bff_authz_requests_total{decision="allow"}[5m])) by (resource)'
    " / sum(rate(bff_authz_requests_total[5m])) by (resource)",
]
OF_THE_FLEET = {"bff_active_sessions_total", "bff_outbox_depth"}
KNOWN = {metric.name for metric in catalogue.declared()}
PANELS = list(prometheus_artifacts.panels())


def targets(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def test_the_files_are_what_the_code_writes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == files(), "Run: make dashboards"


@pytest.mark.parametrize("query", MISSION)
def test_the_queries_of_the_specification_stand_unchanged(query: str) -> None:
    assert any(query in targets(panel) for _, panel in PANELS)


@pytest.mark.parametrize(("file", "panel"), PANELS, ids=[f"{file} {panel['title']}" for file, panel in PANELS])
def test_a_panel_can_be_read(file: str, panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len(panel["description"]) > 40
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        grouped = re.search(r"^(?:topk\(5, )?(?:sum|max|count) by \(([^)]*)\)", target["expr"])
        for label in grouped[1].split(", ") if grouped else ():
            assert f"{{{{{label}}}}}" in target["legendFormat"], "the legend tells the lines apart"


def test_titles_and_ids_are_unique_within_a_dashboard() -> None:
    for dashboard in prometheus_artifacts.dashboards().values():
        for key in ("title", "id"):
            assert len({panel[key] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("expression", prometheus_artifacts.expressions(), ids=lambda each: each.place)
def test_an_expression_asks_for_metrics_that_exist(expression: prometheus_artifacts.Expression) -> None:
    assert prometheus_artifacts.metrics_of(expression.text) <= KNOWN
    if prometheus_artifacts.metrics_of(expression.text) & OF_THE_FLEET:
        assert expression.text.startswith("max")


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for _, panel in PANELS for expr in targets(panel) for name in prometheus_artifacts.metrics_of(expr)}
    assert not KNOWN - shown


def test_grafana_finds_what_is_mounted() -> None:
    (source,) = yaml.safe_load((prometheus_artifacts.GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    scrape = yaml.safe_load((prometheus_artifacts.PROMETHEUS / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((prometheus_artifacts.GRAFANA / "provisioning/dashboards/bff.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
