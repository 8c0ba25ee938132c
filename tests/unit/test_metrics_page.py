"""The page in every format that a scraper asks for, with the facts that are found out at scrape time."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as classic_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from bff.errors import StoreUnavailable
from bff.observability.exposition import ActiveSessions, MetricsPage, metrics_app
from bff.observability.multiprocess.exemplars import NAME as EXEMPLARS
from bff.observability.multiprocess.exemplars import ExemplarFile
from bff.observability.process_metrics import BuildInfo
from tests.clock import Clock
from tests.unit.support import counted
from tests.unit.value_files import Process, Samples, Scrapers, counter, expected, histogram, samples

LABELS = {"path": 'a"b\\c\n'}
TRACE = {"trace_id": "f" * 32}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
openmetrics_families: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families
Answer = tuple[str, dict[str, str], bytes]


class Facts(Collector):
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("fact", "A fact.", value=5)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, ours=True)
    for place in (counter(LABELS), *histogram(LABELS)):
        process.add(place, 3)
    file = ExemplarFile(tmp_path / EXEMPLARS.format(process.owner))
    file.keep(histogram(LABELS)[1].key.encode(), Exemplar(TRACE, 0.05, 1.0))
    file.close()
    yield process
    process.close()


@pytest.fixture
def page(tmp_path: Path, process: Process) -> Iterator[MetricsPage]:
    with Scrapers() as scrapers:
        yield MetricsPage(scrapers.new(tmp_path), [Facts(), BuildInfo("1.2.3")])


def get(page: Callable[..., Iterable[bytes]], *, method: str = "GET", query: str = "", **headers: str) -> Answer:
    answered: list[Any] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": "/metrics",
        "QUERY_STRING": query,
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    body = b"".join(page(environ, lambda status, headers: answered.extend((status, dict(headers)))))
    return answered[0], answered[1], body


def wanted(process: Process) -> Samples:
    return {**expected([process]), ("fact", frozenset()): 5}


def shown(metrics: Iterable[Metric]) -> Samples:
    found = samples(metrics)
    return {series: value for series, value in found.items() if series[0] != "bff_build_info"}


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/html", "text/plain; version=0.0.4"])
def test_classic_text(page: MetricsPage, process: Process, accept: str | None) -> None:
    status, headers, body = get(page, **({} if accept is None else {"accept": accept}))
    assert (status, headers["Content-Type"], headers["Content-Length"]) == ("200 OK", CLASSIC, str(len(body)))
    assert shown(classic_families(body.decode())) == wanted(process)
    assert b'bff_build_info{python="' in body


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5",
    ],
)
def test_openmetrics_when_asked_for(page: MetricsPage, process: Process, accept: str) -> None:
    status, headers, body = get(page, accept=accept)
    assert (status, headers["Content-Type"][: len(OPENMETRICS)]) == ("200 OK", OPENMETRICS)
    families = list(openmetrics_families(body.decode()))
    assert shown(families) == wanted(process)
    exemplars = [each.exemplar for family in families for each in family.samples if each.exemplar]
    assert [(each.labels, each.value) for each in exemplars] == [(TRACE, 0.05)]


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_gzip_when_asked_for(page: MetricsPage, accept: str) -> None:
    plain = get(page, accept=accept)[2]
    _, headers, body = get(page, accept=accept, accept_encoding="deflate, gzip;q=0.5")
    assert (headers["Content-Encoding"], headers["Content-Length"]) == ("gzip", str(len(body)))
    assert gzip.decompress(body) == plain
    assert len(body) < len(plain)


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_only_the_names_that_are_asked_for(page: MetricsPage, accept: str) -> None:
    _, _, body = get(page, accept=accept, query="name[]=h_bucket&name[]=fact")
    read = openmetrics_families if accept == OPENMETRICS else classic_families
    assert {name for name, _ in samples(read(body.decode()))} == {"h_bucket", "fact"}
    assert (b"trace_id" in body) == (accept == OPENMETRICS)


@pytest.mark.parametrize(("method", "status"), [("POST", "405"), ("HEAD", "405"), ("OPTIONS", "200")])
def test_other_methods(page: MetricsPage, method: str, status: str) -> None:
    answer = get(page, method=method)
    assert (answer[0][:3], answer[1]["Allow"]) == (status, "OPTIONS,GET")


def test_each_scrape_is_timed(page: MetricsPage) -> None:
    before = counted("bff_metrics_scrape_duration_seconds_count")
    for _ in range(3):
        get(page)
    assert counted("bff_metrics_scrape_duration_seconds_count") == before + 3


def test_a_scrape_is_never_older_than_its_request(page: MetricsPage, process: Process) -> None:
    for number in range(4, 10):
        process.add(counter(LABELS), 1)
        assert shown(classic_families(get(page)[2].decode()))["c_total", frozenset(LABELS.items())] == number


def test_active_sessions_are_asked_for_at_most_once_a_second() -> None:
    """While the store is away there is no number."""
    asked: list[float] = []
    clock = Clock()

    def count() -> int:
        asked.append(clock())
        if len(asked) == 3:
            raise StoreUnavailable
        return len(asked)

    collector = ActiveSessions(count, clock)
    values = []
    for step in (0.0, 0.5, 0.6, 0.1, 1.0, 1.0):
        clock.now += step
        values.append([sample.value for metric in collector.collect() for sample in metric.samples])
    assert values == [[1], [1], [2], [2], [], [4]]


def test_without_shared_files_the_page_is_this_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    body = get(metrics_app(lambda: 7, "1.2.3", Clock()))[2]
    assert b"\nbff_active_sessions_total 7.0\n" in body
    assert b"\nbff_sessions_created_total " in body
