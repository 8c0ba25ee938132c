"""Servers that several modules use in turn: the first that asks starts them, and they end with the test process' run.

For those only that any test leaves as it found them: what they count and log goes on from module to module.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar, cast

from tests.peers import process

T = TypeVar("T")

_running: dict[Hashable, object] = {}
_stack = ExitStack()


def once(name: Hashable, start: Callable[[], AbstractContextManager[T]]) -> T:
    """What `start` gave to whoever asked for this name first."""
    if name not in _running:
        with process.shared():
            _running[name] = _stack.enter_context(start())
    return cast(T, _running[name])


def end() -> None:
    _running.clear()
    _stack.close()
