"""Prometheus' own linter reads the page that a BFF under use serves."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import bff, install
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, workers=2) as running, Visitor(running.base_url) as alice:
        alice.auth_verify()
        alice.login()
        alice.auth_verify()
        alice.call("POST", "/auth/logout")  # refused: no CSRF token
        alice.logout()
        alice.call("GET", "/no/such/page")
        yield running


def test_promtool_accepts_the_page(service: Bff) -> None:
    promtool = install.debian("promtool", "prometheus")
    result = subprocess.run(
        [promtool, "check", "metrics"], input=service.metrics(), capture_output=True, text=True, check=False, timeout=30
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_page_tells_what_happened(service: Bff) -> None:
    seen = {
        "logins": service.value("bff_logins_total", result="success"),
        "created": service.value("bff_sessions_created_total"),
        "logged out": service.value("bff_sessions_destroyed_total", reason="logout"),
        "active": service.value("bff_active_sessions_total"),
        "csrf": service.value("bff_csrf_violations_total"),
        "allowed": service.value("bff_verify_duration_seconds_count", status="allowed"),
        "unauthenticated": service.value("bff_verify_duration_seconds_count", status="unauthenticated"),
        "unmatched": service.value("http_requests_total", endpoint="unmatched", status="404"),
    }
    assert seen == {
        "logins": 1,
        "created": 1,
        "logged out": 1,
        "active": 0,
        "csrf": 1,
        "allowed": 1,
        "unauthenticated": 1,
        "unmatched": 1,
    }
