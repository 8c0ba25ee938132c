"""Traffic of every kind at four workers, so that every metric counts something."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests import prometheus_artifacts
from tests.e2e.deployment import BILLING, WORKERS, Deployment, running
from tests.peers import otlp, process, prometheus, proxies
from tests.peers.bff import TIMEOUT, Visitor
from tests.peers.kafka import Kafka
from tests.peers.otlp import Collector
from tests.peers.prometheus import Prometheus, Webhook

TTL = 20
IDLE = 4000
"""Seconds after which a session has ended."""
ENOUGH = 10 * WORKERS
"""Failures after which some worker has had five in a row."""
ROUTES = """
services:
  pages: {{base_url: "http://{application}", token: none}}
  gone: {{base_url: "http://127.0.0.1:{nobody}", token: none}}
  billing: {{token: exchange, audience: {billing}, scope: billing:read}}
  own: {{token: client_credentials, resource: {billing}, scope: billing:read}}
routes:
  - id: page
    path: /api/pages/{{name}}
    service: pages
    authz: pdp
    authz_map: {{resource: pages, action: read, id_from: $.path.name}}
  - {{id: closed, path: /api/closed, service: pages, authz: pdp, authz_map: {{resource: pages, action: erase}}}}
  - {{id: unmapped, path: /api/unmapped, service: pages, authz: pdp}}
  - {{id: unsure, path: /api/unsure, service: pages, authz: pdp, authz_map: {{resource: 9x, action: read}}}}
  - {{id: gone, path: /api/gone, service: gone}}
  - {{id: limited, path: /api/limited, service: pages, rate_limit: 1/minute}}
"""
POLICY = """
@id("read") permit(principal, action == Action::"read", resource is pages);
"""
VERIFY = """
profiles:
  strict: {authz: pdp, resource: pages}
