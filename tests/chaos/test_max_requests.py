"""Workers are replaced after so many requests, while requests run and streams are open: none of these fails.

`make chaos` sends 10,000 of them (CHAOS_REQUESTS).
"""

import os
from pathlib import Path

import pytest

from tests.chaos import fleet
from tests.chaos.load import Load

pytestmark = pytest.mark.e2e

REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "500"))
EACH = 60
"""Requests that a worker answers."""


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_no_request_fails(tmp_path: Path, worker_class: str) -> None:
    with fleet.single(tmp_path, worker_class, workers=2, settings={"WEB_MAX_REQUESTS": str(EACH)}) as place:
        load = Load(place)
        first = set(place.pods[0].bff.workers())
        with load.running():
            fleet.wait(lambda: load.done.total() >= REQUESTS, "so many requests")
        left = place.pods[0].bff.log.read_text().count("Autorestarting worker")
        print(worker_class, dict(load.done), f"{left} workers left, {len(load.failed)} failed")
        assert load.failed == []
        assert load.lost_sessions() == []
        assert left >= 2
        assert first - set(place.pods[0].bff.workers()), "whichever of them the kernel gave the most connections"
