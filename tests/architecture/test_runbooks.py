"""Each alert has its page and each page its alert; and what a page names exists."""

import importlib.util
import re
from typing import Any

import pytest
import yaml

from bff.observability import catalogue
from bff.settings.environment import SERVER_VARIABLES
from tests import prometheus_artifacts
from tests.architecture import markdown, source

PAGES = {path.stem: path.read_text() for path in sorted(prometheus_artifacts.RUNBOOKS.glob("*.md"))}
ALERTS = prometheus_artifacts.alerts()
PARTS = ["## See it", "## What to do", "## False alarms"]
KNOWN = {metric.name for metric in catalogue.declared()}
LABELS = {label for metric in catalogue.declared() for label in metric.labels}
# Beginnings of label values, as `circuit_breaks_total` has them, and Prometheus' own words.
OTHERS = {"idp_", "pdp_", "upstream_", "runbook_url", "scrape_samples_scraped"}
CASES = [
    case
    for path in sorted((prometheus_artifacts.PROMETHEUS / "tests").glob("*.yml"))
    for case in yaml.safe_load(path.read_text())["tests"]
]


def named(alert: dict[str, Any]) -> tuple[str, str]:
    return alert["alert"], alert["labels"]["severity"]


def code(page: str) -> list[str]:
    return re.findall(r"`([^`]+)`", page)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert PAGES.keys() == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: "-".join(named(alert)))
def test_an_alert_says_what_it_is(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"


def test_each_alert_is_in_the_list_with_its_severities() -> None:
    text = (source.ROOT / "docs/observability.md").read_text()
    rows = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([a-z, ]+) \|", text, re.MULTILINE))
    assert {(name, each) for name, severities in rows.items() for each in severities.split(", ")} == set(
        map(named, ALERTS)
    )


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: "-".join(named(alert)))
def test_promtool_sees_it_fire_and_stay_silent(alert: dict[str, Any]) -> None:
    name, severity = named(alert)
    fires = re.compile(rf'alertname="{name}".*job="(?:sick|bff)".*severity="{severity}"')
    asked = [
        {sample["labels"] for sample in check["exp_samples"]}
        for case in CASES
        if name in case["name"]
        for check in case["promql_expr_test"]
        if check["expr"].startswith("ALERTS")
    ]
    assert any(any(fires.search(labels) for labels in samples) for samples in asked), "it fires"
    assert not any("well" in labels for samples in asked for labels in samples)
    near = [
        case
        for case in CASES
        if name in case["name"] and any("well" in each["series"] for each in case["input_series"])
    ]
    assert near, "something nearly as bad leaves it silent"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_parts(name: str) -> None:
    assert PAGES[name].startswith(f"# {name}: ")
    assert re.findall(r"^## .*", PAGES[name], re.MULTILINE) == PARTS
    assert all(len(line) <= 120 for line in PAGES[name].splitlines())


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_exists(name: str) -> None:
    written = source.strings(source.files())
    settings = markdown.rows("configuration.md").keys() | SERVER_VARIABLES
    for each in code(PAGES[name]):
        assert prometheus_artifacts.metrics_of(each) <= KNOWN
        for module in re.findall(r"python -m ([\w.]+)", each):
            assert importlib.util.find_spec(module), each
        if re.fullmatch(r"[A-Z_]+(=\w+)?", each):
            assert each.partition("=")[0] in settings, each
        if re.fullmatch(r"[a-z]+(_[a-z]*)+", each) and each not in KNOWN | LABELS | OTHERS:
            assert each in written, f"{each}: nothing logs or counts that"
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        assert (prometheus_artifacts.RUNBOOKS / link).exists(), link
