"""Log throttle: at most one line a minute for each of OpenTelemetry's own loggers.

While a collector is away, each export of each worker logs an error, some with a stack. For a client's broken headers,
the SDK quotes them. So each logger gets one line a minute, with the number of suppressed records. Only messages of
exporters are quoted: they are about the collector, and the operator needs them.
"""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds between two lines about the same logger."""

_QUOTED = "opentelemetry.exporter"
_LONGEST = 300


class LogThrottle(logging.Handler):
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._changing = threading.Lock()
        self._heard: dict[str, tuple[float, int]] = {}  # when last written, records suppressed since

    def emit(self, record: logging.LogRecord) -> None:
        told, unheard = self._note(record.name)
        if not told:
            return
        facts: dict[str, object] = {"library": record.name, "unheard": unheard}
        if record.name.startswith(_QUOTED):
            facts["detail"] = record.getMessage()[:_LONGEST]
        log.log(record.levelno, "telemetry_trouble", extra=facts)

    def _note(self, name: str) -> tuple[bool, int]:
        """(whether to write a line, how many records were suppressed)."""
        with self._changing:
            at, unheard = self._heard.get(name, (float("-inf"), 0))
            if self._clock() - at < QUIET:
                self._heard[name] = at, unheard + 1
                return False, 0
            self._heard[name] = self._clock(), 0
            return True, unheard


def silence() -> None:
    """Route the libraries' loggers through this module alone."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers[:] = [LogThrottle()]
    logger.propagate = False
