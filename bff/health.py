"""What the BFF knows of its dependencies, from checks that run in the background.

Asking for health is a look at the last result: a probe storm costs the dependencies nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bff.errors import BFFError, StoreRefuses

Check = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """up: None when the check has not run yet. latency in seconds. fault: why it does only part of its work."""

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
        the service goes on, if not with everything. draining: whether clients are to go elsewhere."""
        self._checks = dict(checks)
        self._readiness = readiness
        self._optional = optional
        self._draining = draining
        self._clock = clock
        self._lock = threading.Lock()
        self._results = {name: Result(None, 0.0, clock()) for name in checks}

    def refresh(self, name: str) -> bool:
        """Run one check now; whether its component is up. An error that no check should raise passes through, but
        the component is down then too."""
        start, up, fault = time.perf_counter(), False, ""
        try:
            self._checks[name]()
            up = True
        except StoreRefuses as err:  # sessions are read all the same, so no pod is to be taken out of service
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
        """Whether every component is up that nothing works without."""
        return all(result.up for name, result in self._results.items() if name not in self._optional)

    def ready(self) -> bool:
        """Whether the components that serving depends on are up."""
        return all(self._results[name].up for name in self._readiness)

    def draining(self) -> bool:
        """Whether everything is still answered, but not for long."""
        return self._draining()

    def degraded(self) -> bool:
        return any(result.fault for result in self._results.values())

    def report(self) -> dict[str, dict[str, object]]:
        """By component: status (up, degraded, down, unknown), latency in milliseconds, age of the result in seconds,
        and the reason for which it is degraded."""
        return {
            name: {
                "status": result.status,
                "latency_ms": round(result.latency * 1000, 3),
                "age_seconds": round(max(0.0, self._clock() - result.checked_at), 1),
                **({"reason": result.fault} if result.fault else {}),
            }
            for name, result in self._results.items()
        }
