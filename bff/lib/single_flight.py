"""Single flight within a process: of many threads with one key, one does the work and the others take its result."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    def __init__(self) -> None:
        self._calls: dict[Hashable, Future[Any]] = {}
        self._changing = threading.Lock()

    def join(self, name: Hashable) -> tuple["Future[Any]", bool]:
        """(the future result, whether the caller must now `run`)."""
        with self._changing:
            first = self._calls.get(name)
            if first is not None:
                return first, False
            own = self._calls[name] = Future()
            return own, True

    def running(self, name: Hashable) -> "Future[Any] | None":
        """The future result of a flight under way, for a caller that would not lead; None without one."""
        return self._calls.get(name)

    def run(self, name: Hashable, own: "Future[Any]", work: Callable[[], T]) -> T:
        """Does the work for all threads that board meanwhile. Its exception is raised in the waiting threads as
        well."""
        try:
            result = work()
        except BaseException as err:
            self._forget(name)
            own.set_exception(err)
            raise
        self._forget(name)
        own.set_result(result)
        return result

    def _forget(self, name: Hashable) -> None:
        with self._changing:
            del self._calls[name]
