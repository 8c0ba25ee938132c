"""Who has gone away is noticed by a look, but not in the first moment of a call."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from bff.http.disconnect import LOOK_EVERY, DisconnectMonitor
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disconnects(clock: Clock) -> Iterator[DisconnectMonitor]:
    """Its own thread looks, too, by the same clock."""
    with closing(DisconnectMonitor(clock)) as disconnects:
        yield disconnects


def test_a_call_that_is_new_is_not_looked_after(disconnects: DisconnectMonitor, clock: Clock) -> None:
    """Most are over sooner than a look would cost."""
    gone: list[str] = []
    ours, theirs = socket.socketpair()
    with ours:
        watch = disconnects.watch(ours, lambda: gone.append("client"))
        theirs.close()
        clock.now += LOOK_EVERY * 0.99
        disconnects.look()
        assert (gone, watch.gone) == ([], False)
        clock.now += LOOK_EVERY * 0.02
        disconnects.look()
        assert (gone, watch.gone) == (["client"], True)


def test_a_client_that_stays_and_one_that_is_watched_no_more_are_left_alone(
    disconnects: DisconnectMonitor, clock: Clock
) -> None:
    gone: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch = disconnects.watch(ours, lambda: gone.append("client"))
        clock.now += 2 * LOOK_EVERY
        disconnects.look()
        assert gone == []
        disconnects.end(watch)
        theirs.close()
        disconnects.look()
        assert (gone, watch.gone) == ([], False)
