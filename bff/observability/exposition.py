"""The /metrics page: every worker's metrics added up, plus the facts that are asked for at scrape time.

prometheus_client's own exposition does content negotiation (text, OpenMetrics), gzip and the name[] filter.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import UnknownMetricFamily
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bff.errors import StoreUnavailable
from bff.observability import metrics

_FACT_LIFE = 1.0


class ActiveSessions(Collector):
    """Asked, not remembered: right after restarts, expiry and with many pods.

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


def metrics_app(count_active: Callable[[], int], clock: Callable[[], float]) -> Callable[..., Any]:
    """A WSGI callable that serves the page; with PROMETHEUS_MULTIPROC_DIR set it speaks for all workers."""
    registry = CollectorRegistry(support_collectors_without_names=True)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
    else:
        registry.register(Registry(REGISTRY))
    registry.register(ActiveSessions(count_active, clock))
    return make_wsgi_app(registry)
