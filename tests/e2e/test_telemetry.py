"""One trace from the proxy to the last service, and metrics that are Prometheus' own, from four workers of which one is
killed: seen by a collector that receives OTLP."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from tests.peers import bff, document_runner, lateness, openid, otlp, process, proxies, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.otlp import Collector, Span

pytestmark = pytest.mark.e2e

openmetrics_families: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families
WORKERS = 4
PAGE = document_runner.ROOT / "docs" / "traced-request.md"
VERIFIED = 60
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
PERSON = "somebody"
ROUTES = """
services: {orders: {base_url: "http://%s/v1"}}
routes:
  - {id: orders, path: "/api/orders/{id}", service: orders, authz: pdp,
     authz_map: {resource: orders, action: read, id_from: $.path.id}}
"""
POLICY = 'permit(principal, action == Action::"read", resource is orders);'
# OTLP instrument, Prometheus' metric, the labels that both have.
SAME = [
    ("bff_forwardauth_duration_ms", "bff_verify_duration_seconds_count", ("status",)),
    ("bff_session_validation_duration_ms", "bff_session_validation_duration_seconds_count", ()),
    ("bff_token_refresh_duration_ms", 'bff_oauth_flow_duration_seconds_count{flow_type="refresh"}', ()),
    ("bff_auth_requests_total", "http_requests_total", ("method", "endpoint", "status")),
    ("bff_session_binding_failures_total", "bff_session_binding_failures_total", ("reason",)),
]


@dataclass(frozen=True)
class Story:
    """What was said about it in the end: by Prometheus' page, by the log, and to the collector."""

    collector: Collector
    metrics: str
    exemplars: list[dict[str, str]]
    masters_threads: int
    log: list[dict[str, Any]]
    echoed: list[tuple[str, str]]
    stopped_after: float

    def spans(self, trace: str = TRACE) -> list[Span]:
        return [span for span in self.collector.spans() if span.trace_id == trace]

    def ours(self) -> list[Span]:
        return [span for span in self.spans() if span.resource["service.name"] == "bff-service"]

    def span(self, name: str, kind: str) -> Span:
        return next(span for span in self.ours() if (span.name, span.kind) == (name, kind))

    def counted(self, metric: str, labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """From Prometheus' page."""
        name, _, wanted = metric.partition("{flow_type=")
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(self.metrics):
            for sample in family.samples:
                if sample.name == name and (not wanted or sample.labels["flow_type"] == wanted.strip('"}')):
                    if "endpoint" in labels and not sample.labels["endpoint"].startswith("/auth/"):
                        continue
                    values = tuple(sample.labels[label] for label in labels)
                    found[values] = found.get(values, 0) + sample.value
        return {values: value for values, value in found.items() if value}


@pytest.fixture(scope="module")
def story(folder: Path) -> Iterator[Story]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with (
        otlp.running(folder / "collector.log") as collector,
        redis.RedisServer(redis.debian(), folder) as store,
        openid.running([client], autologin=True, log=folder / "provider.log") as provider,
        proxies.echo() as application,
    ):
        environ = {
            "BFF_BASE_URL": f"http://127.0.0.1:{port}",
            "BFF_CONFIG_DIR": str(configuration(folder, application)),
            "REDIS_URL": store.url,
            "OIDC_ISSUER": provider.issuer,
            "SESSION_BINDING": "observe",
            "SESSION_CACHE_TTL": "0",
            "OTLP_ENDPOINT": collector.grpc_url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            **client.environ,
        }
        with ExitStack() as stack:
            service = stack.enter_context(bff.running(folder, environ, workers=WORKERS))
            with proxies.traefik(port, service.address, application, log=folder / "proxy.log", more=traced(collector)):
                echoed = tell(service)
            exemplars = exemplars_of(service)  # which a worker that is killed takes along
            kill_a_worker(service, collector)
            metrics, threads = service.metrics(), len(os.listdir(f"/proc/{service.process.pid}/task"))
            with lateness.measured() as stopping:
                stack.close()
        yield Story(collector, metrics, exemplars, threads, service.records(), echoed, stopping.seconds)


def configuration(folder: Path, application: str) -> Path:
    (folder / "routes.yaml").write_text(ROUTES % application)
    (folder / "policies").mkdir()
    (folder / "policies" / "orders.cedar").write_text(POLICY)
    return folder


def traced(collector: Collector) -> dict[str, str]:
    """What lets Traefik trace every request."""
    return {
        "TRAEFIK_TRACING_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{collector.grpc}",
        "TRAEFIK_TRACING_OTLP_GRPC_INSECURE": "true",
        "TRAEFIK_TRACING_SERVICENAME": "traefik",
    }


def tell(service: Bff) -> list[tuple[str, str]]:
    """A login, a verified page and a call of the API, all in one trace; the header fields that the service got."""
    with Visitor(service.base_url) as alice:
        alice.headers["traceparent"] = TRACEPARENT
        assert alice.login(login_hint="alice").status_code == 302
        assert alice.open(f"{alice.base_url}/page").status_code == 200
        answer = alice.call("GET", f"/api/orders/{PERSON}?of={PERSON}", headers={"baggage": "who=alice"})
        assert answer.status_code == 200
        del alice.headers["traceparent"]
        proof = {"X-CSRF-Token": alice.csrf_token()}
        assert alice.call("POST", "/auth/tokens/refresh", json={}, headers=proof).status_code == 200
        with ThreadPoolExecutor(8) as pool:
            agents = [alice.headers["User-Agent"]] * VERIFIED + ["another browser"] * 5
            statuses = list(pool.map(lambda agent: verify(service, alice.cookie(), str(agent)), agents))
        assert statuses == [200] * len(agents)
        return [(name.lower(), value) for name, value in answer.json()["headers"]]


def verify(service: Bff, cookie: str, agent: str) -> int:
    with Visitor(f"http://{service.address}") as proxy:
        proxy.cookies.set("bff_session", cookie)
        return proxy.call("GET", "/auth/verify", headers={"User-Agent": agent}).status_code


def kill_a_worker(service: Bff, collector: Collector) -> None:
    """When all that it counted was told; another one takes its place, and counts on its own."""
    before = service.value("bff_verify_duration_seconds_count")
    deadline = time.monotonic() + 10
    while sum(collector.totals("bff_forwardauth_duration_ms").values()) < before:
        assert time.monotonic() < deadline
        time.sleep(process.POLL)
    victim = service.workers()[0]
    os.kill(victim, signal.SIGKILL)
    while len(set(service.workers()) - {victim}) < WORKERS or live(service) < WORKERS:
        assert time.monotonic() < deadline
        time.sleep(process.POLL)
    assert verify(service, "", "nobody") == 401


def exemplars_of(service: Bff) -> list[dict[str, str]]:
    """Those of verify's durations (OpenMetrics)."""
    headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
    page = requests.get(f"http://{service.address}/metrics", headers=headers, timeout=10).text
    return [
        dict(sample.exemplar.labels)
        for family in openmetrics_families(page)
        for sample in family.samples
        if sample.name == "bff_verify_duration_seconds_bucket" and sample.exemplar
    ]


def live(service: Bff) -> float:
    """How many workers there are; none when the one that should have answered was just killed."""
    with suppress(requests.RequestException):
        return service.value("bff_workers")
    return 0


def test_the_trace_is_whole(story: Story) -> None:
    """Every span but those that the caller began has its parent there."""
    spans = story.spans()
    known = {span.span_id for span in spans} | {CALLER}
    assert [(span.name, span.kind) for span in spans if span.parent not in known] == []
    assert {span.resource["service.name"] for span in spans} == {"traefik", "bff-service"}
    by_id = {span.span_id: span for span in spans}
    entries = [span for span in story.ours() if span.kind == "SERVER"]
    assert {by_id[span.parent].resource["service.name"] for span in entries} == {"traefik"}
    assert {span.name for span in entries} == {
        "GET /auth/login", "GET /auth/callback", "GET /auth/forward", "GET /api/orders/{id}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "chain"),
    [
        ("GET /auth/login", [("login", "INTERNAL"), ("POST", "CLIENT")]),  # PAR
        ("GET /auth/login", [("login", "INTERNAL"), ("SET", "CLIENT")]),  # the attempt, in Redis
        ("GET /auth/callback", [("callback", "INTERNAL"), ("POST", "CLIENT")]),  # the code
        ("GET /auth/forward", [("GET ZSCORE GET", "CLIENT")]),  # the session, in Redis
        ("GET /api/orders/{id}", [("decision", "INTERNAL")]),
        ("GET /api/orders/{id}", [("GET orders", "CLIENT")]),
    ],
)
def test_what_a_request_does_is_part_of_it(story: Story, entry: str, chain: list[tuple[str, str]]) -> None:
    parents = [story.span(entry, "SERVER")]
    for name, kind in chain:
        parents = [
            span
            for span in story.ours()
            if (span.name, span.kind) == (name, kind) and any(span.within(parent) for parent in parents)
        ]
        assert parents, f"{name} below {entry}"


@pytest.mark.parametrize(
    "tree", [block.text for block in document_runner.blocks(PAGE.read_text()) if block.word == "spans"]
)
def test_the_documented_trace_is_the_real_one(story: Story, tree: str) -> None:
    """docs/traced-request.md; indentation says what is below what."""
    above: list[list[Span]] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        service, kind, name = line.split(maxsplit=2)
        below = above[depth - 1] if depth else None
        found = [
            span
            for span in story.spans()
            if (span.resource["service.name"], span.kind, span.name) == (service, kind, name)
            and (below is None or any(span.within(parent) for parent in below))
        ]
        assert found, line
        above[depth:] = [found]


def test_spans_say_what_happened(story: Story) -> None:
    found = story.span("GET /auth/forward", "SERVER").attributes
    assert (found["bff.outcome"], found["http.response.status_code"]) == ("allowed", 200)
    assert story.span("decision", "INTERNAL").attributes["bff.decision"] == "allow"
    call = story.span("GET orders", "CLIENT")
    assert call.attributes == {
        "http.request.method": "GET", "server.address": "127.0.0.1", "bff.service": "orders",
        "http.response.status_code": 200,
    }  # fmt: skip
    (refresh,) = [span for span in story.collector.spans() if span.name == "refresh"]
    assert (refresh.kind, refresh.attributes["bff.idp"], refresh.error) == ("INTERNAL", "default", False)
    calls = {span.attributes["url.full"].rpartition("/")[2] for span in story.ours() if "url.full" in span.attributes}
    assert calls >= {"request", "token"}
    queries = {span.attributes["db.query.text"] for span in story.ours() if "db.query.text" in span.attributes}
    assert queries
    assert all(set(query) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ ?\n") for query in queries)


def test_the_service_learns_which_trace_it_works_for(story: Story) -> None:
    call = story.span("GET orders", "CLIENT")
    told = [field for field in story.echoed if field[0] in ("traceparent", "tracestate", "baggage")]
    assert told == [("traceparent", f"00-{TRACE}-{call.span_id}-01")]


def test_every_worker_is_an_instance_of_one_service(story: Story) -> None:
    resources = [span.resource for span in story.ours()]
    assert {(each["service.version"], each["deployment.environment"]) for each in resources} == {
        (resources[0]["service.version"], "development")
    }
    assert len({point.instance for point in story.collector.points()}) > 2


@pytest.mark.parametrize(("instrument", "metric", "labels"), SAME)
def test_totals_are_those_of_prometheus(story: Story, instrument: str, metric: str, labels: tuple[str, ...]) -> None:
    expected = story.counted(metric, labels)
    assert expected
    assert story.collector.totals(instrument, *labels) == expected


def test_sums_are_those_of_prometheus_in_milliseconds(story: Story) -> None:
    last = {
        (point.instance, *sorted(point.attributes.items())): point.sum
        for point in story.collector.points()
        if point.metric == "bff_forwardauth_duration_ms"
    }
    (expected,) = story.counted("bff_verify_duration_seconds_sum", ()).values()
    assert sum(last.values()) / 1000 == pytest.approx(expected)


def test_nothing_was_lost_and_the_stop_waited_for_nobody(story: Story) -> None:
    assert "bff_telemetry_dropped_total{" not in story.metrics
    assert story.stopped_after < 8
    assert [line for line in story.log if line["event"] in ("telemetry_trouble", "telemetry_not_started")] == []


def test_the_log_leads_to_the_trace(story: Story) -> None:
    entries = {span.span_id for span in story.ours() if span.kind == "SERVER"}
    lines = [line for line in story.log if line["event"] == "request" and line.get("trace_id") == TRACE]
    assert {line["span_id"] for line in lines} == entries


def test_a_bucket_leads_to_its_span(story: Story) -> None:
    forward = story.span("GET /auth/forward", "SERVER")
    assert {"trace_id": TRACE, "span_id": forward.span_id} in story.exemplars


def test_the_master_has_no_part_in_it(story: Story) -> None:
    assert story.masters_threads == 1


def test_nobody_is_named(story: Story) -> None:
    """But by the proxy, which calls its spans by what the client sent."""
    spans = [span for span in story.collector.spans() if span.resource["service.name"] == "bff-service"]
    assert not [span for span in spans if PERSON in str(span) or "alice" in str(span)]
    assert sum(span.events for span in spans) == 0
