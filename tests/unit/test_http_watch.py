"""Who has gone away is noticed by a look, but not in the first moment of a call."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from bff.http.watch import LOOK_EVERY, Watcher
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(clock: Clock) -> Iterator[Watcher]:
    """Its own thread looks, too, by the same clock."""
    with closing(Watcher(clock)) as watcher:
        yield watcher


def test_a_call_that_is_new_is_not_looked_after(watcher: Watcher, clock: Clock) -> None:
    """Most are over sooner than a look would cost."""
    gone: list[str] = []
    ours, theirs = socket.socketpair()
    with ours:
        watch = watcher.watch(ours, lambda: gone.append("client"))
        theirs.close()
        clock.now += LOOK_EVERY * 0.99
        watcher.look()
        assert (gone, watch.gone) == ([], False)
        clock.now += LOOK_EVERY * 0.02
        watcher.look()
        assert (gone, watch.gone) == (["client"], True)


def test_a_client_that_stays_and_one_that_is_watched_no_more_are_left_alone(watcher: Watcher, clock: Clock) -> None:
    gone: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch = watcher.watch(ours, lambda: gone.append("client"))
        clock.now += 2 * LOOK_EVERY
        watcher.look()
        assert gone == []
        watcher.end(watch)
        theirs.close()
        watcher.look()
        assert (gone, watch.gone) == ([], False)
