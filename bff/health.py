"""Health check cache: background checks of the BFF's dependencies, and the last result of each.

A health request reads only the last results, so many probes cost the dependencies nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bff.errors import BFFError, StoreRefuses

Check = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """up: None until the check has run. latency: seconds. fault: the reason for which a component does only part of its
    work."""

    up: bool | None
    latency: float
    checked_at: float
    fault: str = ""

    @property
    def status(self) -> str:
        if self.fault:
            return "degraded"
        return {True: "up", False: "down", None: "unknown"}[self.up]


class Health:
    def __init__(
        self,
        checks: Mapping[str, Check],
        readiness: frozenset[str],
        clock: Callable[[], float],
        optional: frozenset[str] = frozenset(),
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """checks: by component; each raises a BFFError when its component is down. optional: components without which
        the BFF still serves, with fewer functions. draining: whether clients should use another instance."""
        self._checks = dict(checks)
        self._readiness = readiness
        self._optional = optional
        self._draining = draining
        self._clock = clock
        self._lock = threading.Lock()
        self._results = {name: Result(None, 0.0, clock()) for name in checks}

    def refresh(self, name: str) -> bool:
        """Runs one check now and returns whether its component is up.

        An exception other than BFFError passes through; the component then counts as down too.
        """
        start, up, fault = time.perf_counter(), False, ""
        try:
            self._checks[name]()
            up = True
        except StoreRefuses as err:  # sessions are still readable, so no pod must leave service
            up, fault = True, err.reason
        except BFFError:
            pass
        finally:
            with self._lock:
                self._results[name] = Result(up, time.perf_counter() - start, self._clock(), fault)
        return up

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._checks)

    def healthy(self) -> bool:
        """Whether every component is up that is not optional."""
        return all(result.up for name, result in self._results.items() if name not in self._optional)

    def ready(self) -> bool:
        """Whether the components of READINESS_CHECKS are up."""
        return all(self._results[name].up for name in self._readiness)

    def draining(self) -> bool:
        """Whether this instance still answers but is about to stop."""
        return self._draining()

    def degraded(self) -> bool:
        return any(result.fault for result in self._results.values())

    def report(self) -> dict[str, dict[str, object]]:
        """Returns by component: status (up, degraded, down, unknown), latency in milliseconds, age of the result in
        seconds, and the reason why it is degraded."""
        return {
            name: {
                "status": result.status,
                "latency_ms": round(result.latency * 1000, 3),
                "age_seconds": round(max(0.0, self._clock() - result.checked_at), 1),
                **({"reason": result.fault} if result.fault else {}),
            }
            for name, result in self._results.items()
        }
