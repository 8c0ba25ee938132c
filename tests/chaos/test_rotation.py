"""BFF_SECRETS is rotated over three pods under load, in the documented steps: no request fails, and no event and no
session is lost. Logins that begin at one pod end at another all the time.

`make chaos` does so by restarts as well, goes on to the last step, and has fleets of one class (CHAOS_ROTATIONS).
"""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.chaos import fleet
from tests.chaos.fleet import SECRET, Fleet, Pod
from tests.chaos.load import Load

pytestmark = pytest.mark.e2e

LONG = "CHAOS_ROTATIONS" in os.environ
MIXED = ["gthread", "gevent", "gthread"]
WAYS: list[Callable[[Fleet], object]] = [Fleet.reload, Fleet.restart] if LONG else [Fleet.reload]
CLASSES = (["gthread"] * 3, ["gevent"] * 3) if LONG else (MIXED,)
NEW = base64.b64encode(secrets.token_bytes(32)).decode()
OLD_NEW, NEW_OLD = f"{SECRET},{NEW}", f"{NEW},{SECRET}"
HASTE = {"DRAIN_DELAY": "3"} if LONG else {"DRAIN_DELAY": "0.5"}
EVERY = "1s" if LONG else "150ms"


def roll(place: Fleet, by: Callable[[Fleet], object], *steps: str) -> Load:
    """The load that went on during these steps."""
    load = Load(place)
    with load.running():
        for step in steps:
            place.keep_secrets_in(step)
            by(place)
        if LONG and steps[-1] == NEW_OLD:
            fleet.wait(lambda: all(map(seals_with_the_first, place.pods)), "the new secret seals everywhere")
    return load


def seals_with_the_first(pod: Pod) -> bool:
    """As far as the worker knows that answers."""
    keys = requests.get(f"http://{pod.bff.address}/health", timeout=fleet.PATIENCE).json()["secrets"]["keys"]
    return bool(keys[0]["seals"] and not keys[1]["seals"])


def judge(load: Load, what: str) -> None:
    print(what, dict(load.done), f"{len(load.failed)} failed")
    assert load.failed == []
    assert load.lost_sessions() == []
    assert load.lost_events() == []


@pytest.mark.parametrize("by", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("classes", CLASSES, ids="-".join)
def test_nothing_fails_and_nothing_is_lost(tmp_path: Path, classes: list[str], by: Callable[[Fleet], object]) -> None:
    """The last step ends the sessions of former secrets, which are over by then; so it has people of its own."""
    what = f"{by.__name__} {'-'.join(classes)}"
    with fleet.running(tmp_path, classes, workers=2 if LONG else 1, every=EVERY, settings=HASTE) as place:
        judge(roll(place, by, OLD_NEW, NEW_OLD), what)
        if LONG:
            judge(roll(place, by, NEW), f"{what}, last step")
