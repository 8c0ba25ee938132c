"""The background jobs as the app has them: what they are called, what they spare requests, where they stop."""

import re
from pathlib import Path

import pytest
from joserfc.jwk import Key

from bff.oidc.provider import KEYS_LIFE, RENEWED_AHEAD
from bff.tasks import Job, Tasks
from tests.architecture import markdown
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import ISSUER, Site, SiteFactory, log_out
from tests.flows.provider import OpenIdProvider, html
from tests.flows.token_use import TokenSites

IDPS = f"""
providers:
  corporate: {{issuer: {ISSUER}, client_id: bff, client_secret: "a secret"}}
  partner: {{issuer: "https://partner.example", client_id: bff, client_secret: "a secret", user_id: arn}}
"""
FAMILIES = ("health_", "provider_")
"""Begin the names of which there are as many as the configuration wants."""


def tasks(bff: Site) -> Tasks:
    found: Tasks = bff.app.extensions["bff_tasks"]
    return found


def job(bff: Site, name: str) -> Job:
    return next(each for each in tasks(bff)._jobs if each.name == name)


def turn(bff: Site, name: str) -> None:
    tasks(bff).turn(job(bff, name))


@pytest.mark.parametrize("metric", ["bff_background_tasks_total", "bff_background_task_duration_seconds"])
def test_the_documented_task_types_are_the_jobs(bff: Site, metric: str) -> None:
    labels = markdown.rows("metrics.md")[metric][2]
    documented = set(re.findall(r"`(\w+)`", labels.partition("`task_type`:")[2].partition("<br>")[0]))
    names = tasks(bff).report().keys()
    assert {name for name in names if not name.startswith(FAMILIES)} == documented - {*FAMILIES}
    assert {start for start in FAMILIES if any(name.startswith(start) for name in names)} == documented & {*FAMILIES}


def test_each_provider_has_its_jobs(new_site: SiteFactory, tmp_path: Path, clock: Clock, rsa: Key) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "idps.yaml").write_text(IDPS)
    providers = {
        "corporate": OpenIdProvider(ISSUER, rsa, clock),
        "partner": OpenIdProvider("https://partner.example", rsa, clock),
    }
    bff = new_site(providers=providers)
    providers["partner"].break_endpoint("discovery", html(500))
    for name in ("provider_partner", "provider_corporate"):
        turn(bff, name)
    report = tasks(bff).report()
    assert report["provider_partner"]["last_status"] == "failed"
    assert report["provider_corporate"]["last_status"] == "success"
    assert {"health_idp_corporate", "health_idp_partner"} <= report.keys()


def test_every_job_does_its_turn(bff: Site) -> None:
    bff.logged_in()
    for _ in range(2):  # task_records comes last, and what it read is reported
        for each in tasks(bff)._jobs:
            tasks(bff).turn(each)
    assert {each["last_status"] for each in tasks(bff).report().values()} == {"success"}


def test_a_login_waits_for_no_metadata_and_no_keys(bff: Site, clock: Clock) -> None:
    turn(bff, "provider_default")
    asked = [bff.idp.count("discovery"), bff.idp.count("jwks")]
    assert asked == [1, 1]
    for seconds in (0.0, KEYS_LIFE - RENEWED_AHEAD - 1, 1.0, KEYS_LIFE - RENEWED_AHEAD):
        clock.now += seconds
        turn(bff, "provider_default")
        asked = [bff.idp.count("discovery"), bff.idp.count("jwks")]
        bff.logged_in()
        assert [bff.idp.count("discovery"), bff.idp.count("jwks")] == asked
    assert asked == [3, 3]


def test_keys_are_renewed_though_discovery_is_broken(bff: Site, clock: Clock) -> None:
    turn(bff, "provider_default")
    bff.idp.break_endpoint("discovery", html(500))
    clock.now += KEYS_LIFE - RENEWED_AHEAD
    turn(bff, "provider_default")
    assert bff.idp.count("jwks") == 2
    assert tasks(bff).report()["provider_default"]["last_status"] == "failed"


def test_keys_that_cannot_be_renewed_stay(bff: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    turn(bff, "provider_default")
    bff.idp.break_endpoint("jwks", html(500))
    for _ in range(10):
        clock.now += KEYS_LIFE / 2
        turn(bff, "provider_default")
    bff.logged_in()
    lines = [record for record in caplog.records if record.name.startswith("bff.tasks")]
    assert [(record.message, record.exc_info) for record in lines] == [("task_without_provider", None)]


class Patience:
    """May go on for so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self) -> bool:
        self.steps -= 1
        return self.steps >= 0


def test_revocation_stops_between_two_sessions(bff: Site, clock: Clock) -> None:
    bff.idp.break_endpoint("revoke", html(503))
    for _ in range(5):
        log_out(bff.logged_in())
    bff.idp.repair()
    clock.now += 10
    asked = bff.idp.count("revoke")
    job(bff, "token_revocation").run(Patience(2))
    assert bff.idp.count("revoke") == asked + 2
    job(bff, "token_revocation").run(Patience(100))
    assert bff.idp.count("revoke") == asked + 5


def test_the_refresh_sweep_stops_between_two_sessions(token_site: TokenSites, clock: Clock) -> None:
    bff = token_site()
    browsers = [bff.logged_in() for _ in range(5)]
    clock.now += 400
    assert {browser.verify().status_code for browser in browsers} == {200}
    bff.services.authenticator.flush()
    clock.now += 150
    asked = bff.idp.count("token")
    sweep = job(bff, "token_refresh")
    sweep.run(Patience(2))
    assert bff.idp.count("token") == asked + 2
    sweep.run(Patience(100))
    assert bff.idp.count("token") == asked + 5


def test_health_shows_the_jobs_and_a_late_one_is_no_outage(bff: Site, browser: Browser, clock: Clock) -> None:
    for name in bff.services.health.names:
        bff.services.health.refresh(name)
    turn(bff, "session_touch")
    turn(bff, "session_sweep")
    turn(bff, "task_records")
    clock.now += 12.34
    shown = browser.fetch("/health").get_json()["tasks"]
    assert shown["session_sweep"] == {
        "last_success": 12.3, "last_status": "success", "period": 30.0, "fleet": True, "late": False,
    }  # fmt: skip
    assert shown["session_touch"] == {
        "last_success": 12.3, "last_status": "success", "period": 1.0, "fleet": False, "late": False,
    }  # fmt: skip
    assert shown["token_refresh"] == {
        "last_success": None, "last_status": "unknown", "period": 5.0, "fleet": True, "late": False,
    }  # fmt: skip
    clock.now += 3600
    answer = browser.fetch("/health")
    assert answer.status_code == 200
    assert all(each["late"] for each in answer.get_json()["tasks"].values())
