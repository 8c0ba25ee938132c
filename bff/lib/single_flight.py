"""Of many threads that need the same thing at the same moment, one does the work and the others take its result."""

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
        """(what will hold the result, whether the caller is the one who must now `run`)."""
        with self._changing:
            first = self._calls.get(name)
            if first is not None:
                return first, False
            own = self._calls[name] = Future()
            return own, True

    def running(self, name: Hashable) -> "Future[Any] | None":
        """What will hold the result, for a caller that would not lead."""
        return self._calls.get(name)

    def run(self, name: Hashable, own: "Future[Any]", work: Callable[[], T]) -> T:
        """Do the work for all who board meanwhile. What it raises is raised for those who waited as well."""
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
