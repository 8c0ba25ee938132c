"""Exposition: the /metrics page with the sum over all workers, plus the facts that each scrape computes.

Classic text and OpenMetrics 1.0, the two formats that scrapers request, are built from cached lines.
prometheus_client's own, slower exposition serves the rare requests: a name[] filter, another escaping. It also
negotiates the format.
"""

import gzip
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.exposition import choose_encoder, gzip_accepted, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bff.errors import StoreUnavailable
from bff.lib.coalesced import CoalescedCall
from bff.observability import metrics
from bff.observability.multiprocess.collector import MultiprocessCollector
from bff.observability.multiprocess.values import FOLDER
from bff.observability.process_metrics import FILES, BuildInfo, Processes
from bff.observability.reloads import Reloads

_FACT_LIFE = 1.0


class ActiveSessions(Collector):
    """Sessions alive, counted in the store at scrape time: right after restarts, after expiry and with many pods.

    The type is `untyped`: the name is fixed and ends in _total, which promtool allows only for counters or untyped.
    While the store is away there is no sample, since no number would be true.
    """

    def __init__(self, count: Callable[[], int], clock: Callable[[], float]) -> None:
        self._count = count
        self._clock = clock
        self._known: int | None = None
        self._asked_at = float("-inf")

    def collect(self) -> Iterable[Metric]:
        family = UnknownMetricFamily(metrics.ACTIVE_SESSIONS_NAME, metrics.ACTIVE_SESSIONS_HELP)
        if self._clock() - self._asked_at >= _FACT_LIFE:
            self._known = self._ask()
            self._asked_at = self._clock()
        if self._known is not None:
            family.add_metric([], self._known)
        yield family

    def _ask(self) -> int | None:
        try:
            return self._count()
        except StoreUnavailable:
            return None


class Registry(Collector):
    """Another registry's metrics, as one collector."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        return self._registry.collect()


class _Scrape(Collector):
    """The cost of the collector itself: the number of value files."""

    def __init__(self, collector: MultiprocessCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(FILES[0], FILES[-1], value=self._collector.file_count)


class MetricsPage:
    """WSGI callable: serves the page for all processes that share a metrics folder."""

    def __init__(self, collector: MultiprocessCollector, facts: Sequence[Collector]) -> None:
        registry = CollectorRegistry(support_collectors_without_names=True)
        for each in (collector, *facts):
            registry.register(each)
        self._others = make_wsgi_app(registry)
        self._pages = {
            openmetrics: CoalescedCall(partial(_measured, collector, openmetrics, facts))
            for openmetrics in (False, True)
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING") or not _usual(content_type):
            answer: Iterable[bytes] = self._others(environ, start_response)
            return answer
        body = self._pages[content_type.startswith("application/openmetrics-text")]()
        headers = [("Content-Type", content_type)]
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, 1)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]


def _usual(content_type: str) -> bool:
    """Whether the cached page fits the requested format. Our names are plain, so both escapings leave them
    unchanged."""
    escaping = content_type.partition("escaping=")[2]
    return escaping in ("", "underscores", "allow-utf-8") and "version=2" not in content_type


def _measured(collector: MultiprocessCollector, openmetrics: bool, facts: Sequence[Collector]) -> bytes:
    start = time.perf_counter()
    page = collector.text(openmetrics=openmetrics, more=facts)
    metrics.scrape(time.perf_counter() - start)
    return page


def metrics_app(count_active: Callable[[], int], version: str, clock: Callable[[], float]) -> Callable[..., Any]:
    """A WSGI callable that serves the page; with PROMETHEUS_MULTIPROC_DIR set, it covers all workers."""
    facts: list[Collector] = [ActiveSessions(count_active, clock), BuildInfo(version)]
    if FOLDER in os.environ:
        folder = Path(os.environ[FOLDER])
        collector = MultiprocessCollector(folder, metrics.file_quarantined)
        return MetricsPage(collector, [*facts, Processes(folder), Reloads(folder), _Scrape(collector)])
    registry = CollectorRegistry(support_collectors_without_names=True)
    for each in (Registry(REGISTRY), *facts):
        registry.register(each)
    page: Callable[..., Any] = make_wsgi_app(registry)
    return page