"""
UNKNOWN = f"bff_session={'x' * 43}"
DROPPED = "bff_telemetry_dropped_total"
OUTBOX = "bff:l:events"
OUTBOX_LIMIT = 100
LOST = "bff_events_lost_total"
STORE = "bff_redis_operations_total"
VITALS = {"LCP": 1.9, "INP": 0.1, "CLS": 0.02, "FCP": 0.9, "TTFB": 0.2}


@dataclass(frozen=True)
class Watched:
    deployment: Deployment
    prometheus: Prometheus
    collector: Collector
    webhook: Webhook

    def scraped(self, times: int = 2) -> None:
        """Until Prometheus has read the page so often again."""
        before = self._scrapes()
        self.deployment.wait(lambda: self._scrapes() >= before + times)

    def _scrapes(self) -> float:
        found = self.prometheus.query("sum(count_over_time(up[10m]))")
        return float(found[0]["value"][1]) if found else 0.0

    def kill(self, workers: int) -> None:
        """So many workers, and wait until others have taken their places."""
        killed = set(self.deployment.bff.workers()[:workers])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        self.deployment.wait(lambda: killed.isdisjoint(self.deployment.bff.workers()))
        self.deployment.wait_for_workers()

    def drive(self) -> None:
        """One round of everything."""
        with self._visitor() as alice:
            assert alice.login(login_hint="alice").status_code == 302
            self._verify(alice)
            self._call_apis(alice)
            with self.deployment.without_sweep():  # which might be faster than alice
                self._use_tokens(alice)
            self._break_rules(alice)
            assert alice.logout().status_code == 200
        self._fail_to_log_in()
        self._report()
        self._come_back_late()
        self._miss_the_store()
        self._fill_the_store()
        self._miss_the_collector()
        self._spoil_the_outbox()
        self._stay()
        self.kill(1)

    def _visitor(self) -> Visitor:
        return Visitor(self.deployment.bff.base_url, self.deployment.bff.verify_url)

    def _verify(self, alice: Visitor) -> None:
        assert [alice.auth_verify().status_code for _ in range(20)] == [200] * 20
        strict = alice.auth_verify("@strict", **{"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/"})
        assert strict.status_code == 403
        with self._visitor() as stranger:
            assert stranger.auth_verify().status_code == 401

    def _call_apis(self, alice: Visitor) -> None:
        for path, expected in (
            ("/api/pages/1", 200),
            ("/api/pages/1", 200),
            ("/api/closed", 403),
            ("/api/unmapped", 403),
            ("/api/unsure", 403),
        ):
            assert alice.call("GET", path).status_code == expected, path
        for _ in range(ENOUGH):
            assert alice.call("GET", "/api/gone").status_code in (502, 503)
        assert 429 in [alice.call("GET", "/api/limited").status_code for _ in range(2 * WORKERS)]

    def _use_tokens(self, alice: Visitor) -> None:
        def token(service: str) -> int:
            return alice.call("GET", f"/test/token?service={service}").status_code

        assert [token(service) for service in ("user", "billing", "own")] == [200] * 3
        self.deployment.clock.advance(TTL)
        assert token("user") == 200
        self.deployment.provider.disturb("/token", "garbage")
        self.deployment.clock.advance(TTL)
        assert token("user") == 503
        self.deployment.provider.heal()
        self.deployment.clock.reset()

    def _break_rules(self, alice: Visitor) -> None:
        assert alice.call("POST", "/auth/logout", json={}).status_code == 403
        thief = requests.get(
            f"{self.deployment.bff.verify_url}/auth/verify",
            headers={"Cookie": f"bff_session={self.deployment.cookie('bob')}", "User-Agent": "another"},
            timeout=TIMEOUT,
        )
        assert thief.status_code == 401

    def _fail_to_log_in(self) -> None:
        with self._visitor() as bob:
            bob.open(f"{bob.base_url}/auth/callback?code=x&state=y")
            self.deployment.provider.fail("/token", status=500)
            assert bob.login(login_hint="bob").status_code == 503
            self.deployment.provider.heal()

    def _report(self) -> None:
        vitals = [{"event": "web_vital", "name": name, "value": value} for name, value in VITALS.items()]
        for report, expected in (
            ([{"event": "page_view"}, {"event": "spa_error"}, *vitals], 204),
            ({"event": "page_view", "attributes": {"password": "x"}}, 422),
        ):
            url = f"{self.deployment.bff.base_url}/api/v1/metrics"
            assert requests.post(url, json=report, timeout=TIMEOUT).status_code == expected

    def _come_back_late(self) -> None:
        with self._visitor() as bob:
            assert bob.login(login_hint="bob").status_code == 302
            self.deployment.clock.advance(IDLE)
            assert bob.auth_verify().status_code == 401
            self.deployment.forget_sessions()

    def _miss_the_store(self) -> None:
        self.deployment.store.pause()
        try:
            with self._visitor() as somebody:
                assert somebody.auth_verify(Cookie=UNKNOWN).status_code == 503
        finally:
            self.deployment.store.resume()

    def _fill_the_store(self) -> None:
        """Until a write was refused for want of memory; the background's own writes suffice."""
        before = self.deployment.bff.value(STORE, status="full")
        self.deployment.store.command("CONFIG", "SET", "maxmemory", "1")
        try:
            self.deployment.wait(lambda: self.deployment.bff.value(STORE, status="full") > before)
        finally:
            self.deployment.store.command("CONFIG", "SET", "maxmemory", "0")

    def _miss_the_collector(self) -> None:
        dropped = self.deployment.bff.value(DROPPED)
        self.collector.silence()
        self.deployment.wait(lambda: self.deployment.bff.value(DROPPED) > dropped)
        self.collector.silence(False)

    def _spoil_the_outbox(self) -> None:
        """Fill it with what no key of this fleet opens, so that the next event pushes some of that out."""
        lost = self.deployment.bff.value(LOST)
        fill = f"for _ = 1, {2 * OUTBOX_LIMIT} do redis.call('XADD', KEYS[1], '*', 'v', 'sealed elsewhere') end"
        self.deployment.store.command("EVAL", fill, 1, OUTBOX)
        with self._visitor() as alice:
            assert alice.login(login_hint="alice").status_code == 302
        self.deployment.wait(lambda: self.deployment.bff.value(LOST) > lost)
        self.deployment.store.command("XTRIM", OUTBOX, "MAXLEN", 0)

    def _stay(self) -> None:
        """Somebody is logged in whenever the next scrape comes."""
        with self._visitor() as carol:
            assert carol.login(login_hint="alice").status_code == 302


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        application = stack.enter_context(proxies.echo())
        collector = stack.enter_context(otlp.running(folder / "collector.log"))
        broker = stack.enter_context(Kafka(folder))
        more = {
            "BFF_CONFIG_DIR": str(_configuration(folder / "config", application)),
            "KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "OTLP_ENDPOINT": collector.grpc_url,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
            "OUTBOX_MAX_EVENTS": str(OUTBOX_LIMIT),
            "SESSION_BINDING": "enforce",
        }
        deployment = stack.enter_context(running(folder, TTL, more=more, verify=True))
        webhook = stack.enter_context(Webhook())
        manager = stack.enter_context(prometheus.alertmanager(folder, webhook.url))
        server = stack.enter_context(prometheus.running(folder, _watching(deployment.bff.address, manager)))
        yield Watched(deployment, server, collector, webhook)


def _configuration(folder: Path, application: str) -> Path:
    routes = ROUTES.format(application=application, nobody=process.free_port(), billing=BILLING)
    (folder / "policies").mkdir(parents=True)
    for name, content in {
        "routes.yaml": routes,
        "verify.yaml": VERIFY,
        "pdp.yaml": "mapping: deny\n",
        "policies/pages.cedar": POLICY,
    }.items():
        (folder / name).write_text(content)
    return folder


def _watching(bff: str, manager: str) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yml, in a hurry, with addresses of this machine."""
    configuration: dict[str, Any] = yaml.safe_load((prometheus_artifacts.PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(prometheus_artifacts.PROMETHEUS / name) for name in configuration["rule_files"]]
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [bff]}]
    (managers,) = configuration["alerting"]["alertmanagers"]
    managers["static_configs"] = [{"targets": [manager]}]
    return configuration
