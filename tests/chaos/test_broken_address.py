"""One address of a service is broken, and others of it are well: the broken one is 502, and opens no circuit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.peers import bff, service
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

ROUTES = """services:
  orders: {token: none, base_url: "%s"}
routes:
  - {id: orders, path: "/api/orders/*", service: orders, auth: none}
"""
MORE_THAN_OPENS = 20
PATIENCE = 30


@pytest.fixture(params=["gthread", "gevent"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bff]:
    with service.running(tmp_path) as orders:
        (tmp_path / "routes.yaml").write_text(ROUTES % orders.url)
        settings = {"WEB_WORKER_CLASS": request.param, "BFF_CONFIG_DIR": str(tmp_path)}
        with bff.running(tmp_path, settings) as started:
            yield started


def test_the_others_go_on(running: Bff) -> None:
    def status(path: str) -> int:
        return requests.get(f"{running.base_url}/api/orders/{path}", timeout=PATIENCE).status_code

    broken = [(status("wire?hex="), status("1")) for _ in range(MORE_THAN_OPENS)]
    assert broken == [(502, 200)] * MORE_THAN_OPENS
    assert running.value("circuit_breaks_total", service="upstream_orders") == 0
