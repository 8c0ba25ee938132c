"""Connections that a worker waits for, each for the same time: the first one is the first to be given up."""

from typing import Any


class Waiting(dict[Any, float]):
    """Since when, by connection; a dictionary, since it is looked at after every event and mostly empty."""

    def __init__(self, seconds: float, budget: int | None = None) -> None:
        """budget: bytes that may be held for all of them together; None where that is bounded otherwise."""
        super().__init__()
        self._seconds = seconds
        self._budget = budget
        self._held: dict[Any, int] = {}
        self._total = 0

    def hold(self, connection: Any, size: int, now: float) -> None:
        """size: bytes that are held for it now, in all. They do not extend its time."""
        self.setdefault(connection, now)
        self._total += size - self._held.get(connection, 0)
        self._held[connection] = size

    def held(self, connection: Any) -> int:
        return self._held[connection]

    def until(self, connection: Any) -> float:
        """When its time is over."""
        return self[connection] + self._seconds

    def end(self, connection: Any) -> None:
        """Safe to call twice."""
        if self.pop(connection, None) is not None:
            self._total -= self._held.pop(connection)

    def due(self, now: float) -> list[Any]:
        """Those whose time is over, and the oldest ones while too much is held."""
        due, held = [], self._total
        for connection, since in self.items():
            crowded = self._budget is not None and held > self._budget
            if now - since < self._seconds and not crowded:
                break
            due.append(connection)
            held -= self._held[connection]
        return due
