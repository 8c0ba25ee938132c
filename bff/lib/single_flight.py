"""Single flight: of many threads that need the same result at the same moment, one works and the others wait for it."""

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
        """Returns (the future of the result, whether the caller leads and must now call `run`)."""
        with self._changing:
            first = self._calls.get(name)
            if first is not None:
                return first, False
            own = self._calls[name] = Future()
            return own, True

    def running(self, name: Hashable) -> "Future[Any] | None":
        """Returns the future of a run under way, for a caller that would not start one; None without a run."""
        return self._calls.get(name)

    def run(self, name: Hashable, own: "Future[Any]", work: Callable[[], T]) -> T:
        """Does the work for every thread that joins meanwhile. Its exception is raised in the waiting threads too."""
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
