"""Of many threads that need the same thing at the same moment, one does the work and the others take its result."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Flights:
    def __init__(self) -> None:
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._changing = threading.Lock()

    def board(self, name: Hashable) -> tuple["Future[Any]", bool]:
        """(what will hold the result, whether the caller is the one who must now `lead`)."""
        with self._changing:
            first = self._under_way.get(name)
            if first is not None:
                return first, False
            own = self._under_way[name] = Future()
            return own, True

    def under_way(self, name: Hashable) -> "Future[Any] | None":
        """What will hold the result, for a caller that would not lead."""
        return self._under_way.get(name)

    def lead(self, name: Hashable, own: "Future[Any]", work: Callable[[], T]) -> T:
        """Do the work for all who board meanwhile. What it raises is raised for those who waited as well."""
        try:
            result = work()
        except BaseException as err:
            self._land(name)
            own.set_exception(err)
            raise
        self._land(name)
        own.set_result(result)
        return result

    def _land(self, name: Hashable) -> None:
        with self._changing:
            del self._under_way[name]
