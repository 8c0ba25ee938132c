"""Timeout queue with one period for all connections: the first that entered is the first to time out."""

from typing import Any


class Waiting(dict[Any, float]):
    """Start time by connection. A dictionary, because the worker checks it after every event and it is mostly empty."""

    def __init__(self, seconds: float, budget: int | None = None) -> None:
        """budget: bytes held for all connections together; None where another limit bounds them."""
        super().__init__()
        self._seconds = seconds
        self._budget = budget
        self._held: dict[Any, int] = {}
        self._total = 0

    def hold(self, connection: Any, size: int, now: float) -> None:
        """size: bytes held for the connection now, in all. More bytes do not extend its time."""
        self.setdefault(connection, now)
        self._total += size - self._held.get(connection, 0)
        self._held[connection] = size

    def held(self, connection: Any) -> int:
        return self._held[connection]

    def until(self, connection: Any) -> float:
        """When the connection times out."""
        return self[connection] + self._seconds

    def end(self, connection: Any) -> None:
        """Safe to call twice."""
        if self.pop(connection, None) is not None:
            self._total -= self._held.pop(connection)

    def due(self, now: float) -> list[Any]:
        """The connections that have timed out, and the oldest ones while the budget is exceeded."""
        due, held = [], self._total
        for connection, since in self.items():
            crowded = self._budget is not None and held > self._budget
            if now - since < self._seconds and not crowded:
                break
            due.append(connection)
            held -= self._held[connection]
        return due
