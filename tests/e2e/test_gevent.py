"""The gevent worker class serves a whole login, here at a provider that keeps names and roles for its userinfo, and
exports what it did by OTLP over HTTP."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.contract.backends import eventually
from tests.peers import bff, openid, otlp, process, redis
from tests.peers.bff import TIMEOUT, Bff, Visitor
from tests.peers.kafka import Kafka
from tests.peers.otlp import Collector, Span

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def collector(folder: Path) -> Iterator[Collector]:
    with otlp.running(folder / "collector.log") as running:
        yield running


@pytest.fixture(scope="module")
def service(folder: Path, collector: Collector) -> Iterator[Bff]:
    port = process.free_port()
    client = openid.client("bff", f"http://127.0.0.1:{port}", method="client_secret_post")
    with (
        redis.RedisServer(redis.newest(), folder) as store,
        Kafka(folder) as broker,
        openid.running([client], autologin=True, userinfo_only=True, log=folder / "provider.log") as provider,
        bff.running(
            folder,
            {
                "WEB_WORKER_CLASS": "gevent",
                "REDIS_URL": store.url,
                "OIDC_ISSUER": provider.issuer,
                "OTLP_ENDPOINT": collector.http_url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_METRIC_EXPORT_INTERVAL": "200",
                "KAFKA_BOOTSTRAP_SERVERS": broker.address,
                **client.environ,
            },
            port=port,
            workers=2,
        ) as running,
    ):
        yield running


def test_login_verify_and_logout(service: Bff) -> None:
    with Visitor(service.base_url) as bob:
        assert bob.login(login_hint="bob").status_code == 302
        assert bob.session()["user"] == {
            "sub": "bob",
            "name": "Bob Brown",
            "email": "bob@example.com",
            "roles": ["user"],
        }
        assert [bob.auth_verify().headers["X-User-ID"] for _ in range(6)] == ["bob"] * 6
        assert bob.logout().status_code == 200
        assert bob.auth_verify().status_code == 401
    assert service.value("bff_idp_requests_total", endpoint="userinfo", status="200") == 1


def test_its_traces_and_metrics_arrive(service: Bff, collector: Collector) -> None:
    def calls(spans: list[Span]) -> list[Span]:
        entries = [span for span in spans if span.name == "GET /auth/callback"]
        inner = [span for span in spans if span.name == "callback" and any(map(span.within, entries))]
        return [span for span in spans if span.kind == "CLIENT" and any(map(span.within, inner))]

    assert len(collector.wait(calls)) > 1
    deadline = time.monotonic() + 10
    while collector.totals("bff_forwardauth_duration_ms", "status") != {("allowed",): 6, ("unauthenticated",): 1}:
        assert time.monotonic() < deadline, collector.totals("bff_forwardauth_duration_ms", "status")
        time.sleep(process.POLL)


def test_events_arrive_at_the_broker(service: Bff) -> None:
    def delivered() -> float:
        return service.value("bff_kafka_messages_total", topic="bff.auth", status="delivered")

    assert eventually(lambda: delivered() == 2, 10), "a login and a logout"


def test_every_background_job_succeeds(service: Bff) -> None:
    deadline = time.monotonic() + 20
    while True:
        tasks = requests.get(f"{service.base_url}/health", timeout=TIMEOUT).json()["tasks"]
        quick = {name: task for name, task in tasks.items() if task["period"] <= 5}
        unfinished = {name: task for name, task in quick.items() if task["last_status"] != "success"}
        if not unfinished:
            break
        assert time.monotonic() < deadline, unfinished
        time.sleep(process.POLL)


def test_the_log_says_which_worker_class_runs(service: Bff) -> None:
    assert "gevent" in service.log.read_text()
