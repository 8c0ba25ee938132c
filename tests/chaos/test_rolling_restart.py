"""Three pods are told to stop and start anew, one after the other, under load: no request fails, and no event and no
session is lost.

`make chaos` restarts fleets of one class twice, with the balancer and the delay of production (CHAOS_RESTARTS).
"""

import os
from pathlib import Path

import pytest

from tests.chaos import fleet
from tests.chaos.load import Load

pytestmark = pytest.mark.e2e

ROUNDS = int(os.environ.get("CHAOS_RESTARTS", "1"))
LONG = ROUNDS > 1
CLASSES = (["gthread"] * 3, ["gevent"] * 3) if LONG else (["gthread", "gevent", "gthread"],)
"""Of the pods: a fleet of each class, or to be quick, one of both."""
HASTE = {"DRAIN_DELAY": "3"} if LONG else {"DRAIN_DELAY": "0.5"}
EVERY = "1s" if LONG else "150ms"


@pytest.mark.parametrize("classes", CLASSES, ids="-".join)
def test_nothing_fails_and_nothing_is_lost(tmp_path: Path, classes: list[str]) -> None:
    with fleet.running(tmp_path, classes, workers=2 if LONG else 1, every=EVERY, settings=HASTE) as place:
        load = Load(place)
        with load.running():
            codes = [code for _ in range(ROUNDS) for code in place.restart()]
        print(classes, dict(load.done), f"{len(load.failed)} failed")
        assert load.failed == []
        assert codes == [0] * ROUNDS * len(classes)
        assert load.lost_sessions() == []
        assert load.lost_events() == []
