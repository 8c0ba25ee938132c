"""Health: what is told to people, load balancers and orchestrators, from the last look at each dependency."""

import pytest

from bff.server import draining
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import Site, SiteFactory
from tests.flows.provider import html
from tests.peers import process


def look(bff: Site) -> None:
    """What the background jobs do."""
    for name in bff.services.health.names:
        bff.services.health.refresh(name)


@pytest.mark.parametrize("path", ["/health", "/auth/health"])
def test_everything_is_up(bff: Site, browser: Browser, clock: Clock, path: str) -> None:
    look(bff)
    clock.now += 7.25
    answer = browser.fetch(path)
    assert answer.status_code == 200
    content = answer.get_json()
    assert content["status"] == "up"
    assert content["version"]
    assert set(content["checks"]) == {"store", "idp"}
    for check in content["checks"].values():
        assert check["status"] == "up"
        assert check["latency_ms"] >= 0
        assert check["age_seconds"] == 7.2


def test_nothing_was_looked_at_yet(bff: Site, browser: Browser) -> None:
    answer = browser.fetch("/health")
    assert answer.status_code == 503
    assert {check["status"] for check in answer.get_json()["checks"].values()} == {"unknown"}
    assert browser.fetch("/health/ready").status_code == 503
    assert browser.fetch("/health/live").status_code == 200


def test_probing_costs_the_dependencies_nothing(bff: Site, browser: Browser) -> None:
    look(bff)
    bff.store.forget()
    calls = len(bff.idp.calls)
    for path in ("/health", "/auth/health", "/health/ready", "/health/live"):
        for _ in range(5):
            browser.fetch(path)
    assert (bff.store.reads, bff.store.writes, len(bff.idp.calls)) == ([], [], calls)


def test_the_store_is_down(bff: Site, browser: Browser) -> None:
    bff.store.down = True
    look(bff)
    assert browser.fetch("/health").get_json()["checks"]["store"]["status"] == "down"
    assert browser.fetch("/health").status_code == 503
    assert browser.fetch("/health/ready").status_code == 503
    assert browser.fetch("/health/live").status_code == 200
    bff.store.down = False
    look(bff)
    assert browser.fetch("/health/ready").status_code == 200


def test_the_provider_is_down_but_the_pod_stays_in_service(bff: Site, browser: Browser) -> None:
    bff.idp.break_endpoint("discovery", html(500))
    look(bff)
    answer = browser.fetch("/health")
    assert (answer.status_code, answer.get_json()["checks"]["idp"]["status"]) == (503, "down")
    assert browser.fetch("/health/ready").status_code == 200


def test_the_operator_may_want_the_provider_for_readiness(new_site: SiteFactory) -> None:
    bff = new_site(READINESS_CHECKS="store,idp")
    bff.idp.break_endpoint("discovery", html(500))
    look(bff)
    assert bff.browser().fetch("/health/ready").status_code == 503


def test_without_kafka_events_wait_and_everything_else_goes_on(new_site: SiteFactory) -> None:
    bff = new_site(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{process.free_port()}", READINESS_CHECKS="store")
    look(bff)
    answer = bff.browser().fetch("/health")
    assert (answer.status_code, answer.get_json()["checks"]["kafka"]["status"]) == (200, "down")
    assert bff.browser().fetch("/health/ready").status_code == 200


def test_a_check_that_crashes_says_down(bff: Site, browser: Browser) -> None:
    look(bff)
    bff.store.crash = RuntimeError("inside")
    with pytest.raises(RuntimeError):
        bff.services.health.refresh("store")
    answer = browser.fetch("/health")
    assert answer.get_json()["checks"]["store"]["status"] == "down"
    assert "inside" not in answer.text


def scraped(bff: Site) -> str:
    """Asked from this machine itself."""
    answer = bff.browser("127.0.0.1").fetch("/metrics")
    assert answer.status_code == 200
    return answer.text


def test_the_metrics_page_counts_active_sessions(bff: Site, clock: Clock) -> None:
    bff.logged_in()
    assert "\nbff_active_sessions_total 1.0\n" in scraped(bff)
    bff.logged_in()
    clock.now += 1
    assert "\nbff_active_sessions_total 2.0\n" in scraped(bff)
    clock.now += 3600
    assert "\nbff_active_sessions_total 0.0\n" in scraped(bff)


def test_while_the_store_is_down_no_number_of_sessions_is_made_up(bff: Site) -> None:
    bff.store.down = True
    page = scraped(bff)
    assert "\nbff_active_sessions_total " not in page
    assert "# HELP bff_active_sessions_total" in page


def test_an_instance_that_leaves_says_so(bff: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    look(bff)
    monkeypatch.setattr(draining, "_page", b"\x01")
    for path in ("/health", "/auth/health", "/health/ready"):
        answer = browser.fetch(path)
        assert (answer.status_code, answer.get_json()["status"]) == (503, "draining")
    assert browser.fetch("/health/live").status_code == 200, "it is not to be killed"
    bff.store.down = True
    look(bff)
    assert browser.fetch("/health/ready").get_json()["status"] == "down"
