"""What the BFF knows of its dependencies, from checks that run in the background.

Asking for health is a look at the last result: a probe storm costs the dependencies nothing.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bff.errors import BFFError

Check = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """up: None when the check has not run yet. latency in seconds."""

    up: bool | None
    latency: float
    checked_at: float


class Health:
    def __init__(
        self,
        checks: Mapping[str, Check],
        readiness: frozenset[str],
        clock: Callable[[], float],
        optional: frozenset[str] = frozenset(),
    ) -> None:
        """checks: by component; each raises a BFFError when its component is down. optional: components without which
        the service goes on, if not with everything."""
        self._checks = dict(checks)
        self._readiness = readiness
        self._optional = optional
        self._clock = clock
        self._lock = threading.Lock()
        self._results = {name: Result(None, 0.0, clock()) for name in checks}

    def refresh(self, name: str) -> bool:
        """Run one check now; whether its component is up. An error that no check should raise passes through, but
        the component is down then too."""
        start, up = time.perf_counter(), False
        try:
            with contextlib.suppress(BFFError):
                self._checks[name]()
                up = True
        finally:
            with self._lock:
                self._results[name] = Result(up, time.perf_counter() - start, self._clock())
        return up

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._checks)

    def healthy(self) -> bool:
        """Whether every component is up that nothing works without."""
        return all(result.up for name, result in self._results.items() if name not in self._optional)

    def ready(self) -> bool:
        """Whether the components that serving depends on are up."""
        return all(self._results[name].up for name in self._readiness)

    def report(self) -> dict[str, dict[str, object]]:
        """By component: status (up, down, unknown), latency in milliseconds, age of the result in seconds."""
        words = {True: "up", False: "down", None: "unknown"}
        return {
            name: {
                "status": words[result.up],
                "latency_ms": round(result.latency * 1000, 3),
                "age_seconds": round(max(0.0, self._clock() - result.checked_at), 1),
            }
            for name, result in self._results.items()
        }
