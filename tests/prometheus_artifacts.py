"""What stands in deploy/ for those who watch: panels, rules and alerts as data; and the metrics that a text names."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
_METRIC = re.compile(r"(?<![:\w])(?:bff|http|circuit_break|process)[a-z0-9]*_[a-z0-9_]+(?![:\w])")


class Expression(NamedTuple):
    """place: which panel or rule. text: for the job `bff`, with a rate's window filled in."""

    place: str
    text: str


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Grafana's JSON by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """(file name, panel), without the rows."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield name, panel


@cache
def rules() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> list[Expression]:
    """Of every panel and every rule."""
    found = [
        Expression(f"{name}: {panel['title']}", target["expr"])
        for name, panel in panels()
        for target in panel["targets"]
    ]
    found += [Expression(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]
    return [Expression(place, text.replace("$__rate_interval", "5m").replace("$job", "bff")) for place, text in found]


def metrics_of(text: str) -> set[str]:
    """As the catalogue calls them."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in _METRIC.findall(text)}
