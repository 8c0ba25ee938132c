"""A real Prometheus scrapes four workers: no failed scrape, the mission's queries, exemplars that lead to traces.

`make soak` lets it scrape for a minute (SOAK_SECONDS).
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.peers import bff
from tests.peers import prometheus as peer
from tests.peers.bff import Bff
from tests.peers.prometheus import Prometheus

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
TRACED = (*bff.COMMAND[:-1], "tests.e2e.traced:app")
P95 = "histogram_quantile(0.95, sum(rate(bff_verify_duration_seconds_bucket[5m])) by (le))"
# Here no token is refreshed, and nobody asks for a policy decision.
REFRESH_ERRORS = "rate(bff_token_refresh_failed_total[5m])"
DECISIONS = (
    'sum(rate(bff_authz_requests_total{decision="allow"}[5m])) by (resource)'
    " / sum(rate(bff_authz_requests_total[5m])) by (resource)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, workers=4, command=TRACED) as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(folder: Path, running: Bff) -> Iterator[Prometheus]:
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "bff", "static_configs": [{"targets": [running.address]}]}],
    }
    with peer.running(folder, configuration) as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def traffic(running: Bff, prometheus: Prometheus) -> None:
    """A light load for as long as Prometheus is to watch."""
    until = time.monotonic() + SECONDS
    with requests.Session() as session:
        while time.monotonic() < until:
            session.get(f"{running.base_url}/auth/verify", timeout=10)
            time.sleep(0.02)


def eventually(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 15
    while not (found := holds()):
        assert time.monotonic() < deadline, "Prometheus does not say so"
        time.sleep(0.2)
    return found


def test_every_scrape_succeeds(prometheus: Prometheus) -> None:
    (target,) = prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    assert eventually(lambda: prometheus.query(f"count_over_time(up[10m]) > {SECONDS / 2}"))
    (lowest,) = prometheus.query("min_over_time(up[10m])")
    assert lowest["value"][1] == "1"


def test_the_queries_of_the_dashboards(prometheus: Prometheus) -> None:
    (p95,) = eventually(lambda: [each for each in prometheus.query(P95) if each["value"][1] != "NaN"])
    assert 0 < float(p95["value"][1]) < 1
    assert [prometheus.query(expression) for expression in (REFRESH_ERRORS, DECISIONS)] == [[], []]


def test_it_sees_the_fleet(prometheus: Prometheus) -> None:
    assert prometheus.query("bff_workers")[0]["value"][1] == "4"
    assert float(prometheus.query("rate(process_cpu_seconds_total[1m])")[0]["value"][1]) > 0
    assert float(prometheus.query("process_resident_memory_bytes")[0]["value"][1]) > 1e7


def test_a_bucket_leads_to_its_trace(prometheus: Prometheus) -> None:
    (series, *_) = eventually(lambda: prometheus.exemplars("bff_verify_duration_seconds_bucket"))
    labels = series["exemplars"][0]["labels"]
    assert len(labels["trace_id"]) == 32
    assert len(labels["span_id"]) == 16
