"""Three pods are told to stop and start anew, one after the other, under load: no request fails, and no event and no
session is lost."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import fleet
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load

pytestmark = pytest.mark.e2e

ROUNDS = int(os.environ.get("CHAOS_RESTARTS", "1"))
LONG = ROUNDS > 1
CLASSES = (["gthread"] * 3, ["gevent"] * 3) if LONG else (["gthread", "gevent", "gthread"],)
"""Of the pods: a fleet of each class, or to be quick, one of both."""
HASTE = {"DRAIN_DELAY": "3"} if LONG else {"DRAIN_DELAY": "0.5"}
EVERY = "1s" if LONG else "150ms"


def delivered(place: Fleet) -> Counter[tuple[str, str]]:
    """(type, session) of the events that arrived, each as often as it has ids."""
    fleet.wait(lambda: place.store.command("XLEN", fleet.LOG) == 0, "the outbox is empty")
    messages = place.broker.messages(["bff.auth", "bff.sessions"])
    events = {str(each.event["id"]): each.event for each in messages}
    return Counter((str(each["type"]), str(each["data"].get("session", ""))) for each in events.values())


def check_complete(place: Fleet, load: Load) -> None:
    events = delivered(place)
    for types, sessions in (
        (("auth.login.succeeded", "session.created"), load.logins),
        (("auth.logout", "session.ended"), load.logouts),
    ):
        lost = [(name, each) for name in types for each in sessions if events[name, each] != 1]
        assert lost == []


@pytest.mark.parametrize("classes", CLASSES, ids="-".join)
def test_nothing_fails_and_nothing_is_lost(tmp_path: Path, classes: list[str]) -> None:
    with fleet.running(tmp_path, classes, workers=2 if LONG else 1, every=EVERY, settings=HASTE) as place:
        load = Load(place)
        with load.running():
            codes = [code for _ in range(ROUNDS) for code in place.restart()]
        print(classes, dict(load.done), f"{len(load.failed)} failed")
        assert load.failed == []
        assert codes == [0] * ROUNDS * len(classes)
        assert load.lost() == []
        check_complete(place, load)
