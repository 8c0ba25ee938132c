"""SIGTERM in a master: announced first, and obeyed once."""

import mmap
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from bff.server import draining

LONG = 600.0


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What gunicorn's master got to obey, in a process that nobody has told to stop."""
    monkeypatch.setattr(draining, "_page", mmap.mmap(-1, 1))
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    yield []
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in former.items():
        signal.signal(number, handler)


def install(said: list[int], delay: float, *, shared: bool = False) -> None:
    master: Any = SimpleNamespace(signal=lambda number, _frame: said.append(number))
    draining.install(master, delay, lambda: shared)


def test_it_is_announced_and_obeyed_later(said: list[int]) -> None:
    install(said, LONG)
    assert not draining.begun()
    signal.raise_signal(signal.SIGTERM)
    assert (draining.begun(), said) == (True, [])
    assert signal.getitimer(signal.ITIMER_REAL)[0] > LONG / 2
    signal.raise_signal(signal.SIGALRM)
    assert said == [signal.SIGTERM]


def test_a_second_one_ends_the_delay(said: list[int]) -> None:
    install(said, LONG)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert said == [signal.SIGTERM]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "it is not obeyed twice"


def test_without_a_delay_it_is_obeyed_at_once(said: list[int]) -> None:
    install(said, 0)
    signal.raise_signal(signal.SIGTERM)
    assert (draining.begun(), said) == (True, [signal.SIGTERM])


def test_nothing_is_announced_while_another_master_serves(said: list[int]) -> None:
    install(said, LONG, shared=True)
    signal.raise_signal(signal.SIGTERM)
    assert (draining.begun(), said) == (False, [signal.SIGTERM])
